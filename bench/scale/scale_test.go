// Package scale measures what a whole daemon needs for many objects: the real
// program as a process of its own, a real Git server and a real control plane.
//
//	go test ./bench/scale -run '^$' -bench . -benchtime 1x -timeout 1h
package scale

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hoist/testenv/cluster"
	"hoist/testenv/gitserver"
)

// One app of a thousand objects.
func BenchmarkOneAppOf1000(b *testing.B) { measure(b, 1, 1000) }

// A hundred apps of four objects.
func Benchmark100AppsOf4(b *testing.B) { measure(b, 100, 4) }

// A thousand apps of four objects.
func Benchmark1000AppsOf4(b *testing.B) { measure(b, 1000, 4) }

// quietTime is longer than the apps' interval of a minute, with its jitter.
const quietTime = 70 * time.Second

// measure runs a daemon through one day: the first apply, an interval without
// news, a commit that changes one object, and an edit by hand.
func measure(b *testing.B, apps, objects int) {
	for b.Loop() {
		w := newWorld(b, apps, objects)
		begun := time.Now()
		w.start()
		w.until("every app ready", 250*time.Millisecond, func() bool { return w.sum("hoist_app_ready") == float64(apps) })
		w.report(time.Since(begun), "first-s")
		w.report(w.processor(), "first-cpu-s")
		w.report(w.requests(""), "first-requests")
		w.report(w.requests("apply"), "first-applies")

		cpu := w.processor()
		asked, watches := w.requests(""), w.requests("watch")
		time.Sleep(quietTime) // what it costs to do nothing for so long
		w.report(w.processor()-cpu, "quiet-cpu-s")
		w.report(w.requests("")-asked-(w.requests("watch")-watches), "quiet-requests")

		cpu, asked = w.processor(), w.requests("")
		w.change("news")
		begun = time.Now()
		w.hint()
		w.until("the change is live", 5*time.Millisecond, func() bool { return w.value() == "news" })
		w.report(time.Since(begun), "change-s")
		w.settle()
		w.report(w.processor()-cpu, "change-cpu-s")
		w.report(w.requests("")-asked, "change-requests")

		asked = w.requests("")
		begun = time.Now()
		w.edit("by hand")
		w.until("the edit is put right", 5*time.Millisecond, func() bool { return w.value() == "news" })
		w.report(time.Since(begun), "drift-s")
		w.settle()
		w.report(w.requests("")-asked, "drift-requests")
		w.report(w.peak(), "peak-MiB")
		w.stop()
	}
}

// world is the daemon and what is around it.
type world struct {
	b          *testing.B
	cluster    *cluster.Cluster
	git        *gitserver.Server
	dir        string
	cmd        *exec.Cmd
	hook, http string // addresses
}

func newWorld(b *testing.B, apps, objects int) *world {
	w := &world{b: b, dir: b.TempDir()}
	var err error
	if w.cluster, err = cluster.Start(b.Context(), cluster.Options{Progress: os.Stderr}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = w.cluster.Stop() })
	if w.git, err = gitserver.Start(gitserver.Options{AnonymousRead: true}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = w.git.Close() })
	if err := w.git.Init("fleet", files(apps, objects)); err != nil {
		b.Fatal(err)
	}
	build := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-o", filepath.Join(w.dir, "hoist"), "hoist/cmd/hoist")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	w.write("token/token", "t")
	w.write("hoist.yaml", w.config(apps))
	return w
}

func (w *world) write(name, text string) {
	file := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		w.b.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		w.b.Fatal(err)
	}
}

// files are the apps' directories: of ten objects six config maps, two services
// and two deployments without pods.
func files(apps, objects int) map[string]string {
	all := map[string]string{}
	for a := range apps {
		list := "resources:\n"
		for o := range objects {
			name := fmt.Sprintf("o%d.yaml", o)
			all[fmt.Sprintf("apps/a%d/%s", a, name)] = object(a, o, "value")
			list += "- " + name + "\n"
		}
		all[fmt.Sprintf("apps/a%d/kustomization.yaml", a)] = list
	}
	return all
}

func object(app, n int, value string) string {
	name := fmt.Sprintf("a%d-o%d", app, n)
	switch n % 10 {
	case 1, 8:
		return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec:\n  selector: {app: %[1]s}\n  ports: [{port: 80, targetPort: 8080}]\n", name)
	case 2, 9:
		return fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %s}\nspec:\n  replicas: 0\n  selector: {matchLabels: {app: %[1]s}}\n  template:\n    metadata: {labels: {app: %[1]s}}\n    spec: {containers: [{name: web, image: 'registry.example.com/web:1.0.0', ports: [{containerPort: 8080}]}]}\n", name)
	}
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {key: %q}\n", name, value)
}

