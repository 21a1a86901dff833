package reconcile

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"hoist/bump"
)

// mended bounds how long drift may last.
const mended = 2 * time.Second

var deployments = gvr("apps", "v1", "deployments")

// watching applies files as a daemon does and then mends whenever it is woken.
// It returns when all watches are up.
func (f *field) watching(files map[string]string) (h bump.Head) {
	f.t.Helper()
	var pairs []string
	for p, c := range files {
		pairs = append(pairs, p, c)
	}
	set, err := Build(f.t.Context(), tree(pairs...), f.app)
	if err != nil {
		f.t.Fatal(err)
	}
	wakes := make(chan struct{}, 1)
	f.eng.Follow(f.app, func() {
		select {
		case wakes <- struct{}{}:
		default:
		}
	})
	h = f.head()
	if _, err := f.eng.ApplySet(f.t.Context(), f.app, set, h); err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.t.Context())
	var all sync.WaitGroup
	all.Go(func() { f.eng.Watch(ctx) })
	eng, app := f.eng, f.app
	all.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-wakes:
			}
			if err := eng.Mend(ctx, app, set, h); err != nil && ctx.Err() == nil {
				f.t.Errorf("Mend: %v", err)
			}
		}
	})
	f.t.Cleanup(func() {
		cancel()
		all.Wait()
	})
	f.eventually(20*time.Second, "the watches are up", func() bool { return f.eng.Quiet(f.app.Name) })
	return h
}

// drifts are the drifts told so far: "reverted ConfigMap/a: …".
func (f *field) drifts() string {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, d := range f.told {
		all = append(all, fmt.Sprintf("%s %s/%s: %s", d.Action, d.Object.Kind, d.Object.Name, d))
	}
	return strings.Join(all, "\n")
}

func (f *field) mergePatch(r string, name, body, manager string) {
	f.t.Helper()
	at := gvr("", "v1", r)
	if r == "deployments" {
		at = deployments
	}
	if _, err := f.eng.client.Resource(at).Namespace(f.ns).Patch(f.t.Context(), name, types.MergePatchType, []byte(body), metav1.PatchOptions{FieldManager: manager}); err != nil {
		f.t.Fatal(err)
	}
}

