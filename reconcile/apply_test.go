package reconcile

import (
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestFirstApplyThenQuiet(t *testing.T) {
	f := newField(t)
	files := apps("a.yaml", configMap("a", "1"), "web.yaml", deployment)
	h := f.head()
	r, err := f.try(files, h)
	if err != nil {
		t.Fatal(err)
	}
	f.want(r, "created ConfigMap/a, created Deployment/web")
	if !r.Ready || r.Objects[0].File != "apps/a.yaml" || r.Objects[0].Object.Namespace != f.ns {
		t.Errorf("result = %+v, want Ready, with files and namespaces", r)
	}
	if got := f.recorded(); got != "ConfigMap/a Deployment/web" {
		t.Errorf("inventory = %s", got)
	}
	inv, _ := f.eng.Inventory(t.Context(), f.app.Name)
	if inv.Revision != h.String() || inv.Objects[0].UID != string(f.get(configMaps, "a").GetUID()) || inv.Applied.IsZero() || !inv.Ready {
		t.Errorf("inventory = %+v, want revision %s, UIDs, a time, ready", inv, h)
	}

	f.line.reset()
	r, err = f.try(files, h)
	if err != nil {
		t.Fatal(err)
	}
	f.want(r, "unchanged ConfigMap/a, unchanged Deployment/web")
	if n := f.line.writes(); n != 0 {
		t.Errorf("a quiet pass wrote %d times: %v", n, f.line.counts)
	}

	f.engine() // a restart forgets what was seen
	r, err = f.try(files, h)
	if err != nil {
		t.Fatal(err)
	}
	f.want(r, "unchanged ConfigMap/a, unchanged Deployment/web")
}

func TestOneChangeIsOneWrite(t *testing.T) {
	f := newField(t)
	f.apply(apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1")))
	f.line.reset()
	r := f.apply(apps("a.yaml", configMap("a", "2"), "b.yaml", configMap("b", "1")))
	f.want(r, "configured ConfigMap/a, unchanged ConfigMap/b")
	if f.line.counts["PATCH"] != 1 || f.value("a") != "2" {
		t.Errorf("requests = %v, a = %q; want one PATCH, a = 2", f.line.counts, f.value("a"))
	}
}

// C25: what kubectl changed or deleted is put right at the next pass.
func TestDriftIsCorrected(t *testing.T) {
	f := newField(t)
	files := apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1"), "c.yaml", configMap("c", "1"))
	h := f.head()
	if _, err := f.try(files, h); err != nil {
		t.Fatal(err)
	}
	f.edit("a", "key", "by hand")
	f.edit("b", "other", "by hand") // a field that is not ours
	if err := f.eng.client.Resource(configMaps).Namespace(f.ns).Delete(t.Context(), "c", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r, err := f.try(files, h)
	if err != nil {
		t.Fatal(err)
	}
	f.want(r, "configured ConfigMap/a, unchanged ConfigMap/b, created ConfigMap/c")
	if f.value("a") != "1" || f.value("c") != "1" {
		t.Errorf("a = %q, c = %q, want 1 and 1", f.value("a"), f.value("c"))
	}
	if other, _, _ := unstructured.NestedString(f.get(configMaps, "b").Object, "data", "other"); other != "by hand" {
		t.Errorf("a field of another manager became %q", other)
	}
	if got := strings.Join(f.logged("drift corrected"), " "); got != "ConfigMap/"+f.ns+"/a ConfigMap/"+f.ns+"/c" {
		t.Errorf("logged drift of %s", got)
	}
}

// Many objects are looked at with one list; what is missing there (deleted, or
// its labels taken away) is looked at again by itself.
func TestDriftAmongMany(t *testing.T) {
	f := newField(t)
	var pairs []string
	for _, n := range strings.Split("abcdefghij", "") {
		pairs = append(pairs, n+".yaml", configMap(n, "1"))
	}
	files, h := apps(pairs...), f.head()
	for _, restarted := range []bool{false, true} {
		if _, err := f.try(files, h); err != nil {
			t.Fatal(err)
		}
		f.edit("a", "key", "by hand")
		if err := f.eng.client.Resource(configMaps).Namespace(f.ns).Delete(t.Context(), "b", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c := f.get(configMaps, "c")
		c.SetLabels(nil)
		if _, err := f.eng.client.Resource(configMaps).Namespace(f.ns).Update(t.Context(), c, metav1.UpdateOptions{FieldManager: "kubectl-edit"}); err != nil {
			t.Fatal(err)
		}
		if restarted {
			f.engine()
		}
		f.line.reset()
		r, err := f.try(files, h)
		if err != nil {
			t.Fatal(err)
		}
		f.want(r, "configured ConfigMap/a, created ConfigMap/b, configured ConfigMap/c, unchanged ConfigMap/d, unchanged ConfigMap/e, unchanged ConfigMap/f, unchanged ConfigMap/g, unchanged ConfigMap/h, unchanged ConfigMap/i, unchanged ConfigMap/j")
		if !restarted && f.line.counts["GET"] > 4 { // inventory, list, b, c
			t.Errorf("requests = %v, want 4 GET", f.line.counts)
		}
		if got := f.owned(); got != "a b c d e f g h i j" {
			t.Errorf("config maps of the app = %s", got)
		}
		if got := strings.Join(f.logged("drift corrected"), " "); got != strings.ReplaceAll("ConfigMap/NS/a ConfigMap/NS/b ConfigMap/NS/c", "NS", f.ns) {
			t.Errorf("logged drift of %s", got)
		}
	}
}

func TestPruneOfARemovedObject(t *testing.T) {
	f := newField(t)
	f.apply(apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1")))
	r := f.apply(apps("a.yaml", configMap("a", "1")))
	f.want(r, "unchanged ConfigMap/a, deleted ConfigMap/b")
	if f.get(configMaps, "b") != nil {
		t.Error("b is still there")
	}
	if got := f.recorded(); got != "ConfigMap/a" {
		t.Errorf("inventory = %s, want a alone", got)
	}
}

func TestPruneOffKeepsTrack(t *testing.T) {
	f := newField(t)
	f.app.Prune = false
	f.apply(apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1")))
	f.want(f.apply(apps("a.yaml", configMap("a", "1"))), "unchanged ConfigMap/a")
	if got := f.recorded(); got != "ConfigMap/a ConfigMap/b(prune is off)" {
		t.Errorf("inventory = %s", got)
	}
	f.app.Prune = true
	f.want(f.apply(apps("a.yaml", configMap("a", "1"))), "unchanged ConfigMap/a, deleted ConfigMap/b")
}

// B6, B7: an empty or missing directory deletes nothing.
func TestEmptyBuildIsRefused(t *testing.T) {
	f := newField(t)
	f.apply(apps("a.yaml", configMap("a", "1")))
	for what, files := range map[string]map[string]string{
		"no objects": apps("README.md", "gone"),
		"no path":    {"elsewhere/a.yaml": configMap("a", "1")},
	} {
		f.line.reset()
		if _, err := f.try(files, f.head()); err == nil {
			t.Errorf("%s: Apply succeeded", what)
		}
		if n := f.line.writes(); n > 1 {
			t.Errorf("%s: %d writes, want at most the inventory's", what, n)
		}
	}
	if f.value("a") != "1" {
		t.Error("a was deleted")
	}
	f.app.AllowEmpty = true
	f.want(f.apply(apps("README.md", "gone")), "deleted ConfigMap/a")
}

// C10: what holds other things is not deleted unless it says so; and the
// object's own word, ours or Flux's, keeps it.
func TestPruneSpares(t *testing.T) {
	f := newField(t)
	claim := func(name, annotation string) string {
		return "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: " + name + "\n  annotations: {" + annotation + "}\nspec:\n  accessModes: [ReadWriteOnce]\n  resources: {requests: {storage: 1Mi}}\n"
	}
	annotated := func(name, annotation string) string {
		return strings.Replace(configMap(name, "1"), "metadata:\n", "metadata:\n  annotations: {"+annotation+"}\n", 1)
	}
	f.apply(apps("a.yaml", configMap("a", "1"), "keep.yaml", claim("keep", ""), "go.yaml", claim("go", "hoist/prune: enabled"),
		"ours.yaml", annotated("ours", "hoist/prune: disabled"), "flux.yaml", annotated("flux", "kustomize.toolkit.fluxcd.io/prune: disabled")))
	r := f.apply(apps("a.yaml", configMap("a", "1")))
	claims := gvr("", "v1", "persistentvolumeclaims")
	if f.get(claims, "keep") == nil || f.get(configMaps, "ours") == nil || f.get(configMaps, "flux") == nil {
		t.Errorf("a protected object was deleted: %s", actions(r))
	}
	if o := f.get(claims, "go"); o != nil && o.GetDeletionTimestamp() == nil {
		t.Errorf("the claim that may be pruned was not: %s", actions(r))
	}
	if got := f.recorded(); !strings.Contains(got, "PersistentVolumeClaim/keep(") || !strings.Contains(got, "ConfigMap/ours(") {
		t.Errorf("inventory = %s, want what was spared in it", got)
	}
}

func TestTwoApps(t *testing.T) {
	one, two := newField(t), newField(t)
	two.app.TargetNamespace, two.ns = one.ns, one.ns
	one.apply(apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1")))
	two.apply(apps("c.yaml", configMap("c", "1")))

	_, err := two.try(apps("c.yaml", configMap("c", "1"), "a.yaml", configMap("a", "2")), two.head())
	if err == nil || !strings.Contains(err.Error(), "apps/a.yaml:1: ConfigMap/"+one.ns+"/a belongs to app hoist:"+one.app.Name.Name) {
		t.Errorf("taking another app's object: %v", err)
	}
	if one.value("a") != "1" {
		t.Error("another app's object was changed")
	}
	// Removed from the one and from the two: only its owner deletes it.
	two.want(two.apply(apps("c.yaml", configMap("c", "1"))), "unchanged ConfigMap/c, skipped ConfigMap/a")
	if got := two.recorded(); got != "ConfigMap/c" {
		t.Errorf("inventory of two = %s", got)
	}
	one.want(one.apply(apps("b.yaml", configMap("b", "1"))), "unchanged ConfigMap/b, deleted ConfigMap/a")
}

// C16: every object of a stage is tried, and every error told with its file.
func TestC16ErrorsAreListed(t *testing.T) {
	f := newField(t)
	f.app.Atomic = new(false)
	bad := func(name string) string { return strings.ReplaceAll(configMap(name, "1"), `"1"`, "{a: 1}") }
	r, err := f.try(apps("a.yaml", bad("a"), "b.yaml", bad("b"), "c.yaml", configMap("c", "x"), "web.yaml", deployment), f.head())
	if err == nil || !strings.Contains(err.Error(), "apps/a.yaml:1: apply ConfigMap/") || !strings.Contains(err.Error(), "apps/b.yaml:1: apply ConfigMap/") {
		t.Errorf("error = %v, want both files", err)
	}
	f.want(r, "failed ConfigMap/a, failed ConfigMap/b, created ConfigMap/c, created Deployment/web")
	if r.Ready {
		t.Error("a failed apply is Ready")
	}
	inv, _ := f.eng.Inventory(t.Context(), f.app.Name)
	if inv.Ready || !strings.Contains(inv.Reason, "apps/a.yaml") || inv.Revision != "" {
		t.Errorf("inventory = %+v, want the reason and no revision", inv)
	}
	// The next good revision makes it right, and nothing is untracked.
	f.want(f.apply(apps("c.yaml", configMap("c", "x"))), "unchanged ConfigMap/c, deleted Deployment/web")
	if got := f.recorded(); got != "ConfigMap/c" {
		t.Errorf("inventory = %s", got)
	}
}

// C8: a definition and its first object in one set.
func TestDefinitionAndItsObject(t *testing.T) {
	f := newField(t)
	group := f.ns + ".example.com"
	crd := "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: fleets." + group + "}\nspec:\n  group: " + group +
		"\n  scope: Namespaced\n  names: {plural: fleets, singular: fleet, kind: Fleet, listKind: FleetList}\n  versions:\n  - name: v1\n    served: true\n    storage: true\n    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}\n"
	cr := "apiVersion: " + group + "/v1\nkind: Fleet\nmetadata: {name: one}\nspec: {size: 3}\n"
	files := apps("a-cr.yaml", cr, "crd.yaml", crd)
	f.want(f.apply(files), "created Fleet/one, created CustomResourceDefinition/fleets."+group)
	if o := f.get(gvr(group, "v1", "fleets"), "one"); o == nil {
		t.Fatal("the custom object is not there")
	}
	f.engine()
	f.want(f.apply(files), "unchanged Fleet/one, unchanged CustomResourceDefinition/fleets."+group)
	// The object goes, the definition stays.
	r := f.apply(apps("a.yaml", configMap("a", "1")))
	f.want(r, "created ConfigMap/a, deleted Fleet/one, skipped CustomResourceDefinition/fleets."+group)
}

func TestUnknownKind(t *testing.T) {
	f := newField(t)
	_, err := f.try(apps("a.yaml", configMap("a", "1"), "x.yaml", "apiVersion: example.com/v1\nkind: Nothing\nmetadata: {name: x}\n"), f.head())
	if err == nil || !strings.Contains(err.Error(), "apps/x.yaml:1: Nothing/"+f.ns+"/x: no matches for kind") {
		t.Errorf("error = %v, want the file and the kind", err)
	}
	if f.get(configMaps, "a") != nil {
		t.Error("something was applied")
	}
}

// C18: without the inventory nothing is applied.
func TestC18NoInventoryNoApply(t *testing.T) {
	f := newField(t)
	f.grant("configmaps", "get", "patch", "create", "update")
	cfg, err := RESTConfig(controlPlane(t).Kubeconfig, "")
	if err != nil {
		t.Fatal(err)
	}
	cfg.BearerToken = limitedToken
	limited := &field{t: t, ns: f.ns, app: f.app}
	limited.connect(cfg)
	limited.eng.cluster.uid = "known"
	_, err = limited.try(apps("a.yaml", configMap("a", "1")), f.head())
	if err == nil || !strings.Contains(err.Error(), "inventory "+f.ns+"-inv/hoist-") || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("error = %v, want that the inventory is forbidden", err)
	}
	if f.get(configMaps, "a") != nil {
		t.Error("an object was applied without inventory")
	}
}

// C18: what RBAC denies is listed, what it allows is applied.
func TestC18DenialsAreListed(t *testing.T) {
	f := newField(t)
	f.grant("configmaps", "get", "patch", "create", "update")
	cfg, err := RESTConfig(controlPlane(t).Kubeconfig, "")
	if err != nil {
		t.Fatal(err)
	}
	cfg.BearerToken = limitedToken
	limited := &field{t: t, ns: f.ns, app: f.app}
	limited.connect(cfg)
	limited.eng.namespace = f.ns // where it may write
	limited.eng.cluster.uid = "known"
	limited.app.Atomic = new(false)
	r, err := limited.try(apps("a.yaml", configMap("a", "1"), "s.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: s}\n"), f.head())
	if err == nil || !strings.Contains(err.Error(), "apps/s.yaml") || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("error = %v, want that s.yaml is forbidden", err)
	}
	f.want(r, "created ConfigMap/a, failed ServiceAccount/s")
}

// grant lets the limited user do verbs on resources in the field's namespace.
func (f *field) grant(resources string, verbs ...string) {
	f.t.Helper()
	c := controlPlane(f.t)
	base := "/apis/rbac.authorization.k8s.io/v1/namespaces/" + f.ns
	for path, body := range map[string]any{
		"/roles": map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": map[string]any{"name": "limited"},
			"rules": []any{map[string]any{"apiGroups": []string{""}, "resources": strings.Split(resources, ","), "verbs": verbs}}},
		"/rolebindings": map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": map[string]any{"name": "limited"},
			"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "limited"},
			"subjects": []any{map[string]any{"kind": "User", "name": "limited"}}},
	} {
		if err := c.Do(f.t.Context(), http.MethodPost, base+path, body, nil); err != nil {
			f.t.Fatal(err)
		}
	}
	// The authorizer learns of them a moment later.
	review := map[string]any{"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": map[string]any{"user": "limited",
		"resourceAttributes": map[string]any{"namespace": f.ns, "verb": verbs[0], "resource": strings.Split(resources, ",")[0]}}}
	f.eventually(10*time.Second, "the role is in force", func() bool {
		var out struct{ Status struct{ Allowed bool } }
		err := c.Do(f.t.Context(), http.MethodPost, "/apis/authorization.k8s.io/v1/subjectaccessreviews", review, &out)
		return err == nil && out.Status.Allowed
	})
}

// eventually waits for a condition that the cluster brings about.
func (f *field) eventually(limit time.Duration, what string, done func() bool) {
	f.t.Helper()
	deadline := time.Now().Add(limit)
	for !done() {
		if time.Now().After(deadline) {
			f.t.Fatalf("after %v it is not so that %s", limit, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestSuspendedAppIsLeftAlone(t *testing.T) {
	f := newField(t)
	f.app.Suspend = true
	f.line.reset()
	r := f.apply(apps("a.yaml", configMap("a", "1")))
	if len(f.line.counts) != 0 || r.Reason != "suspended" {
		t.Errorf("requests = %v, reason %q; want none, suspended", f.line.counts, r.Reason)
	}
}

// A inventory that came here with a backup of another cluster deletes nothing.
func TestInventoryOfAnotherCluster(t *testing.T) {
	f := newField(t)
	f.apply(apps("a.yaml", configMap("a", "1")))
	f.engine()
	f.eng.cluster.uid = "another"
	f.line.reset()
	if _, err := f.try(apps("b.yaml", configMap("b", "1")), f.head()); err == nil || !strings.Contains(err.Error(), "another cluster") {
		t.Errorf("error = %v, want that the inventory is another cluster's", err)
	}
	if n := f.line.writes(); n != 0 {
		t.Errorf("%d writes, want none", n)
	}
}

func TestSecretStringDataFollowsGit(t *testing.T) {
	f := newField(t)
	secret := func(data string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {" + data + "}\n"
	}
	f.apply(apps("s.yaml", secret("a: x, b: w")))
	f.apply(apps("s.yaml", secret("a: z")))
	data, _, _ := unstructured.NestedMap(f.get(gvr("", "v1", "secrets"), "s").Object, "data")
	if len(data) != 1 || data["a"] != "eg==" {
		t.Errorf("data = %v, want a=z alone", data)
	}
}
