package reconcile

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hoist/bump"
)

// Neighbour is another app on the same repository, as one revision has it. What
// Git says of all apps at one revision decides whom an object belongs to, so an
// object can move between them without being deleted, whichever is applied first.
type Neighbour struct {
	app   bump.Name
	home  string // the namespace of objects that name none
	exact map[key]bool
	bare  map[key]bool // without namespaces
	err   error        // why it could not be built
}

// NeighbourOf tells of an app what others have to know: which objects are its
// own, or with err that nobody can say.
func NeighbourOf(a App, set *Set, err error) Neighbour {
	n := Neighbour{app: a.Name, home: a.home(), exact: map[key]bool{}, bare: map[key]bool{}, err: err}
	if err != nil {
		return n
	}
	for _, m := range set.Objects {
		if wordOf(m.Object, wordSSA) == ssaIgnore {
			continue
		}
		k := keyOf(nameOf(m.Object))
		n.exact[k] = true
		k.namespace = ""
		n.bare[k] = true
	}
	return n
}

func (n Neighbour) holds(k key) bool {
	if n.exact[k] {
		return true
	}
	cluster := key{group: k.group, kind: k.kind, name: k.name}
	return k.namespace == "" && n.bare[cluster] || k.namespace == n.home && n.exact[cluster]
}

// street is the neighbours of an app at one revision, asked for when the first
// question comes: a pass that neither deletes nor meets an owner builds nothing.
type street func() ([]Neighbour, error)

func (e *Engine) street(ctx context.Context, a App, h bump.Head) street {
	return sync.OnceValues(func() ([]Neighbour, error) {
		if e.neighbours == nil {
			return nil, nil
		}
		return e.neighbours(ctx, a.Name, h)
	})
}

// yields says why an object that carries the mark of another app may not be
// taken over; nil when it may. known is an object that we wrote: where no
// neighbour's name is on it, somebody edited the label.
func (s street) yields(t *target, live *unstructured.Unstructured, a App, known bool) error {
	other, marked := owner(live)
	if !marked || other == a.Name {
		return nil
	}
	all, err := s()
	if err != nil {
		return fmt.Errorf("%s: %s belongs to app %s: %w", t.where(), t.object, other, err)
	}
	for _, n := range all {
		switch {
		case n.app != other:
		case n.err != nil:
			return fmt.Errorf("%s: %s belongs to app %s, which does not build at this revision, so whether it moved is not known: %w", t.where(), t.object, other, n.err)
		case n.holds(t.key):
			return fmt.Errorf("%s: %s belongs to app %s, whose files have it too: remove it from one of the two", t.where(), t.object, other)
		default:
			return nil
		}
	}
	if known || a.adopts(other) {
		return nil
	}
	return t.belongs(other)
}

func (t *target) belongs(other bump.Name) error {
	return fmt.Errorf("%s: %s belongs to app %s: remove it there, or name that app under adopt", t.where(), t.object, other)
}

// moved tells whether another app surely has an object that left an app.
func (s street) moved(k key) bool {
	all, err := s()
	return err == nil && slices.ContainsFunc(all, func(n Neighbour) bool { return n.err == nil && n.holds(k) })
}

// wants says who else may want an object that left an app, as a reason not to
// delete it; empty when nobody does.
func (s street) wants(k key) string {
	all, err := s()
	if err != nil {
		return "another app may have it now: " + err.Error()
	}
	reason := ""
	for _, n := range all {
		switch {
		case n.err != nil:
			reason = fmt.Sprintf("it may have moved to app %s, which does not build at this revision", n.app)
		case n.holds(k):
			return movedTo + n.app.String()
		}
	}
	return reason
}
