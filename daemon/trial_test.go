package daemon

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"hoist/bump"
	"hoist/config"
	"hoist/reconcile"
)

func (p *pretend) Trial(bump.Name) reconcile.Trial {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.trial
}

func (p *pretend) Prove(_ context.Context, _ reconcile.App, h bump.Head) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proofs++
	for len(p.trial.Tries) > 0 && time.Since(p.trial.Tries[0].Applied) >= 5*time.Minute {
		p.trial = reconcile.Trial{Proven: p.trial.Tries[0].Revision, Tries: p.trial.Tries[1:]}
	}
	return nil
}

func (p *pretend) Sick(context.Context, reconcile.App, bump.Result) ([]reconcile.Sick, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sickNow, nil
}

// court is an app whose trial a test plays, in a bubble where time is ours.
type court struct {
	t      *testing.T
	engine *pretend
	live   *live
	branch *branch
	healed chan struct{} // lets the wait for health end well
	over   chan struct{} // lets it end badly
}

// revisionOne is what is on trial, applied so long ago; the app was well before.
func newCourt(t *testing.T, applied time.Duration) *court {
	c := &court{t: t, engine: &pretend{}, healed: make(chan struct{}), over: make(chan struct{})}
	c.engine.trial = reconcile.Trial{Proven: "main@sha1:0", Tries: []reconcile.Try{{Revision: "main@sha1:1", Applied: time.Now().Add(-applied)}}}
	c.engine.sickNow = []reconcile.Sick{{Object: bump.Object{Kind: "Deployment", Name: "web"}, Message: "InProgress"}}
	c.engine.health = func(ctx context.Context, _ reconcile.App, r bump.Result) (bump.Result, error) {
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-c.healed:
			r.Ready = true
		case <-c.over:
			r.Reason = "Deployment/web: InProgress"
		}
		return r, nil
	}
	c.branch = &branch{}
	c.live = &live{house: Open(&config.Config{Apply: []config.App{rolledBackApp("shop")}}, Options{Log: zap.NewNop()}),
		branches: map[bump.Name]*branch{name("fleet"): c.branch}, lookout: newLookout()}
	c.live.house.controls.take(nil, nil)
	c.live.bringAppliers(Doors{Apply: func(context.Context, *House, config.App) (engine, error) { return c.engine, nil }})
	return c
}

// try plays in a bubble: the app gets its revision, and then play.
func try(t *testing.T, applied time.Duration, play func(*court)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCourt(t, applied)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		a := c.live.appliers[0]
		all.Go(func() { a.run(ctx) })
		a.offer(revision{head: bump.Head{Repository: name("fleet"), Branch: "main", Hash: "1"}, tree: fstest.MapFS{"c.yaml": file("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n")}})
		waitFor(t, "the apply", func() bool { return c.engine.log() != "" })
		play(c)
		cancel()
		all.Wait()
	})
}

func (c *court) after(d time.Duration) { time.Sleep(d); synctest.Wait() }

func (c *court) wantComplaint(want bool, when string) {
	c.t.Helper()
	c.branch.mu.Lock()
	defer c.branch.mu.Unlock()
	if _, got := c.branch.complaints[name("shop")]; got != want {
		c.t.Errorf("%s: complaint %t, want %t", when, got, want)
	}
}

func (c *court) status() AppStatus { return c.live.house.status.snapshot().Apps[0] }

func TestTrialEndsInTime(t *testing.T) {
	try(t, 0, func(c *court) {
		c.after(5*time.Minute - time.Second)
		c.wantComplaint(false, "before the end")
		c.after(2 * time.Second)
		c.wantComplaint(true, "at the end")
		close(c.healed)
		c.after(time.Second)
		c.wantComplaint(false, "well again")
	})
}

