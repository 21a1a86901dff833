package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"hoist/bump"
)

// outcome is what the server made of one object.
type outcome struct {
	action bump.Action
	uid    string
	reason string // for what was left alone
	drift  *Drift // what somebody else had changed, if that was told or put right
}

// glance is what is known of an object in the cluster before it is written.
type glance struct {
	live   *unstructured.Unstructured
	looked bool                       // live is nil because there is none
	tried  *unstructured.Unstructured // the answer to a dry run
}

// apply brings one object to the state that was built, with as few requests as
// what we know of it allows: one look when we wrote the same before, one write
// when the content is new, a look and a write when we know nothing.
func (e *Engine) apply(ctx context.Context, a App, past *past, s street, t *target, g glance) (outcome, error) {
	if t.lost != nil {
		return outcome{}, t.lost
	}
	was, known := past.get(t.key)
	fresh := !known || was.built != t.built
	if !g.looked && g.live == nil && (!known || !fresh || t.looksFirst(was)) {
		var err error
		if g.live, err = e.read(ctx, t); err != nil {
			return outcome{}, err
		}
	}
	live := g.live
	if live != nil {
		if err := s.yields(t, live, a, known); err != nil {
			return outcome{}, err
		}
		if o, ok := e.leave(past, t, live); ok {
			return o, nil
		}
	}
	if !known && t.recorded && a.leavesDrift() {
		after, err := e.would(ctx, t, live)
		if err != nil {
			return outcome{}, t.refused("dry run of", err)
		}
		was, fresh = e.seenOf(t, after), false
	}
	if !fresh {
		return e.mend(ctx, a, past, t, live, was)
	}
	var after *unstructured.Unstructured
	if e.same(live, g.tried) {
		after = live
	} else {
		var err error
		if after, err = e.bring(ctx, a, t, live, t.inherits(live, known, g.tried != nil)); err != nil {
			past.forget(t.key)
			return outcome{}, t.refused("apply", err)
		}
	}
	if live != nil {
		was.live, was.uid = digestLive(live), string(live.GetUID())
	}
	is := e.seenOf(t, after)
	past.put(t.key, is)
	o := outcome{action: actionOf(was, is), uid: is.uid}
	if t.recorded && !known && o.action != bump.Unchanged { // it drifted while nobody watched
		if o.drift = e.driftOf(t, live, after, DriftReverted); o.drift != nil {
			e.tell(a, *o.drift)
		}
	}
	return o, nil
}

// looksFirst tells whether an object has to be seen before it is written.
func (t *target) looksFirst(was seen) bool {
	return len(t.yielded) > 0 || t.ssa == ssaIfNotPresent || was.alone || was.edited
}

// leave keeps the hands off an object that is there and asks for that.
func (e *Engine) leave(past *past, t *target, live *unstructured.Unstructured) (outcome, bool) {
	reason := asksToBeLeft(live)
	if reason == "" && t.ssa != ssaIfNotPresent {
		return outcome{}, false
	}
	is := e.seenOf(t, live)
	if reason != "" {
		is.alone, is.built, is.ours, is.held = true, "", "", "" // whatever is seen of it is a reason to look whether it asks no more
	}
	past.put(t.key, is)
	if reason != "" {
		return outcome{action: bump.Skipped, uid: is.uid, reason: reason}, true
	}
	if _, marked := owner(live); !marked && !t.tracked {
		is.uid = "" // somebody else made it
	}
	return outcome{action: bump.Unchanged, uid: is.uid}, true
}

// refused is what is told of a request that the API server did not grant.
func (t *target) refused(doing string, err error) error {
	return fmt.Errorf("%s: %s %s: %w", t.where(), doing, t.object, t.discreet(err))
}

func (e *Engine) read(ctx context.Context, t *target) (*unstructured.Unstructured, error) {
	live, err := e.at(t.resource, t.object.Namespace).Get(ctx, t.object.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%s: read %s: %w", t.where(), t.object, err)
	}
	return live, nil
}

// seenOf is what is remembered of an object as we left it.
func (e *Engine) seenOf(t *target, live *unstructured.Unstructured) seen {
	return seen{
		built: t.built, live: digestLive(live), ours: digestOurs(t.Object, live), held: digestHeld(live.GetManagedFields(), e.manager),
		uid: string(live.GetUID()), generation: live.GetGeneration(), health: t.judge.of(live), edited: heldByForeign(live.GetManagedFields()),
	}
}

func actionOf(was, is seen) bump.Action {
	switch {
	case was.uid != is.uid:
		return bump.Created
	case was.live == is.live:
		return bump.Unchanged
	}
	return bump.Configured
}

// discreetError is what the API server says of a Secret: the kind of refusal,
// without its words, which may repeat values.
type discreetError struct {
	text string
	err  error
}

func (e *discreetError) Error() string { return e.text }
func (e *discreetError) Unwrap() error { return e.err }

// discreet keeps the words of an API error to ourselves when it is about a
// Secret. Where it was refused for its rights or its name, that is said.
func discreet(o *unstructured.Unstructured, err error) error {
	var status apierrors.APIStatus
	if !isSecret(o) || !errors.As(err, &status) || apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
		return err
	}
	return &discreetError{fmt.Sprintf("the api server refused it: %s (its words are not repeated, they may hold values)", apierrors.ReasonForError(err)), err}
}

// few is how many objects of one kind and namespace are read one by one.
const few = 4

