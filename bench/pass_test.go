package bench

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"hoist/bump"
	"hoist/config"
	"hoist/daemon"
	"hoist/reconcile"
	"hoist/testenv"
	"hoist/testenv/gitserver"
	"hoist/testenv/registryserver"
)

// fleet is a repository with marked fields, and the registry of its images.
type fleet struct {
	registry *registryserver.Local
	git      *gitserver.Server
	config   string // path
	dir      string
}

// newFleet makes a repository of files plain manifests and one marked file for
// each of images images; all images have tags 1.0.0 … 1.0.9, and 1.0.9 is set.
func newFleet(b *testing.B, images, files int, more string) *fleet {
	b.Helper()
	f := &fleet{registry: testenv.LocalRegistry(b, registryserver.InProcessOptions{}), dir: b.TempDir()}
	f.git = testenv.Git(b, gitserver.Options{Users: map[string]string{"bot": "pw"}})
	tree := make(map[string]string)
	entries := ""
	for i := range images {
		image := fmt.Sprintf("acme/app-%d", i)
		var tags []string
		for n := range 10 {
			tags = append(tags, fmt.Sprintf("1.0.%d", n))
		}
		f.registry.SetTags(image, tags)
		tree[fmt.Sprintf("apps/app-%d.yaml", i)] = fmt.Sprintf(
			"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app-%d\ndata:\n  version: 1.0.9 # {\"$imagepolicy\": \"hoist:app-%d:tag\"}\n", i, i)
		entries += fmt.Sprintf("  - {name: app-%d, image: %s/%s, insecure: true, interval: 1h, policy: {semver: {range: 1.x}}}\n", i, f.registry.Addr, image)
	}
	for i := range files {
		tree[fmt.Sprintf("rest/%d/%d.yaml", i/100, i)] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c-%d}\ndata: {n: \"%d\"}\n", i, i)
	}
	if err := f.git.Init("fleet", tree); err != nil {
		b.Fatal(err)
	}
	f.write(b, "secret/username", "bot")
	f.write(b, "secret/password", "pw")
	f.config = f.write(b, "hoist.yaml", fmt.Sprintf(`apiVersion: hoist/v1
kind: Config
repositories:
  - {name: fleet, url: %q, branch: main, interval: 1h, secretDir: %q}
images:
%supdates:
  - name: apps
    repository: fleet
    commit: {author: {name: Hoist, email: hoist@example.com}}
%s`, f.git.URL("fleet"), filepath.Join(f.dir, "secret"), entries, more))
	return f
}

func (f *fleet) write(b *testing.B, name, text string) string {
	b.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

func (f *fleet) open(b *testing.B) *daemon.House {
	b.Helper()
	cfg, err := config.Load(f.config)
	if err != nil {
		b.Fatal(err)
	}
	h := daemon.Open(cfg, daemon.Options{DataDir: filepath.Join(f.dir, "data"), Log: zap.NewNop()})
	b.Cleanup(func() { _ = h.Close() })
	return h
}

// BenchmarkQuietPass is everything that a pass does when there is nothing to do:
// 100 tag lists, one look at the remote, a plan.
func BenchmarkQuietPass(b *testing.B) {
	for _, files := range []int{100, 50_000} {
		b.Run(fmt.Sprintf("images=100/files=%d", files), func(b *testing.B) {
			h := newFleet(b, 100, files, "").open(b)
			pass := func() {
				if err := h.Scan(b.Context(), "bench"); err != nil {
					b.Fatal(err)
				}
				for _, p := range h.Push(b.Context()) {
					if p.Err != nil || len(p.Pass.Commits) > 0 || len(p.Pass.Verdicts) != 100 {
						b.Fatalf("%v, %d commits, %d verdicts", p.Err, len(p.Pass.Commits), len(p.Pass.Verdicts))
					}
				}
			}
			pass() // clones, and reads every file once
			b.ReportAllocs()
			for b.Loop() {
				pass()
			}
		})
	}
}

// BenchmarkTagToCluster is the main job: a tag is pushed, the webhook's hint
// comes, and the object in the cluster has the new value. It reports the time to
// the commit on the remote and to the object in the cluster.
func BenchmarkTagToCluster(b *testing.B) {
	for _, files := range []int{100, 10_000, 50_000} {
		b.Run(fmt.Sprintf("files=%d", files), func(b *testing.B) { tagToCluster(b, files) })
	}
}

func tagToCluster(b *testing.B, files int) {
	c := testenv.Cluster(b)
	namespace := testenv.Namespace(b, c)
	f := newFleet(b, 1, files, "")
	f.write(b, "hook/token", "hook-token")
	f.write(b, "hoist.d/more.yaml", fmt.Sprintf(`apiVersion: hoist/v1
kind: Config
apply:
  - {name: %[1]s, repository: fleet, path: apps, targetNamespace: %[1]s}
webhooks:
  - {name: registry, type: distribution, secretDir: %[2]q}
`, namespace, filepath.Join(f.dir, "hook")))
	commits, results := make(chan bump.Commit, 8), make(chan bump.Result, 8)
	at := startDaemon(b, f, c.Kubeconfig, commits, results)
	<-results // the first apply
	var toCommit, toCluster time.Duration
	n := 10
	for b.Loop() {
		tag := fmt.Sprintf("1.0.%d", n)
		n++
		f.registry.SetTags("acme/app-0", []string{"1.0.9", tag})
		start := time.Now()
		notify(b, at.Webhook, f.registry.Addr, "acme/app-0", tag)
		commit := <-commits
		toCommit += time.Since(start)
		for r := range results {
			if r.Head == commit.Head {
				break
			}
		}
		toCluster += time.Since(start)
	}
	b.ReportMetric(toCommit.Seconds()*1000/float64(b.N), "ms/commit")
	b.ReportMetric(toCluster.Seconds()*1000/float64(b.N), "ms/cluster")
}

// startDaemon runs the daemon until the benchmark ends.
func startDaemon(b *testing.B, f *fleet, kubeconfig string, commits chan<- bump.Commit, results chan<- bump.Result) daemon.Addresses {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	ready, ended := make(chan daemon.Addresses, 1), make(chan error, 1)
	go func() {
		ended <- daemon.Run(ctx, daemon.RunOptions{
			Options: daemon.Options{
				DataDir: filepath.Join(f.dir, "data"), Kubeconfig: kubeconfig, Log: zap.NewNop(),
				Builds: reconcile.BuilderOptions{Command: []string{"", "build-worker"}},
				Observe: func(e daemon.Event) {
					switch {
					case e.Commit != nil:
						commits <- *e.Commit
					case e.Applied != nil:
						results <- *e.Applied
					}
				},
			},
			Load:        func() (*config.Config, error) { return config.Load(f.config, filepath.Join(f.dir, "hoist.d")) },
			Fingerprint: func() (string, error) { return "", nil },
			Doors:       daemon.OpenDoors(),
			WebhookAddr: "127.0.0.1:0",
			Ready:       func(at daemon.Addresses) { ready <- at },
		})
	}()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	return <-ready
}

// notify does what a registry does after a push.
func notify(b *testing.B, webhook, registry, repository, tag string) {
	b.Helper()
	body := fmt.Sprintf(`{"events": [{"action": "push", "request": {"host": %q}, "target": {"repository": %q, "tag": %q,
		"mediaType": "application/vnd.oci.image.manifest.v1+json"}}]}`, registry, repository, tag)
	req, err := http.NewRequest(http.MethodPost, "http://"+webhook+"/hook/registry", strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer hook-token")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode/100 != 2 {
		b.Fatalf("webhook: %s", res.Status)
	}
}
