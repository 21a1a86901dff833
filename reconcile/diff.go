package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"hoist/bump"
)

// Difference is what an apply would do to one object.
type Difference struct {
	Object bump.Object
	File   string
	Action bump.Action // Created, Configured, Deleted, or Skipped
	Reason string      // for Skipped, and for Configured where the object is deleted and created anew
	Diff   string      // unified, of the object as YAML; values of Secrets are masked
	// Drift are the fields among them that another field manager wrote, which is
	// who changed them since they were applied.
	Drift []DriftField
}

// Diff tells what [Engine.Apply] would change, and changes nothing: it reads, and
// asks the API server for dry runs (PATCH requests with dryRun=All, which store
// nothing and which admission webhooks must treat as such). It writes no
// inventory. Objects that would stay as they are do not appear.
//
// An object whose namespace or kind the same app would create first cannot be
// tried; it appears as it was built. What moves between apps of the repository at
// h is changed by the one and not deleted by the other, as [Engine.Apply] does it.
func (e *Engine) Diff(ctx context.Context, a App, tree fs.FS, h bump.Head) ([]Difference, error) {
	set, err := e.build(ctx, tree, a)
	if err != nil {
		return nil, err
	}
	targets, err := e.locate(ctx, a, set)
	if err != nil {
		return nil, err
	}
	inv, err := e.inventory(ctx, a.Name)
	if err != nil {
		return nil, err
	}
	street := e.street(ctx, a, h)
	targets, ignored := unignored(targets)
	inv.forget(ignored)
	inv.track(targets)
	var (
		all  []Difference
		errs []error
	)
	for _, t := range targets {
		if t.alone {
			continue
		}
		if t.lost != nil {
			errs = append(errs, t.lost)
			continue
		}
		d, err := e.diff(ctx, a, street, t)
		if err != nil {
			errs = append(errs, err)
		} else if d.Action != bump.Unchanged {
			all = append(all, d)
		}
	}
	if !a.Prune {
		return all, errors.Join(errs...)
	}
	if why := street.tooMuch(a, inv, targets); why != "" {
		return all, errors.Join(append(errs, &Refusal{App: a.Name, Guard: GuardPrune, Why: why})...)
	}
	for _, en := range inv.without(targets) {
		d, err := e.diffRemoved(ctx, a.Name, street, en)
		if err != nil {
			errs = append(errs, err)
		} else if d.Action != "" {
			all = append(all, d)
		}
	}
	return all, errors.Join(errs...)
}

func (e *Engine) diff(ctx context.Context, a App, s street, t *target) (Difference, error) {
	d := Difference{Object: t.object, File: t.File, Action: bump.Configured}
	at := e.at(t.resource, t.object.Namespace)
	before, err := at.Get(ctx, t.object.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		before, d.Action = nil, bump.Created
	} else if err != nil {
		return d, fmt.Errorf("%s: read %s: %w", t.where(), t.object, err)
	}
	if before != nil {
		if err := s.yields(t, before, a, false); err != nil {
			return d, err
		}
		if t.ssa == ssaIfNotPresent || asksToBeLeft(before) != "" {
			d.Action = bump.Unchanged
			return d, nil
		}
	}
	after, err := e.patch(ctx, t, e.lent(t, before), e.manager, dryRun)
	switch {
	case apierrors.IsNotFound(err) && before == nil:
		after = t.whole() // its namespace or kind is not there yet
	case err != nil:
		if stuck := e.immutableOf(ctx, a, t, before, err); stuck != nil {
			return e.diffReplaced(ctx, t, stuck, d)
		}
		return d, t.refused("dry run of", err)
	}
	if before != nil && t.overrides() && t.inherits(before, false, true) && digestLive(before) != digestLive(after) {
		after = e.without(before, after)
	}
	if before != nil && digestLive(before) == digestLive(after) {
		d.Action = bump.Unchanged
		return d, nil
	}
	if before != nil {
		fields, _ := tellable(t.Manifest, before, differences(t.Object.Object, before.Object, after.Object, nil), e.manager)
		d.Drift = slices.DeleteFunc(fields, func(f DriftField) bool { return f.By == "" })
	}
	d.Diff, err = unified(t.object, t.shown(before, "before"), t.shown(after, "after"))
	d.Diff = t.hide(d.Diff)
	return d, err
}

