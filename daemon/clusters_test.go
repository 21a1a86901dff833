package daemon

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"hoist/bump"
	"hoist/config"
	"hoist/gitpush"
	"hoist/reconcile"
	"hoist/testenv"
	"hoist/testenv/cluster"
	"hoist/testenv/gitserver"
	"hoist/testenv/proxy"
)

// TestClusters needs two control planes: the shared one, where Hoist runs, and a
// second one. Each story has namespaces of its own on both.
func TestClusters(t *testing.T) {
	home := testenv.Cluster(t)
	far := testenv.NewCluster(t, cluster.Options{})
	git := testenv.Git(t, gitserver.Options{Users: map[string]string{"bot": "secret"}})
	for name, story := range map[string]func(*planes){
		"C1-dead":              func(p *planes) { p.slowCluster(p.deadKubeconfig()) },
		"C1-latency":           func(p *planes) { p.slowCluster(p.lateKubeconfig(30 * time.Second)) },
		"C1-home-away":         (*planes).homeAway,
		"missing-secret":       (*planes).missingSecret,
		"rotated":              (*planes).rotated,
		"census":               (*planes).censusOfOneCluster,
		"two-accounts":         (*planes).twoAccounts,
		"two-kubeconfigs":      (*planes).twoKubeconfigs,
		"C26-another-cluster":  (*planes).anotherCluster,
		"status-of-dead":       (*planes).statusOfDead,
		"no-home":              (*planes).noHome,
		"substitute-from-home": (*planes).substituteFromHome,
		"two-hoists":           (*planes).twoHoists,
	} {
		t.Run(name, func(t *testing.T) {
			ns, err := home.CreateNamespace(t.Context(), "clusters")
			if err != nil {
				t.Fatal(err)
			}
			if err := far.Do(t.Context(), http.MethodPost, "/api/v1/namespaces", map[string]any{"metadata": map[string]any{"name": ns}}, nil); err != nil {
				t.Fatal(err)
			}
			if err := git.Init(ns, map[string]string{"README": ns}); err != nil {
				t.Fatal(err)
			}
			story(&planes{T: t, home: home, far: far, git: git, ns: ns, files: map[string]string{}})
		})
	}
}

// planes are the two clusters in one story, with a namespace of the same name on
// both, and a repository.
type planes struct {
	*testing.T
	home, far *cluster.Cluster
	git       *gitserver.Server
	ns        string
	files     map[string]string // of the next commit
	gone      []string          // files that it removes
}

// app is applied from the directory of its name to a cluster; nil is home.
func (p *planes) app(called string, at *reconcile.ClusterRef) config.App {
	return config.App{RepositoryName: name("fleet"), App: reconcile.App{
		Name: bump.Name{Namespace: p.ns, Name: called}, Repository: "fleet", Path: called, Prune: true, Cluster: at, TargetNamespace: p.ns,
		RetryInterval: bump.Duration(200 * time.Millisecond),
	}}
}

func (p *planes) ref(secret string) *reconcile.ClusterRef {
	return &reconcile.ClusterRef{KubeconfigSecretRef: &reconcile.KeyRef{Name: secret}}
}

// dir is a kubeconfigSecretDir with a kubeconfig in it.
func (p *planes) dir(kubeconfig string) *reconcile.ClusterRef {
	p.Helper()
	dir := p.TempDir()
	p.put(dir, kubeconfig)
	return &reconcile.ClusterRef{KubeconfigSecretDir: dir}
}

// put makes a kubeconfig the one of a directory, in one step as a mount does.
func (p *planes) put(dir, kubeconfig string) {
	p.Helper()
	text, err := os.ReadFile(kubeconfig)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, ".new"), text, 0o600)
	}
	if err == nil {
		err = os.Rename(filepath.Join(dir, ".new"), filepath.Join(dir, "value"))
	}
	if err != nil {
		p.Fatal(err)
	}
}

