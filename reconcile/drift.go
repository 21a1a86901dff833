package reconcile

import (
	"fmt"
	"path"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hoist/bump"
)

// What becomes of drift: of fields that Git sets and somebody else changed.
const (
	DriftRevert = "revert" // put right at once (the default)
	DriftReport = "report" // told, and left as it is
	DriftOff    = "off"    // neither told nor put right; a new revision still sets what it changes
)

// Drift is what somebody changed of an object that we applied.
type Drift struct {
	Object bump.Object  `json:"object"`
	File   string       `json:"file,omitempty"`
	Action string       `json:"action"`         // one of the constants below
	By     string       `json:"by,omitempty"`   // field managers that wrote the fields; empty where nobody can be named
	Gone   bool         `json:"gone,omitempty"` // the whole object was deleted
	Fields []DriftField `json:"fields,omitempty"`
	Seen   time.Time    `json:"seen"`
}

// What was done about a drift.
const (
	DriftReverted = "reverted"
	DriftReported = "reported"
	DriftFought   = "fought"  // reverted so often that it is left alone for a while
	DriftSettled  = "settled" // a drift that was reported is gone
)

// DriftField is one field that differs, with both values as JSON. Values of
// Secrets are masked, long ones cut.
type DriftField struct {
	Path string `json:"path"` // a JSON pointer, as "ignore" takes it
	Live string `json:"live"` // empty where the field is not there
	Git  string `json:"git"`
	By   string `json:"by,omitempty"`
}

// String spells a drift in one line: "/data/key is "red", Git says "green" (kubectl-edit)".
func (d Drift) String() string {
	if d.Gone {
		return "deleted"
	}
	var all []string
	for _, f := range d.Fields {
		all = append(all, f.String())
	}
	return strings.Join(all, "; ")
}

func (f DriftField) String() string {
	live := "is " + f.Live
	if f.Live == "" {
		live = "is not there"
	}
	s := fmt.Sprintf("%s %s, Git says %s", f.Path, live, f.Git)
	if f.By != "" {
		s += " (" + f.By + ")"
	}
	return s
}

// IgnoreRule names fields that somebody else owns although Git sets them, as
// the replicas of a Deployment that an autoscaler scales. They are sent when the
// object is created and then left alone.
type IgnoreRule struct {
	// Paths are JSON pointers: /spec/replicas. They lead through mappings, not lists.
	Paths []string `json:"paths"`
	// Target says in which objects; all of the app when empty.
	Target IgnoreTarget `json:"target,omitzero"`
}

// IgnoreTarget chooses objects. Empty fields match everything, names may hold "*".
type IgnoreTarget struct {
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind,omitempty"`
	Name      string `json:"name,omitempty"`
	Namespace string `json:"namespace,omitempty"`
}

func (t IgnoreTarget) matches(k key) bool {
	fits := func(pattern, s string) bool {
		ok, err := path.Match(pattern, s)
		return pattern == "" || err == nil && ok
	}
	return fits(t.Group, k.group) && fits(t.Kind, k.kind) && fits(t.Name, k.name) && fits(t.Namespace, k.namespace)
}

// checkDrift finds what is wrong with the app's fields about drift.
func (a App) checkDrift(fault func(field, format string, args ...any)) {
	switch a.Drift {
	case "", DriftRevert, DriftReport, DriftOff:
	default:
		fault("drift", "%q is not one of %s, %s, %s", a.Drift, DriftRevert, DriftReport, DriftOff)
	}
	for i, r := range a.Ignore {
		if len(r.Paths) == 0 {
			fault(fmt.Sprintf("ignore[%d].paths", i), "is missing")
		}
		for j, p := range r.Paths {
			at := fmt.Sprintf("ignore[%d].paths[%d]", i, j)
			switch steps := pointer(p); {
			case len(steps) == 0:
				fault(at, "%q is no JSON pointer: it begins with a slash, as /spec/replicas", p)
			case steps[0] == "apiVersion" || steps[0] == "kind" || steps[0] == "metadata" && (len(steps) == 1 || steps[1] == "name" || steps[1] == "namespace"):
				fault(at, "%q is part of what names the object and cannot be left to others", p)
			}
		}
		for _, t := range []struct{ field, v string }{{"group", r.Target.Group}, {"kind", r.Target.Kind}, {"name", r.Target.Name}, {"namespace", r.Target.Namespace}} {
			if _, err := path.Match(t.v, ""); err != nil {
				fault(fmt.Sprintf("ignore[%d].target.%s", i, t.field), "%q is no pattern: %v", t.v, err)
			}
		}
	}
}

var (
	pointerDecoder = strings.NewReplacer("~1", "/", "~0", "~")
	pointerEncoder = strings.NewReplacer("~", "~0", "/", "~1")
)

// pointer splits a JSON pointer (RFC 6901); nil for what is none, and for "".
func pointer(p string) []string {
	if !strings.HasPrefix(p, "/") || p == "/" {
		return nil
	}
	steps := strings.Split(p[1:], "/")
	for i, s := range steps {
		steps[i] = pointerDecoder.Replace(s)
	}
	return steps
}

// yield takes the fields that the app's rules leave to others out of the
// manifest and keeps what Git says of them in t.yielded.
func (t *target) yield(rules []IgnoreRule) error {
	for _, r := range rules {
		if !r.Target.matches(t.key) {
			continue
		}
		for _, p := range r.Paths {
			steps := pointer(p)
			v, ok, err := unstructured.NestedFieldNoCopy(t.Object.Object, steps...)
			if err != nil {
				return fmt.Errorf("%s: %s: ignore path %q leads through something that is no mapping; name the mapping or list above it", t.where(), t.object, p)
			}
			if ok {
				t.yielded = append(t.yielded, yielded{steps, v})
				unstructured.RemoveNestedField(t.Object.Object, steps...)
			}
		}
	}
	return nil
}

// yielded is a field that is left to others, and what Git says of it.
type yielded struct {
	path []string
	git  any
}

// whole is the manifest with what it leaves to others: what a new object gets.
func (t *target) whole() *unstructured.Unstructured {
	o := t.Object.DeepCopy()
	for _, y := range t.yielded {
		_ = unstructured.SetNestedField(o.Object, y.git, y.path...) // it was there
	}
	return o
}
