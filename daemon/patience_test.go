package daemon

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"hoist/bump"
	"hoist/reconcile"
)

// unhealthy is an engine of which an app is never healthy in time.
func unhealthy() *pretend {
	e := &pretend{}
	e.health = func(_ context.Context, a reconcile.App, r bump.Result) (bump.Result, error) {
		time.Sleep(a.Within())
		r.Reason = "not healthy after " + a.Within().String()
		return r, nil
	}
	return e
}

// An app whose wait for health is over is looked at again on its retryInterval,
// again and again, and told once.
func TestUnhealthyAppIsLookedAtOnItsRetryInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := unhealthy()
		never := e.health
		var well atomic.Bool
		e.health = func(ctx context.Context, a reconcile.App, r bump.Result) (bump.Result, error) {
			if well.Load() {
				r.Ready = true
				return r, nil
			}
			return never(ctx, a, r)
		}
		shop := app("shop")
		shop.Interval, shop.RetryInterval, shop.Timeout = bump.Duration(time.Hour), bump.Duration(10*time.Second), bump.Duration(time.Minute)
		l, offer := appliersOf(t, e, shop)
		core, logs := observer.New(zap.InfoLevel)
		l.appliers[0].log = zap.New(core)
		offer("1")
		for n := 1; n <= 3; n++ {
			time.Sleep(time.Minute + 11*time.Second + time.Millisecond) // a wait, and at most a tenth more than the retry interval
			synctest.Wait()
			if got := strings.Count(e.log(), "shop@1"); got < n+1 {
				t.Fatalf("after %d waits it was looked at %d times", n, got)
			}
		}
		if n := logs.FilterMessage("not ready").Len(); n != 1 {
			t.Errorf("told %d times that it is not ready: %v", n, logs.All())
		}
		well.Store(true)
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if n := logs.FilterMessage("ready").Len(); n != 1 {
			t.Errorf("told %d times that it is ready: %v", n, logs.All())
		}
		before := e.log()
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if e.log() != before {
			t.Errorf("a ready app was looked at before its interval: %s", e.log())
		}
	})
}

// While watches see all of an app that is not healthy, a look would find nothing:
// it costs no request, and what the watches saw during the wait counts.
func TestUnhealthyAppThatIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := unhealthy()
		e.quiet = true
		shop := app("shop")
		shop.RetryInterval, shop.Timeout = bump.Duration(10*time.Second), bump.Duration(time.Minute)
		l, offer := appliersOf(t, e, shop)
		ready := func() bool { return l.house.status.snapshot().Apps[0].Ready }
		offer("1")
		synctest.Wait()
		e.sick(nil, []string{"Deployment/d/web: InProgress"})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := e.log(); got != "shop@1" || ready() {
			t.Fatalf("applied %s, ready %t", got, ready())
		}
		e.sick(nil, nil)
		synctest.Wait()
		if !ready() {
			t.Error("the watches saw that it is well, and it is not ready")
		}
		// It gets well a moment before the wait for the next revision is over.
		e.sick(nil, []string{"Deployment/d/web: InProgress"})
		offer("2")
		time.Sleep(30 * time.Second)
		synctest.Wait()
		e.sick(nil, nil)
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if !ready() {
			t.Error("what the watches saw during the wait was lost")
		}
	})
}

// An app of which the last look failed is looked at again, whatever the watches say.
func TestFailedAppIsNotQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &pretend{quiet: true, failing: map[string]error{}}
		shop := app("shop")
		shop.RetryInterval = bump.Duration(10 * time.Second)
		l, offer := appliersOf(t, e, shop)
		offer("1")
		time.Sleep(2 * longestTrust)
		synctest.Wait()
		e.mu.Lock()
		e.failing["shop"] = errors.New("the api server is away")
		e.mu.Unlock()
		time.Sleep(longestTrust + 20*time.Minute)
		synctest.Wait()
		status := l.house.status.snapshot().Apps[0]
		if !strings.Contains(status.Reason, "the api server is away") {
			t.Fatalf("status %+v", status)
		}
		e.mu.Lock()
		clear(e.failing)
		e.mu.Unlock()
		time.Sleep(12 * time.Second)
		synctest.Wait()
		if status := l.house.status.snapshot().Apps[0]; !status.Ready {
			t.Errorf("status %+v, want it to be ready again after the retry interval", status)
		}
	})
}

// hoist suspend --for: the suspension ends by itself, at its minute, and what
// was pushed meanwhile is applied then.
func TestSuspensionExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &pretend{}
		l, offer := appliersOf(t, e, app("shop"))
		offer("1")
		synctest.Wait()
		until := time.Now().Add(2 * time.Hour)
		subject := appSubject(name("shop"))
		l.house.controls.take(map[reconcile.Subject]reconcile.Control{subject: {Suspended: &reconcile.Suspension{Since: time.Now(), Until: until, Reason: "rollout undo"}}}, nil)
		signal(l.appliers[0].controls)
		synctest.Wait()
		offer("2")
		time.Sleep(2*time.Hour - time.Second)
		synctest.Wait()
		status := func() AppStatus { return l.house.status.snapshot().Apps[0] }
		if got := e.log(); got != "shop@1" || status().Suspended == nil {
			t.Fatalf("while suspended: applied %s, status %+v", got, status())
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := e.log(); got != "shop@1 shop@2" || status().Suspended != nil {
			t.Errorf("after its end: applied %s, status %+v", got, status())
		}
		if at := l.house.controls.suspension(subject); at != nil {
			t.Errorf("still suspended: %v", at)
		}
	})
}
