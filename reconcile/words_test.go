package reconcile

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hoist/bump"
)

// saying is a config map with an annotation.
func saying(name, value, annotation string) string {
	return strings.Replace(configMap(name, value), "metadata:\n", "metadata:\n  annotations: {"+annotation+"}\n", 1)
}

// ssa: IfNotPresent creates, and changes nothing that is there.
func TestIfNotPresent(t *testing.T) {
	f := newField(t)
	word := "kustomize.toolkit.fluxcd.io/ssa: IfNotPresent"
	f.watching(apps("a.yaml", saying("a", "1", word), "b.yaml", configMap("b", "1")))
	f.mergePatch("configmaps", "a", `{"data": {"key": "x"}}`, "kubectl-edit")
	f.mergePatch("configmaps", "b", `{"data": {"key": "x"}}`, "kubectl-edit")
	f.eventually(mended, "b is put right", func() bool { return f.value("b") == "1" })
	for range 2 {
		f.want(f.apply(apps("a.yaml", saying("a", "2", word), "b.yaml", configMap("b", "1"))), "unchanged ConfigMap/a, unchanged ConfigMap/b")
		if f.value("a") != "x" {
			t.Errorf("a = %q, want x", f.value("a"))
		}
		f.engine()
	}
	if ds, err := f.eng.Diff(t.Context(), f.app, tree("apps/a.yaml", saying("a", "2", word), "apps/b.yaml", configMap("b", "1")), bump.Head{}); err != nil || len(ds) != 0 {
		t.Errorf("diff = %v, %v; want none", ds, err)
	}
	if err := f.eng.client.Resource(configMaps).Namespace(f.ns).Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.want(f.apply(apps("a.yaml", saying("a", "2", word), "b.yaml", configMap("b", "1"))), "created ConfigMap/a, unchanged ConfigMap/b")
	f.want(f.apply(apps("b.yaml", configMap("b", "1"))), "unchanged ConfigMap/b, deleted ConfigMap/a")
}

// An object that somebody else made and an app would only create is not the app's:
// it outlives it.
func TestIfNotPresentOfSomebodyElse(t *testing.T) {
	f := newField(t)
	f.kubectl("kubectl-create", configMap("a", "by hand"))
	f.want(f.apply(apps("a.yaml", saying("a", "1", "hoist/ssa: IfNotPresent"), "b.yaml", configMap("b", "1"))), "unchanged ConfigMap/a, created ConfigMap/b")
	f.apply(apps("b.yaml", configMap("b", "1")))
	if f.value("a") != "by hand" {
		t.Errorf("a = %q, want it as it was", f.value("a"))
	}
	if got := f.recorded(); got != "ConfigMap/b" {
		t.Errorf("inventory = %s", got)
	}
}

