package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"hoist/bump"
	"hoist/reconcile"
	"hoist/testenv"
	"hoist/testenv/cluster"
	"hoist/testenv/gitserver"
	"hoist/testenv/proxy"
)

// The points at which an apply is stopped: when a request of the kind is about
// to reach the API server.
var killPoints = []struct {
	name, method, uri string
	skip              int
}{
	{"K10-built", http.MethodPut, `/configmaps/hoist-`, 0},
	{"K11-inventory-written", http.MethodPatch, `/(configmaps|roles|deployments)/[a-z]+\?field`, 0},
	{"K12-some-objects-written", http.MethodPatch, `/(configmaps|roles|deployments)/[a-z]+\?field`, 1},
	{"K13-a-stage-written", http.MethodPatch, `/deployments/web\?field`, 0},
	{"K14-nothing-deleted-yet", http.MethodDelete, `/configmaps/`, 0},
	{"K15-some-deleted", http.MethodDelete, `/configmaps/`, 1},
	{"K16-inventory-not-shrunk", http.MethodPut, `/configmaps/hoist-`, 1},
	{"K17-waiting-for-health", http.MethodGet, `/deployments\?.*watch=true`, 0},
}

// What happens to the process then.
var killActs = map[string]func(*killedApply){
	"kill": func(k *killedApply) { k.signal(syscall.SIGKILL) },
	"term": func(k *killedApply) { k.signal(syscall.SIGTERM) },
	"cut":  func(k *killedApply) { k.proxy.Play(proxy.Rule{Fault: proxy.Fault{Cut: proxy.CutBefore}}) },
	// It sleeps while another one leads, and then its request arrives after all.
	"stop": func(k *killedApply) {
		k.signal(syscall.SIGSTOP)
		k.once()
		k.same()
		k.signal(syscall.SIGCONT)
	},
}

// K10–K17, each with kill -9, SIGTERM, a stop while another one takes over, and
// a network that is cut: nothing is untracked then, and the next pass makes
// cluster and inventory what Git says.
func TestKillMatrix(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a control plane")
	}
	for _, at := range killPoints {
		for name, act := range killActs {
			t.Run(at.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				k := newKilledApply(t)
				fault := proxy.Fault{Latency: time.Hour}
				if name == "stop" {
					fault.Latency = 3 * time.Second
				}
				k.proxy.Play(proxy.Rule{Method: at.method, URI: regexp.MustCompile(at.uri), Skip: at.skip, Times: 1, Fault: fault})
				cmd := k.start(k.proxied)
				limit, cancel := context.WithTimeout(t.Context(), waitLimit)
				defer cancel()
				if _, err := k.proxy.Await(limit, func(r proxy.Request) bool { return r.Faulty }); err != nil {
					t.Fatal(err)
				}
				act(k)
				if name == "cut" {
					k.signal(syscall.SIGTERM) // its request would hang for long
				}
				_ = cmd.Wait() // how it ends is not the question
				k.proxy.Play()
				k.tracked()
				k.once()
				k.same()
			})
		}
	}
}

// killedApply is an app with one revision applied and the next one committed.
type killedApply struct {
	t       *testing.T
	cluster *cluster.Cluster
	ns, dir string
	proxy   *proxy.Proxy
	proxied string // kubeconfig
	running *exec.Cmd
	engine  *reconcile.Engine
}

