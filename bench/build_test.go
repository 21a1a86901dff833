package bench

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sync/errgroup"

	"hoist/reconcile"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "build-worker" {
		memory, err := strconv.ParseInt(os.Args[2], 10, 64)
		if err == nil {
			err = reconcile.Serve(os.Stdin, os.Stdout, memory)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// builders are the ways to build: in this process, and in so many others.
func builders(b *testing.B, each func(b *testing.B, build reconcile.BuildFunc)) {
	b.Run("inprocess", func(b *testing.B) { each(b, reconcile.Build) })
	for workers := 1; workers <= 2; workers++ {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			w := reconcile.NewBuilder(reconcile.BuilderOptions{Command: []string{"", "build-worker"}, Workers: workers})
			defer w.Close()
			each(b, w.Build)
		})
	}
}

// One app of four objects, again and again.
func BenchmarkBuildFourObjects(b *testing.B) {
	tree := fourEach(1)
	builders(b, func(b *testing.B, build reconcile.BuildFunc) {
		for b.Loop() {
			if s, err := build(b.Context(), tree, reconcile.App{Path: "app-0"}); err != nil || len(s.Objects) != 4 {
				b.Fatal(err)
			}
		}
		tellMemory(b)
	})
}

// The same, with a new process each time.
func BenchmarkBuildCold(b *testing.B) {
	tree := fourEach(1)
	for b.Loop() {
		w := reconcile.NewBuilder(reconcile.BuilderOptions{Command: []string{"", "build-worker"}})
		if _, err := w.Build(b.Context(), tree, reconcile.App{Path: "app-0"}); err != nil {
			b.Fatal(err)
		}
		w.Close()
	}
}

// What a start with many apps has to build.
func BenchmarkBuildManyApps(b *testing.B) {
	for _, n := range []int{100, 1000} {
		tree := fourEach(n)
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			builders(b, func(b *testing.B, build reconcile.BuildFunc) {
				for b.Loop() {
					if err := buildAll(b.Context(), build, tree, n); err != nil {
						b.Fatal(err)
					}
				}
				tellMemory(b)
			})
		})
	}
}

func buildAll(ctx context.Context, build reconcile.BuildFunc, tree fs.FS, n int) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range n {
		g.Go(func() error {
			_, err := build(ctx, tree, reconcile.App{Path: fmt.Sprintf("app-%d", i)})
			return err
		})
	}
	return g.Wait()
}

// fourEach are apps of a deployment, a service and two config maps each, with a
// namespace and a patch, which take kustomize's schema.
func fourEach(n int) fstest.MapFS {
	all := hundred("1.0.0")
	files := fstest.MapFS{}
	for i := range n {
		dir := fmt.Sprintf("app-%d/", i)
		files[dir+"kustomization.yaml"] = &fstest.MapFile{Data: []byte("namespace: shop\nresources: [web-1.yaml, svc-1.yaml, cm-1.yaml, cm-2.yaml]\npatches: [{path: replicas.yaml}]\n")}
		files[dir+"replicas.yaml"] = &fstest.MapFile{Data: []byte("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web-1}\nspec: {replicas: 3}\n")}
		for _, f := range []string{"web-1.yaml", "svc-1.yaml", "cm-1.yaml", "cm-2.yaml"} {
			files[dir+f] = all["app/"+f]
		}
	}
	return files
}

// tellMemory reports the memory of this process that no file backs, and the largest child.
func tellMemory(b *testing.B) {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "heap-MiB")
	b.ReportMetric(resident("/proc/self/status", "RssAnon:"), "rss-MiB")
	most := 0.0
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, t := range tasks {
		children, _ := os.ReadFile("/proc/self/task/" + t.Name() + "/children")
		for _, pid := range strings.Fields(string(children)) {
			most = max(most, resident("/proc/"+pid+"/status", "RssAnon:"))
		}
	}
	b.ReportMetric(most, "worker-rss-MiB")
}

func resident(file, field string) float64 {
	text, _ := os.ReadFile(file)
	_, after, _ := strings.Cut(string(text), field)
	var kib float64
	_, _ = fmt.Sscan(after, &kib)
	return kib / 1024
}
