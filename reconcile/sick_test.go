package reconcile

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"hoist/bump"
)

// N5: what stands in a commit about a sick object has its images and what its pods
// say, and no value of a Secret, whether the app brings it or the pod names it.
func TestN5SickObjectsTellNoSecret(t *testing.T) {
	f := newField(t)
	f.app.Wait, f.app.Prune = true, false
	const theirs = "postgres://shop:hunter22@database"
	f.app.Name.Name += "-secrets"
	f.apply(apps("s.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: theirs}\nstringData: {url: \""+theirs+"\"}\n"))
	f.app.Name.Name = strings.TrimSuffix(f.app.Name.Name, "-secrets")

	// The simulated kubelet repeats the image in its message, so a value in it is repeated.
	ours := "registry.example.com/web:1.1.0-pullerr"
	web := strings.Replace(webOf("1.1.0-pullerr"), `1.1.0-pullerr"`, `1.1.0-pullerr", env: [{name: URL, valueFrom: {secretKeyRef: {name: theirs, key: url}}}]`, 1)
	r := f.apply(apps("web.yaml", web, "c.yaml", configMap("c", "1"), "s.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: ours}\nstringData: {token: \""+ours+"\"}\n"))
	r = f.health(t.Context(), r)
	if r.Ready {
		t.Fatal("it is well")
	}
	sick, err := f.eng.Sick(t.Context(), f.app, r)
	if err != nil || len(sick) != 1 {
		t.Fatalf("Sick = %+v, %v, want the deployment", sick, err)
	}
	s := sick[0]
	if s.Object.Kind != "Deployment" || !s.Failed || !s.Applied || strings.Join(s.Images, " ") != ours {
		t.Errorf("Sick = %+v", s)
	}
	if !strings.Contains(s.Message, "ImagePullBackOff: Back-off pulling image") || !strings.Contains(s.Message, "***") || strings.Contains(s.Message, ours) {
		t.Errorf("message %q", s.Message)
	}
	live := f.get(gvr("apps", "v1", "deployments"), "web")
	if got := f.eng.hideSecrets(t.Context(), "dial "+theirs+" or https://bot:pass@git.test/x", secretsOf(live, r)); got != "dial *** or https://***@git.test/x" {
		t.Errorf("hidden: %q", got)
	}

	if r = f.health(t.Context(), f.apply(apps("web.yaml", webOf("1.1.1")))); !r.Ready {
		t.Fatal(r.Reason)
	}
	if sick, err := f.eng.Sick(t.Context(), f.app, r); err != nil || len(sick) != 0 {
		t.Errorf("of a healthy app: %+v, %v", sick, err)
	}
}

// K11, K12, K17: the trial is in the cluster before the first object is, and its
// clock goes on where another process left it.
func TestK12TrialOutlivesTheProcess(t *testing.T) {
	f := newField(t)
	f.app.Wait, f.app.Rollback = true, &Rollback{After: bump.Duration(time.Second)}
	trial := func() Trial {
		inv, err := f.eng.Inventory(t.Context(), f.app.Name)
		if err != nil || inv.Trial == nil {
			t.Fatalf("trial %+v, %v", inv.Trial, err)
		}
		if got := f.eng.Trial(f.app.Name); !sameTrial(got, *inv.Trial) {
			t.Errorf("the engine says %+v, the inventory %+v", got, *inv.Trial)
		}
		return *inv.Trial
	}
	files := apps("a.yaml", configMap("a", "1"))
	first := f.head()
	r, err := f.try(files, first)
	if err != nil {
		t.Fatal(err)
	}
	if x := trial(); x.Proven != "" || len(x.Tries) != 1 || x.Tries[0].Applied.IsZero() {
		t.Fatalf("after the first apply: %+v", x)
	}
	f.health(t.Context(), r)
	for !f.eng.Trial(f.app.Name).Proves(first.String(), time.Second, time.Now()) {
		time.Sleep(10 * time.Millisecond) // until its second is over
	}
	if err := f.eng.Prove(t.Context(), f.app, first); err != nil {
		t.Fatal(err)
	}
	if x := trial(); x.Proven != first.String() || len(x.Tries) != 0 {
		t.Fatalf("proven: %+v", x)
	}

	// A process ends after it wrote the object, before it could say so.
	dead := false
	f.line.cut = func(r *http.Request) (before, after bool) {
		before = dead
		dead = dead || r.Method == http.MethodPatch
		return before, dead && !before
	}
	second := f.head()
	files = apps("a.yaml", configMap("a", "2"))
	if _, err := f.try(files, second); err == nil {
		t.Fatal("nothing was cut")
	}
	f.engine()
	r, err = f.try(files, second)
	if err != nil {
		t.Fatal(err)
	}
	f.want(r, "unchanged ConfigMap/a")
	x := trial()
	if x.Proven != first.String() || len(x.Tries) != 1 || x.Tries[0].Revision != second.String() || x.Tries[0].Applied.IsZero() {
		t.Fatalf("after the kill: %+v", x)
	}

	// The same revision in another process, and one that changes nothing.
	for _, h := range []bump.Head{second, f.head()} {
		f.engine()
		if _, err := f.try(files, h); err != nil {
			t.Fatal(err)
		}
		if now := trial(); !sameTrial(now, x) {
			t.Errorf("at %s: %+v, want %+v", h, now, x)
		}
	}

	// Without the section there is no trial.
	f.app.Rollback = nil
	f.apply(files)
	if inv, err := f.eng.Inventory(t.Context(), f.app.Name); err != nil || inv.Trial != nil {
		t.Errorf("trial %+v, %v", inv.Trial, err)
	}
}
