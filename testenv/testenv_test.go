package testenv

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"hoist/testenv/cluster"
	"hoist/testenv/gitserver"
	"hoist/testenv/proxy"
	"hoist/testenv/registryserver"
)

func TestMain(m *testing.M) { Main(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSharedClusterIsOne(t *testing.T) {
	a, b := Cluster(t), Cluster(t)
	if a != b {
		t.Error("two clusters")
	}
	if one, two := Namespace(t, a), Namespace(t, a); one == two {
		t.Errorf("namespace %s twice", one)
	}
}

// pod is what a test reads of one.
type pod struct {
	Status struct {
		Phase             string
		ContainerStatuses []struct {
			Ready   bool
			ImageID string
			State   struct {
				Waiting struct{ Reason, Message string }
			}
		}
	}
}

// TestPodsAskTheRegistry: with ResolveImages a pod is as good as its image is.
func TestPodsAskTheRegistry(t *testing.T) {
	open := Registry(t, registryserver.Options{})
	guarded := Registry(t, registryserver.Options{Auth: registryserver.Bearer, TLS: true})
	c := NewCluster(t, cluster.Options{ResolveImages: true, RegistryCA: guarded.CAFile})
	there, err := open.Push(t.Context(), "acme/web:1", registryserver.PushOptions{})
	must(t, err)
	secret, err := guarded.Push(t.Context(), "acme/web:1", registryserver.PushOptions{})
	must(t, err)

	run := func(name, image, pullSecret string) {
		t.Helper()
		must(t, c.Do(t.Context(), http.MethodPost, "/api/v1/namespaces/default/pods", fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  containers: [{name: main, image: %q}]
  imagePullSecrets: [{name: %q}]
`, name, image, pullSecret), nil))
	}
	becomes := func(name, want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			var p pod
			must(t, c.Do(ctx, http.MethodGet, "/api/v1/namespaces/default/pods/"+name, nil, &p))
			if strings.Contains(fmt.Sprintf("%+v", p.Status), want) {
				return
			}
			select {
			case <-ctx.Done():
				t.Fatalf("pod %s: %+v, want %s", name, p.Status, want)
			case <-tick.C:
			}
		}
	}
	must(t, c.Do(t.Context(), http.MethodPost, "/api/v1/namespaces/default/secrets", fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: pull}
type: kubernetes.io/dockerconfigjson
data: {.dockerconfigjson: %s}
`, base64.StdEncoding.EncodeToString(guarded.DockerConfig())), nil))

	run("there", open.Image("acme/web:1"), "none")
	run("missing", open.Image("acme/web:2"), "none")
	run("private", guarded.Image("acme/web:1"), "none")
	run("allowed", guarded.Image("acme/web:1"), "pull")
	becomes("there", "Ready:true ImageID:"+open.Image("acme/web@"+there))
	becomes("missing", "Reason:ImagePullBackOff")
	becomes("missing", "MANIFEST_UNKNOWN")
	becomes("private", "UNAUTHORIZED")
	becomes("allowed", "Ready:true ImageID:"+guarded.Image("acme/web@"+secret))

	late, err := open.Push(t.Context(), "acme/web:2", registryserver.PushOptions{})
	must(t, err)
	becomes("missing", "Ready:true ImageID:"+open.Image("acme/web@"+late))
}

// TestClusterBehindProxy: the API server answers through it, until it does not.
func TestClusterBehindProxy(t *testing.T) {
	p, kubeconfig := ClusterProxy(t, Cluster(t))
	c, err := cluster.Open(kubeconfig)
	must(t, err)
	ns := Namespace(t, c)
	if got := p.Writes(); got != 1 {
		t.Errorf("%d writes for one namespace", got)
	}
	p.Play(proxy.Rule{Prefix: "/api/v1/namespaces/" + ns, Times: 1, Fault: proxy.Fault{Status: 429, Header: http.Header{"Retry-After": {"1"}}}})
	get := func() error { return c.Do(t.Context(), http.MethodGet, "/api/v1/namespaces/"+ns, nil, nil) }
	if err := get(); err == nil || !strings.Contains(err.Error(), "429") {
		t.Errorf("through a fault: %v", err)
	}
	must(t, get())
	if got := p.Count(func(r proxy.Request) bool { return !r.Authorized }); got != 0 {
		t.Errorf("%d requests without a token", got)
	}
}

// TestGitBehindProxy: a server that says yes to a push and is cut off.
func TestGitBehindProxy(t *testing.T) {
	g := Git(t, gitserver.Options{Users: map[string]string{"bot": "pw"}})
	must(t, g.Init("fleet", map[string]string{"a": "b"}))
	p := Proxy(t, strings.TrimSuffix(g.URL("fleet"), "/fleet.git"), nil)
	p.Play(proxy.Rule{Method: "GET", URI: regexp.MustCompile("service=git-receive-pack"), Fault: proxy.Fault{Cut: proxy.CutAfter}})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL()+"/fleet.git/info/refs?service=git-receive-pack", nil)
	must(t, err)
	req.SetBasicAuth("bot", "pw")
	req.Close = true
	if res, err := http.DefaultClient.Do(req); err == nil {
		t.Errorf("an answer: %s", res.Status)
	}
}

func TestRegistryBehindProxy(t *testing.T) {
	r := LocalRegistry(t, registryserver.InProcessOptions{PageSize: 2})
	_, err := r.Push(t.Context(), "acme/web:1", registryserver.PushOptions{})
	must(t, err)
	must(t, r.Tag(t.Context(), "acme/web:1", "2", "3"))
	p := Proxy(t, r.URL(), nil)
	through := *r.Client
	through.Host = p.Addr()
	tags, err := through.Tags(t.Context(), "acme/web")
	if err != nil || len(tags) != 3 {
		t.Errorf("tags %v, %v", tags, err)
	}
	if got := p.Count(func(r proxy.Request) bool { return strings.HasSuffix(r.Path, "/tags/list") }); got != 2 {
		t.Errorf("%d pages were asked for", got)
	}
	p.Play(proxy.Rule{URI: regexp.MustCompile("last="), Fault: proxy.Fault{TruncateBody: 10}})
	if tags, err := through.Tags(t.Context(), "acme/web"); err == nil {
		t.Errorf("a cut second page gave %v", tags)
	}
}

// TestSharedByVariable: a second process of the run takes the first one's.
func TestSharedByVariable(t *testing.T) {
	c := Cluster(t)
	shared.Lock()
	shared.cluster = nil
	shared.Unlock()
	t.Cleanup(func() {
		shared.Lock()
		shared.cluster = c
		shared.Unlock()
	})
	t.Setenv(KubeconfigVariable, c.Kubeconfig)
	other := Cluster(t)
	if other == c || other.Server != c.Server || other.Pid != 0 {
		t.Errorf("%+v is not the cluster at %s", other, c.Server)
	}
	must(t, Stop()) // stops nothing: it is not ours
	must(t, c.Do(t.Context(), http.MethodGet, "/readyz", nil, nil))
}
