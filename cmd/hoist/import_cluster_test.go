package main

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"hoist/config"
	"hoist/testenv/cluster"
)

// crd is as much of one of Flux's definitions as an API server needs.
const crd = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[1]s.%[2]s}
spec:
  group: %[2]s
  names: {plural: %[1]s, kind: %[3]s}
  scope: Namespaced
  versions:
  - {name: %[4]s, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
  - {name: v1alpha1, served: true, storage: false, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

var clusterObjects = []struct{ plural, group, kind, version, spec string }{
	{"gitrepositories", "source.toolkit.fluxcd.io", "GitRepository", "v1", "{url: https://git.example.com/acme/fleet, interval: 1m, ref: {branch: main}, secretRef: {name: git}}"},
	{"imagerepositories", "image.toolkit.fluxcd.io", "ImageRepository", "v1beta2", "{image: ghcr.io/acme/web, interval: 1m}"},
	{"imagepolicies", "image.toolkit.fluxcd.io", "ImagePolicy", "v1beta1", "{imageRepositoryRef: {name: web}, policy: {semver: {range: 1.x}}}"},
	{"kustomizations", "kustomize.toolkit.fluxcd.io", "Kustomization", "v1", "{sourceRef: {kind: GitRepository, name: web}, path: ./apps, interval: 10m, prune: true, decryption: {provider: sops, secretRef: {name: keys}, serviceAccountName: decrypts}}"},
}

// importFrom runs hoist import and returns what it prints.
func importFrom(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetErr(&err)
	code = run(t.Context(), root, append([]string{"import"}, args...))
	return code, out.String(), err.String()
}

// TestImportCluster imports from a real API server, before it knows Flux's kinds
// and after. Each kind is there in another version.
func TestImportCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a control plane")
	}
	c, err := cluster.Start(t.Context(), cluster.Options{APIOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	do := func(method, path string, body any) error { return c.Do(t.Context(), method, path, body, nil) }
	if code, _, stderr := importFrom(t, "--cluster", "--kubeconfig", c.Kubeconfig); code != 1 || !strings.Contains(stderr, "nothing to import") {
		t.Errorf("without Flux's kinds: exit %d, %s", code, stderr)
	}
	namespace, err := c.CreateNamespace(t.Context(), "import")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range clusterObjects {
		if err := do(http.MethodPost, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", fmt.Sprintf(crd, o.plural, o.group, o.kind, o.version)); err != nil {
			t.Fatal(err)
		}
		object := fmt.Sprintf("{apiVersion: %s/%s, kind: %s, metadata: {name: web}, spec: %s}", o.group, o.version, o.kind, o.spec)
		path := "/apis/" + o.group + "/" + o.version + "/namespaces/" + namespace + "/" + o.plural
		until(t, func() error { return do(http.MethodPost, path, object) })
	}
	if err := do(http.MethodPost, "/api/v1/namespaces/"+namespace+"/secrets", "{apiVersion: v1, kind: Secret, metadata: {name: git}, stringData: {password: hunter2}}"); err != nil {
		t.Fatal(err)
	}

	code, stdout, stderr := importFrom(t, "--cluster", "--kubeconfig", c.Kubeconfig, "--namespace", namespace)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	if want := "hoist: note: cluster: Kustomization/" + namespace + "/web spec.decryption.serviceAccountName: is not supported yet: suspended here"; !strings.Contains(stderr, want) {
		t.Errorf("notes:\n%s\nwant %s", stderr, want)
	}
	if strings.Contains(stdout+stderr, "hunter2") {
		t.Errorf("a secret is printed:\n%s%s", stdout, stderr)
	}
	got, err := config.Parse("imported", []byte(stdout))
	if err != nil {
		t.Fatalf("%v\nin:\n%s", err, stdout)
	}
	if want := "1 repository, 1 image, 1 policy, 1 app"; got.Summary() != want {
		t.Errorf("imported %s, want %s", got.Summary(), want)
	}
	if n := got.Policies[0].Name; n.Namespace != namespace {
		t.Errorf("policy %s: its namespace is lost", n)
	}
	if code, _, stderr := importFrom(t, "--cluster", "--kubeconfig", c.Kubeconfig, "--namespace", "elsewhere"); code != 1 || !strings.Contains(stderr, "nothing to import") {
		t.Errorf("in another namespace: exit %d, %s", code, stderr)
	}
}

// until tries until the API server serves a kind that it has just been told of.
func until(t *testing.T, try func() error) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	limit := time.After(waitLimit)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-limit:
			t.Fatal(err)
		}
	}
}
