package reconcile

import (
	"fmt"
	"strings"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"hoist/bump"
)

// HealthCheckExpr says how healthy the objects of a kind are, where kstatus does
// not know it: by the first of InProgress, Failed and Current that is true.
// Where none is, or one cannot be evaluated, the object is in progress; so it is
// while its status.observedGeneration is not its generation.
type HealthCheckExpr struct {
	APIVersion string     `json:"apiVersion"` // its group counts, the version does not
	Kind       string     `json:"kind"`
	Current    HealthExpr `json:"current"`
	Failed     HealthExpr `json:"failed,omitzero"`
	InProgress HealthExpr `json:"inProgress,omitzero"`
}

func (x HealthCheckExpr) groupKind() schema.GroupKind {
	return schema.FromAPIVersionAndKind(x.APIVersion, x.Kind).GroupKind()
}

// checkHealthExprs finds what is wrong with the kinds; the expressions were
// compiled when they were read.
func (a App) checkHealthExprs(fault func(field, format string, args ...any)) {
	first := map[schema.GroupKind]int{}
	for i, x := range a.HealthCheckExprs {
		at := func(field string) string { return fmt.Sprintf("healthCheckExprs[%d].%s", i, field) }
		if x.APIVersion == "" {
			fault(at("apiVersion"), "is missing")
		}
		if x.Kind == "" {
			fault(at("kind"), "is missing")
		}
		if x.Current.IsZero() {
			fault(at("current"), "is missing")
		}
		if other, twice := first[x.groupKind()]; twice && x.Kind != "" {
			fault(at("kind"), "%s has expressions at healthCheckExprs[%d] already", x.groupKind(), other)
			continue
		}
		first[x.groupKind()] = i
	}
}

// judge says how healthy objects are: by the expressions of an app for their
// kind, else by kstatus. The nil judge knows kstatus alone.
type judge map[schema.GroupKind]HealthCheckExpr

func (a App) judge() judge {
	if len(a.HealthCheckExprs) == 0 {
		return nil
	}
	j := judge{}
	for _, x := range a.HealthCheckExprs {
		j[x.groupKind()] = x
	}
	return j
}

func (j judge) knows(k key) bool {
	_, ok := j[schema.GroupKind{Group: k.group, Kind: k.kind}]
	return ok
}

func (j judge) of(o *unstructured.Unstructured) health {
	x, ok := j[o.GroupVersionKind().GroupKind()]
	if !ok || o.GetDeletionTimestamp() != nil {
		return healthOf(o)
	}
	return x.of(o)
}

func (x HealthCheckExpr) of(o *unstructured.Unstructured) health {
	observed, ok, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
	if ok && observed != o.GetGeneration() {
		return health{status.InProgressStatus, fmt.Sprintf("generation %d is not observed yet", o.GetGeneration())}
	}
	for _, e := range []struct {
		expression
		name   string
		status status.Status
	}{
		{x.InProgress.expression, "inProgress", status.InProgressStatus},
		{x.Failed.expression, "failed", status.FailedStatus},
		{x.Current.expression, "current", current},
	} {
		if e.IsZero() {
			continue
		}
		holds, err := e.holds(o.Object)
		switch {
		case err != nil && isSecret(o):
			return health{status.InProgressStatus, e.name + ": the expression cannot be evaluated (why is not repeated, it may hold values)"}
		case err != nil:
			return health{status.InProgressStatus, e.name + ": " + err.Error()}
		case holds && e.status == current:
			return health{status: current}
		case holds:
			return health{e.status, told(o, e.name+" is true")}
		}
	}
	return health{status.InProgressStatus, told(o, "current is not true yet")}
}

// toldBy are kinds that tell by one condition whether they did their work. kstatus
// takes them for healthy as long as nobody has said anything, and does not know
// the condition of a SealedSecret at all.
var toldBy = map[schema.GroupKind]string{
	{Group: "bitnami.com", Kind: "SealedSecret"}:           "Synced",
	{Group: "external-secrets.io", Kind: "ExternalSecret"}: "Ready",
}

func byCondition(o *unstructured.Unstructured, name string) health {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		c, _ := c.(map[string]any)
		switch {
		case c["type"] != name:
		case c["status"] == "True":
			return health{status: current}
		case c["status"] == "False":
			return health{status.FailedStatus, told(o, name+" is False")}
		}
	}
	return health{status.InProgressStatus, told(o, "condition "+name+" is not set yet: is its controller running?")}
}

// told is what the conditions of an object say that are not true, or otherwise.
func told(o *unstructured.Unstructured, otherwise string) string {
	const longest = 300
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	var all []string
	for _, c := range conditions {
		c, _ := c.(map[string]any)
		message, _ := c["message"].(string)
		if message = strings.Join(strings.Fields(message), " "); message != "" && c["status"] != "True" {
			all = append(all, fmt.Sprintf("%v: %s", c["type"], message))
		}
	}
	if len(all) == 0 {
		return otherwise
	}
	text := []rune(strings.Join(all, "; "))
	if len(text) > longest {
		text = append(text[:longest], '…')
	}
	return string(text)
}

// examine returns the health of an object to the app that applied it, and keeps
// what it is to apps that check it and have expressions of their own. The object
// is nil when it is gone. It holds no lock while it evaluates.
func (w *watches) examine(k key, o *unstructured.Unstructured, marked bump.Name) health {
	var own judge
	others := map[*follower]health{}
	w.mu.Lock()
	for name, f := range w.followers {
		if name == marked {
			own = f.judge
		} else if f.checks[k] && f.judge.knows(k) {
			others[f] = health{status.NotFoundStatus, "was deleted"}
		}
	}
	w.mu.Unlock()
	if o != nil {
		for f := range others {
			others[f] = f.judge.of(o)
		}
	}
	w.mu.Lock()
	for f, h := range others {
		if f.checkups[k] != h {
			f.checkups[k] = h
			defer f.wake()
		}
	}
	w.mu.Unlock()
	if o == nil {
		return health{}
	}
	return own.of(o)
}

// absent takes in that a complete list of a place has not everything.
func (f *follower) absent(p place, there map[key]bool) {
	for k := range f.checkups {
		if p.holds(k) && !there[k] {
			f.checkups[k] = health{status.NotFoundStatus, "was deleted"}
		}
	}
}

// judged tells whether an app has expressions for a kind: then its watch has to
// see whole objects. The lock is the caller's.
func (w *watches) judged(kind schema.GroupKind) bool {
	for _, f := range w.followers {
		if _, ok := f.judge[kind]; ok {
			return true
		}
	}
	return false
}

// healthOf is the health of one of the app's checks, unless nobody watches it.
func (w *watches) checkOf(f *follower, k key) (health, bool) {
	if f.judge.knows(k) {
		if _, own := f.past.get(k); !own {
			h, ok := f.checkups[k]
			return h, ok
		}
	}
	return w.healthOf(k)
}