// What is judged too early is judged once more with the next apply.
func TestTrialIsJudgedAgain(t *testing.T) {
	for _, more := range []bool{false, true} {
		try(t, 0, func(c *court) {
			c.after(5*time.Minute + time.Second)
			c.wantComplaint(true, "at the end")
			c.branch.complaints[name("shop")].again.Store(more)
			c.branch.withdraw(name("shop"))
			c.live.appliers[0].offer(revision{head: bump.Head{Repository: name("fleet"), Branch: "main", Hash: "2"}, tree: fstest.MapFS{"c.yaml": file("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n")}})
			c.after(time.Second)
			c.wantComplaint(more, "after the next revision")
		})
	}
}

// K17: the clock goes on where another process left it.
func TestK17TrialGoesOnAfterARestart(t *testing.T) {
	try(t, 4*time.Minute, func(c *court) {
		c.after(55 * time.Second)
		c.wantComplaint(false, "before the end")
		c.after(10 * time.Second)
		c.wantComplaint(true, "at the end")
	})
	try(t, time.Hour, func(c *court) {
		c.after(time.Second)
		c.wantComplaint(true, "what ended while nobody looked")
	})
}

func TestTrialIsStood(t *testing.T) {
	try(t, 0, func(c *court) {
		close(c.healed)
		c.after(time.Minute)
		if s := c.status(); s.Proven != "main@sha1:0" || s.OnTrial.IsZero() {
			t.Errorf("on trial: %+v", s)
		}
		c.after(5 * time.Minute)
		c.wantComplaint(false, "well")
		if s := c.status(); s.Proven != "main@sha1:1" || !s.OnTrial.IsZero() {
			t.Errorf("stood: %+v", s)
		}
		n := c.engine.proofs
		c.after(5 * time.Minute)
		if c.engine.proofs != n {
			t.Errorf("%d proofs more on a quiet app", c.engine.proofs-n)
		}
	})
}

func TestTrialOfWhatCrashesLater(t *testing.T) {
	try(t, 0, func(c *court) {
		close(c.healed)
		c.after(4*time.Minute + 50*time.Second)
		c.engine.sick(nil, []string{"Deployment/web: InProgress"})
		c.after(15 * time.Second)
		c.wantComplaint(false, "a pod that moves gets its time")
		c.after(30 * time.Second)
		c.wantComplaint(true, "it does not come back")
	})
	try(t, 0, func(c *court) {
		close(c.healed)
		c.after(4*time.Minute + 50*time.Second)
		c.engine.sick(nil, []string{"Deployment/web: InProgress"})
		c.after(15 * time.Second)
		c.engine.sick(nil, nil)
		c.after(time.Minute)
		c.wantComplaint(false, "it came back")
		if s := c.status(); s.Proven != "main@sha1:1" {
			t.Errorf("status %+v", s)
		}
	})
}

func TestTrialEndsAtOnceWithWhatFailed(t *testing.T) {
	try(t, 0, func(c *court) {
		c.engine.sickNow[0].Failed = true
		c.after(time.Minute)
		c.wantComplaint(false, "the wait is not over")
		close(c.over)
		c.after(time.Second)
		c.wantComplaint(true, "failed for good")
	})
	try(t, 0, func(c *court) {
		close(c.over) // the timeout of the app is shorter than its trial
		c.after(4 * time.Minute)
		c.wantComplaint(false, "before the end")
		c.after(2 * time.Minute)
		c.wantComplaint(true, "at the end")
	})
}

func TestNoTrialWhileSuspended(t *testing.T) {
	try(t, 0, func(c *court) {
		c.live.house.controls.take(map[reconcile.Subject]reconcile.Control{appSubject(name("shop")): {Suspended: &reconcile.Suspension{Since: time.Now()}}}, nil)
		c.after(10 * time.Minute)
		c.wantComplaint(false, "suspended")
	})
}

func TestTrialOfWhatWasSickBefore(t *testing.T) {
	try(t, 0, func(c *court) {
		c.engine.mu.Lock()
		c.engine.trial.Proven = ""
		c.engine.mu.Unlock()
		c.after(6 * time.Minute)
		c.wantComplaint(false, "sick before")
		if got := c.status().Rollback; !strings.HasSuffix(got, "nothing is rolled back: the app was not ready before what is on trial") {
			t.Errorf("status %q", got)
		}
	})
}
