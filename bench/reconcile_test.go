package bench

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"hoist/bump"
	"hoist/reconcile"
	"hoist/testenv/cluster"
)

// hundred is an app of 100 objects: 60 config maps, 20 services, 20 deployments.
func hundred(tag string) fstest.MapFS { return hundreds(1, tag) }

// hundreds is an app of n times as many.
func hundreds(n int, tag string) fstest.MapFS {
	files := fstest.MapFS{}
	put := func(name, format string, args ...any) {
		files["app/"+name] = &fstest.MapFile{Data: fmt.Appendf(nil, format, args...)}
	}
	list := "resources:\n"
	for i := range 60 * n {
		put(fmt.Sprintf("cm-%d.yaml", i), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm-%d}\ndata:\n  key: value\n  other: |-\n    several\n    lines\n", i)
		list += fmt.Sprintf("- cm-%d.yaml\n", i)
	}
	for i := range 20 * n {
		image := "1.0.0"
		if i == 0 {
			image = tag
		}
		put(fmt.Sprintf("svc-%d.yaml", i), "apiVersion: v1\nkind: Service\nmetadata: {name: web-%d}\nspec:\n  selector: {app: web-%d}\n  ports: [{port: 80, targetPort: 8080}]\n", i, i)
		put(fmt.Sprintf("web-%d.yaml", i), "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web-%d}\nspec:\n  replicas: 0\n  selector: {matchLabels: {app: web-%d}}\n  template:\n    metadata: {labels: {app: web-%d}}\n    spec: {containers: [{name: web, image: 'registry.example.com/web:%s', ports: [{containerPort: 8080}]}]}\n", i, i, i, image)
		list += fmt.Sprintf("- svc-%d.yaml\n- web-%d.yaml\n", i, i)
	}
	put("kustomization.yaml", "%s", list)
	return files
}

func BenchmarkReconcileBuild100Objects(b *testing.B) {
	tree := hundred("1.0.0")
	for b.Loop() {
		if s, err := reconcile.Build(b.Context(), tree, reconcile.App{Path: "app"}); err != nil || len(s.Objects) != 100 {
			b.Fatal(err)
		}
	}
}

// One app of two objects among 50,000 files on disk.
func BenchmarkReconcileBuildIn50000Files(b *testing.B) {
	dir := b.TempDir()
	for i := range 50_000 {
		sub := filepath.Join(dir, fmt.Sprintf("apps-%d/app-%d", i/1000, i/10))
		if i%10 == 0 {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				b.Fatal(err)
			}
		}
		text := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm-%d}\ndata: {key: value}\n", i)
		if i%10 == 9 {
			text = fmt.Sprintf("resources: [f-%d.yaml, f-%d.yaml]\n", i-1, i-2)
		}
		name := fmt.Sprintf("f-%d.yaml", i)
		if i%10 == 9 {
			name = "kustomization.yaml"
		}
		if err := os.WriteFile(filepath.Join(sub, name), []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	tree := os.DirFS(dir)
	for b.Loop() {
		if s, err := reconcile.Build(b.Context(), tree, reconcile.App{Path: "apps-7/app-777"}); err != nil || len(s.Objects) != 2 {
			b.Fatal(err, s)
		}
	}
}

// applying is an engine on a real control plane, with its requests counted.
type applying struct {
	eng      *reconcile.Engine
	cluster  *cluster.Cluster
	requests atomic.Int64
	n        int
}

func newApplying(b *testing.B) *applying {
	c, err := cluster.Start(context.Background(), cluster.Options{Progress: os.Stderr})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Stop() })
	a := &applying{cluster: c}
	a.restart(b)
	return a
}

func (a *applying) restart(b *testing.B) {
	cfg, err := reconcile.RESTConfig(a.cluster.Kubeconfig, "")
	if err != nil {
		b.Fatal(err)
	}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return counter{next, &a.requests} })
	if a.eng, err = reconcile.New(cfg, reconcile.Options{}); err != nil {
		b.Fatal(err)
	}
}

type counter struct {
	next http.RoundTripper
	n    *atomic.Int64
}

func (c counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return c.next.RoundTrip(r)
}

func (a *applying) app(b *testing.B) reconcile.App {
	ns, err := a.cluster.CreateNamespace(b.Context(), "bench")
	if err != nil {
		b.Fatal(err)
	}
	return reconcile.App{Name: bump.Name{Namespace: "hoist", Name: ns}, Path: "app", Repository: "r", TargetNamespace: ns, Prune: true, Timeout: bump.Duration(time.Minute)}
}

func (a *applying) apply(b *testing.B, app reconcile.App, tree fs.FS) {
	a.n++
	r, err := a.eng.Apply(b.Context(), app, tree, bump.Head{Branch: "main", Hash: fmt.Sprintf("%040x", a.n)})
	if err != nil || len(r.Objects) != 100 {
		b.Fatal(err)
	}
}

func BenchmarkReconcileFirstApply100Objects(b *testing.B) {
	a := newApplying(b)
	tree := hundred("1.0.0")
	a.apply(b, a.app(b), tree) // discovery
	a.requests.Store(0)
	n := 0
	for b.Loop() {
		b.StopTimer()
		app := a.app(b)
		b.StartTimer()
		a.apply(b, app, tree)
		n++
	}
	b.ReportMetric(float64(a.requests.Load())/float64(n), "requests/op")
}

