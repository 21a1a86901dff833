package daemon

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"hoist/bump"
	"hoist/config"
	"hoist/scanner"
	"hoist/testenv"
	"hoist/testenv/cluster"
	"hoist/testenv/proxy"
	"hoist/testenv/registryserver"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// A thousand images with one ServiceAccount, scanned at once by a registry with
// passwords, cost one GET for the account and one for each of its secrets. A
// rotated secret is used at the scan after its rejection, without restart.
func TestPullSecretsOfAServiceAccount(t *testing.T) { // D9
	c := testenv.Cluster(t)
	namespace := testenv.Namespace(t, c)
	door, kubeconfig := testenv.ClusterProxy(t, c)
	registry := testenv.Registry(t, registryserver.Options{Auth: registryserver.Basic})
	if _, err := registry.Push(t.Context(), "acme/web:1.0.0", registryserver.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	w := wardrobe{t, c, namespace}
	w.put("elsewhere", `{"auths": {"ghcr.io": {"auth": "YTpi"}}}`)
	w.put("regcred", strings.ReplaceAll(string(registry.DockerConfig()), registry.Addr, registry.Addr+"/acme"))
	w.account("builder", "elsewhere", "gone", "regcred")

	clock := &testClock{at: time.Now()}
	h := Open(&config.Config{}, Options{
		Kubeconfig: kubeconfig, Log: zap.NewNop(), Now: clock.now,
		Scanner: scanner.New(scanner.Options{Concurrency: 50, PerSecond: -1, DockerConfig: filepath.Join(t.TempDir(), "none.json")}),
	})
	defer h.Close()
	src := h.Source(scanner.Image{
		Name: bump.Name{Namespace: namespace, Name: "web"}, Image: registry.Addr + "/acme/web", Insecure: true, ServiceAccountName: "builder",
	})
	var all sync.WaitGroup
	failed := make(chan error, 1000)
	for range 1000 {
		all.Go(func() {
			if _, err := h.scanner.Scan(t.Context(), src, "poll"); err != nil {
				failed <- err
			}
		})
	}
	all.Wait()
	close(failed)
	for err := range failed {
		t.Fatal(err)
	}
	if got := w.gets(door); got != "serviceaccounts/builder 1, secrets/elsewhere 1, secrets/gone 1, secrets/regcred 1" {
		t.Errorf("1000 scans cost these requests: %s; want one for the account and for each secret", got)
	}

	// A secret is rotated to a wrong one, and back: each is seen as soon as the
	// memory ends, or the registry rejects what is remembered.
	clock.pass(secretTTL)
	w.put("regcred", fmt.Sprintf(`{"auths": {%q: {"auth": "d3Jvbmc6d3Jvbmc="}}}`, registry.Addr))
	if _, err := h.scanner.Scan(t.Context(), src, "poll"); err == nil || !strings.Contains(err.Error(), "rejects the credentials from pull secret "+namespace+"/regcred") {
		t.Fatalf("scan with a wrong rotated secret: %v, want a rejection that names it", err)
	}
	w.put("regcred", string(registry.DockerConfig()))
	if _, err := h.scanner.Scan(t.Context(), src, "poll"); err != nil {
		t.Errorf("scan after the secret was put right: %v", err)
	}
}

// Two images, two namespaces: a ServiceAccount gives its secrets to its own
// namespace's images only.
func TestPullSecretsStayInTheirNamespace(t *testing.T) {
	c := testenv.Cluster(t)
	mine, theirs := testenv.Namespace(t, c), testenv.Namespace(t, c)
	wardrobe{t, c, theirs}.put("regcred", `{"auths": {"ghcr.io": {"auth": "YTpi"}}}`)
	wardrobe{t, c, theirs}.account("builder", "regcred")
	wardrobe{t, c, mine}.account("builder", "regcred")
	h := Open(&config.Config{}, Options{Kubeconfig: c.Kubeconfig, Log: zap.NewNop()})
	defer h.Close()
	for namespace, want := range map[string]bool{mine: false, theirs: true} {
		pulls, err := h.secrets.pullSecrets(namespace, "builder")(t.Context())
		if err != nil || len(pulls) != 1 || (pulls[0].Keys != nil) != want {
			t.Errorf("pull secrets of builder in %s = %v, %v; want one, there: %t", namespace, pulls, err, want)
		}
	}
}

// wardrobe keeps the secrets of a test's namespace.
type wardrobe struct {
	t         *testing.T
	cluster   *cluster.Cluster
	namespace string
}

func (w wardrobe) put(name, dockerConfig string) {
	w.t.Helper()
	w.apply("secrets", name, map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name},
		"type": "kubernetes.io/dockerconfigjson", "stringData": map[string]any{".dockerconfigjson": dockerConfig},
	})
}

func (w wardrobe) account(name string, pull ...string) {
	w.t.Helper()
	var refs []map[string]any
	for _, p := range pull {
		refs = append(refs, map[string]any{"name": p})
	}
	w.apply("serviceaccounts", name, map[string]any{
		"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": name}, "imagePullSecrets": refs,
	})
}

func (w wardrobe) apply(resource, name string, object map[string]any) {
	w.t.Helper()
	text, err := json.Marshal(object)
	if err != nil {
		w.t.Fatal(err)
	}
	path := fmt.Sprintf("/api/v1/namespaces/%s/%s/%s?fieldManager=test&force=true", w.namespace, resource, name)
	if err := w.cluster.Do(w.t.Context(), http.MethodPatch, path, string(text), nil); err != nil {
		w.t.Fatal(err)
	}
}

// gets counts the requests for what is in the namespace, in the order of first sight.
func (w wardrobe) gets(door *proxy.Proxy) string {
	counts := make(map[string]int)
	var order []string
	for _, r := range door.Requests() {
		if what, ok := strings.CutPrefix(r.Path, "/api/v1/namespaces/"+w.namespace+"/"); ok {
			if counts[what] == 0 {
				order = append(order, what)
			}
			counts[what]++
		}
	}
	for i, what := range order {
		order[i] = fmt.Sprintf("%s %d", what, counts[what])
	}
	return strings.Join(order, ", ")
}

// testClock is a time that a test moves.
type testClock struct {
	mu sync.Mutex
	at time.Time
}

func (c *testClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *testClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}
