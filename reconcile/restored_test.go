package reconcile

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hoist/testenv/cluster"
)

// C26: the storage of the API server is restored from a copy of before. The same
// process notices, applies everything again, deletes nothing in that pass, and
// what came back to life is deleted in the next. What it makes again is recorded.
func TestC26RestoredFromABackup(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a control plane of its own")
	}
	dir, err := os.MkdirTemp("", "hoist-c26-") // a short path: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	state := filepath.Join(dir, "now")
	c, err := cluster.Start(t.Context(), cluster.Options{Dir: state, APIOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stop() })
	f := newField(t)
	if f.ns, err = c.CreateNamespace(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	f.app.TargetNamespace = f.ns
	cfg, err := RESTConfig(c.Kubeconfig, "")
	if err != nil {
		t.Fatal(err)
	}
	f.connect(cfg)
	var woken atomic.Int64
	f.eng.Follow(f.app, func() { woken.Add(1) })
	go f.eng.Watch(t.Context())

	old := apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1"), "c.yaml", configMap("c", "1"))
	f.apply(old)
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(state, "etcd.sock"))
	backup := filepath.Join(dir, "backup")
	if err := os.CopyFS(backup, os.DirFS(state)); err != nil {
		t.Fatal(err)
	}
	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The backup is old: a server that starts writes some hundred times for itself.
	for i := range 500 {
		path := fmt.Sprintf("/api/v1/namespaces/%s/configmaps", f.ns)
		if err := c.Do(t.Context(), http.MethodPost, path, fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: later-%d}}", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	now := apps("a.yaml", configMap("a", "2"), "b.yaml", configMap("b", "1"), "d.yaml", configMap("d", "1"))
	h := f.head()
	f.eventually(time.Minute, "the new revision is applied", func() bool {
		_, err := f.try(now, h)
		return err == nil
	})
	if got := f.recorded(); got != "ConfigMap/a ConfigMap/b ConfigMap/d" {
		t.Fatalf("before the restore: %s", got)
	}
	f.eventually(time.Minute, "the watches are back", func() bool {
		f.eng.watches.mu.Lock()
		defer f.eng.watches.mu.Unlock()
		return len(f.eng.watches.seeing) > 0
	})

	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(backup, state); err != nil {
		t.Fatal(err)
	}
	woken.Store(0)
	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.eventually(time.Minute, "a watch notices", func() bool { return f.eng.Doubts(f.app.Name) && woken.Load() > 0 })
	if f.value("a") != "1" || f.value("c") != "1" || f.value("d") != "" {
		t.Fatalf("a=%q c=%q d=%q: the state of the backup is not there", f.value("a"), f.value("c"), f.value("d"))
	}
	r, err := f.try(now, h)
	if err != nil {
		t.Fatal(err)
	}
	f.want(r, "configured ConfigMap/a, unchanged ConfigMap/b, created ConfigMap/d")
	if got := f.recorded(); f.value("c") != "1" || got != "ConfigMap/a ConfigMap/b ConfigMap/c("+postponed+") ConfigMap/d" {
		t.Errorf("c = %q, inventory = %s; want c there and recorded", f.value("c"), got)
	}
	if past := f.eng.past(f.app.Name); !past.restless() || f.eng.Doubts(f.app.Name) {
		t.Error("nobody looks again for the deletion, or the app is still doubted")
	}
	if _, err = f.try(now, h); err != nil {
		t.Fatal(err)
	}
	if got := f.recorded(); f.value("c") != "" || got != "ConfigMap/a ConfigMap/b ConfigMap/d" {
		t.Errorf("c = %q, inventory = %s; want c deleted", f.value("c"), got)
	}
	if n := f.logs.FilterMessageSnippet("the api server went back to an older state").Len(); n == 0 {
		t.Error("nobody was told")
	}
}

// C26, N3: an object that is gone is not made again where the inventory does not
// name it any more, before the inventory does.
func TestC26NothingIsMadeThatTheInventoryDoesNotName(t *testing.T) {
	f := newField(t)
	files := apps("a.yaml", configMap("a", "1"))
	f.apply(files)
	at := f.eng.client.Resource(configMaps)
	if err := at.Namespace(f.ns+"-inv").Delete(t.Context(), inventoryName(f.app.Name), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := at.Namespace(f.ns).Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.eng.Follow(f.app, func() {})
	k := key{kind: "ConfigMap", namespace: f.ns, name: "a"}
	f.eng.watches.mu.Lock()
	f.eng.watches.followers[f.app.Name].suspects[k] = observation{gone: true}
	f.eng.watches.mu.Unlock()
	set, err := Build(t.Context(), tree("apps/a.yaml", configMap("a", "1")), f.app)
	if err != nil {
		t.Fatal(err)
	}
	f.line.reset()
	h := f.head()
	if err := f.eng.Mend(t.Context(), f.app, set, h); err != nil || f.line.writes() > 0 || !f.eng.Doubts(f.app.Name) {
		t.Errorf("Mend: %v, %d writes, doubts %t; want it to do nothing", err, f.line.writes(), f.eng.Doubts(f.app.Name))
	}
	if _, err := f.try(files, h); err != nil || f.value("a") != "1" || !strings.Contains(f.recorded(), "ConfigMap/a") {
		t.Errorf("%v, a = %q, inventory = %s", err, f.value("a"), f.recorded())
	}
}
