package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"hoist/bump"
)

// protected are the kinds whose deletion takes more with it than the object:
// they are deleted only where the object itself allows it.
var protected = []schema.GroupKind{
	crdKind,
	{Kind: "Namespace"},
	{Kind: "PersistentVolumeClaim"},
	{Kind: "PersistentVolume"},
}

// prune deletes what the inventory holds and the set does not, stage by stage
// from the last, and returns the entries that the inventory has to keep: those
// of the set, and whatever is still there.
func (p *pass) prune(ctx context.Context) (keep []Entry, err error) {
	left := p.inv.without(p.targets)
	gone := map[key]bool{}
	reason := map[key]string{}
	putOff := p.past.believes()
	p.past.owes(putOff && p.app.Prune && len(left) > 0)
	if putOff && p.app.Prune {
		for _, en := range left {
			reason[keyOf(en.Object)] = postponed
		}
	} else if p.app.Prune {
		var errs []error
		for s := lastStage; s >= definitions; s-- {
			batch := slices.DeleteFunc(slices.Clone(left), func(en Entry) bool {
				return stageOf(schema.FromAPIVersionAndKind(en.APIVersion, en.Kind).GroupKind()) != s
			})
			fates, err := p.remove(ctx, batch)
			for i, f := range fates {
				k := keyOf(batch[i].Object)
				gone[k], reason[k] = f.gone, f.reason
			}
			errs = append(errs, err)
		}
		err = errors.Join(errs...)
	}
	present := make(map[key]bool, len(left))
	for _, en := range left {
		present[keyOf(en.Object)] = true
	}
	for _, en := range p.inv.Objects {
		k := keyOf(en.Object)
		if gone[k] {
			p.past.drop(k)
			continue
		}
		if present[k] {
			p.past.drop(k) // not the app's any more: neither its drift nor its health
			if en.Left = reason[k]; en.Left == "" {
				en.Left = "prune is off"
			}
		}
		keep = append(keep, en)
	}
	return keep, err
}

// fate is what became of an entry that left the set.
type fate struct {
	action bump.Action // empty when there is nothing to tell
	reason string      // why it was not deleted, or is not gone yet
	gone   bool        // the inventory need not remember it
}

func (p *pass) remove(ctx context.Context, entries []Entry) ([]fate, error) {
	fates := make([]fate, len(entries))
	errs := make([]error, len(entries))
	var g errgroup.Group
	g.SetLimit(workers)
	for i, en := range entries {
		g.Go(func() error {
			for range 5 { // a status that was written meanwhile is no reason to give up
				fates[i], errs[i] = p.e.remove(ctx, p.app.Name, p.street, en)
				if !apierrors.IsConflict(errs[i]) {
					break
				}
			}
			return nil
		})
	}
	_ = g.Wait() // errors are in errs
	for i, f := range fates {
		r := bump.ObjectResult{Object: entries[i].Object, Action: f.action, Reason: f.reason}
		if errs[i] != nil {
			r.Action, r.Reason = bump.Failed, errs[i].Error()
			fates[i].reason = undeleted + errs[i].Error()
		}
		if r.Action == bump.Deleted {
			p.applied = p.e.now()
			p.log.Info("object deleted", zap.Stringer("object", r.Object), zap.String("action", string(r.Action)))
		}
		if r.Action != "" {
			p.results = append(p.results, r)
		}
	}
	return fates, errors.Join(errs...)
}

// remove deletes one object if it is still the one that we applied, and nobody
// else on the street wants it.
func (e *Engine) remove(ctx context.Context, app bump.Name, s street, en Entry) (fate, error) {
	r, err := e.kinds.still(ctx, schema.FromAPIVersionAndKind(en.APIVersion, en.Kind))
	if errors.Is(err, errGone) {
		return fate{gone: true}, nil // the kind went, and its objects with it
	}
	if err != nil {
		return fate{}, fmt.Errorf("delete %s: %w", en, err)
	}
	at := e.at(r, en.Namespace)
	live, err := e.leftover(ctx, r, en)
	if apierrors.IsNotFound(err) {
		return fate{gone: true}, nil
	}
	if err != nil {
		return fate{}, fmt.Errorf("delete %s: %w", en, err)
	}
	if f, stays := spared(live, app, en); stays {
		return f, nil
	}
	if reason := e.runsBy(ctx, live); reason != "" {
		return fate{action: bump.Skipped, reason: reason}, nil
	}
	// It stays recorded here until the other's mark is on it: tracked at any time.
	if reason := s.wants(keyOf(en.Object)); reason != "" {
		return fate{action: bump.Skipped, reason: reason}, nil
	}
	// Who took it over since it was read has changed it: the delete is refused then.
	uid, version, background := live.GetUID(), live.GetResourceVersion(), metav1.DeletePropagationBackground
	err = at.Delete(ctx, en.Name, metav1.DeleteOptions{
		PropagationPolicy: &background,
		Preconditions:     &metav1.Preconditions{UID: &uid, ResourceVersion: &version},
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fate{}, fmt.Errorf("delete %s: %w", en, err)
	}
	after, err := at.Get(ctx, en.Name, metav1.GetOptions{})
	if err == nil && after.GetUID() == uid || err != nil && !apierrors.IsNotFound(err) {
		return fate{action: bump.Deleted, reason: deleting}, nil
	}
	return fate{action: bump.Deleted, gone: true}, nil
}

// Why an entry that left is still there, where that may change without a word in Git.
const (
	deleting  = "is being deleted"
	undeleted = "could not be deleted: "
	movedTo   = "moved to app "
)

// spared says whether a live object that left the set is not to be deleted.
func spared(live *unstructured.Unstructured, app bump.Name, en Entry) (fate, bool) {
	other, marked := owner(live)
	ours := marked && other == app
	gk := live.GroupVersionKind().GroupKind()
	skip := func(forget bool, reason string) (fate, bool) {
		return fate{action: bump.Skipped, reason: reason, gone: forget}, true
	}
	switch {
	case marked && !ours:
		return skip(true, "belongs to app "+other.String())
	case !ours && en.UID == "":
		// We wrote it down and were stopped before we created it.
		return skip(true, "was not applied by us")
	case !ours && en.UID != string(live.GetUID()):
		return skip(true, "was replaced by an object that is not ours")
	case live.GetDeletionTimestamp() != nil:
		return skip(false, deleting)
	case en.Alone:
		return skip(false, "was left alone when it left Git")
	case asksToBeLeft(live) != "":
		return skip(false, asksToBeLeft(live))
	case saysOf(live, wordPrune, disabled):
		return skip(false, "its annotation says not to prune it")
	case slices.Contains(protected, gk) && !strings.EqualFold(live.GetAnnotations()[annotationPrune], enabled):
		return skip(false, fmt.Sprintf("a %s is only pruned with the annotation %s: enabled", gk.Kind, annotationPrune))
	}
	return fate{}, false
}