// look reads many objects with few requests: those of one kind and namespace in
// one list of what carries the app's marks. An object without its marks, or that
// may not be listed, is not in the answer, which does not mean that it is gone.
func (e *Engine) look(ctx context.Context, a App, targets []*target) (map[key]*unstructured.Unstructured, error) {
	type place struct {
		resource
		namespace string
	}
	places := map[place]int{}
	for _, t := range targets {
		places[place{t.resource, t.object.Namespace}]++
	}
	var (
		g     errgroup.Group
		mu    sync.Mutex
		found = map[key]*unstructured.Unstructured{}
	)
	g.SetLimit(workers)
	for at, n := range places {
		if n <= few {
			continue
		}
		g.Go(func() error {
			options := metav1.ListOptions{LabelSelector: labelApp + "=" + a.Name.Name + "," + labelAppNamespace + "=" + a.Name.Namespace, Limit: 500}
			for {
				list, err := e.at(at.resource, at.namespace).List(ctx, options)
				if err != nil {
					return ctx.Err() // the objects will be read one by one
				}
				mu.Lock()
				for i := range list.Items {
					found[keyOf(nameOf(&list.Items[i]))] = &list.Items[i]
				}
				mu.Unlock()
				if options.Continue = list.GetContinue(); options.Continue == "" {
					return nil
				}
			}
		})
	}
	return found, g.Wait()
}

// same tells whether what a dry run would make of an object is what it is.
func (e *Engine) same(live, tried *unstructured.Unstructured) bool {
	return live != nil && tried != nil && digestLive(live) == digestLive(tried) &&
		digestHeld(live.GetManagedFields(), e.manager) == digestHeld(tried.GetManagedFields(), e.manager)
}

// bring applies one object, and does what has to be done that it can be applied:
// with inherits, what kubectl and Flux wrote becomes ours; what cannot be changed
// is created anew where that is allowed.
func (e *Engine) bring(ctx context.Context, a App, t *target, live *unstructured.Unstructured, inherits bool) (after *unstructured.Unstructured, err error) {
	if inherits && live != nil && t.overrides() && heldByForeign(live.GetManagedFields()) {
		after, err = e.putOver(ctx, t, live)
	} else {
		after, err = e.put(ctx, t, live)
	}
	stuck := e.immutableOf(ctx, a, t, live, err)
	if stuck == nil {
		return after, err
	}
	if !stuck.replaceable {
		return nil, stuck
	}
	return e.replace(ctx, t, stuck)
}

// put applies one object. Fields that it leaves to others go out with a new
// object; from one that is there they are given away first: a field that its only
// owner stops to apply is removed by the API server.
func (e *Engine) put(ctx context.Context, t *target, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	if len(t.yielded) == 0 {
		return e.patch(ctx, t, t.Object, e.manager, forReal)
	}
	if live == nil {
		var err error
		if live, err = e.patch(ctx, t, t.whole(), e.manager, forReal); err != nil {
			return nil, err
		}
	}
	if given := e.lent(t, live); given != t.Object {
		bare := &unstructured.Unstructured{Object: map[string]any{}}
		bare.SetAPIVersion(t.object.APIVersion)
		bare.SetKind(t.object.Kind)
		bare.SetName(t.object.Name)
		bare.SetNamespace(t.object.Namespace)
		for _, y := range t.yielded {
			if v, ok, _ := unstructured.NestedFieldCopy(given.Object, y.path...); ok {
				_ = unstructured.SetNestedField(bare.Object, v, y.path...)
			}
		}
		if _, err := e.patch(ctx, t, bare, e.manager+"-ignored", forReal); err != nil {
			return nil, err
		}
	}
	return e.patch(ctx, t, t.Object, e.manager, forReal)
}

// lent is the manifest with the live values of those yielded fields that we still
// own; the manifest itself when there are none.
func (e *Engine) lent(t *target, live *unstructured.Unstructured) *unstructured.Unstructured {
	o := t.Object
	if live == nil {
		return t.whole()
	}
	held := heldBy(live.GetManagedFields(), e.manager)
	for _, y := range t.yielded {
		v, ok, _ := unstructured.NestedFieldCopy(live.Object, y.path...)
		if !ok || !owns(held, y.path) {
			continue
		}
		if o == t.Object {
			o = t.Object.DeepCopy()
		}
		_ = unstructured.SetNestedField(o.Object, v, y.path...)
	}
	return o
}

// whether a patch is stored
const (
	forReal = false
	dryRun  = true
)

// would is the answer to a dry run that takes every field.
func (e *Engine) would(ctx context.Context, t *target, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	taking := *t
	taking.forced = true
	return e.patch(ctx, &taking, e.lent(t, live), e.manager, dryRun)
}

// patch applies body in the name of manager. Where another manager holds a
// field, ours wins, as in Flux, unless the target says otherwise.
func (e *Engine) patch(ctx context.Context, t *target, body *unstructured.Unstructured, manager string, dry bool) (*unstructured.Unstructured, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	options := metav1.PatchOptions{FieldManager: manager, Force: &t.forced}
	if dry {
		options.DryRun = []string{metav1.DryRunAll}
	}
	for tries := 0; ; tries++ {
		live, err := e.at(t.resource, t.object.Namespace).Patch(ctx, t.object.Name, types.ApplyPatchType, text, options)
		if conflict := conflictOf(err); conflict != nil {
			return nil, conflict
		}
		again := t.young && unserved(err) && tries < 100 || apierrors.IsConflict(err) && tries < 3
		if !again {
			return live, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// unserved recognizes the answer for a kind whose definition was accepted a
// moment ago: a 404 that names no object.
func unserved(err error) bool {
	var status apierrors.APIStatus
	return apierrors.IsNotFound(err) && errors.As(err, &status) &&
		(status.Status().Details == nil || status.Status().Details.Name == "")
}
