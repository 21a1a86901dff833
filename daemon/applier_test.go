package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"hoist/bump"
	"hoist/config"
	"hoist/reconcile"
)

// pretend is an engine whose health a test decides.
type pretend struct {
	mu      sync.Mutex
	applied []string // "app@hash", in order
	failing map[string]error
	health  func(ctx context.Context, a reconcile.App, r bump.Result) (bump.Result, error)

	quiet           bool
	wake            func()
	failed, pending []string
	recorded        []string
	reached         []string
	mends           int
	trial           reconcile.Trial
	sickNow         []reconcile.Sick
	proofs          int
}

func (p *pretend) ApplySet(_ context.Context, a reconcile.App, _ *reconcile.Set, h bump.Head) (bump.Result, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.applied = append(p.applied, a.Name.Name+"@"+h.Hash)
	if err := p.failing[a.Name.Name]; err != nil {
		if err == errPanic {
			panic("a build went wrong")
		}
		return bump.Result{App: a.Name, Head: h}, err
	}
	return bump.Result{App: a.Name, Head: h}, nil
}

var errPanic = errors.New("panic")

func (p *pretend) Health(ctx context.Context, a reconcile.App, r bump.Result) (bump.Result, error) {
	if p.health != nil {
		return p.health(ctx, a, r)
	}
	r.Ready = true
	return r, nil
}

func (p *pretend) Watch(ctx context.Context) { <-ctx.Done() }
func (p *pretend) Quiet(bump.Name) bool      { return p.quiet }
func (p *pretend) Doubts(bump.Name) bool     { return false }

func (p *pretend) Reached(app bump.Name, h bump.Head) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.quiet {
		return false
	}
	p.reached = append(p.reached, app.Name+"@"+h.Hash)
	return true
}

func (p *pretend) Follow(_ reconcile.App, wake func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake = wake
}

// sick makes the watches see an app's health.
func (p *pretend) sick(failed, pending []string) {
	p.mu.Lock()
	p.failed, p.pending = failed, pending
	wake := p.wake
	p.mu.Unlock()
	wake()
}

func (p *pretend) Unwell(reconcile.App) (failed, pending []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed, p.pending
}

func (p *pretend) RecordHealth(_ context.Context, r bump.Result) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recorded = append(p.recorded, fmt.Sprint(r.Ready))
	return nil
}

func (p *pretend) WatchControls(ctx context.Context, seen func(map[reconcile.Subject]reconcile.Control, error)) {
	seen(nil, nil)
	<-ctx.Done()
}

func (p *pretend) Mend(context.Context, reconcile.App, *reconcile.Set, bump.Head) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mends++
	return nil
}

func (p *pretend) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.applied, " ")
}

func name(n string) bump.Name { return bump.Name{Namespace: "hoist", Name: n} }

