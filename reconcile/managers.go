package reconcile

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	typed "sigs.k8s.io/structured-merge-diff/v6/value"
)

// Server-side apply removes a field that its manager stops to send. A field that
// kubectl set, or Flux before us, has another manager, and would stay for ever
// although it left Git. So what they hold becomes ours before we apply: kubectl
// does the same when it moves from client-side to server-side apply, and Flux
// with everything that kubectl wrote.

// foreign tells whether an entry belongs to a tool that people use beside Git, or
// used before us. What it holds of a subresource (kubectl scale) stays its own.
func foreign(e metav1.ManagedFieldsEntry) bool {
	if e.Subresource != "" {
		return false
	}
	return strings.HasPrefix(e.Manager, "kubectl") || e.Manager == "kustomize-controller" ||
		e.Manager == "before-first-apply" && e.Operation == metav1.ManagedFieldsOperationUpdate
}

func heldByForeign(entries []metav1.ManagedFieldsEntry) bool {
	return slices.ContainsFunc(entries, foreign)
}

// inherits tells whether what foreign managers hold of live becomes ours with this
// write: where nobody's mark is on it yet, and where Git has news of it. A restart is
// none, nor is a move between apps; known is an object that this process wrote,
// tried one whose dry run showed a difference.
func (t *target) inherits(live *unstructured.Unstructured, known, tried bool) bool {
	if known || live == nil {
		return true
	}
	if t.tracked {
		return !t.recorded && (tried || t.mark() != "")
	}
	_, marked := owner(live)
	return !marked
}

// inherit is entries in which manager holds what foreign ones held. Fields of
// other API versions may have other names: these are given up, and stay.
func inherit(entries []metav1.ManagedFieldsEntry, manager string) ([]metav1.ManagedFieldsEntry, error) {
	var rest []metav1.ManagedFieldsEntry
	var heirs []metav1.ManagedFieldsEntry // ours first
	for _, e := range entries {
		switch {
		case e.Manager == manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == "":
			heirs = slices.Insert(heirs, 0, e)
		case foreign(e):
			heirs = append(heirs, e)
		default:
			rest = append(rest, e)
		}
	}
	if len(heirs) == 0 {
		return entries, nil
	}
	all, heir := fieldpath.NewSet(), heirs[0]
	for _, e := range heirs {
		if e.APIVersion != heir.APIVersion {
			continue
		}
		set, err := fieldSet(e)
		if err != nil {
			return nil, err
		}
		all = all.Union(set)
	}
	text, err := all.ToJSON()
	if err != nil {
		return nil, err
	}
	heir.Manager, heir.Operation, heir.FieldsV1 = manager, metav1.ManagedFieldsOperationApply, metav1.NewFieldsV1(string(text))
	return append(rest, heir), nil
}

func fieldSet(e metav1.ManagedFieldsEntry) (*fieldpath.Set, error) {
	set := fieldpath.NewSet()
	if e.FieldsV1 == nil {
		return set, nil
	}
	return set, set.FromJSON(bytes.NewReader(e.FieldsV1.GetRawBytes()))
}

// takeOver makes what kubectl and Flux hold of live ours, and returns live as it
// is then. It touches no field of the object, only who holds it.
func (e *Engine) takeOver(ctx context.Context, t *target, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	for tries := 0; ; tries++ {
		entries, err := inherit(live.GetManagedFields(), e.manager)
		if err != nil {
			return nil, err
		}
		after, err := e.setManagers(ctx, t, live, entries)
		if !apierrors.IsConflict(err) || tries == 3 {
			return after, err
		}
		if live, err = e.read(ctx, t); err != nil || live == nil {
			return nil, err
		}
	}
}

// setManagers writes who holds which field of live, if live has not changed since.
func (e *Engine) setManagers(ctx context.Context, t *target, live *unstructured.Unstructured, entries []metav1.ManagedFieldsEntry) (*unstructured.Unstructured, error) {
	text, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/managedFields", "value": entries},
		{"op": "replace", "path": "/metadata/resourceVersion", "value": live.GetResourceVersion()},
	})
	if err != nil {
		return nil, err
	}
	return e.at(t.resource, t.object.Namespace).Patch(ctx, t.object.Name, types.JSONPatchType, text, metav1.PatchOptions{FieldManager: e.manager})
}

// putOver applies t over what kubectl or Flux wrote. Where the API server refuses to
// let a field go that they had and Git does not (the storage class of a claim, which
// admission filled in), it stays theirs.
func (e *Engine) putOver(ctx context.Context, t *target, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	ours, err := e.takeOver(ctx, t, live)
	if err != nil {
		return nil, err
	}
	after, err := e.put(ctx, t, ours)
	if ours == nil || !apierrors.IsInvalid(err) {
		return after, err
	}
	if theirs, again := e.setManagers(ctx, t, ours, live.GetManagedFields()); again == nil {
		return e.put(ctx, t, theirs)
	}
	return nil, err
}

// without is after, the answer to a dry run on before, without the fields that
// [Engine.putOver] would take out of it.
func (e *Engine) without(before, after *unstructured.Unstructured) *unstructured.Unstructured {
	gone := fieldpath.NewSet()
	for _, m := range before.GetManagedFields() {
		if set, err := fieldSet(m); foreign(m) && err == nil {
			gone = gone.Union(set)
		}
	}
	for _, m := range after.GetManagedFields() {
		if set, err := fieldSet(m); !foreign(m) && err == nil {
			gone = gone.Difference(set)
		}
	}
	if gone.Empty() {
		return after
	}
	after = after.DeepCopy()
	gone.Leaves().Iterate(func(p fieldpath.Path) { cut(after.Object, p) })
	return after
}

// cut takes a field out of an object, and an item out of a list.
func cut(in any, path fieldpath.Path) any {
	if len(path) == 0 {
		return in
	}
	switch in := in.(type) {
	case map[string]any:
		if path[0].FieldName == nil {
			return in
		}
		k := *path[0].FieldName
		if v, ok := in[k]; len(path) == 1 {
			delete(in, k)
		} else if ok {
			in[k] = cut(v, path[1:])
		}
	case []any:
		at := slices.IndexFunc(in, func(item any) bool { return isItem(item, path[0]) })
		switch {
		case at < 0:
		case len(path) == 1:
			return slices.Delete(in, at, at+1)
		default:
			in[at] = cut(in[at], path[1:])
		}
		return in
	}
	return in
}

func isItem(item any, p fieldpath.PathElement) bool {
	if p.Value != nil {
		return typed.Equals(typed.NewValueInterface(item), *p.Value)
	}
	fields, ok := item.(map[string]any)
	if !ok || p.Key == nil {
		return false
	}
	for _, k := range *p.Key {
		if !typed.Equals(typed.NewValueInterface(fields[k.Name]), k.Value) {
			return false
		}
	}
	return true
}