func (p *planes) secret(name, kubeconfig string) {
	p.Helper()
	text, err := os.ReadFile(kubeconfig)
	if err != nil {
		p.Fatal(err)
	}
	body := map[string]any{"metadata": map[string]any{"name": name}, "stringData": map[string]any{"value": string(text)}}
	if err := p.home.Do(p.Context(), http.MethodPost, "/api/v1/namespaces/"+p.ns+"/secrets", body, nil); err != nil {
		p.Fatal(err)
	}
}

// deadKubeconfig leads to somebody who takes connections and says nothing.
func (p *planes) deadKubeconfig() string {
	p.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { ln.Close() })
	text, err := os.ReadFile(p.far.Kubeconfig)
	if err != nil {
		p.Fatal(err)
	}
	file := filepath.Join(p.TempDir(), "dead")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), p.far.Server, "https://"+ln.Addr().String())), 0o600); err != nil {
		p.Fatal(err)
	}
	return file
}

func (p *planes) lateKubeconfig(latency time.Duration) string {
	door, kubeconfig := testenv.ClusterProxy(p.T, p.far)
	door.Play(proxy.Rule{Fault: proxy.Fault{Latency: latency}})
	return kubeconfig
}

// house opens a configuration with these apps.
func (p *planes) house(kubeconfig string, apps ...config.App) *House {
	p.Helper()
	credentials := p.TempDir()
	for key, value := range map[string]string{"username": "bot", "password": "secret"} {
		if err := os.WriteFile(filepath.Join(credentials, key), []byte(value), 0o600); err != nil {
			p.Fatal(err)
		}
	}
	cfg := &config.Config{Apply: apps, Repositories: []gitpush.Repository{{Name: name("fleet"), URL: p.git.URL(p.ns), Branch: "main", SecretDir: credentials}}}
	h := Open(cfg, Options{Kubeconfig: kubeconfig, Namespace: p.ns, DataDir: p.TempDir(), Log: zaptest.NewLogger(p.T, zaptest.Level(zap.WarnLevel))})
	h.clusters.every = 50 * time.Millisecond
	p.Cleanup(func() {
		if err := h.Close(); err != nil {
			p.Error(err)
		}
	})
	return h
}

// live brings a house to work.
func (p *planes) live(h *House) *live {
	p.Helper()
	l, err := h.bring(OpenDoors())
	if err != nil {
		p.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.Context()))
	over := make(chan struct{})
	go func() {
		defer close(over)
		l.run(ctx)
	}()
	p.Cleanup(func() {
		cancel()
		<-over
	})
	return l
}

// write puts a ConfigMap into an app's directory with the next commit.
func (p *planes) write(app, name, value string) {
	p.files[app+"/"+name+".yaml"] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {key: %q}\n", name, value)
}

// remove takes one out.
func (p *planes) remove(app, name string) { p.gone = append(p.gone, app+"/"+name+".yaml") }

// commit pushes what was written and removed, and wakes who looks for it.
func (p *planes) commit(l *live) {
	p.Helper()
	if _, err := p.git.Commit(p.ns, "change", p.files, p.gone...); err != nil {
		p.Fatal(err)
	}
	clear(p.files)
	p.gone = nil
	l.branches[name("fleet")].wake()
}

// has is the value of a ConfigMap on a cluster, "" where it is not.
func (p *planes) has(c *cluster.Cluster, name string) string {
	var o struct{ Data map[string]string }
	if c.Do(context.Background(), http.MethodGet, "/api/v1/namespaces/"+p.ns+"/configmaps/"+name, nil, &o) != nil {
		return ""
	}
	return o.Data["key"]
}

// await waits longer than anything takes, also on a busy machine.
func (p *planes) await(what string, ok func() bool) {
	p.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(deadline) {
			p.Fatalf("%s: not within a minute", what)
		}
		time.Sleep(10 * time.Millisecond) // between two looks
	}
}

func (p *planes) becomes(c *cluster.Cluster, name, want string) {
	p.Helper()
	p.await(name+" becomes "+want, func() bool { return p.has(c, name) == want })
}