// ssa: Ignore is neither applied nor deleted, and leaves the inventory.
func TestIgnored(t *testing.T) {
	f := newField(t)
	f.apply(apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1")))
	files := apps("a.yaml", saying("a", "2", "hoist/ssa: Ignore"), "b.yaml", configMap("b", "1"), "c.yaml", saying("c", "1", "hoist/ssa: Ignore"))
	if ds, err := f.eng.Diff(t.Context(), f.app, tree("apps/a.yaml", files["apps/a.yaml"], "apps/b.yaml", files["apps/b.yaml"]), bump.Head{}); err != nil || len(ds) != 0 {
		t.Errorf("diff = %v, %v; want none", ds, err)
	}
	f.want(f.apply(files), "unchanged ConfigMap/b")
	if f.value("a") != "1" || f.value("c") != "" {
		t.Errorf("a = %q, c = %q; want 1 and none", f.value("a"), f.value("c"))
	}
	if got := f.recorded(); got != "ConfigMap/b" {
		t.Errorf("inventory = %s, want b alone", got)
	}
	f.apply(apps("b.yaml", configMap("b", "1")))
	if f.value("a") != "1" {
		t.Error("a was deleted")
	}
}

// reconcile: disabled in Git: neither applied, nor put right, nor deleted; but
// still the app's.
func TestReconcileDisabledInGit(t *testing.T) {
	f := newField(t)
	word := "kustomize.toolkit.fluxcd.io/reconcile: disabled"
	f.watching(apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1")))
	files := apps("a.yaml", saying("a", "2", word), "b.yaml", configMap("b", "1"), "new.yaml", saying("new", "1", word))
	r := f.apply(files)
	f.want(r, "skipped ConfigMap/a, unchanged ConfigMap/b, skipped ConfigMap/new")
	if r.Objects[0].Reason != "left alone: its file says reconcile: disabled" || f.value("a") != "1" || f.value("new") != "" {
		t.Errorf("a = %q, new = %q, reason %q", f.value("a"), f.value("new"), r.Objects[0].Reason)
	}
	f.mergePatch("configmaps", "a", `{"data": {"key": "x"}}`, "kubectl-edit")
	f.mergePatch("configmaps", "b", `{"data": {"key": "x"}}`, "kubectl-edit")
	f.eventually(mended, "b is put right", func() bool { return f.value("b") == "1" })
	if f.value("a") != "x" {
		t.Errorf("a = %q, want x", f.value("a"))
	}
	if got := f.recorded(); got != "ConfigMap/a ConfigMap/b" {
		t.Errorf("inventory = %s", got)
	}
	f.want(f.apply(apps("b.yaml", configMap("b", "1"))), "unchanged ConfigMap/b, skipped ConfigMap/a")
	if f.value("a") != "x" {
		t.Error("a was deleted")
	}
	f.want(f.apply(apps("a.yaml", configMap("a", "3"), "b.yaml", configMap("b", "1"))), "configured ConfigMap/a, unchanged ConfigMap/b")
}

// reconcile: disabled on the object in the cluster: left alone until it says so no more.
func TestReconcileDisabledInTheCluster(t *testing.T) {
	f := newField(t)
	files := apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1"))
	f.watching(files)
	f.mergePatch("configmaps", "a", `{"metadata": {"annotations": {"hoist/reconcile": "disabled"}}}`, "kubectl-annotate")
	f.mergePatch("configmaps", "a", `{"data": {"key": "x"}}`, "kubectl-edit")
	f.mergePatch("configmaps", "b", `{"data": {"key": "x"}}`, "kubectl-edit")
	f.eventually(mended, "b is put right", func() bool { return f.value("b") == "1" })
	for _, v := range []string{"1", "2"} {
		files["apps/a.yaml"] = configMap("a", v)
		r := f.apply(files)
		f.want(r, "skipped ConfigMap/a, unchanged ConfigMap/b")
		if f.value("a") != "x" || r.Objects[0].Reason != "left alone: reconcile: disabled stands on it" {
			t.Errorf("a = %q, want x; %q", f.value("a"), r.Objects[0].Reason)
		}
	}
	f.mergePatch("configmaps", "a", `{"metadata": {"annotations": {"hoist/reconcile": null}}}`, "kubectl-annotate")
	f.eventually(mended, "Git is in charge again", func() bool {
		f.apply(files)
		return f.value("a") == "2"
	})
}

// A word that nobody understands is refused before anything is applied.
func TestUnknownWords(t *testing.T) {
	f := newField(t)
	_, err := f.try(apps("a.yaml", saying("a", "1", "hoist/ssa: Overide"), "b.yaml", "# b\n"+saying("b", "1", "kustomize.toolkit.fluxcd.io/prune: never"), "c.yaml", configMap("c", "1")), f.head())
	for _, want := range []string{
		`apps/a.yaml:1: ConfigMap/` + f.ns + `/a: hoist/ssa "Overide" is not one of Override, Merge, IfNotPresent, Ignore`,
		`apps/b.yaml:2: ConfigMap/` + f.ns + `/b: kustomize.toolkit.fluxcd.io/prune "never" is not one of enabled, disabled`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q", err, want)
		}
	}
	if f.value("c") != "" {
		t.Error("something was applied")
	}
}