// C25: what is edited, deleted or loses its label is put right within two
// seconds, with its values and who it was; what others add stays.
func TestC25DriftIsPutRightAtOnce(t *testing.T) {
	f := newField(t)
	f.watching(apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1"), "c.yaml", configMap("c", "1"), "web.yaml", deployment))
	for _, c := range []struct {
		what  string
		drift func()
		right func() bool
		want  string
	}{
		{"an edit", func() { f.edit("a", "key", "by hand") }, func() bool { return f.value("a") == "1" },
			`reverted ConfigMap/a: /data/key is "by hand", Git says "1" (kubectl-edit)`},
		{"a delete", func() {
			if err := f.eng.client.Resource(configMaps).Namespace(f.ns).Delete(t.Context(), "b", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}, func() bool { return f.value("b") == "1" }, `reverted ConfigMap/b: deleted`},
		{"labels taken away", func() { f.mergePatch("configmaps", "c", `{"metadata": {"labels": null}}`, "kubectl-label") },
			func() bool { return f.get(configMaps, "c").GetLabels()[labelApp] == f.app.Name.Name },
			`reverted ConfigMap/c: /metadata/labels is not there, Git says {"hoist/app":`},
		{"an image", func() {
			f.mergePatch("deployments", "web", `{"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "registry.example.com/web:evil"}]}}}}`, "kubectl-set")
		}, func() bool {
			return strings.Contains(fmt.Sprint(f.get(deployments, "web").Object["spec"]), "web:1.0.0")
		}, `reverted Deployment/web: /spec/template/spec/containers/0/image is "registry.example.com/web:evil", Git says "registry.example.com/web:1.0.0" (kubectl-set)`},
	} {
		c.drift()
		f.eventually(mended, c.what+" is put right", c.right)
		f.eventually(mended, c.what+" is told: "+c.want, func() bool { return strings.Contains(f.drifts(), c.want) })
	}
	f.edit("a", "other", "by hand")
	f.edit("a", "key", "again")
	f.eventually(mended, "a second edit is put right", func() bool { return f.value("a") == "1" })
	if other, _, _ := unstructured.NestedString(f.get(configMaps, "a").Object, "data", "other"); other != "by hand" {
		t.Errorf("a field of another manager became %q", other)
	}
	if b, _ := f.eng.Inventory(t.Context(), f.app.Name); b.Objects[1].UID != string(f.get(configMaps, "b").GetUID()) {
		f.eventually(mended, "the inventory knows the new object", func() bool {
			inv, _ := f.eng.Inventory(t.Context(), f.app.Name)
			return inv.Objects[1].UID == string(f.get(configMaps, "b").GetUID())
		})
	}
}

// Secret values are in no word about drift (N5).
func TestDriftOfASecretIsMasked(t *testing.T) {
	f := newField(t)
	f.watching(apps("s.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: git-value}\n"))
	f.mergePatch("secrets", "s", `{"stringData": {"a": "live-value"}}`, "kubectl-edit")
	f.eventually(mended, "it is told", func() bool {
		return strings.Contains(f.drifts(), "Secret/s: /data/a is ***, Git says *** (kubectl-edit)")
	})
	for _, e := range f.logs.All() {
		for _, secret := range []string{"git-value", "live-value", "Z2l0LXZhbHVl", "bGl2ZS12YWx1ZQ"} {
			if strings.Contains(fmt.Sprint(e.Message, e.ContextMap()), secret) {
				t.Errorf("the log repeats a value: %v", e)
			}
		}
	}
}

// A quiet cluster costs the watches alone, and nobody fights our own writes.
func TestQuietClusterCostsNoRequest(t *testing.T) {
	f := newField(t)
	files := apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1"), "web.yaml", deployment)
	f.watching(files)
	f.eventually(20*time.Second, "the deployment is up", func() bool {
		n, _, _ := unstructured.NestedInt64(f.get(deployments, "web").Object, "status", "availableReplicas")
		return n == 1
	})
	other, _ := f.aside()
	f.line.reset()
	before := other.get(configMaps, "a").GetResourceVersion()
	// What nobody need put right: status, fields of others. The second is seen when
	// its marker in the same watch was.
	other.mergePatch("configmaps", "a", `{"data": {"other": "x"}}`, "kubectl-edit")
	other.mergePatch("configmaps", "b", `{"data": {"key": "drift"}}`, "kubectl-edit")
	f.eventually(mended, "b is put right", func() bool { return other.value("b") == "1" })
	if f.line.counts["GET"] != 1 || f.line.writes() != 1 {
		t.Errorf("requests = %v, want one GET and one PATCH, of b", f.line.counts)
	}
	if other.get(configMaps, "a").GetResourceVersion() == before || !f.eng.Quiet(f.app.Name) {
		t.Error("a was not edited, or is suspect")
	}
}

// aside is a field on the same namespace whose requests are not counted.
func (f *field) aside() (*field, *Engine) {
	other := &field{t: f.t, ns: f.ns, app: f.app}
	other.engine()
	return other, other.eng
}

func TestDriftReportLeavesIt(t *testing.T) {
	f := newField(t)
	f.app.Drift = DriftReport
	files := apps("a.yaml", configMap("a", "1"))
	h := f.watching(files)
	f.edit("a", "key", "by hand")
	want := `reported ConfigMap/a: /data/key is "by hand", Git says "1" (kubectl-edit)`
	f.eventually(mended, "it is reported", func() bool { return f.drifts() == want })
	if _, err := f.try(files, h); err != nil { // the interval
		t.Fatal(err)
	}
	if f.value("a") != "by hand" || f.drifts() != want {
		t.Errorf("a = %q, told %q; want it left and told once", f.value("a"), f.drifts())
	}
	other, eng := f.aside() // a restart
	other.app.Drift = DriftReport
	if _, err := other.try(files, h); err != nil {
		t.Fatal(err)
	}
	if f.value("a") != "by hand" || other.drifts() != want {
		t.Errorf("after a restart a = %q, told %q; want it left and told", f.value("a"), other.drifts())
	}
	_ = eng
	f.edit("a", "key", "1")
	f.eventually(mended, "its end is told", func() bool { return strings.HasSuffix(f.drifts(), "settled ConfigMap/a: ") })
	r := f.apply(apps("a.yaml", configMap("a", "2")))
	f.want(r, "configured ConfigMap/a")
}

func TestDriftOffIsSilent(t *testing.T) {
	f := newField(t)
	f.app.Drift = DriftOff
	files := apps("a.yaml", configMap("a", "1"))
	h := f.watching(files)
	f.edit("a", "key", "by hand")
	r, err := f.try(files, h)
	if err != nil {
		t.Fatal(err)
	}
	f.want(r, "unchanged ConfigMap/a")
	if f.value("a") != "by hand" || f.drifts() != "" {
		t.Errorf("a = %q, told %q", f.value("a"), f.drifts())
	}
}

// The replicas of a scaled deployment are neither told nor touched, also when
// they were ours before and when the object changes.
func TestIgnoredFieldBelongsToOthers(t *testing.T) {
	f := newField(t)
	replicas := func(tag string) string { return strings.Replace(webOf(tag), "spec:\n", "spec:\n  replicas: 2\n", 1) }
	is := func() int64 {
		n, _, _ := unstructured.NestedInt64(f.get(deployments, "web").Object, "spec", "replicas")
		return n
	}
	f.apply(apps("web.yaml", replicas("1.0.0"))) // ours
	f.app.Ignore = []IgnoreRule{{Paths: []string{"/spec/replicas"}, Target: IgnoreTarget{Kind: "Deployment", Name: "w*"}}}
	f.apply(apps("web.yaml", replicas("1.0.1")))
	if is() != 2 {
		t.Fatalf("replicas = %d after they were given away, want 2", is())
	}
	f.watching(apps("web.yaml", replicas("1.0.2"), "new.yaml", strings.ReplaceAll(replicas("1.0.0"), "web", "wnew")))
	if n, _, _ := unstructured.NestedInt64(f.get(deployments, "wnew").Object, "spec", "replicas"); n != 2 {
		t.Errorf("replicas of a new object = %d, want 2", n)
	}
	scale := autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: f.ns}, Spec: autoscalingv1.ScaleSpec{Replicas: 5}}
	if err := controlPlane(t).Do(t.Context(), http.MethodPut, "/apis/apps/v1/namespaces/"+f.ns+"/deployments/web/scale?fieldManager=hpa", map[string]any{
		"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": map[string]any{"name": "web", "namespace": f.ns}, "spec": map[string]any{"replicas": scale.Spec.Replicas}}, nil); err != nil {
		t.Fatal(err)
	}
	f.mergePatch("deployments", "web", `{"spec": {"minReadySeconds": 1}}`, "someone")
	r := f.apply(apps("web.yaml", replicas("1.0.3"), "new.yaml", strings.ReplaceAll(replicas("1.0.0"), "web", "wnew")))
	if !strings.Contains(actions(r), "configured Deployment/web") || is() != 5 || f.drifts() != "" {
		t.Errorf("%s; replicas = %d, told %q; want 5 and nothing", actions(r), is(), f.drifts())
	}
	f.eventually(20*time.Second, "there is no difference", func() bool { // the deployment's controller writes its annotations
		return len(f.diff(apps("web.yaml", replicas("1.0.3"), "new.yaml", strings.ReplaceAll(replicas("1.0.0"), "web", "wnew")))) == 0
	})
}