// What it costs to try a stage before it is applied.
func BenchmarkReconcileFirstApply1000Objects(b *testing.B) {
	a := newApplying(b)
	a.apply(b, a.app(b), hundred("1.0.0")) // discovery
	tree := hundreds(10, "1.0.0")
	for _, atomic := range []bool{true, false} {
		b.Run(fmt.Sprintf("atomic=%t", atomic), func(b *testing.B) {
			a.requests.Store(0)
			n := 0
			for b.Loop() {
				b.StopTimer()
				app := a.app(b)
				app.Atomic = &atomic
				set, err := reconcile.Build(b.Context(), tree, app)
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if r, err := a.eng.ApplySet(b.Context(), app, set, bump.Head{Branch: "main", Hash: fmt.Sprintf("%040x", n)}); err != nil || len(r.Objects) != 1000 {
					b.Fatal(err)
				}
				n++
			}
			b.ReportMetric(float64(a.requests.Load())/float64(n), "requests/op")
		})
	}
}

func BenchmarkReconcileQuietApply100Objects(b *testing.B) {
	a := newApplying(b)
	app, tree := a.app(b), hundred("1.0.0")
	a.apply(b, app, tree)
	a.n-- // the same revision from here on
	a.requests.Store(0)
	n := 0
	for b.Loop() {
		a.apply(b, app, tree)
		a.n--
		n++
	}
	b.ReportMetric(float64(a.requests.Load())/float64(n), "requests/op")
}

func BenchmarkReconcileBumpOf1In100Objects(b *testing.B) {
	a := newApplying(b)
	app := a.app(b)
	a.apply(b, app, hundred("1.0.0"))
	a.requests.Store(0)
	n := 0
	for b.Loop() {
		n++
		a.apply(b, app, hundred(fmt.Sprintf("1.0.%d", n)))
	}
	b.ReportMetric(float64(a.requests.Load())/float64(n), "requests/op")
}

// watching applies the 100 objects and keeps them right as the daemon does;
// mended hears of every drift that was put right.
func (a *applying) watching(b *testing.B, app reconcile.App) (mended chan reconcile.Drift) {
	cfg, err := reconcile.RESTConfig(a.cluster.Kubeconfig, "")
	if err != nil {
		b.Fatal(err)
	}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return counter{next, &a.requests} })
	mended = make(chan reconcile.Drift, 10)
	a.eng, err = reconcile.New(cfg, reconcile.Options{Drifted: func(_ bump.Name, d reconcile.Drift) { mended <- d }})
	if err != nil {
		b.Fatal(err)
	}
	set, err := reconcile.Build(b.Context(), hundred("1.0.0"), app)
	if err != nil {
		b.Fatal(err)
	}
	wakes := make(chan struct{}, 1)
	a.eng.Follow(app, func() {
		select {
		case wakes <- struct{}{}:
		default:
		}
	})
	head := bump.Head{Branch: "main", Hash: fmt.Sprintf("%040x", 1)}
	if _, err := a.eng.ApplySet(b.Context(), app, set, head); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var all sync.WaitGroup
	all.Go(func() { a.eng.Watch(ctx) })
	all.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-wakes:
			}
			if err := a.eng.Mend(ctx, app, set, head); err != nil && ctx.Err() == nil {
				b.Error(err)
			}
		}
	})
	b.Cleanup(func() {
		cancel()
		all.Wait()
	})
	for !a.eng.Quiet(app.Name) {
		time.Sleep(10 * time.Millisecond)
	}
	return mended
}

// From the edit until the field is right again.
func BenchmarkReconcileDriftToRepair(b *testing.B) {
	a := newApplying(b)
	app := a.app(b)
	mended := a.watching(b, app)
	a.requests.Store(0)
	n := 0
	for b.Loop() {
		// another object each time, or it is a fight
		path := fmt.Sprintf("/api/v1/namespaces/%s/configmaps/cm-%d", app.TargetNamespace, n%60)
		var live map[string]any
		if err := a.cluster.Do(b.Context(), http.MethodGet, path, nil, &live); err != nil {
			b.Fatal(err)
		}
		live["data"].(map[string]any)["key"] = fmt.Sprintf("by hand %d", n)
		if err := a.cluster.Do(b.Context(), http.MethodPut, path, live, nil); err != nil {
			b.Fatal(err)
		}
		<-mended
		n++
	}
	b.ReportMetric(float64(a.requests.Load())/float64(n), "requests/op")
}

// What an app of 100 objects costs on its interval while nothing happens: the
// daemon applies only where it is not quiet.
func BenchmarkReconcileQuietInterval(b *testing.B) {
	a := newApplying(b)
	app := a.app(b)
	a.watching(b, app)
	a.requests.Store(0)
	for b.Loop() {
		if !a.eng.Quiet(app.Name) {
			b.Fatal("not quiet")
		}
	}
	b.ReportMetric(float64(a.requests.Load()), "requests")
}
