package reconcile

import (
	"context"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"sigs.k8s.io/kustomize/kyaml/openapi"

	"hoist/bump"
)

// tree makes a file system of pairs of path and content.
func tree(pairs ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return m
}

func configMap(name, value string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + "\ndata:\n  key: \"" + value + "\"\n"
}

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "registry.example.com/web:1.0.0"}]}
`

func names(s *Set) string {
	var all []string
	for _, m := range s.Objects {
		all = append(all, nameOf(m.Object).String()+"<"+m.File)
	}
	return strings.Join(all, " ")
}

func mustBuild(t testing.TB, fsys fstest.MapFS, a App) *Set {
	t.Helper()
	s, err := Build(t.Context(), fsys, a)
	if err != nil {
		t.Fatalf("Build(%q): %v", a.Path, err)
	}
	return s
}

func TestBuildOverlayWithDeprecatedSpellings(t *testing.T) {
	s := mustBuild(t, tree(
		"base/kustomization.yaml", "resources: [web.yaml]\ncommonLabels: {team: shop}\n",
		"base/web.yaml", deployment,
		"prod/kustomization.yaml", "bases: [../base]\nnamespace: shop\npatchesStrategicMerge: [replicas.yaml]\nimages: [{name: registry.example.com/web, newTag: 1.4.3}]\nconfigMapGenerator: [{name: conf, files: [app.conf]}]\n",
		"prod/replicas.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3}\n",
		"prod/app.conf", "a=b\n",
		"other/unread.yaml", "{{{",
	), App{Path: "./prod"})
	if got, want := names(s), "Deployment/shop/web<base/web.yaml ConfigMap/shop/conf-4bd4ckg6g7<prod/kustomization.yaml"; strings.Split(got, "conf-")[0] != strings.Split(want, "conf-")[0] || !strings.HasSuffix(got, "<prod/kustomization.yaml") {
		t.Errorf("objects = %s, want %s", got, want)
	}
	d := s.Objects[0].Object
	if got := d.GetLabels()["team"]; got != "shop" {
		t.Errorf("label team = %q, want shop", got)
	}
	if got := d.Object["spec"].(map[string]any)["replicas"]; got != int64(3) {
		t.Errorf("replicas = %v (%T), want int64 3", got, got)
	}
	if sel, _, _ := nested(d.Object, "spec", "selector", "matchLabels", "team"); sel != "shop" {
		t.Errorf("selector team = %v, want shop", sel)
	}
	if len(d.GetAnnotations()) != 0 {
		t.Errorf("annotations = %v, want none", d.GetAnnotations())
	}
	for _, f := range []string{"base/web.yaml", "prod/app.conf", "prod/kustomization.yml"} {
		if !s.Touches(f) {
			t.Errorf("Touches(%q) = false, want true", f)
		}
	}
	if s.Touches("other/unread.yaml") {
		t.Error("a file that was not read touches the set")
	}
	if got := strings.Join(s.Warnings, "\n"); !strings.Contains(got, `prod/kustomization.yaml: "bases" is deprecated`) {
		t.Errorf("warnings = %q, want one about bases", got)
	}
}

func TestBuildWithoutKustomizationFile(t *testing.T) {
	s := mustBuild(t, tree(
		"apps/a.yaml", configMap("a", "1"),
		"apps/sub/b.yml", configMap("b", "1"),
		"apps/k/kustomization.yaml", "resources: [c.yaml]\nnamePrefix: k-\n",
		"apps/k/c.yaml", configMap("c", "1"),
		"apps/.hidden/d.yaml", configMap("d", "1"),
		"apps/README.md", "# words",
	), App{Path: "apps", TargetNamespace: "there"})
	want := "ConfigMap/there/a<apps/a.yaml ConfigMap/there/k-c<apps/k/c.yaml ConfigMap/there/b<apps/sub/b.yml"
	if got := names(s); got != want {
		t.Errorf("objects = %s, want %s", got, want)
	}
	if !s.Touches("apps/new.yaml") || s.Touches("elsewhere/new.yaml") {
		t.Errorf("a new file below apps has to touch the set, and only that; dirs = %v", s.Dirs)
	}
	if got := names(mustBuild(t, tree("a.yaml", configMap("a", "1")), App{})); got != "ConfigMap/a<a.yaml" {
		t.Errorf("objects of the root = %s", got)
	}
	if got := mustBuild(t, tree("apps/README.md", "# words"), App{Path: "apps"}); len(got.Objects) != 0 {
		t.Errorf("objects of a directory without YAML = %s", names(got))
	}
}

// What would leave the tree is refused before kustomize sees it, and so is what
// would run, and what no cluster could take.
func TestB4B5B10BuildRefuses(t *testing.T) {
	cm := configMap("a", "1")
	for _, c := range []struct{ name, kustomization, want string }{
		{"http resource", "resources:\n- a.yaml\n- https://example.com/x.yaml\n", "prod/kustomization.yaml:3: resources[1]: \"https://example.com/x.yaml\": remote sources are not fetched"},
		{"git base", "bases: ['github.com/acme/base?ref=main']\n", "bases[0]"},
		{"scp base", "resources: ['git@example.com:acme/base']\n", "remote sources"},
		{"git:: base", "components: ['git::https://example.com/acme/base']\n", "components[0]"},
		{"absolute", "resources: [/etc/passwd]\n", "absolute paths are refused"},
		{"escape", "resources: [../../x.yaml]\n", "leaves the repository"},
		{"patch", "resources: [a.yaml]\npatches: [{path: 'http://example.com/p.yaml'}]\n", "patches[0].path"},
		{"json patch", "patchesJson6902: [{path: /p.yaml, target: {kind: X, name: x, version: v1}}]\n", "patchesJson6902[0].path"},
		{"merge patch", "patchesStrategicMerge: [../../p.yaml]\n", "patchesStrategicMerge[0]"},
		{"generator file", "configMapGenerator: [{name: c, files: ['k=/etc/passwd']}]\n", "configMapGenerator[0].files[0]"},
		{"generator env", "secretGenerator: [{name: c, envs: ['https://example.com/e']}]\n", "secretGenerator[0].envs[0]"},
		{"crds", "crds: [https://example.com/crd.json]\n", "crds[0]"},
		{"configurations", "configurations: [/c.yaml]\n", "configurations[0]"},
		{"openapi", "openapi: {path: https://example.com/s.json}\n", "openapi.path"},
		{"replacement", "replacements: [{path: /r.yaml}]\n", "replacements[0].path"},
		{"helm", "helmCharts: [{name: x, repo: https://example.com}]\n", "helm charts are not inflated"},
		{"exec transformer", "resources: [a.yaml]\ntransformers: [fn.yaml]\n", "external plugins disabled"},
		{"built-in transformer", "resources: [a.yaml]\ntransformers: [builtin.yaml]\n", "prod/builtin.yaml: PatchTransformer: \"https://example.com/p.yaml\""},
		{"inline generator", "generators:\n- |\n  apiVersion: builtin\n  kind: ConfigMapGenerator\n  metadata: {name: x}\n  files: [/etc/passwd]\n", "generators[0]"},
		{"missing file", "resources: [nothing.yaml]\n", "resources[0]: \"nothing.yaml\": no such file"},
		{"unknown field", "resource: [a.yaml]\n", "prod/kustomization.yaml: invalid Kustomization"},
		{"missing name", "resources: [noname.yaml]\n", "build prod: prod/noname.yaml: missing metadata.name in object"},
		{"missing kind", "resources: [../base]\n", "build prod: base/nokind.yaml: "},
		{"duplicate", "resources: [a.yaml, b.yaml]\n", "b.yaml"},
		{"sops", "resources: [secret.yaml]\n", "prod/secret.yaml:1: Secret/s is encrypted by SOPS"},
		{"sops value", "secretGenerator: [{name: c, files: [value.txt]}]\n", "data.value.txt is encrypted by SOPS"},
		{"symlink", "resources: [link.yaml]\n", "symbolic links"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys := tree("prod/kustomization.yaml", c.kustomization, "prod/a.yaml", cm, "prod/b.yaml", cm,
				"prod/fn.yaml", "apiVersion: v1\nkind: Fn\nmetadata:\n  name: x\n  annotations:\n    config.kubernetes.io/function: |\n      exec: {path: ./run.sh}\n",
				"prod/builtin.yaml", "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: x}\npath: https://example.com/p.yaml\n",
				"prod/noname.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n",
				"base/kustomization.yaml", "resources: [nokind.yaml]\n",
				"base/nokind.yaml", "apiVersion: v1\nmetadata: {name: x}\n",
				"prod/secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: 'ENC[AES256_GCM,data:x]'}\nsops: {mac: x}\n",
				"prod/value.txt", "ENC[AES256_GCM,data:x]",
			)
			fsys["prod/link.yaml"] = &fstest.MapFile{Data: []byte("a.yaml"), Mode: os.ModeSymlink}
			_, err := Build(t.Context(), fsys, App{Path: "prod"})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Build = %v, want an error with %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), treeRoot+"/") {
				t.Errorf("the error shows our own root: %v", err)
			}
		})
	}
}

// What only the top of a build decides is still decided by the app's own file.
func TestBuildSortAndMetadata(t *testing.T) {
	s := mustBuild(t, tree("prod/kustomization.yaml", "resources: [../base, sa.yaml]\nsortOptions: {order: fifo}\nbuildMetadata: [originAnnotations, managedByLabel]\n",
		"prod/sa.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: s}\n", "base/kustomization.yaml", "resources: [a.yaml]\n", "base/a.yaml", configMap("a", "1")), App{Path: "prod"})
	if got := names(s); got != "ConfigMap/a<base/a.yaml ServiceAccount/s<prod/sa.yaml" {
		t.Errorf("objects = %s", got)
	}
	o := s.Objects[0].Object
	if got := o.GetAnnotations()[originAnnotation]; got != "path: ../base/a.yaml\n" {
		t.Errorf("origin = %q, want the path from the app's directory", got)
	}
	if got := o.GetLabels()["app.kubernetes.io/managed-by"]; !strings.HasPrefix(got, "kustomize") {
		t.Errorf("managed-by = %q", got)
	}
	s = mustBuild(t, tree("kustomization.yaml", "resources: [a.yaml, ns.yaml]\nsortOptions: {order: legacy}\n",
		"a.yaml", configMap("a", "1"), "ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: space}\n"), App{})
	if got := names(s); got != "Namespace/space<ns.yaml ConfigMap/a<a.yaml" {
		t.Errorf("objects sorted = %s", got)
	}
}

// The example repository builds, in every environment.
func TestBuildExample(t *testing.T) {
	root, err := os.OpenRoot("../testdata/infrastructure")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, dir := range []string{"environments/dev", "environments/staging", "environments/production", "clusters/us-east-1"} {
		s, err := Build(t.Context(), root.FS(), App{Path: dir})
		if err != nil || len(s.Objects) < 2 {
			t.Errorf("%s: %v, %v", dir, s, err)
		}
	}
}

// A panic in kustomize is that build's error, and the next build works.
func TestB1PanicInThisProcess(t *testing.T) {
	_, err := Build(t.Context(), panicFS{tree("a.yaml", configMap("a", "1"))}, App{})
	if err == nil || !strings.Contains(err.Error(), "panicked") {
		t.Errorf("error = %v, want the panic", err)
	}
	mustBuild(t, tree("a.yaml", configMap("a", "1")), App{})
}

type panicFS struct{ fstest.MapFS }

func (panicFS) ReadFile(string) ([]byte, error) { panic("boom") }

// A path that is gone is an error, not an empty set.
func TestB6PathGone(t *testing.T) {
	_, err := Build(t.Context(), tree("a.yaml", configMap("a", "1")), App{Path: "apps"})
	if err == nil || err.Error() != "build apps: no such directory in the repository" {
		t.Errorf("Build of a missing directory: %v", err)
	}
}

// A build does not outlive its context.
func TestB2BuildCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Build(ctx, tree("a.yaml", configMap("a", "1")), App{}); err == nil {
		t.Error("Build with a cancelled context succeeded")
	}
}

// The schema that kustomize keeps is parsed once, and one build's own schema
// does not reach the next.
func TestBuildKeepsNoCustomSchema(t *testing.T) {
	schema := `{"definitions":{"com.example.v1.Fleet":{"type":"object","x-kubernetes-group-version-kind":[{"group":"example.com","kind":"Fleet","version":"v1"}],"properties":{"spec":{"type":"object"}}}}}`
	mustBuild(t, tree("kustomization.yaml", "resources: [a.yaml]\nopenapi: {path: schema.json}\n", "a.yaml", configMap("a", "1"), "schema.json", schema), App{})
	mustBuild(t, tree("a.yaml", configMap("a", "1")), App{})
	if v := openapi.GetSchemaVersion(); strings.Contains(v, "custom") {
		t.Errorf("schema after the build = %q", v)
	}
}

func TestScalarsAsKubectlReadsThem(t *testing.T) {
	s := mustBuild(t, tree("a.yaml", "apiVersion: example.com/v1\nkind: X\nmetadata: {name: x}\nspec: {a: yes, b: 'yes', c: 1, d: 1.5, e: 2020-01-01, f: 0x10, g: ~, h: \"1\", i: 1e3, j: true}\n"), App{})
	spec := s.Objects[0].Object.Object["spec"].(map[string]any)
	for k, want := range map[string]any{"a": true, "b": "yes", "c": int64(1), "d": 1.5, "e": "2020-01-01", "f": int64(16), "g": nil, "h": "1", "i": 1000.0, "j": true} {
		if got := spec[k]; got != want {
			t.Errorf("%s = %v (%T), want %v (%T)", k, got, got, want, want)
		}
	}
}

func TestAppCheck(t *testing.T) {
	good := App{Name: bump.Name{Namespace: "hoist", Name: "web"}, Repository: "r"}
	if f := good.Check(); len(f) != 0 {
		t.Errorf("Check = %v, want no fault", f)
	}
	if d := good.Within(); d != 9*time.Minute+30*time.Second {
		t.Errorf("Within = %v, want Flux's default of the interval less 30s", d)
	}
	bad := App{Name: bump.Name{Namespace: "hoist", Name: "we b"}, Path: "../x", Interval: -1, TargetNamespace: "A",
		HealthChecks: []HealthCheck{{Name: "x"}}, DependsOn: []DependencyRef{{Name: "we b"}, {}}}
	var fields []string
	for _, f := range bad.Check() {
		fields = append(fields, f.Field)
	}
	want := "repository name path interval targetNamespace healthChecks[0].apiVersion healthChecks[0].kind dependsOn[0].name dependsOn[1].name"
	if got := strings.Join(fields, " "); got != want {
		t.Errorf("faults at %s, want %s", got, want)
	}
}

func nested(m map[string]any, fields ...string) (any, bool, error) {
	var v any = m
	for _, f := range fields {
		v = v.(map[string]any)[f]
	}
	return v, v != nil, nil
}

// N5: kustomize would answer a name without value with a variable of this process.
func TestN5EnvFilesTakeNothingFromOurEnvironment(t *testing.T) {
	t.Setenv("HOIST_SECRET", "hunter2")
	for _, generator := range []string{"configMapGenerator", "secretGenerator"} {
		_, err := Build(t.Context(), tree("prod/kustomization.yaml", generator+": [{name: c, envs: [app.env]}]\n", "prod/app.env", "# one\nA=b\n\nHOIST_SECRET\n"), App{Path: "prod"})
		if err == nil || !strings.Contains(err.Error(), "prod/app.env:4 has a name without value") {
			t.Errorf("%s: %v, want a refusal with the line", generator, err)
		}
	}
}
