package reconcile

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Who owns which field is in metadata.managedFields, an entry for each manager.
// An entry's fields are a tree: "f:name" for a key, "k:{…}" and "v:…" for items
// of lists.

// digestHeld is a digest of the fields that manager owns by apply, "" when it
// owns none. The API server takes a field away from us when somebody else
// changes or removes it, so that an unchanged digest means: nobody touched what
// we set. It needs no more of an object than its metadata.
func digestHeld(entries []metav1.ManagedFieldsEntry, manager string) string {
	if fields := heldBy(entries, manager); len(fields) > 0 {
		return digest(fields)
	}
	return ""
}

func heldBy(entries []metav1.ManagedFieldsEntry, manager string) map[string]any {
	for _, e := range entries {
		if e.Manager == manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == "" {
			return fieldTree(e)
		}
	}
	return nil
}

func fieldTree(e metav1.ManagedFieldsEntry) map[string]any {
	var fields map[string]any
	if e.FieldsV1 == nil || json.Unmarshal(e.FieldsV1.GetRawBytes(), &fields) != nil {
		return nil
	}
	return fields
}

// owns tells whether a tree of fields has a path of mapping keys, or something below it.
func owns(fields map[string]any, path []string) bool {
	for _, step := range path {
		below, ok := fields["f:"+step].(map[string]any)
		if !ok {
			return false
		}
		fields = below
	}
	return true
}

// hop is a key of a mapping or, with in set, an index of the list in.
type hop struct {
	key string
	at  int
	in  []any
}

func pointerTo(steps []hop) string {
	var b strings.Builder
	for _, s := range steps {
		b.WriteByte('/')
		if s.in != nil {
			b.WriteString(strconv.Itoa(s.at))
		} else {
			b.WriteString(pointerEncoder.Replace(s.key))
		}
	}
	return b.String()
}

// difference is a field of a manifest that two states of its object have differently.
type difference struct {
	path        []hop
	live, right any // nil where the field is not there
}

// differences compares the fields that built sets in two states of an object.
// Lists of the same length are compared item by item, others whole.
func differences(built, live, right any, at []hop) []difference {
	if reflect.DeepEqual(live, right) {
		return nil
	}
	switch b := built.(type) {
	case map[string]any:
		l, lok := live.(map[string]any)
		r, rok := right.(map[string]any)
		if !lok || !rok {
			break
		}
		var all []difference
		for _, k := range slices.Sorted(maps.Keys(b)) {
			all = append(all, differences(b[k], l[k], r[k], append(slices.Clip(at), hop{key: k}))...)
		}
		return all
	case []any:
		l, lok := live.([]any)
		r, rok := right.([]any)
		if !lok || !rok || len(l) != len(b) || len(r) != len(b) {
			break
		}
		var all []difference
		for i := range b {
			all = append(all, differences(b[i], l[i], r[i], append(slices.Clip(at), hop{at: i, in: l}))...)
		}
		return all
	}
	return []difference{{at, live, right}}
}

// writer names the manager, other than us, that owns a field or is the last that
// owns something of what stands above it; "" where there is none.
func writer(entries []metav1.ManagedFieldsEntry, us string, path []hop) string {
	name, depth := "", 0
	var when *metav1.Time
	for _, e := range entries {
		if e.Manager == us && e.Operation == metav1.ManagedFieldsOperationApply {
			continue
		}
		d := reach(fieldTree(e), path)
		if d < len(path) && !(d > 0 && d == len(path)-1 && path[d].in != nil) {
			continue
		}
		if d > depth || d == depth && when.Before(e.Time) {
			name, depth, when = e.Manager, d, e.Time
		}
	}
	return name
}

// reach counts the steps of path that are in a tree of fields.
func reach(fields map[string]any, path []hop) int {
	for i, s := range path {
		below, ok := map[string]any(nil), false
		for name, v := range fields {
			if s.is(name) {
				below, ok = v.(map[string]any)
				break
			}
		}
		if !ok {
			return i
		}
		if len(below) == 0 { // owned whole
			return len(path)
		}
		fields = below
	}
	return len(path)
}

// is tells whether a name in a tree of fields means the hop.
func (s hop) is(name string) bool {
	if s.in == nil {
		return name == "f:"+s.key
	}
	var want any
	switch kind, text, _ := strings.Cut(name, ":"); {
	case kind == "v":
		return json.Unmarshal([]byte(text), &want) == nil && same(want, s.in[s.at])
	case kind == "k":
		keys, item := map[string]any{}, s.in[s.at]
		fields, ok := item.(map[string]any)
		if !ok || json.Unmarshal([]byte(text), &keys) != nil {
			return false
		}
		for k, v := range keys {
			if !same(v, fields[k]) {
				return false
			}
		}
		return true
	}
	return false
}

// same compares values of JSON, in which numbers have one type and ours have two.
func same(a, b any) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

// maxDriftFields and maxDriftValue bound what is told of one object.
const (
	maxDriftFields = 20
	maxDriftValue  = 120
)

// tellable turns differences into what people are told of them.
func tellable(m Manifest, o *unstructured.Unstructured, all []difference, us string) (fields []DriftField, by string) {
	entries := o.GetManagedFields()
	var managers []string
	for _, d := range all {
		f := DriftField{Path: pointerTo(d.path), By: writer(entries, us, d.path)}
		if isSecret(o) && len(d.path) > 0 && (d.path[0].key == "data" || d.path[0].key == "stringData") || m.holds(d.live) || m.holds(d.right) {
			f.Live, f.Git = masked(d.live), masked(d.right)
		} else {
			f.Live, f.Git = brief(d.live), brief(d.right)
		}
		if f.By != "" && !slices.Contains(managers, f.By) {
			managers = append(managers, f.By)
		}
		if len(fields) < maxDriftFields {
			fields = append(fields, f)
		}
	}
	return fields, strings.Join(managers, ", ")
}

func masked(v any) string {
	if v == nil {
		return ""
	}
	return "***"
}

func brief(v any) string {
	if v == nil {
		return ""
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	if len(b) > maxDriftValue {
		return strings.ToValidUTF8(string(b[:maxDriftValue]), "") + "…"
	}
	return string(b)
}
