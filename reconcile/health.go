package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"hoist/bump"
)

// health is kstatus's word on one object.
type health struct {
	status  status.Status
	message string
}

const current = status.CurrentStatus

func (h health) String() string {
	if h.message == "" {
		return string(h.status)
	}
	return string(h.status) + ": " + h.message
}

func healthOf(o *unstructured.Unstructured) health {
	r, err := status.Compute(o)
	if err != nil {
		return health{status.UnknownStatus, err.Error()}
	}
	if condition := toldBy[o.GroupVersionKind().GroupKind()]; condition != "" && r.Status == current {
		return byCondition(o, condition)
	}
	return health{r.Status, r.Message}
}

// ref is an object to look at.
type ref struct {
	object bump.Object
	resource
}

// Health waits until everything the app waits for is healthy: the applied
// objects with Wait, and the HealthChecks. It returns r with Ready, or with the
// reasons of the objects that are not, as soon as one has failed for good or the
// app's timeout is over. It holds no lock, so a new revision may be applied
// meanwhile; cancel ctx then, and the wait ends with its error.
func (e *Engine) Health(ctx context.Context, a App, r bump.Result) (bump.Result, error) {
	refs, err := e.awaited(ctx, a, r)
	if err != nil {
		return r, err
	}
	within, cancel := context.WithTimeout(ctx, a.Within())
	defer cancel()
	v := e.await(within, refs, a.judge())
	if ctx.Err() != nil {
		return r, fmt.Errorf("wait for health: %w", context.Cause(ctx))
	}
	r.Ready, r.Reason = len(v.pending) == 0, ""
	if !r.Ready {
		r.Reason = e.reasons(ctx, a, v)
	}
	r.Finished = e.now()
	return r, e.recordHealth(ctx, r)
}

// awaited lists the objects that a has to wait for, without those that were
// healthy when they were applied.
func (e *Engine) awaited(ctx context.Context, a App, r bump.Result) ([]ref, error) {
	wanted := map[key]bump.Object{}
	if a.Wait {
		for _, o := range r.Objects {
			if o.Action == bump.Created || o.Action == bump.Configured || o.Action == bump.Unchanged {
				wanted[keyOf(o.Object)] = o.Object
			}
		}
	}
	for _, h := range a.HealthChecks {
		o := h.object()
		if o.Namespace == "" {
			o.Namespace = a.home()
		}
		wanted[keyOf(o)] = o
	}
	past := e.past(a.Name)
	var refs []ref
	for k, o := range wanted {
		if was, ok := past.get(k); ok && was.health.status == current {
			continue
		}
		res, err := e.kinds.resource(ctx, schema.FromAPIVersionAndKind(o.APIVersion, o.Kind))
		if err != nil {
			return nil, fmt.Errorf("wait for %s: %w", o, err)
		}
		if !res.namespaced {
			o.Namespace = ""
		}
		refs = append(refs, ref{o, res})
	}
	return refs, nil
}

// recordHealth writes the outcome into the inventory, unless another revision
// has been applied since.
func (e *Engine) recordHealth(ctx context.Context, r bump.Result) error {
	inv, err := e.inventory(ctx, r.App)
	if err != nil {
		return err
	}
	if inv.live == nil || inv.Attempted != e.past(r.App).recordedAs(r.Head) {
		return nil
	}
	reason, _, _ := strings.Cut(r.Reason, "\n")
	if inv.Ready == r.Ready && inv.Reason == reason {
		return nil
	}
	inv.Ready, inv.Reason = r.Ready, reason
	if err := e.write(ctx, inv); err != nil {
		e.log.Warn("health not recorded", zap.String("app", r.App.String()), zap.Error(err))
	}
	return nil
}

// verdict is how a wait ended: what was not healthy then.
type verdict struct {
	pending map[bump.Object]health
	failed  bool // one of them has failed for good
}

func (v verdict) err() error {
	var errs []error
	for _, o := range sorted(v.pending) {
		errs = append(errs, fmt.Errorf("%s: %s", o, v.pending[o]))
	}
	return errors.Join(errs...)
}

func sorted(m map[bump.Object]health) []bump.Object {
	return slices.SortedFunc(maps.Keys(m), func(a, b bump.Object) int { return strings.Compare(a.String(), b.String()) })
}

// wait is what the watches of one [Engine.await] share.
type wait struct {
	judge judge

	mu      sync.Mutex
	pending map[bump.Object]health
	failed  bool
	over    context.CancelFunc
}

func (w *wait) see(o bump.Object, h health) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if h.status == current {
		delete(w.pending, o)
	} else {
		w.pending[o] = h
	}
	w.failed = w.failed || h.status == status.FailedStatus
	if len(w.pending) == 0 || w.failed {
		w.over()
	}
}

// await watches objects until all are healthy, one has failed for good, or ctx
// is done. One watch serves all objects of a resource and namespace.
func (e *Engine) await(ctx context.Context, refs []ref, j judge) verdict {
	if len(refs) == 0 {
		return verdict{}
	}
	type place struct {
		resource
		namespace string
	}
	ctx, over := context.WithCancel(ctx)
	defer over()
	w := &wait{judge: j, pending: map[bump.Object]health{}, over: over}
	groups := map[place][]bump.Object{}
	for _, r := range refs {
		p := place{r.resource, r.object.Namespace}
		groups[p] = append(groups[p], r.object)
		w.pending[r.object] = health{status.UnknownStatus, "not looked at"}
	}
	var all sync.WaitGroup
	for p, objects := range groups {
		all.Go(func() { e.watch(ctx, p.resource, p.namespace, objects, w) })
	}
	all.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return verdict{w.pending, w.failed}
}

// watch follows objects of one resource and namespace until ctx is done. A watch
// that ends is begun again with a list.
func (e *Engine) watch(ctx context.Context, r resource, namespace string, objects []bump.Object, w *wait) {
	byName := map[string]bump.Object{}
	for _, o := range objects {
		byName[o.Name] = o
	}
	var only metav1.ListOptions
	if len(objects) == 1 {
		only.FieldSelector = fields.OneTermEqualSelector("metadata.name", objects[0].Name).String()
	}
	for ctx.Err() == nil {
		err := e.follow(ctx, r, namespace, only, byName, w)
		if err != nil && ctx.Err() == nil { // a wait that is over ends the watch with an error of its own
			for _, o := range objects {
				w.see(o, health{status.UnknownStatus, err.Error()})
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(250 * time.Millisecond):
		}
	}
}

func (e *Engine) follow(ctx context.Context, r resource, namespace string, only metav1.ListOptions, byName map[string]bump.Object, w *wait) error {
	list, err := e.at(r, namespace).List(ctx, only)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for i := range list.Items {
		name := list.Items[i].GetName()
		there[name] = true
		if o, ok := byName[name]; ok {
			w.see(o, w.judge.of(&list.Items[i]))
		}
	}
	for name, o := range byName {
		if !there[name] {
			w.see(o, health{status.NotFoundStatus, "there is no such object"})
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	only.ResourceVersion = list.GetResourceVersion()
	events, err := e.at(r, namespace).Watch(ctx, only)
	if err != nil {
		return err
	}
	defer events.Stop()
	for ev := range events.ResultChan() {
		live, ok := ev.Object.(*unstructured.Unstructured)
		if !ok || ev.Type == watch.Error {
			return apierrors.FromObject(ev.Object)
		}
		o, ok := byName[live.GetName()]
		switch {
		case !ok:
		case ev.Type == watch.Deleted:
			w.see(o, health{status.NotFoundStatus, "was deleted"})
		default:
			w.see(o, w.judge.of(live))
		}
	}
	return nil
}
