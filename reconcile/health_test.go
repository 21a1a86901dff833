package reconcile

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"hoist/bump"
)

// webOf is the deployment at a version. Those that fail do so after three seconds.
func webOf(tag string) string {
	deadline := "120"
	if strings.HasSuffix(tag, "-crash") || strings.HasSuffix(tag, "-pullerr") {
		deadline = "3"
	}
	return strings.Replace(strings.Replace(deployment, ":1.0.0", ":"+tag, 1), "spec:\n", "spec:\n  progressDeadlineSeconds: "+deadline+"\n", 1)
}

func (f *field) health(ctx context.Context, r bump.Result) bump.Result {
	f.t.Helper()
	r, err := f.eng.Health(ctx, f.app, r)
	if err != nil {
		f.t.Fatalf("Health: %v", err)
	}
	return r
}

func TestWaitUntilAvailable(t *testing.T) {
	f := newField(t)
	f.app.Wait = true
	files := apps("a.yaml", configMap("a", "1"), "web.yaml", webOf("1.0.0"))
	r := f.apply(files)
	if r.Ready {
		t.Error("Ready before the deployment is")
	}
	r = f.health(t.Context(), r)
	if !r.Ready || r.Reason != "" {
		t.Errorf("health = %v %q, want ready", r.Ready, r.Reason)
	}
	inv, err := f.eng.Inventory(t.Context(), f.app.Name)
	if err != nil || !inv.Ready || inv.Reason != "" {
		t.Errorf("inventory = %v %q (%v), want ready", inv.Ready, inv.Reason, err)
	}
}

// A rollout that fails ends the wait long before the timeout, with the pod's
// own words; the next good version recovers.
func TestFailingRollout(t *testing.T) {
	for tag, want := range map[string]string{"1.1.0-crash": "CrashLoopBackOff", "1.1.0-pullerr": "ImagePull"} {
		f := newField(t)
		f.app.Timeout = bump.Duration(5 * time.Minute)
		f.app.HealthChecks = []HealthCheck{{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}}
		if r := f.health(t.Context(), f.apply(apps("web.yaml", webOf("1.0.0")))); !r.Ready {
			t.Fatalf("%s: %s", tag, r.Reason)
		}
		began := time.Now()
		r := f.health(t.Context(), f.apply(apps("web.yaml", webOf(tag))))
		if r.Ready || !strings.Contains(r.Reason, "Deployment/"+f.ns+"/web: Failed") || !strings.Contains(r.Reason, want) {
			t.Errorf("%s: health = %v %q, want the deployment and %s", tag, r.Ready, r.Reason, want)
		}
		if took := time.Since(began); took > 2*time.Minute {
			t.Errorf("%s: told after %v", tag, took)
		}
		inv, _ := f.eng.Inventory(t.Context(), f.app.Name)
		if inv.Ready || inv.Reason != r.Reason {
			t.Errorf("%s: inventory = %v %q", tag, inv.Ready, inv.Reason)
		}
		if r := f.health(t.Context(), f.apply(apps("web.yaml", webOf("1.1.1")))); !r.Ready {
			t.Errorf("%s: after the next version: %s", tag, r.Reason)
		}
	}
}

// C19: a wait ends at the timeout, and at once when a new revision cancels it.
func TestWaitEnds(t *testing.T) {
	f := newField(t)
	f.app.Timeout = bump.Duration(time.Second)
	f.app.HealthChecks = []HealthCheck{{APIVersion: "apps/v1", Kind: "Deployment", Name: "nothing"}}
	r := f.apply(apps("a.yaml", configMap("a", "1")))
	if got := f.health(t.Context(), r); got.Ready || !strings.Contains(got.Reason, "not healthy after 1s: Deployment/"+f.ns+"/nothing: NotFound") {
		t.Errorf("health = %v %q, want that it is not there after 1s", got.Ready, got.Reason)
	}
	f.app.Timeout = bump.Duration(time.Hour)
	ctx, cancel := context.WithCancelCause(t.Context())
	newer := errors.New("a newer revision")
	time.AfterFunc(50*time.Millisecond, func() { cancel(newer) })
	if _, err := f.eng.Health(ctx, f.app, r); !errors.Is(err, newer) {
		t.Errorf("error = %v, want %v", err, newer)
	}
}

// Many objects of one kind share a watch.
func TestWaitForMany(t *testing.T) {
	f := newField(t)
	f.app.Wait = true
	files := map[string]string{}
	for _, n := range []string{"one", "two", "three", "four"} {
		files["apps/"+n+".yaml"] = strings.ReplaceAll(webOf("1.0.0-slow"), "web", n)
	}
	r := f.health(t.Context(), f.apply(files))
	if !r.Ready {
		t.Errorf("health = %q", r.Reason)
	}
	// Discovery and the looks before the writes are in it, too; the pods take five seconds.
	if n := f.line.counts["GET"]; n > 16 {
		t.Errorf("%d GET for one wait: it polls", n)
	}
	// Nothing changed: what was healthy is not asked for again.
	r = f.apply(files)
	f.line.reset()
	if r = f.health(t.Context(), r); !r.Ready || f.line.counts["GET"] > 1 { // the inventory
		t.Errorf("ready %v after requests %v, want ready after the inventory alone", r.Ready, f.line.counts)
	}
}

// C3: a wait outlives its watch, and the history that it could go on from: it
// lists again, and sees what happened meanwhile.
func TestC3WaitOutlivesItsWatch(t *testing.T) {
	f := newField(t)
	f.app.HealthChecks = []HealthCheck{{APIVersion: "v1", Kind: "ConfigMap", Name: "late"}}
	r := f.apply(apps("a.yaml", configMap("a", "1")))
	over := make(chan bump.Result)
	go func() { over <- f.health(t.Context(), r) }()
	watches := func() int {
		f.line.mu.Lock()
		defer f.line.mu.Unlock()
		return len(f.line.watches)
	}
	f.eventually(20*time.Second, "it watches", func() bool { return watches() == 1 })
	asked := 0
	f.line.breakWatches(func(*http.Request) bool { asked++; return asked < 3 })
	other, _ := f.aside()
	other.app.Name.Name += "-other"
	other.apply(apps("late.yaml", configMap("late", "1")))
	if r := <-over; !r.Ready {
		t.Errorf("health = %q", r.Reason)
	}
}