// appliersOf brings up the appliers of apps on one repository and returns the
// offer of a new head to all of them.
func appliersOf(t *testing.T, e engine, apps ...config.App) (*live, func(hash string)) {
	t.Helper()
	cfg := &config.Config{Apply: apps}
	l := &live{house: Open(cfg, Options{Log: zap.NewNop()}), branches: map[bump.Name]*branch{name("fleet"): {}}, lookout: newLookout()}
	l.house.controls.take(nil, nil)
	l.bringAppliers(Doors{Apply: func(context.Context, *House, config.App) (engine, error) { return e, nil }})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, a := range l.appliers {
		wg.Go(func() { a.run(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		goleak.VerifyNone(t, goleak.IgnoreCurrent())
	})
	return l, func(hash string) {
		for _, a := range l.appliers {
			a.offer(revision{head: bump.Head{Repository: name("fleet"), Branch: "main", Hash: hash}, tree: fstest.MapFS{"c.yaml": file("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n")}})
		}
	}
}

func app(n string, needs ...string) config.App {
	a := config.App{App: reconcile.App{Name: name(n), Path: ".", Wait: true}, RepositoryName: name("fleet")}
	for _, d := range needs {
		a.DependsOn = append(a.DependsOn, reconcile.DependencyRef{Name: d})
	}
	return a
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
		time.Sleep(time.Millisecond) // between two looks
	}
}

func TestAppWaitsForWhatItDependsOn(t *testing.T) {
	e := &pretend{}
	_, offer := appliersOf(t, e, app("shop", "database"), app("database"))
	offer("1")
	waitFor(t, "first revision", func() bool { return e.log() == "database@1 shop@1" })
	offer("2")
	waitFor(t, "second revision", func() bool { return e.log() == "database@1 shop@1 database@2 shop@2" })
}

func TestNewRevisionEndsTheWaitForAnOldOne(t *testing.T) { // C19
	e := &pretend{}
	e.health = func(ctx context.Context, _ reconcile.App, r bump.Result) (bump.Result, error) {
		if r.Head.Hash == "bad" {
			<-ctx.Done() // never healthy
			return r, ctx.Err()
		}
		r.Ready = true
		return r, nil
	}
	l, offer := appliersOf(t, e, app("shop"))
	offer("bad")
	waitFor(t, "the bad revision", func() bool { return e.log() == "shop@bad" })
	offer("good")
	waitFor(t, "the good revision", func() bool { return l.house.status.snapshot().Apps[0].Ready })
	if got := e.log(); got != "shop@bad shop@good" {
		t.Errorf("applied %s", got)
	}
}

func TestPanicEndsOneApplyOnly(t *testing.T) { // D14
	e := &pretend{failing: map[string]error{"broken": errPanic}}
	l, offer := appliersOf(t, e, app("broken"), app("shop"))
	offer("1")
	apps := func() map[string]AppStatus {
		m := make(map[string]AppStatus)
		for _, a := range l.house.status.snapshot().Apps {
			m[a.Name] = a
		}
		return m
	}
	waitFor(t, "both apps", func() bool { return apps()["hoist:shop"].Ready && apps()["hoist:broken"].Reason != "not applied yet" })
	if reason := apps()["hoist:broken"].Reason; !strings.HasPrefix(reason, "apply broken: internal error: a build went wrong") {
		t.Errorf("reason %q", reason)
	}
}

func TestSameRevisionIsNotAppliedTwice(t *testing.T) {
	e := &pretend{}
	l, offer := appliersOf(t, e, app("shop"))
	offer("1")
	waitFor(t, "the revision", func() bool { return l.house.status.snapshot().Apps[0].Ready })
	offer("1")
	offer("2")
	waitFor(t, "the next one", func() bool { return strings.HasSuffix(e.log(), "shop@2") })
	if got := e.log(); got != "shop@1 shop@2" {
		t.Errorf("applied %s", got)
	}
}

// A ready app that degrades is told once and at once, and so is its recovery.
func TestHealthAfterReady(t *testing.T) {
	e := &pretend{quiet: true}
	l, offer := appliersOf(t, e, app("shop"))
	l.appliers[0].grace = 20 * time.Millisecond
	status := func() AppStatus { return l.house.status.snapshot().Apps[0] }
	offer("1")
	waitFor(t, "the revision", func() bool { return status().Ready })
	e.sick([]string{"Deployment/d/web: Failed"}, nil)
	waitFor(t, "degraded", func() bool { return !status().Ready })
	if got := status().Reason; got != "degraded: Deployment/d/web: Failed" {
		t.Errorf("reason %q", got)
	}
	e.sick([]string{"Deployment/d/web: Failed"}, nil)
	e.sick(nil, nil)
	waitFor(t, "recovered", func() bool { return status().Ready && status().Reason == "" })
	e.sick(nil, []string{"Deployment/d/web: InProgress"}) // on its way for too long
	waitFor(t, "degraded after the grace", func() bool { return !status().Ready })
	e.sick(nil, nil)
	waitFor(t, "recovered", func() bool { return status().Ready })
	e.mu.Lock()
	defer e.mu.Unlock()
	if got := strings.Join(e.recorded, " "); got != "false true false true" {
		t.Errorf("recorded %s", got)
	}
}

// Drift is put right while the wait for health goes on.
func TestDriftDuringTheWaitForHealth(t *testing.T) {
	e := &pretend{}
	e.health = func(ctx context.Context, _ reconcile.App, r bump.Result) (bump.Result, error) {
		<-ctx.Done()
		return r, ctx.Err()
	}
	_, offer := appliersOf(t, e, app("shop"))
	offer("1")
	waitFor(t, "the revision", func() bool { return e.log() == "shop@1" })
	e.sick(nil, nil)
	waitFor(t, "mended", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.mends > 0
	})
}
