package daemon

import (
	"context"
	"errors"
	"strings"
	"testing"

	"hoist/bump"
	"hoist/reconcile"
)

func readyExpr(t *testing.T, text string) (x reconcile.ReadyExpr) {
	t.Helper()
	if err := x.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return x
}

// Every path that the documentation names is there, with its value.
func TestReadyExprSeesWhatIsDocumented(t *testing.T) {
	dep := app("database")
	dep.Labels, dep.Path, dep.Interval = map[string]string{"app/version": "v1.2.3"}, "db", bump.Duration(60e9)
	self := app("shop")
	self.Labels = map[string]string{"app/version": "v1.2.3"}
	head := bump.Head{Repository: name("fleet"), Branch: "main", Hash: "1"}
	ready := standingOf(bump.Result{Head: head, Ready: true}, nil)
	failed := standingOf(bump.Result{Head: head}, errors.New("it is broken"))
	for _, c := range []struct {
		stands standing
		text   string
		why    string
	}{
		{ready, "dep.metadata.labels['app/version'] == self.metadata.labels['app/version'] &&\n dep.status.conditions.filter(e, e.type == 'Ready').all(e, e.status == 'True') &&\n dep.metadata.generation == dep.status.observedGeneration", ""},
		{ready, "dep.metadata.name == 'database' && dep.metadata.namespace == 'hoist' && dep.spec.path == 'db' && dep.spec.interval == '1m0s' && dep.spec.wait", ""},
		{ready, "dep.spec.sourceRef.kind == 'GitRepository' && dep.spec.sourceRef.name == 'fleet' && dep.spec.sourceRef.namespace == 'hoist'", ""},
		{ready, "dep.status.lastAppliedRevision == 'main@sha1:1' && dep.status.lastAppliedRevision == self.status.lastAttemptedRevision", ""},
		{ready, "!has(self.status.lastAppliedRevision)", ""},
		{failed, "dep.status.conditions[0].reason == 'ReconciliationFailed' && dep.status.conditions[0].message.contains('broken')", ""},
		{failed, "dep.status.conditions[0].status == 'True'", "waits for database: its readyExpr is not true"},
		{standing{}, "dep.status.conditions[0].status == 'Unknown' && !has(dep.status.lastAttemptedRevision)", ""},
		{ready, "dep.status.phase == 'Done'", `waits for database: readyExpr "dep.status.phase == 'Done'": no such key: phase`},
		{ready, "dep.metadata.labels.version", `waits for database: readyExpr "dep.metadata.labels.version": no such key: version`},
	} {
		applied := bump.Head{}
		if c.stands.ready == "True" {
			applied = head
		}
		if got := waitsFor(readyExpr(t, c.text), asFlux(self, standing{attempted: head}, bump.Head{}), dep, c.stands, applied); got != c.why {
			t.Errorf("%s: %q, want %q", c.text, got, c.why)
		}
	}
}

// A dependent wakes when what its expression asks about changes, ready or not.
func TestReadyExprIsEventDriven(t *testing.T) {
	release := make(chan struct{})
	e := &pretend{failing: map[string]error{}}
	e.health = func(ctx context.Context, a reconcile.App, r bump.Result) (bump.Result, error) {
		if a.Name.Name == "database" {
			select {
			case <-release:
				r.Reason = "it stays sick"
				return r, nil
			case <-ctx.Done():
				return r, ctx.Err()
			}
		}
		r.Ready = true
		return r, nil
	}
	shop := app("shop", "database")
	shop.DependsOn[0].ReadyExpr = readyExpr(t, "dep.status.lastAttemptedRevision == self.status.lastAttemptedRevision && dep.status.conditions[0].reason == 'HealthCheckFailed'")
	l, offer := appliersOf(t, e, shop, app("database"))
	reason := func() string {
		for _, a := range l.house.status.snapshot().Apps {
			if a.Name == "hoist:shop" {
				return a.Reason
			}
		}
		return ""
	}
	offer("1")
	waitFor(t, "the dependent waits", func() bool { return reason() == "waits for database: its readyExpr is not true" })
	if got := e.log(); strings.Contains(got, "shop") {
		t.Errorf("applied %s", got)
	}
	close(release)
	waitFor(t, "the dependent is applied", func() bool { return e.log() == "database@1 shop@1" })
}

// hoist once asks the same.
func TestOncePassesByReadyExpr(t *testing.T) {
	dep, self := app("database"), app("shop")
	head := bump.Head{Repository: name("fleet"), Branch: "main", Hash: "1"}
	p := passedBy(dep, bump.Result{Head: head}, errors.New("refused"))
	for text, want := range map[string]string{
		"":     "waits for database, which is not ready",
		"true": "",
		"dep.status.conditions.all(c, c.status == 'True')": "waits for database: its readyExpr is not true",
	} {
		if got := p.keeps(self, readyExpr(t, text), head); got != want {
			t.Errorf("with %q: %q, want %q", text, got, want)
		}
	}
}
