package reconcile

import (
	"encoding/json"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"hoist/bump"
)

// kubectl creates an object as "kubectl apply" does on the client's side.
func (f *field) kubectl(manager, text string) *unstructured.Unstructured {
	f.t.Helper()
	set := mustBuild(f.t, tree("x/x.yaml", text), App{Path: "x"})
	o := set.Objects[0].Object
	if manager == "kubectl-client-side-apply" {
		b, _ := json.Marshal(o)
		o.SetAnnotations(map[string]string{"kubectl.kubernetes.io/last-applied-configuration": string(b)})
	}
	o.SetNamespace(f.ns)
	r, err := f.eng.kinds.resource(f.t.Context(), o.GroupVersionKind())
	if err != nil {
		f.t.Fatal(err)
	}
	at := f.eng.client.Resource(r.gvr).Namespace(f.ns)
	if manager == "kustomize-controller" {
		b, _ := json.Marshal(o)
		o, err = at.Patch(f.t.Context(), o.GetName(), types.ApplyPatchType, b, metav1.PatchOptions{FieldManager: manager})
	} else {
		o, err = at.Create(f.t.Context(), o, metav1.CreateOptions{FieldManager: manager})
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return o
}

const byHand = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {team: blue, kustomize.toolkit.fluxcd.io/name: apps}}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "registry.example.com/web:0.9.0", env: [{name: OLD, value: x}]}
      - {name: old, image: "registry.example.com/old:1"}