// diffReplaced is the difference of an object that has to be deleted and created anew.
func (e *Engine) diffReplaced(ctx context.Context, t *target, stuck *immutableError, d Difference) (Difference, error) {
	if !stuck.replaceable {
		return d, t.refused("dry run of", stuck)
	}
	if err := e.rehearseReplacement(ctx, t, stuck); err != nil {
		return d, t.refused("dry run of", err)
	}
	d.Reason = "deleted and created anew: " + stuck.fields + " cannot be changed once it is set"
	var err error
	d.Diff, err = unified(t.object, t.shown(stuck.live, "before"), t.shown(t.whole(), "after"))
	d.Diff = t.hide(d.Diff)
	return d, err
}

func (e *Engine) diffRemoved(ctx context.Context, app bump.Name, s street, en Entry) (Difference, error) {
	d := Difference{Object: en.Object}
	r, err := e.kinds.still(ctx, schema.FromAPIVersionAndKind(en.APIVersion, en.Kind))
	if errors.Is(err, errGone) {
		return d, nil
	}
	if err != nil {
		return d, fmt.Errorf("read %s: %w", en, err)
	}
	live, err := e.leftover(ctx, r, en)
	if apierrors.IsNotFound(err) {
		return d, nil
	}
	if err != nil {
		return d, fmt.Errorf("read %s: %w", en, err)
	}
	if f, stays := spared(live, app, en); stays {
		d.Action, d.Reason = f.action, f.reason
		return d, nil
	}
	if reason := cmp.Or(e.runsBy(ctx, live), s.wants(keyOf(en.Object))); reason != "" {
		d.Action, d.Reason = bump.Skipped, reason
		return d, nil
	}
	d.Action = bump.Deleted
	d.Diff, err = unified(en.Object, live, nil)
	return d, err
}

// unified compares two states of an object; nil is one that does not exist.
func unified(name bump.Object, before, after *unstructured.Unstructured) (string, error) {
	before, after = bare(before), bare(after)
	mask(before, after)
	var texts [2]string
	for i, o := range []*unstructured.Unstructured{before, after} {
		if o == nil {
			continue
		}
		b, err := yaml.Marshal(o.Object)
		if err != nil {
			return "", err
		}
		texts[i] = string(b)
	}
	return udiff.Unified("live/"+name.String(), "git/"+name.String(), texts[0], texts[1]), nil
}

// bare is a copy without what the server counts and writes.
func bare(o *unstructured.Unstructured) *unstructured.Unstructured {
	if o == nil {
		return nil
	}
	o = o.DeepCopy()
	for _, f := range []string{"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"} {
		unstructured.RemoveNestedField(o.Object, "metadata", f)
	}
	unstructured.RemoveNestedField(o.Object, "metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration")
	delete(o.Object, "status")
	return o
}

// mask hides the values of Secrets and still shows which of them differ.
func mask(before, after *unstructured.Unstructured) {
	values := func(o *unstructured.Unstructured, field string) map[string]any {
		if o == nil || o.GroupVersionKind().GroupKind() != (schema.GroupKind{Kind: "Secret"}) {
			return nil
		}
		m, _ := o.Object[field].(map[string]any)
		return m
	}
	for _, field := range []string{"data", "stringData"} {
		old, now := values(before, field), values(after, field)
		for k, v := range now {
			was, ok := old[k]
			switch {
			case ok && was == v:
				old[k], now[k] = "***", "***"
			case ok:
				old[k], now[k] = "*** (before)", "*** (after)"
			default:
				now[k] = "***"
			}
		}
		for k := range old {
			if s, ok := old[k].(string); !ok || !strings.HasPrefix(s, "***") {
				old[k] = "***"
			}
		}
	}
}