// told waits until the status of an app says why.
func (p *planes) told(h *House, app, why string) {
	p.Helper()
	last := ""
	defer func() {
		if p.Failed() {
			p.Logf("app %s says: %s", app, last)
		}
	}()
	p.await(app+" tells "+why, func() bool {
		for _, s := range h.status.snapshot().Apps {
			if s.Name == p.ns+":"+app {
				last = s.Reason
			}
		}
		return strings.Contains(last, why)
	})
}

// C1: a cluster that takes connections and says nothing, or answers after half a
// minute, delays no app of another, however many of its own wait.
func (p *planes) slowCluster(kubeconfig string) {
	slow := p.dir(kubeconfig)
	apps := []config.App{p.app("here", nil), p.app("there", p.dir(p.far.Kubeconfig))}
	for i := range maxApplies + 4 {
		a := p.app(fmt.Sprintf("slow-%d", i), slow)
		apps = append(apps, a)
		p.write(a.Path, a.Path, "1")
	}
	l := p.live(p.house(p.home.Kubeconfig, apps...))
	for n := range 3 {
		value := fmt.Sprint(n)
		p.write("here", "here", value)
		p.write("there", "there", value)
		p.commit(l)
		began := time.Now()
		p.becomes(p.home, "here", value)
		p.becomes(p.far, "there", value)
		if took := time.Since(began); took > 10*time.Second {
			p.Errorf("revision %s took %v", value, took)
		}
	}
	// An object that leaves waits for no neighbour there either.
	p.write("here", "more", "1")
	p.commit(l)
	p.becomes(p.home, "more", "1")
	p.remove("here", "more")
	began := time.Now()
	p.commit(l)
	p.becomes(p.home, "more", "")
	if took := time.Since(began); took > 3*neighbourTimeout {
		p.Errorf("the prune took %v", took)
	}
}

// C1: while the cluster with the Secrets is away, others are kept as before.
func (p *planes) homeAway() {
	p.secret("far", p.far.Kubeconfig)
	door, kubeconfig := testenv.ClusterProxy(p.T, p.home)
	l := p.live(p.house(kubeconfig, p.app("there", p.ref("far"))))
	p.write("there", "there", "1")
	p.commit(l)
	p.becomes(p.far, "there", "1")
	door.Play(proxy.Rule{Fault: proxy.Fault{Status: http.StatusServiceUnavailable}})
	p.write("there", "there", "2")
	p.commit(l)
	p.becomes(p.far, "there", "2")
}

// A Secret that is missing fails its app alone, and is used once it is there.
func (p *planes) missingSecret() {
	h := p.house(p.home.Kubeconfig, p.app("here", nil), p.app("there", p.ref("far")))
	l := p.live(h)
	p.write("here", "here", "1")
	p.write("there", "there", "1")
	p.commit(l)
	p.becomes(p.home, "here", "1")
	p.told(h, "there", "apply there: cluster "+p.ns+":far: read secret "+p.ns+"/far: secrets \"far\" not found")
	p.secret("far", p.far.Kubeconfig)
	p.becomes(p.far, "there", "1")
}

// A kubeconfig that changes is used without restart: what is known of the
// cluster and its watches end with the old one, and no other app notices.
func (p *planes) rotated() {
	old, oldKubeconfig := testenv.ClusterProxy(p.T, p.far)
	at, steady := p.dir(oldKubeconfig), p.dir(p.far.Kubeconfig)
	h := p.house(p.home.Kubeconfig, p.app("turning", at), p.app("steady", steady))
	l := p.live(h)
	p.write("turning", "turning", "1")
	p.write("steady", "steady", "1")
	p.commit(l)
	p.becomes(p.far, "turning", "1")
	p.becomes(p.far, "steady", "1")
	bystander, err := h.engineOf(p.Context(), h.Config.Apply[1])
	if err != nil {
		p.Fatal(err)
	}
	p.put(at.KubeconfigSecretDir, p.far.Kubeconfig)
	p.await("the new kubeconfig is in use", func() bool {
		return l.lookout.count() == 2 && h.clusters.of(h.Config.Apply[0]).now().Server() == p.far.Server
	})
	old.Play(proxy.Rule{Fault: proxy.Fault{Status: http.StatusUnauthorized}})
	p.write("turning", "turning", "2")
	p.commit(l)
	p.becomes(p.far, "turning", "2")
	if again, err := h.engineOf(p.Context(), h.Config.Apply[1]); err != nil || again != bystander {
		p.Errorf("the other app has another engine: %v", err)
	}
	old.Forget()
	p.write("turning", "turning", "3")
	p.commit(l)
	p.becomes(p.far, "turning", "3")
	if all := old.Requests(); len(all) > 0 {
		p.Errorf("the old way is still used: %v", all)
	}

	p.put(at.KubeconfigSecretDir, p.temporary("apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"+
		"clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, interactiveMode: Never}}}]\n"))
	p.told(h, "turning", "exec would run a program where Hoist runs")
}