`

// What kubectl or Flux set and Git does not have goes when an app takes the object
// over; what others set stays, and so does everything with ssa: Merge.
func TestTakenOver(t *testing.T) {
	for _, manager := range []string{"kubectl-client-side-apply", "kubectl-create", "before-first-apply", "kustomize-controller"} {
		f := newField(t)
		f.kubectl(manager, byHand)
		f.mergePatch("deployments", "web", `{"metadata": {"annotations": {"other": "x"}}}`, "another-operator")
		files := apps("web.yaml", strings.Replace(deployment, "spec:\n", "spec:\n  replicas: 0\n", 1))
		ds, err := f.eng.Diff(t.Context(), f.app, tree("apps/web.yaml", files["apps/web.yaml"]), bump.Head{})
		if err != nil || len(ds) != 1 {
			t.Fatal(err, ds)
		}
		for _, want := range []string{"-    team: blue", "-      - image: registry.example.com/old:1", "-        - name: OLD"} {
			if !strings.Contains(ds[0].Diff, want) {
				t.Errorf("%s: diff has no %q:\n%s", manager, want, ds[0].Diff)
			}
		}
		f.want(f.apply(files), "configured Deployment/web")
		o := f.get(deployments, "web")
		containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
		if len(containers) != 1 || containers[0].(map[string]any)["env"] != nil || o.GetLabels()["team"] != "" || o.GetLabels()["kustomize.toolkit.fluxcd.io/name"] != "" {
			t.Errorf("%s: labels %v, containers %v: want Git's alone", manager, o.GetLabels(), containers)
		}
		if a := o.GetAnnotations(); a["other"] != "x" || a["kubectl.kubernetes.io/last-applied-configuration"] != "" {
			t.Errorf("%s: annotations = %v, want the other operator's alone", manager, a)
		}
		if heldByForeign(o.GetManagedFields()) {
			t.Errorf("%s: still holds fields", manager)
		}
	}
}

// A field that is left to others keeps the value that kubectl gave it.
func TestTakenOverWithIgnoredFields(t *testing.T) {
	f := newField(t)
	f.app.Ignore = []IgnoreRule{{Paths: []string{"/spec/replicas"}}}
	f.kubectl("kubectl-create", strings.Replace(byHand, "replicas: 0", "replicas: 3", 1))
	f.want(f.apply(apps("web.yaml", strings.Replace(deployment, "spec:\n", "spec:\n  replicas: 1\n", 1))), "configured Deployment/web")
	o := f.get(deployments, "web")
	if n, _, _ := unstructured.NestedInt64(o.Object, "spec", "replicas"); n != 3 || o.GetLabels()["team"] != "" {
		t.Errorf("replicas = %d, labels = %v; want 3 and nothing of kubectl's", n, o.GetLabels())
	}
}

func TestMergeLeavesWhatKubectlHas(t *testing.T) {
	f := newField(t)
	f.kubectl("kubectl-create", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {key: by hand, mine: stays}\n")
	merge := strings.Replace(configMap("a", "1"), "metadata:\n", "metadata:\n  annotations: {kustomize.toolkit.fluxcd.io/ssa: merge}\n", 1)
	f.want(f.apply(apps("a.yaml", merge)), "configured ConfigMap/a")
	if mine, _, _ := unstructured.NestedString(f.get(configMaps, "a").Object, "data", "mine"); mine != "stays" || f.value("a") != "1" {
		t.Errorf("mine = %q, key = %q", mine, f.value("a"))
	}
}

// Later additions of kubectl stay while Git says nothing new of the object; a
// commit that changes it ends them. A restart is no such commit.
func TestAdditionsOfKubectl(t *testing.T) {
	f := newField(t)
	mine := func() string {
		s, _, _ := unstructured.NestedString(f.get(configMaps, "a").Object, "data", "mine")
		return s
	}
	files := apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1"))
	f.watching(files)
	f.mergePatch("configmaps", "a", `{"data": {"mine": "x"}}`, "kubectl-edit")
	f.eventually(mended, "the watch saw it", func() bool {
		was, _ := f.eng.past(f.app.Name).get(key{"", "ConfigMap", f.ns, "a"})
		return was.edited
	})
	files["apps/b.yaml"] = configMap("b", "2")
	f.apply(files)
	f.engine()
	files["apps/b.yaml"] = configMap("b", "3")
	f.want(f.apply(files), "unchanged ConfigMap/a, configured ConfigMap/b")
	if mine() != "x" {
		t.Errorf("mine = %q, want x: nothing of the object was new in Git", mine())
	}
	files["apps/a.yaml"] = configMap("a", "2")
	ds, err := f.eng.Diff(t.Context(), f.app, tree("apps/a.yaml", files["apps/a.yaml"], "apps/b.yaml", files["apps/b.yaml"]), f.head())
	if err != nil || len(ds) != 1 || !strings.Contains(ds[0].Diff, "-  mine: x") {
		t.Errorf("diff = %v, %v; want that the addition would go", ds, err)
	}
	f.want(f.apply(files), "configured ConfigMap/a, unchanged ConfigMap/b")
	if mine() != "" {
		t.Errorf("mine = %q after Git changed the object", mine())
	}
}

// Of a Secret the inventory tells no digest: what this process knows is enough.
func TestAdditionsOfKubectlToASecret(t *testing.T) {
	f := newField(t)
	secret := func(v string) map[string]string {
		return apps("s.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {key: "+v+"}\n")
	}
	f.watching(secret("one"))
	f.mergePatch("secrets", "s", `{"stringData": {"mine": "x"}}`, "kubectl-edit")
	f.eventually(mended, "the watch saw it", func() bool {
		was, _ := f.eng.past(f.app.Name).get(key{"", "Secret", f.ns, "s"})
		return was.edited
	})
	f.apply(secret("two"))
	if data, _, _ := unstructured.NestedMap(f.get(gvr("", "v1", "secrets"), "s").Object, "data"); len(data) != 1 || data["key"] != "dHdv" {
		t.Errorf("data = %v, want key=two alone", data)
	}
}

// What admission filled in for kubectl cannot be taken out again: it stays.
func TestTakenOverClaim(t *testing.T) {
	f := newField(t)
	claims := gvr("", "v1", "persistentvolumeclaims")
	text := "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec:\n  accessModes: [ReadWriteOnce]\n  resources: {requests: {storage: 1Mi}}\n"
	f.kubectl("kubectl-create", strings.Replace(text, "spec:\n", "spec:\n  storageClassName: fast\n", 1))
	f.want(f.apply(apps("pvc.yaml", text)), "configured PersistentVolumeClaim/data")
	if class, _, _ := unstructured.NestedString(f.get(claims, "data").Object, "spec", "storageClassName"); class != "fast" {
		t.Errorf("class = %q, want fast", class)
	}
}