func (w *world) config(apps int) string {
	var c strings.Builder
	fmt.Fprintf(&c, `apiVersion: hoist/v1
kind: Config
repositories:
  - {name: fleet, url: %s, branch: main, interval: 1m}
webhooks:
  - {name: push, type: generic-hmac, secretDir: token}
apply:
`, w.git.URL("fleet"))
	for a := range apps {
		fmt.Fprintf(&c, "  - {name: a%d, repository: fleet, path: apps/a%[1]d, prune: true, wait: true, interval: 1m, timeout: 10m}\n", a)
	}
	return c.String()
}

// start starts the daemon; its log goes to a file beside its configuration.
func (w *world) start() {
	log, err := os.Create(filepath.Join(w.dir, "log"))
	if err != nil {
		w.b.Fatal(err)
	}
	defer log.Close() // the process has its own
	w.hook, w.http = freeAddr(w.b), freeAddr(w.b)
	w.cmd = exec.Command(filepath.Join(w.dir, "hoist"), "run", "-c", "hoist.yaml", "--kubeconfig", w.cluster.Kubeconfig,
		"--data-dir", filepath.Join(w.dir, "data"), "--webhook-addr", w.hook, "--health-addr", w.http, "--api-addr=")
	w.cmd.Dir, w.cmd.Stderr = w.dir, log
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := w.cmd.Start(); err != nil {
		w.b.Fatal(err)
	}
	w.b.Cleanup(w.stop)
}

func (w *world) stop() {
	if w.cmd.ProcessState == nil {
		_ = w.cmd.Process.Signal(syscall.SIGINT) // it may have ended
		_ = w.cmd.Wait()
	}
}

// until asks again and again. Asking for the metrics of 1,000 apps costs the
// daemon some milliseconds.
func (w *world) until(what string, every time.Duration, done func() bool) {
	limit, cancel := context.WithTimeout(w.b.Context(), 10*time.Minute)
	defer cancel()
	for !done() {
		select {
		case <-limit.Done():
			log, _ := os.ReadFile(filepath.Join(w.dir, "log"))
			w.b.Fatalf("%s: not within 10 minutes\n%s", what, log[max(0, len(log)-4000):])
		case <-time.After(every):
		}
	}
}

// settle waits until the daemon asks nothing of the cluster any more.
func (w *world) settle() {
	before := -1.0
	for asked := w.requests(""); asked != before; asked = w.requests("") {
		before = asked
		time.Sleep(time.Second)
	}
}

// change commits another value of the first object.
func (w *world) change(value string) {
	if _, err := w.git.Commit("fleet", "change one object", map[string]string{"apps/a0/o0.yaml": object(0, 0, value)}); err != nil {
		w.b.Fatal(err)
	}
}

const firstObject = "/api/v1/namespaces/default/configmaps/a0-o0"

// value is that of the first object in the cluster.
func (w *world) value() string {
	var live struct{ Data map[string]string }
	if err := w.cluster.Do(w.b.Context(), http.MethodGet, firstObject, nil, &live); err != nil {
		return ""
	}
	return live.Data["key"]
}

func (w *world) edit(value string) {
	var live map[string]any
	if err := w.cluster.Do(w.b.Context(), http.MethodGet, firstObject, nil, &live); err != nil {
		w.b.Fatal(err)
	}
	live["data"] = map[string]any{"key": value}
	if err := w.cluster.Do(w.b.Context(), http.MethodPut, firstObject, live, nil); err != nil {
		w.b.Fatal(err)
	}
}

// sum adds up a metric of the daemon; 0 while it does not answer.
func (w *world) sum(name string) float64 {
	resp, err := http.Get("http://" + w.http + "/metrics")
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	total := 0.0
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), name); ok && (rest[0] == '{' || rest[0] == ' ') {
			n, _ := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
			total += n
		}
	}
	return total
}

// requests counts what the daemon asked of the API server, with a verb or all.
func (w *world) requests(verb string) float64 {
	if verb == "" {
		return w.sum("hoist_cluster_requests_total")
	}
	return w.sum(fmt.Sprintf("hoist_cluster_requests_total{verb=%q}", verb))
}

func (w *world) processor() float64 { return w.sum("process_cpu_seconds_total") }

// peak is the most memory that the daemon had in use, in MiB.
func (w *world) peak() float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.cmd.Process.Pid))
	if err != nil {
		w.b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return n / 1024
		}
	}
	w.b.Fatal("no VmHWM")
	return 0
}

func (w *world) report(v any, unit string) {
	if d, ok := v.(time.Duration); ok {
		v = d.Seconds()
	}
	w.b.ReportMetric(v.(float64), unit)
}