func (p *planes) temporary(text string) string {
	p.Helper()
	file := filepath.Join(p.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		p.Fatal(err)
	}
	return file
}

// An object that leaves an app is deleted although an app on another cluster has
// an equal one; that of an app on the same cluster is taken over.
func (p *planes) censusOfOneCluster() {
	h := p.house(p.home.Kubeconfig, p.app("here", nil), p.app("there", p.dir(p.far.Kubeconfig)), p.app("near", nil))
	l := p.live(h)
	for _, app := range []string{"here", "there"} {
		p.write(app, "both", "1")
	}
	p.write("here", "moves", "1")
	p.write("near", "stays", "1")
	p.commit(l)
	p.becomes(p.home, "moves", "1")
	p.becomes(p.home, "both", "1")
	p.becomes(p.far, "both", "1")
	uid := p.uid(p.home, "moves")
	p.remove("here", "both")
	p.remove("here", "moves")
	p.write("here", "rest", "1")
	p.write("near", "moves", "2")
	p.commit(l)
	p.becomes(p.home, "both", "")
	p.becomes(p.home, "moves", "2")
	if p.uid(p.home, "moves") != uid {
		p.Error("the object that moved was deleted and created again")
	}
	if p.has(p.far, "both") != "1" {
		p.Error("the object on the other cluster is gone")
	}
}

func (p *planes) uid(c *cluster.Cluster, name string) string {
	var o struct{ Metadata struct{ UID string } }
	if err := c.Do(p.Context(), http.MethodGet, "/api/v1/namespaces/"+p.ns+"/configmaps/"+name, nil, &o); err != nil {
		p.Fatal(err)
	}
	return o.Metadata.UID
}

// account makes a ServiceAccount that may do everything with ConfigMaps.
func (p *planes) account(c *cluster.Cluster, name string) {
	p.Helper()
	rbac := "/apis/rbac.authorization.k8s.io/v1/namespaces/" + p.ns
	for _, o := range []struct {
		path string
		body map[string]any
	}{
		{"/api/v1/namespaces/" + p.ns + "/serviceaccounts", map[string]any{}},
		{rbac + "/roles", map[string]any{"rules": []any{map[string]any{"apiGroups": []string{""}, "resources": []string{"configmaps"}, "verbs": []string{"*"}}}}},
		{rbac + "/rolebindings", map[string]any{
			"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
			"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": name, "namespace": p.ns}},
		}},
	} {
		o.body["metadata"] = map[string]any{"name": name}
		if err := c.Do(p.Context(), http.MethodPost, o.path, o.body, nil); err != nil {
			p.Fatal(err)
		}
	}
}