// A controller that sets a field back is noticed, told once and left alone.
func TestFightIsNoticed(t *testing.T) {
	f := newField(t)
	f.watching(apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1")))
	for i := 1; i <= fightReverts+1; i++ {
		f.edit("a", "key", fmt.Sprintf("mine %d", i))
		f.eventually(mended, "it is put right", func() bool { return f.value("a") == "1" })
	}
	f.eventually(mended, "it is told", func() bool { return strings.Count(f.drifts(), "fought ConfigMap/a: /data/key") == 1 })
	f.edit("a", "key", "mine at last")
	f.edit("b", "key", "mine") // seen after it, in the same watch
	f.eventually(mended, "the other one is put right", func() bool { return f.value("b") == "1" })
	if f.value("a") != "mine at last" {
		t.Error("it was put right during the rest")
	}
	if n := f.logs.FilterMessage("somebody else sets it back again and again; it is left alone for a while").Len(); n != 1 {
		t.Errorf("told %d times", n)
	}
}

func TestFightRests(t *testing.T) {
	now := time.Unix(0, 0)
	var f fight
	for i := range fightReverts {
		if f.reverted(now, []string{"/x"}) {
			t.Fatalf("revert %d is a fight", i+1)
		}
	}
	now = now.Add(fightWindow + time.Second)
	if f.reverted(now, []string{"/x"}) {
		t.Fatal("reverts of long ago count")
	}
	for range fightReverts - 1 {
		f.reverted(now, []string{"/x"})
	}
	if f.reverted(now, []string{"/y"}) || !f.reverted(now, []string{"/x"}) || f.until != now.Add(fightWindow) {
		t.Fatalf("%+v: want a fight over /x that rests for %v", f, fightWindow)
	}
	now = f.until.Add(time.Second)
	if f.reverted(now, []string{"/x"}) || f.until != now.Add(2*fightWindow) {
		t.Errorf("%+v: want twice the rest, told no more", f)
	}
	now = f.until.Add(fightWindow + time.Second)
	if f.reverted(now, []string{"/x"}) || f.rest != 0 {
		t.Errorf("%+v: want the fight to be over", f)
	}
}

// C3: while the watches are down, and the history that they could go on from is
// lost, things change; the list after that finds it.
func TestC3LostWatchListsAgain(t *testing.T) {
	f := newField(t)
	f.watching(apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1"), "web.yaml", deployment))
	other, _ := f.aside()
	lists := 0
	f.line.breakWatches(func(r *http.Request) bool { lists++; return lists < 3 })
	f.eventually(20*time.Second, "the watches are down", func() bool { return !f.eng.Quiet(f.app.Name) })
	other.edit("a", "key", "by hand")
	if err := other.eng.client.Resource(configMaps).Namespace(f.ns).Delete(t.Context(), "b", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	other.mergePatch("deployments", "web", `{"metadata": {"labels": null}}`, "kubectl-label")
	f.eventually(20*time.Second, "all is put right", func() bool {
		return other.value("a") == "1" && other.value("b") == "1" && other.get(deployments, "web").GetLabels()[labelApp] == f.app.Name.Name
	})
	f.eventually(20*time.Second, "the watches are up", func() bool { return f.eng.Quiet(f.app.Name) })
}

// Health goes on being seen after an app was ready, without a request.
func TestHealthStaysObserved(t *testing.T) {
	f := newField(t)
	f.app.Drift, f.app.Wait = DriftOff, true // so that what is broken by hand stays broken
	f.watching(apps("a.yaml", configMap("a", "1"), "web.yaml", webOf("1.0.0")))
	unwell := func() string {
		failed, pending := f.eng.Unwell(f.app)
		return fmt.Sprint(len(failed), len(pending), failed, pending)
	}
	f.eventually(60*time.Second, "it is well", func() bool { return strings.HasPrefix(unwell(), "0 0") })
	other, _ := f.aside()
	f.line.reset()
	image := func(tag string) {
		other.mergePatch("deployments", "web", `{"spec": {"progressDeadlineSeconds": 3, "template": {"spec": {"containers": [{"name": "web", "image": "registry.example.com/web:`+tag+`"}]}}}}`, "kubectl-set")
	}
	image("1.1.0-crash")
	f.eventually(60*time.Second, "it has failed", func() bool { return strings.HasPrefix(unwell(), "1 0 [Deployment/"+f.ns+"/web: Failed") })
	image("1.0.0")
	f.eventually(60*time.Second, "it is well again", func() bool { return strings.HasPrefix(unwell(), "0 0") })
	if n := f.line.counts["GET"] + f.line.writes(); n != 0 {
		t.Errorf("requests = %v, want none", f.line.counts)
	}
}
