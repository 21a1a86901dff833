package daemon

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"hoist/bump"
	"hoist/config"
	"hoist/reconcile"
	"hoist/testenv"
)

// waits is a real engine of which a test sees who waits for health.
type waits struct {
	*reconcile.Engine
	mu  sync.Mutex
	now map[string]int // by the hash of the revision
}

func (w *waits) Health(ctx context.Context, a reconcile.App, r bump.Result) (bump.Result, error) {
	w.add(r.Head, 1)
	defer w.add(r.Head, -1)
	return w.Engine.Health(ctx, a, r)
}

func (w *waits) add(h bump.Head, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now[h.Hash] += n
}

func (w *waits) waiting(hash string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now[hash]
}

// squadron is a namespace of the real control plane, and appliers for it.
type squadron struct {
	t      *testing.T
	ns     string
	client *kubernetes.Clientset
	engine *waits
	live   *live
	files  fstest.MapFS
	n      int
}

func newSquadron(t *testing.T) *squadron {
	c := testenv.Cluster(t)
	f := &squadron{t: t, ns: testenv.Namespace(t, c), files: fstest.MapFS{}}
	cfg, err := reconcile.RESTConfig(c.Kubeconfig, "")
	if err != nil {
		t.Fatal(err)
	}
	if f.client, err = kubernetes.NewForConfig(cfg); err != nil {
		t.Fatal(err)
	}
	e, err := reconcile.New(cfg, reconcile.Options{Log: zap.NewNop(), Namespace: f.ns})
	if err != nil {
		t.Fatal(err)
	}
	f.engine = &waits{Engine: e, now: map[string]int{}}
	return f
}

// app adds an app with one ConfigMap of its name.
func (f *squadron) app(name, value string) config.App {
	f.set(name, value)
	return config.App{
		App: reconcile.App{
			Name: bump.Name{Namespace: f.ns, Name: name}, Path: "apps/" + name, TargetNamespace: f.ns, Timeout: bump.Duration(time.Hour),
			Interval: bump.Duration(time.Hour), RetryInterval: bump.Duration(time.Second), Wait: true,
		},
		RepositoryName: bump.Name{Namespace: "hoist", Name: "fleet"},
	}
}

// sick adds an app that never gets healthy.
func (f *squadron) sick(name string) config.App {
	a := f.app(name, `"1"`)
	a.HealthChecks = []reconcile.HealthCheck{{APIVersion: "apps/v1", Kind: "Deployment", Name: "nothing", Namespace: f.ns}}
	return a
}

type blob string

func (b blob) Hash() string { return fmt.Sprintf("%x", sha256.Sum256([]byte(b))) }

// set commits what an app's directory holds; trees know their hashes, as Git's do.
func (f *squadron) set(name, value string) {
	text := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\ndata: {key: " + value + "}\n"
	f.files["apps/"+name] = &fstest.MapFile{Mode: fs.ModeDir, Sys: blob(text)}
	f.files["apps/"+name+"/cm.yaml"] = &fstest.MapFile{Data: []byte(text), Sys: blob(text)}
}

// push offers the files as a new revision and returns its hash.
func (f *squadron) push() string {
	f.n++
	tree := fstest.MapFS{}
	for path, file := range f.files {
		tree[path] = file
	}
	r := revision{head: bump.Head{Repository: bump.Name{Namespace: "hoist", Name: "fleet"}, Branch: "main", Hash: fmt.Sprintf("%040x", f.n)}, tree: tree}
	for _, a := range f.live.appliers {
		a.offer(r)
	}
	return r.head.Hash
}

func (f *squadron) run(apps ...config.App) { f.live, _ = appliersOf(f.t, f.engine, apps...) }

// value is what the ConfigMap of an app holds in the cluster.
func (f *squadron) value(name string) string {
	o, err := f.client.CoreV1().ConfigMaps(f.ns).Get(f.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return err.Error()
	}
	return o.Data["key"]
}

func (f *squadron) status(name string) AppStatus {
	for _, a := range f.live.house.status.snapshot().Apps {
		if strings.HasSuffix(a.Name, ":"+name) {
			return a
		}
	}
	return AppStatus{}
}

func (f *squadron) eventually(what string, ok func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !ok(); { // the machine may be busy
		if time.Now().After(deadline) {
			f.t.Fatalf("not within 3 minutes: %s", what)
		}
		time.Sleep(20 * time.Millisecond) // between two looks
	}
}

// 11 of 128 apps never get healthy, and some fail to apply again and again. A
// commit is live at once all the same, while all of them still wait.
func TestFailingAppsDelayNobody(t *testing.T) {
	f := newSquadron(t)
	const all, sick, broken = 128, 11, 3
	var apps []config.App
	for i := range all {
		name := fmt.Sprintf("app-%03d", i)
		switch {
		case i < sick:
			apps = append(apps, f.sick(name))
		case i < sick+broken:
			apps = append(apps, f.app(name, "{a: 1}"))
		default:
			apps = append(apps, f.app(name, `"1"`))
		}
	}
	f.run(apps...)
	first := f.push()
	ready := func(revision string) (n int) {
		for _, a := range f.live.house.status.snapshot().Apps {
			if a.Ready && strings.HasSuffix(a.Head, revision) {
				n++
			}
		}
		return n
	}
	f.eventually("all others are ready and the sick ones wait", func() bool { return ready(first) == all-sick-broken && f.engine.waiting(first) == sick })
	f.eventually("a broken one tells why", func() bool { return strings.Contains(f.status("app-012").Reason, "apply ConfigMap/"+f.ns+"/app-012") })

	f.set("app-100", `"2"`)
	second := f.push()
	f.eventually("the commit is live and healthy", func() bool { return f.value("app-100") == "2" && f.status("app-100").Ready })
	f.eventually("it is everywhere else, too", func() bool { return ready(second) == all-sick-broken })
	f.eventually("the old waits are over and the new ones go on", func() bool { return f.engine.waiting(first) == 0 && f.engine.waiting(second) == sick })
	f.eventually("nobody who waits holds a place", func() bool { return len(f.live.appliers[0].slots) == 0 })
}

// C19: more apps than there are places never get healthy; they hold none of them.
// A timeout ends such a wait and says for what, a new revision ends it at once.
func TestC19HealthNever(t *testing.T) {
	f := newSquadron(t)
	var apps []config.App
	for i := range maxApplies + 1 {
		apps = append(apps, f.sick(fmt.Sprintf("sick-%02d", i)))
	}
	short := f.sick("short")
	short.Timeout, short.RetryInterval = bump.Duration(time.Second), bump.Duration(time.Hour)
	f.run(append(apps, short)...)
	first := f.push()
	f.eventually("all wait at once", func() bool { return f.engine.waiting(first) >= maxApplies+1 })
	f.eventually("the timeout is told", func() bool {
		return f.status("short").Reason == "not healthy after 1s: Deployment/"+f.ns+"/nothing: NotFound: there is no such object"
	})
	f.eventually("no place is taken", func() bool { return len(f.live.appliers[0].slots) == 0 })

	f.set("sick-00", `"2"`)
	second := f.push()
	f.eventually("it is applied although the old revision was waited for", func() bool { return f.value("sick-00") == "2" })
	f.eventually("nobody waits for the old one", func() bool { return f.engine.waiting(first) == 0 && f.engine.waiting(second) >= maxApplies+1 })
}
