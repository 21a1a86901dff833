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
	fresh  bool // what was built differs from what we wrote last, or we do not know
}

// apply brings one object to the state that was built, with as few requests as
// what we know of it allows: one look when we wrote the same before, one write
// when the content is new, a look and a write when we know nothing. The look may
// have been taken before: live.
func (e *Engine) apply(ctx context.Context, a App, past *past, t *target, live *unstructured.Unstructured) (outcome, error) {
	was, known := past.get(t.key)
	fresh := !known || was.built != t.built
	if live == nil && (!known || !fresh) {
		var err error
		live, err = e.at(t.resource, t.object.Namespace).Get(ctx, t.object.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			live, was = nil, seen{}
		case err != nil:
			return outcome{}, fmt.Errorf("%s: read %s: %w", t.where(), t.object, err)
		}
	}
	if live != nil {
		if other, ok := owner(live); ok && other != a.Name && !known {
			return outcome{}, fmt.Errorf("%s: %s belongs to app %s", t.where(), t.object, other)
		}
		was.live, was.uid, was.health = digestLive(live), string(live.GetUID()), healthOf(live)
		if !fresh && live.GetDeletionTimestamp() == nil && digestOurs(t.Object, live) == was.ours {
			past.put(t.key, was)
			return outcome{action: bump.Unchanged, uid: was.uid}, nil
		}
	}
	after, err := e.patch(ctx, t)
	if err != nil {
		past.forget(t.key)
		return outcome{}, fmt.Errorf("%s: apply %s: %w", t.where(), t.object, discreet(t.Object, err))
	}
	is := seen{built: t.built, live: digestLive(after), ours: digestOurs(t.Object, after), uid: string(after.GetUID()), health: healthOf(after)}
	past.put(t.key, is)
	o := outcome{action: bump.Configured, uid: is.uid, fresh: fresh && known}
	switch {
	case was.uid != is.uid:
		o.action = bump.Created
	case was.live == is.live:
		o.action = bump.Unchanged
	}
	return o, nil
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

// patch applies one object on the server. Where another manager holds a field,
// ours wins, as in Flux.
func (e *Engine) patch(ctx context.Context, t *target) (*unstructured.Unstructured, error) {
	body, err := json.Marshal(t.Object)
	if err != nil {
		return nil, err
	}
	force := true
	for tries := 0; ; tries++ {
		live, err := e.at(t.resource, t.object.Namespace).Patch(ctx, t.object.Name, types.ApplyPatchType, body,
			metav1.PatchOptions{FieldManager: e.manager, Force: &force})
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