// Apps of two accounts on one cluster are neighbours: an object moves between
// them. What kinds there are is asked once for both.
func (p *planes) twoAccounts() {
	door, kubeconfig := testenv.ClusterProxy(p.T, p.far)
	left, right := p.app("left", p.dir(kubeconfig)), p.app("right", nil)
	right.Cluster = left.Cluster
	left.ServiceAccountName, right.ServiceAccountName = "left", "right"
	p.account(p.far, "left")
	p.account(p.far, "right")
	l := p.live(p.house(p.home.Kubeconfig, left, right))
	p.write("left", "moves", "1")
	p.write("left", "l", "1")
	p.write("right", "r", "1")
	p.commit(l)
	p.becomes(p.far, "moves", "1")
	p.becomes(p.far, "r", "1")
	uid := p.uid(p.far, "moves")
	p.remove("left", "moves")
	p.write("right", "moves", "2")
	p.write("left", "l", "2")
	p.commit(l)
	p.becomes(p.far, "moves", "2")
	p.becomes(p.far, "l", "2")
	if p.uid(p.far, "moves") != uid {
		p.Error("the object that moved was deleted and created again")
	}
	if n := l.lookout.count(); n != 2 {
		p.Errorf("%d engines, want one for each account", n)
	}
	if n := door.Count(func(r proxy.Request) bool { return r.Path == "/apis" }); n != 1 {
		p.Errorf("the kinds were asked for %d times, want once", n)
	}
}

// Two kubeconfigs may lead to one cluster: its identity tells.
func (p *planes) twoKubeconfigs() {
	_, through := testenv.ClusterProxy(p.T, p.far)
	apps := []config.App{
		p.app("here", nil), p.app("far", p.dir(p.far.Kubeconfig)), p.app("through", p.dir(through)), p.app("home", p.dir(p.home.Kubeconfig)),
		p.app("dead", p.dir(p.deadKubeconfig())), p.app("gone", &reconcile.ClusterRef{KubeconfigSecretDir: p.TempDir()}),
	}
	h := p.house(p.home.Kubeconfig, apps...)
	for app, want := range map[string]string{"here": "here home", "home": "here home", "far": "far through", "through": "far through", "dead": "dead", "gone": "gone"} {
		var got []string
		for _, a := range h.near(p.Context(), bump.Name{Namespace: p.ns, Name: app}, apps) {
			got = append(got, a.Name.Name)
		}
		if s := strings.Join(got, " "); s != want {
			p.Errorf("near %s are %q, want %q", app, s, want)
		}
	}
}

// C26: a kubeconfig that suddenly leads to another cluster begins anew there, and
// nothing of the old one is deleted; an inventory of the old one that was copied
// there is refused.
func (p *planes) anotherCluster() {
	at := p.dir(p.far.Kubeconfig)
	h := p.house(p.home.Kubeconfig, p.app("app", at))
	l := p.live(h)
	p.write("app", "one", "1")
	p.write("app", "two", "1")
	p.commit(l)
	p.becomes(p.far, "two", "1")
	p.await("the app is ready", func() bool { return h.status.snapshot().Apps[0].Ready })
	inventory := p.inventory(p.far, "app")
	p.put(at.KubeconfigSecretDir, p.home.Kubeconfig)
	p.becomes(p.home, "two", "1")
	p.remove("app", "two")
	p.commit(l)
	p.becomes(p.home, "two", "")
	if p.has(p.far, "one") != "1" || p.has(p.far, "two") != "1" || p.inventory(p.far, "app") != inventory {
		p.Error("something changed on the old cluster")
	}

	name := "hoist-" + p.ns + ".app"
	var cm map[string]any
	if err := p.far.Do(p.Context(), http.MethodGet, "/api/v1/namespaces/"+p.ns+"/configmaps/"+name, nil, &cm); err != nil {
		p.Fatal(err)
	}
	cm["metadata"] = map[string]any{"name": name, "namespace": p.ns}
	if err := p.home.Do(p.Context(), http.MethodPut, "/api/v1/namespaces/"+p.ns+"/configmaps/"+name, cm, nil); err != nil {
		p.Fatal(err)
	}
	p.write("app", "three", "1")
	p.commit(l)
	p.told(h, "app", "was written for another cluster")
	if p.has(p.home, "three") != "" {
		p.Error("something was applied all the same")
	}
}

// inventory is what a cluster remembers of an app.
func (p *planes) inventory(c *cluster.Cluster, app string) string {
	var o struct{ Data map[string]string }
	if err := c.Do(p.Context(), http.MethodGet, "/api/v1/namespaces/"+p.ns+"/configmaps/hoist-"+p.ns+"."+app, nil, &o); err != nil {
		p.Fatal(err)
	}
	return o.Data["state"] + o.Data["objects"]
}

