package reconcile

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"hoist/bump"
)

var definitionsResource = gvr("apiextensions.k8s.io", "v1", "customresourcedefinitions")

// definition is a CustomResourceDefinition that takes every field.
func definition(group, kind string) string {
	plural := strings.ToLower(kind) + "s"
	return strings.NewReplacer("GROUP", group, "PLURAL", plural, "KIND", kind).Replace(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: PLURAL.GROUP}
spec:
  group: GROUP
  scope: Namespaced
  names: {plural: PLURAL, kind: KIND, listKind: KINDList}
  versions:
  - {name: v1, served: true, storage: true, subresources: {status: {}}, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`)
}

// undefine takes a definition out of the cluster after the test: others may
// bring it, too.
func (f *field) undefine(name string) {
	at := f.eng.client.Resource(definitionsResource)
	f.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for !apierrors.IsNotFound(at.Delete(ctx, name, metav1.DeleteOptions{})) && ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond) // between two looks
		}
	})
}

// condition is what a controller writes into an object's status.
func (f *field) condition(r schema.GroupVersionResource, name, kind, value, message string) {
	f.t.Helper()
	body := fmt.Sprintf(`{"status": {"observedGeneration": 1, "conditions": [{"type": %q, "status": %q, "message": %q, "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "r"}]}}`, kind, value, message)
	_, err := f.eng.client.Resource(r).Namespace(f.ns).Patch(f.t.Context(), name, types.MergePatchType, []byte(body), metav1.PatchOptions{FieldManager: "controller"}, "status")
	if err != nil {
		f.t.Fatal(err)
	}
}

// A custom resource is healthy when its expressions say so, while it is waited
// for and afterwards, and to an app that only checks it.
func TestHealthOfACustomResource(t *testing.T) {
	f := newField(t)
	group := f.ns + ".example.com"
	boxes := gvr(group, "v1", "boxs")
	f.app.Wait = true
	f.app.HealthCheckExprs = []HealthCheckExpr{{
		APIVersion: group + "/v1", Kind: "Box",
		Current: healthExpr(t, "status.conditions.exists(c, c.type == 'Filled' && c.status == 'True')"),
		Failed:  healthExpr(t, "status.conditions.exists(c, c.type == 'Filled' && c.status == 'False')"),
	}}
	box := "apiVersion: " + group + "/v1\nkind: Box\nmetadata: {name: b}\nspec: {size: 3}\n"
	files := apps("crd.yaml", definition(group, "Box"), "box.yaml", box)
	h := f.watching(files)

	f.app.Timeout = bump.Duration(time.Second)
	r, err := f.try(files, h)
	if err != nil {
		t.Fatal(err)
	}
	r = f.health(t.Context(), r)
	if want := `Box/` + f.ns + `/b: InProgress: failed: "status.conditions.exists(`; r.Ready || !strings.Contains(r.Reason, want) || !strings.Contains(r.Reason, "no such key: status") && !strings.Contains(r.Reason, "no such attribute") {
		t.Errorf("before its status: health = %v %q, want %q and the missing field", r.Ready, r.Reason, want)
	}

	watcher := newField(t)
	watcher.eng, watcher.app.HealthCheckExprs = f.eng, f.app.HealthCheckExprs
	watcher.app.HealthChecks = []HealthCheck{{APIVersion: group + "/v1", Kind: "Box", Name: "b", Namespace: f.ns}}
	f.eng.Follow(watcher.app, func() {})
	watcher.apply(apps("a.yaml", configMap("a", "1")))

	unwell := func(of *field) string {
		failed, pending := f.eng.Unwell(of.app)
		return fmt.Sprint(len(failed), len(pending), failed, pending)
	}
	f.condition(boxes, "b", "Filled", "False", "the lid\nis shut")
	for _, of := range []*field{f, watcher} {
		f.eventually(20*time.Second, "it has failed", func() bool {
			return strings.HasPrefix(unwell(of), "1 0 [Box/"+f.ns+"/b: Failed: Filled: the lid is shut")
		})
	}
	f.condition(boxes, "b", "Filled", "True", "")
	for _, of := range []*field{f, watcher} {
		f.eventually(20*time.Second, "it is well", func() bool { return strings.HasPrefix(unwell(of), "0 0") })
	}
	if r = f.health(t.Context(), r); !r.Ready {
		t.Errorf("health = %q", r.Reason)
	}
}

// An ExternalSecret and its definition in one set: the definition first, and
// healthy only when its condition says so.
func TestHealthOfAnExternalSecret(t *testing.T) {
	f := newField(t)
	const group = "external-secrets.io"
	f.undefine("externalsecrets." + group)
	f.app.Wait, f.app.Timeout = true, bump.Duration(30*time.Second)
	secret := "apiVersion: " + group + "/v1\nkind: ExternalSecret\nmetadata: {name: login}\nspec: {refreshInterval: 1h}\n"
	files := apps("a.yaml", secret, "crd.yaml", definition(group, "ExternalSecret"))
	h := f.watching(files)
	unwell := func() string { failed, pending := f.eng.Unwell(f.app); return fmt.Sprint(failed, pending) }
	f.eventually(20*time.Second, "nobody answered for it yet", func() bool {
		return strings.HasPrefix(unwell(), "[] [ExternalSecret/"+f.ns+"/login: InProgress: condition Ready is not set yet: is its controller running?]")
	})
	external := gvr(group, "v1", "externalsecrets")
	f.condition(external, "login", "Ready", "False", "could not get secret data from provider")
	f.eventually(20*time.Second, "it is told why", func() bool { return strings.Contains(unwell(), "could not get secret data from provider") })
	f.condition(external, "login", "Ready", "True", "secret synced")
	r, err := f.try(files, h)
	if err != nil {
		t.Fatal(err)
	}
	if r = f.health(t.Context(), r); !r.Ready {
		t.Errorf("health = %q", r.Reason)
	}
	f.eventually(20*time.Second, "it stays well", func() bool { return unwell() == "[] []" })
}

// C8: a custom object before its definition: told, nothing applied, and right as
// soon as somebody brings the definition.
func TestC8DefinitionComesLater(t *testing.T) {
	f := newField(t)
	group := f.ns + ".example.com"
	files := apps("a.yaml", configMap("a", "1"), "box.yaml", "apiVersion: "+group+"/v1\nkind: Box\nmetadata: {name: b}\n")
	h := f.head()
	_, err := f.try(files, h)
	if want := "its CustomResourceDefinition is not in the cluster; tried again by itself"; err == nil || !strings.Contains(err.Error(), "apps/box.yaml:1: Box/") || !strings.Contains(err.Error(), want) {
		t.Errorf("error = %v, want %q", err, want)
	}
	other := newField(t)
	other.eng = f.eng
	other.apply(apps("crd.yaml", definition(group, "Box")))
	var r bump.Result
	f.eventually(20*time.Second, "the kind is served", func() bool { r, err = f.try(files, h); return err == nil })
	f.want(r, "created ConfigMap/a, created Box/b")
}

// C11: a namespace that is being deleted refuses everything alike: one line says
// so, and when it is gone it is brought again with all that was in it.
func TestC11NamespaceTerminating(t *testing.T) {
	f := newField(t)
	namespaces := f.eng.client.Resource(namespaces)
	name := f.ns + "-doomed"
	f.app.TargetNamespace = ""
	in := func(s string) string {
		return strings.Replace(s, "metadata:\n", "metadata:\n  namespace: "+name+"\n", 1)
	}
	files := apps("a.yaml", in(configMap("a", "1")), "b.yaml", in(configMap("b", "1")),
		"ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+name+"}\n")
	f.apply(files)
	// A finalizer of somebody else's keeps it from going at once.
	hold := func(finalizers string) {
		body := `{"metadata": {"finalizers": ` + finalizers + `}}`
		if _, err := f.eng.client.Resource(configMaps).Namespace(name).Patch(t.Context(), "a", types.MergePatchType, []byte(body), metav1.PatchOptions{FieldManager: "other"}); err != nil {
			t.Fatal(err)
		}
	}
	hold(`["example.com/wait"]`)
	if err := namespaces.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	gone := func() bool {
		_, err := f.eng.client.Resource(configMaps).Namespace(name).Get(t.Context(), "b", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}
	f.eventually(60*time.Second, "b is gone", gone)

	more := apps("c.yaml", in(configMap("c", "1")), "d.yaml", in(configMap("d", "1")))
	for path, text := range files {
		more[path] = text
	}
	_, err := f.try(more, f.head())
	want := "namespace " + name + " is being deleted: until it is gone nothing can be created in it (2 objects wait, the first is apps/c.yaml:1: ConfigMap/" + name + "/c); tried again by itself"
	if err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
	hold("[]")
	f.eventually(60*time.Second, "the namespace is gone", func() bool {
		_, err := namespaces.Get(t.Context(), name, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	// What is new goes first, which finds that it is gone; then the namespace does.
	if _, err = f.try(more, f.head()); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("error = %v, want that the namespace is not there", err)
	}
	f.apply(more)
	for _, n := range []string{"a", "b", "c", "d"} {
		o, err := f.eng.client.Resource(configMaps).Namespace(name).Get(t.Context(), n, metav1.GetOptions{})
		if err != nil {
			t.Fatalf("%s: %v", n, err)
		}
		if v, _, _ := unstructured.NestedString(o.Object, "data", "key"); v != "1" {
			t.Errorf("%s holds %q", n, v)
		}
	}
}

// A kind that has no health of its own, and of which watches see the metadata
// only, is seen whole as soon as an app has expressions for it.
func TestHealthOfAConfigMap(t *testing.T) {
	f := newField(t)
	f.watching(apps("a.yaml", configMap("a", "1")))
	asks := newField(t)
	asks.eng, asks.ns, asks.app.TargetNamespace = f.eng, f.ns, f.ns
	asks.app.Wait = true
	asks.app.HealthCheckExprs = []HealthCheckExpr{{APIVersion: "v1", Kind: "ConfigMap", Current: healthExpr(t, "has(data.open) && data.open == 'yes'")}}
	f.eng.Follow(asks.app, func() {})
	asks.apply(apps("b.yaml", configMap("b", "1")))
	unwell := func() string { failed, pending := f.eng.Unwell(asks.app); return fmt.Sprint(failed, pending) }
	if want := "[] [ConfigMap/" + f.ns + "/b: InProgress: current is not true yet]"; unwell() != want {
		t.Errorf("unwell = %s, want %s", unwell(), want)
	}
	asks.edit("b", "open", "yes")
	f.eventually(20*time.Second, "it is well", func() bool { return unwell() == "[] []" })
	asks.edit("b", "open", "no")
	f.eventually(20*time.Second, "it is not", func() bool { return unwell() != "[] []" })
}
