package reconcile

import (
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func TestExpressionFaults(t *testing.T) {
	for text, want := range map[string]string{
		"status.conditions.filter(e,":   "column 28 of the expression: Syntax error: mismatched input '<EOF>'",
		"status.ready == \n true &&":    "line 2, column 9 of the expression: Syntax error",
		"size(status.conditions)":       "the expression gives a value of type int, not true or false",
		`"ready"`:                       "the expression gives a value of type string, not true or false",
		"status.conditions.exist(e, e)": "undeclared reference to 'exist'",
		"'a' + 1 == 'a1'":               "found no matching overload for '_+_' applied to '(string, int)'",
		strings.Repeat("(", 300):        "of the expression: ",
	} {
		var x HealthExpr
		if err := x.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("UnmarshalText(%q) = %v, want %q", text, err, want)
		}
	}
	var x ReadyExpr
	if err := x.UnmarshalText([]byte("deps.status.ready")); err == nil || !strings.HasPrefix(err.Error(), "column 1 of the expression: undeclared reference to 'deps'") {
		t.Errorf("a ready expression over deps: %v", err)
	}
}

func healthExpr(t testing.TB, text string) (x HealthExpr) {
	t.Helper()
	if err := x.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return x
}

func object(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	body, err := yaml.YAMLToJSON([]byte(text))
	if err == nil {
		err = o.UnmarshalJSON(body)
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// The order is that of Flux: observed generation, inProgress, failed, current.
func TestHealthByExpressions(t *testing.T) {
	const (
		synced = `status.conditions.filter(e, e.type == 'Synced').all(e, e.status == 'True')`
		broken = `status.conditions.filter(e, e.type == 'Synced').all(e, e.status == 'False')`
	)
	const head = "apiVersion: example.com/v1\nkind: Box\nmetadata: {name: b, generation: 2}\n"
	for _, c := range []struct {
		name, object                string
		current, failed, inProgress string
		want                        health
	}{
		{"true", "status: {conditions: [{type: Synced, status: 'True'}]}", synced, broken, "", health{status: current}},
		{"failed, with the words of the condition", "status: {conditions: [{type: Synced, status: 'False', message: \"no key\\ncould decrypt\"}]}", synced, broken, "",
			health{status.FailedStatus, "Synced: no key could decrypt"}},
		{"none is true", "status: {conditions: [{type: Synced, status: Unknown}]}", synced, broken, "", health{status.InProgressStatus, "current is not true yet"}},
		{"in progress goes first", "status: {conditions: [{type: Synced, status: 'True'}]}", synced, "true", "has(status.conditions)",
			health{status.InProgressStatus, "inProgress is true"}},
		{"failed goes before current", "status: {}", "true", "true", "", health{status.FailedStatus, "failed is true"}},
		{"a missing field", "", synced, "", "", health{status.InProgressStatus, `current: "` + synced + `": no such attribute(s): status.conditions`}},
		{"an old generation", "status: {observedGeneration: 1, conditions: [{type: Synced, status: 'True'}]}", synced, "", "",
			health{status.InProgressStatus, "generation 2 is not observed yet"}},
		{"the generation", "status: {observedGeneration: 2}", "true", "", "", health{status: current}},
		{"a value that is neither", "status: {phase: Done}", "status.phase", "", "",
			health{status.InProgressStatus, `current: "status.phase": gives a value of type string, not true or false`}},
		{"numbers of any type", "spec: {replicas: 2}\nstatus: {ready: 2.0}", "spec.replicas == status.ready && spec.replicas > 1.5", "", "", health{status: current}},
		{"a field that is not one of the usual five", "data: {a: b}", "data.a == 'b' && metadata.name == 'b' && kind == 'Box'", "", "", health{status: current}},
	} {
		x := HealthCheckExpr{APIVersion: "example.com/v1", Kind: "Box", Current: healthExpr(t, c.current), Failed: healthExpr(t, c.failed), InProgress: healthExpr(t, c.inProgress)}
		j := App{HealthCheckExprs: []HealthCheckExpr{x}}.judge()
		if got := j.of(object(t, head+c.object)); got != c.want {
			t.Errorf("%s: health = %v, want %v", c.name, got, c.want)
		}
		deleted := object(t, head+c.object)
		deleted.SetDeletionTimestamp(&metav1.Time{Time: time.Unix(1, 0)})
		if got := j.of(deleted); got.status != status.TerminatingStatus {
			t.Errorf("%s: while it is deleted: health = %v", c.name, got)
		}
	}
	secret := object(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: hush}")
	j := App{HealthCheckExprs: []HealthCheckExpr{{APIVersion: "v1", Kind: "Secret", Current: healthExpr(t, "int(data.a) > 1")}}}.judge()
	if got := j.of(secret); got.status != status.InProgressStatus || strings.Contains(got.message, "hush") {
		t.Errorf("health of a secret = %v", got)
	}
}

// N6: an expression that would not end is ended.
func TestN6DearExpression(t *testing.T) {
	deep := "status.list.all(a, status.list.all(b, status.list.all(c, status.list.all(d, status.list.all(e, a + b + c + d + e >= 0)))))"
	big := `"` + strings.Repeat("a", 1000) + `"`
	for range 8 {
		big += `.replace("a", "` + strings.Repeat("a", 1000) + `")`
	}
	o := object(t, "apiVersion: example.com/v1\nkind: Box\nmetadata: {name: b}")
	var list []any
	for i := range 1000 {
		list = append(list, int64(i))
	}
	o.Object["status"] = map[string]any{"list": list}
	for _, text := range []string{deep, big + " == ''"} {
		began := time.Now()
		got := HealthCheckExpr{Current: healthExpr(t, text)}.of(o)
		if got.status != status.InProgressStatus || !strings.Contains(got.message, "cost limit exceeded") && !strings.Contains(got.message, "no end after") {
			t.Errorf("health by %.40s… = %v", text, got)
		}
		if took := time.Since(began); took > 20*longestEvaluation { // the machine may be busy
			t.Errorf("%.40s… took %v", text, took)
		}
	}
}

func BenchmarkHealthByExpression(b *testing.B) {
	o := object(b, "apiVersion: example.com/v1\nkind: Box\nmetadata: {name: b}\nstatus: {conditions: [{type: Ready, status: 'True'}, {type: Synced, status: 'True'}]}")
	x := HealthCheckExpr{Current: healthExpr(b, `status.conditions.filter(e, e.type == 'Synced').all(e, e.status == 'True')`)}
	for b.Loop() {
		if h := x.of(o); h.status != current {
			b.Fatal(h)
		}
	}
}

func BenchmarkCompileExpression(b *testing.B) {
	for b.Loop() {
		healthExpr(b, `status.conditions.filter(e, e.type == 'Synced').all(e, e.status == 'True')`)
	}
}