func newKilledApply(t *testing.T) *killedApply {
	k := &killedApply{t: t, cluster: testenv.Cluster(t), dir: t.TempDir()}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	k.ns, err = k.cluster.CreateNamespace(t.Context(), "killed")
	check(err)
	t.Cleanup(func() { _ = k.cluster.DeleteNamespace(context.Background(), k.ns) })
	git, err := gitserver.Start(gitserver.Options{AnonymousRead: true})
	check(err)
	t.Cleanup(func() { _ = git.Close() })
	target, err := url.Parse(k.cluster.Server)
	check(err)
	transport, err := proxy.Transport(k.cluster.CAData)
	check(err)
	k.proxy = proxy.New(target, transport)
	check(k.proxy.StartTLS())
	t.Cleanup(func() { _ = k.proxy.Close() })
	k.proxied = filepath.Join(k.dir, "proxied")
	check(k.proxy.Kubeconfig(k.proxied, k.cluster.Kubeconfig))
	rc, err := reconcile.RESTConfig(k.cluster.Kubeconfig, "")
	check(err)
	k.engine, err = reconcile.New(rc, reconcile.Options{Namespace: k.ns})
	check(err)

	object := func(kind, name, more string) string {
		return fmt.Sprintf("kind: %s\nmetadata: {name: %s, labels: {test: killed}}\n%s", kind, name, more)
	}
	configMap := func(name, value string) string {
		return "apiVersion: v1\n" + object("ConfigMap", name, "data: {key: "+value+"}\n")
	}
	check(git.Init("fleet", map[string]string{"one.yaml": configMap("one", "old"), "two.yaml": configMap("two", "old"), "three.yaml": configMap("three", "old")}))
	check(os.WriteFile(filepath.Join(k.dir, "hoist.yaml"), fmt.Appendf(nil, `apiVersion: hoist/v1
kind: Config
repositories:
  - {name: fleet, url: %s, branch: main}
apply:
  - {name: shop, repository: fleet, prune: true, wait: true, targetNamespace: %s}
`, git.URL("fleet"), k.ns), 0o600))
	k.once()
	_, err = git.Commit("fleet", "one and two go, web comes", map[string]string{
		"three.yaml": configMap("three", "new"), "four.yaml": configMap("four", "new"),
		"role.yaml": "apiVersion: rbac.authorization.k8s.io/v1\n" + object("Role", "reader", "rules: []\n"),
		"web.yaml": "apiVersion: apps/v1\n" + object("Deployment", "web", `spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'registry.example.com/web:1.0-slow'}]}
`)}, "one.yaml", "two.yaml")
	check(err)
	return k
}

// start starts a pass with a data directory of its own.
func (k *killedApply) start(kubeconfig string) *exec.Cmd {
	k.t.Helper()
	k.running = exec.Command("hoist", "once", "-c", "hoist.yaml", "--kubeconfig", kubeconfig, "--namespace", k.ns, "--data-dir", k.t.TempDir())
	k.running.Dir = k.dir
	if err := k.running.Start(); err != nil {
		k.t.Fatal(err)
	}
	cmd := k.running
	k.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd
}

func (k *killedApply) signal(s syscall.Signal) {
	if err := k.running.Process.Signal(s); err != nil {
		k.t.Error(err)
	}
}

// once is a pass that nothing disturbs.
func (k *killedApply) once() {
	k.t.Helper()
	cmd := exec.Command("hoist", "once", "-c", "hoist.yaml", "--kubeconfig", k.cluster.Kubeconfig, "--namespace", k.ns, "--data-dir", k.t.TempDir())
	cmd.Dir = k.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		k.t.Fatalf("%v\n%s", err, out)
	}
}

func (k *killedApply) recorded() []string {
	k.t.Helper()
	inv, err := k.engine.Inventory(k.t.Context(), bump.Name{Namespace: bump.DefaultNamespace, Name: "shop"})
	if err != nil {
		k.t.Fatal(err)
	}
	var all []string
	for _, en := range inv.Objects {
		all = append(all, en.Kind+"/"+en.Name)
	}
	slices.Sort(all)
	return all
}

// live lists what the app has in the cluster, with the values of config maps.
func (k *killedApply) live() (all []string) {
	k.t.Helper()
	for kind, path := range map[string]string{"ConfigMap": "/api/v1", "Role": "/apis/rbac.authorization.k8s.io/v1", "Deployment": "/apis/apps/v1"} {
		var list struct {
			Items []struct {
				Metadata struct{ Name string }
				Data     map[string]string
			}
		}
		path += "/namespaces/" + k.ns + "/" + strings.ToLower(kind) + "s?labelSelector=test%3Dkilled"
		if err := k.cluster.Do(k.t.Context(), http.MethodGet, path, nil, &list); err != nil {
			k.t.Fatal(err)
		}
		for _, o := range list.Items {
			all = append(all, strings.TrimSuffix(kind+"/"+o.Metadata.Name+"="+o.Data["key"], "="))
		}
	}
	slices.Sort(all)
	return all
}

// tracked: whatever is there is in the inventory.
func (k *killedApply) tracked() {
	k.t.Helper()
	recorded := k.recorded()
	for _, o := range k.live() {
		name, _, _ := strings.Cut(o, "=")
		if !slices.Contains(recorded, name) {
			k.t.Errorf("%s is not in the inventory %v", name, recorded)
		}
	}
}

// same: cluster and inventory are what the newest commit says.
func (k *killedApply) same() {
	k.t.Helper()
	if got, want := fmt.Sprint(k.live()), "[ConfigMap/four=new ConfigMap/three=new Deployment/web Role/reader]"; got != want {
		k.t.Errorf("the cluster has %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(k.recorded()), "[ConfigMap/four ConfigMap/three Deployment/web Role/reader]"; got != want {
		k.t.Errorf("the inventory has %s, want %s", got, want)
	}
}