// C1: who asks about all apps waits for a dead cluster once, and hears of the others.
func (p *planes) statusOfDead() {
	dead := p.dir(p.deadKubeconfig())
	apps := []config.App{p.app("there", p.dir(p.far.Kubeconfig))}
	for i := range 5 {
		apps = append(apps, p.app(fmt.Sprintf("dead-%d", i), dead))
	}
	h := p.house(p.home.Kubeconfig, apps...)
	l := p.live(h)
	p.write("there", "there", "1")
	p.commit(l)
	p.becomes(p.far, "there", "1")
	began := time.Now()
	all, err := p.house(p.home.Kubeconfig, apps...).Recorded(p.Context())
	if took := time.Since(began); took > reachTimeout+10*time.Second {
		p.Errorf("took %v", took)
	}
	if err == nil || len(all) != len(apps) || all[0].Err != nil || all[0].Inventory.Revision == "" {
		p.Fatalf("%v, %v", all, err)
	}
	for _, r := range all[1:] {
		if r.Err == nil || !strings.Contains(r.Err.Error(), "cluster "+filepath.Base(dead.KubeconfigSecretDir)) {
			p.Errorf("%s: %v", r.App.Name, r.Err)
		}
	}
}

// A house without a cluster of its own applies to others.
func (p *planes) noHome() {
	p.Setenv("KUBECONFIG", filepath.Join(p.TempDir(), "none"))
	h := p.house("", p.app("there", p.dir(p.far.Kubeconfig)))
	if asked, err := h.Controls(p.Context()); err != nil || len(asked) > 0 {
		p.Fatalf("controls: %v, %v", asked, err)
	}
	l := p.live(h)
	p.write("there", "there", "1")
	p.commit(l)
	p.becomes(p.far, "there", "1")
}

// Values of an app on another cluster come from home.
func (p *planes) substituteFromHome() {
	a := p.app("there", p.dir(p.far.Kubeconfig))
	a.PostBuild = &reconcile.PostBuild{SubstituteFrom: []reconcile.SubstituteSource{{Kind: "ConfigMap", Name: "region"}}}
	for c, region := range map[*cluster.Cluster]string{p.home: "right", p.far: "wrong"} {
		body := map[string]any{"metadata": map[string]any{"name": "region"}, "data": map[string]any{"region": region}}
		if err := c.Do(p.Context(), http.MethodPost, "/api/v1/namespaces/"+p.ns+"/configmaps", body, nil); err != nil {
			p.Fatal(err)
		}
	}
	l := p.live(p.house(p.home.Kubeconfig, a))
	p.write("there", "there", "${region}")
	p.commit(l)
	p.becomes(p.far, "there", "right")
}

// The Hoist of a region and one that applies there from elsewhere may have one
// name: neither takes the other's inventories for its own.
func (p *planes) twoHoists() {
	a := p.app("there", p.dir(p.far.Kubeconfig))
	a.DeletionPolicy = reconcile.DeletionDelete
	central := p.house(p.home.Kubeconfig, a)
	central.opt.Instance = "hoist"
	l := p.live(central)
	p.write("there", "there", "1")
	p.commit(l)
	p.becomes(p.far, "there", "1")

	its := p.app("its", nil)
	region := p.house(p.far.Kubeconfig, its)
	region.opt.Instance = "hoist"
	left, err := region.Leftovers(p.Context())
	if err != nil || len(left) != 1 || !strings.Contains(left[0].Stay, "it belongs to the Hoist called hoist of cluster ") {
		p.Errorf("leftovers of the region: %+v, %v", left, err)
	}
	other := p.app("other", a.Cluster)
	again := p.house(p.home.Kubeconfig, other)
	again.opt.Instance = "hoist"
	left, err = again.Leftovers(p.Context())
	if err != nil || len(left) != 1 || left[0].Stay != "" {
		p.Errorf("leftovers of the one that applied them: %+v, %v", left, err)
	}
}
