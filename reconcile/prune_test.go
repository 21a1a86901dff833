package reconcile

import (
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hoist/bump"
)

// An object with a finalizer is told as deleted once, and stays in the inventory
// until it is gone.
func TestPruneWaitsForFinalizers(t *testing.T) {
	f := newField(t)
	held := strings.Replace(configMap("b", "1"), "metadata:\n", "metadata:\n  finalizers: [example.com/hold]\n", 1)
	f.apply(apps("a.yaml", configMap("a", "1"), "b.yaml", held))
	only := apps("a.yaml", configMap("a", "1"))
	f.want(f.apply(only), "unchanged ConfigMap/a, deleted ConfigMap/b")
	f.want(f.apply(only), "unchanged ConfigMap/a, skipped ConfigMap/b")
	if got := f.recorded(); got != "ConfigMap/a ConfigMap/b(is being deleted)" {
		t.Errorf("inventory = %s", got)
	}
	if !f.eng.past(f.app.Name).restless() {
		t.Error("nobody looks again whether b is gone")
	}
	b := f.get(configMaps, "b")
	b.SetFinalizers(nil)
	if _, err := f.eng.client.Resource(configMaps).Namespace(f.ns).Update(t.Context(), b, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.want(f.apply(only), "unchanged ConfigMap/a")
	if got := f.recorded(); got != "ConfigMap/a" || f.eng.past(f.app.Name).restless() {
		t.Errorf("inventory = %s, or another look is due without a reason", got)
	}
}

// What somebody deleted and made anew is not ours to delete.
func TestPruneLeavesReplacedObjects(t *testing.T) {
	f := newField(t)
	f.apply(apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1")))
	if err := f.eng.client.Resource(configMaps).Namespace(f.ns).Delete(t.Context(), "b", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.create("b")
	f.want(f.apply(apps("a.yaml", configMap("a", "1"))), "unchanged ConfigMap/a, skipped ConfigMap/b")
	if f.get(configMaps, "b") == nil || f.recorded() != "ConfigMap/a" {
		t.Errorf("b was deleted, or is still recorded: %s", f.recorded())
	}
}

// create makes a config map that is nobody's.
func (f *field) create(name string) {
	f.t.Helper()
	err := controlPlane(f.t).Do(f.t.Context(), http.MethodPost, "/api/v1/namespaces/"+f.ns+"/configmaps",
		map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name}}, nil)
	if err != nil {
		f.t.Fatal(err)
	}
}

// C15: a label of ours on an object that the inventory does not name, as when an
// operator copies labels to its children, makes nobody delete it.
func TestC15LabelsDeleteNothing(t *testing.T) {
	f := newField(t)
	f.apply(apps("a.yaml", configMap("a", "1")))
	f.create("child")
	child := f.get(configMaps, "child")
	mark(child, f.app.Name)
	if _, err := f.eng.client.Resource(configMaps).Namespace(f.ns).Update(t.Context(), child, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.apply(apps("b.yaml", configMap("b", "1")))
	if f.get(configMaps, "child") == nil {
		t.Error("an object was deleted for its labels")
	}
}

// An aggregated API whose server is down has not lost its objects: they stay in
// the inventory. A kind that is really gone takes its objects with it.
func TestPruneOfKindsThatDoNotAnswer(t *testing.T) {
	f := newField(t)
	f.apply(apps("a.yaml", configMap("a", "1")))
	group := f.ns + ".example.com"
	c := controlPlane(t)
	path := "/apis/apiregistration.k8s.io/v1/apiservices"
	err := c.Do(t.Context(), http.MethodPost, path, map[string]any{"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
		"metadata": map[string]any{"name": "v1." + group},
		"spec": map[string]any{"group": group, "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10, "insecureSkipTLSVerify": true,
			"service": map[string]any{"name": "nothing", "namespace": f.ns}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Do(t.Context(), http.MethodDelete, path+"/v1."+group, nil, nil) })
	f.eventually(20*time.Second, "the group is announced", func() bool {
		return c.Do(t.Context(), http.MethodGet, "/apis/"+group, nil, nil) == nil
	})
	inv, err := f.eng.inventory(t.Context(), f.app.Name)
	if err != nil {
		t.Fatal(err)
	}
	inv.Objects = append(inv.Objects,
		Entry{Object: bump.Object{APIVersion: group + "/v1", Kind: "Remote", Namespace: f.ns, Name: "x"}, UID: "1"},
		Entry{Object: bump.Object{APIVersion: "never." + group + "/v1", Kind: "Gone", Namespace: f.ns, Name: "x"}, UID: "1"})
	if err := f.eng.write(t.Context(), inv); err != nil {
		t.Fatal(err)
	}
	_, err = f.try(apps("a.yaml", configMap("a", "1")), f.head())
	if err == nil || !strings.Contains(err.Error(), "delete Remote/"+f.ns+"/x") {
		t.Errorf("error = %v, want that Remote could not be deleted", err)
	}
	if got := f.recorded(); !strings.Contains(got, "Remote/x(could not be deleted") || strings.Contains(got, "Gone/x") {
		t.Errorf("inventory = %s, want Remote in it and Gone not", got)
	}
}

// C10: a CustomResourceDefinition that left Git stays, and so do the objects of its kind.
func TestC10DefinitionsStay(t *testing.T) {
	f := newField(t)
	group := f.ns + ".example.com"
	crd := "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: fleets." + group + "}\nspec:\n  group: " + group +
		"\n  scope: Namespaced\n  names: {plural: fleets, singular: fleet, kind: Fleet, listKind: FleetList}\n  versions:\n  - name: v1\n    served: true\n    storage: true\n    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}\n"
	one := apps("one.yaml", "apiVersion: "+group+"/v1\nkind: Fleet\nmetadata: {name: one}\n", "crd.yaml", crd)
	f.apply(one)
	uid := f.get(gvr(group, "v1", "fleets"), "one").GetUID()
	delete(one, "apps/crd.yaml")
	for range 2 {
		f.want(f.apply(one), "unchanged Fleet/one, skipped CustomResourceDefinition/fleets."+group)
		if o := f.get(gvr(group, "v1", "fleets"), "one"); o == nil || o.GetUID() != uid {
			t.Fatal("the object of the kind was deleted")
		}
	}
	if got := f.recorded(); !strings.Contains(got, "a CustomResourceDefinition is only pruned with the annotation hoist/prune: enabled") {
		t.Errorf("inventory = %s", got)
	}
}
