package reconcile

import (
	"strings"
	"testing"

	"hoist/bump"
)

// C4: with conflicts: refuse, what others hold stays theirs; it is told whose it is.
func TestC4ConflictsRefused(t *testing.T) {
	f := newField(t)
	f.app.Conflicts = ConflictsRefuse
	f.kubectl("kubectl-create", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {key: by hand, mine: stays}\n")
	const want = "others hold its fields: .data.key of kubectl-create; "
	files := apps("a.yaml", configMap("a", "1"))
	_, err := f.try(files, f.head())
	if err == nil || !strings.Contains(err.Error(), "apps/a.yaml:1: apply ConfigMap/"+f.ns+"/a: "+want) {
		t.Errorf("error = %v, want the field and its manager", err)
	}
	if _, err := f.eng.Diff(t.Context(), f.app, tree("apps/a.yaml", files["apps/a.yaml"]), bump.Head{}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("diff: %v, want the same", err)
	}
	if f.value("a") != "by hand" {
		t.Errorf("a = %q, want it as it was", f.value("a"))
	}
	// The object's own word goes before the app's.
	files["apps/a.yaml"] = strings.Replace(files["apps/a.yaml"], "metadata:\n", "metadata:\n  annotations: {hoist/ssa: Override}\n", 1)
	f.want(f.apply(files), "configured ConfigMap/a")
	if f.value("a") != "1" {
		t.Errorf("a = %q, want 1", f.value("a"))
	}
}

// Drift that somebody else holds now is told, not taken back.
func TestDriftIsToldWhereConflictsAreRefused(t *testing.T) {
	f := newField(t)
	f.app.Conflicts = ConflictsRefuse
	f.watching(apps("a.yaml", configMap("a", "1")))
	f.mergePatch("configmaps", "a", `{"data": {"key": "x"}}`, "kubectl-edit")
	f.eventually(mended, "it is told", func() bool {
		return strings.Contains(f.drifts(), `ConfigMap/a: /data/key is "x", Git says "1" (kubectl-edit)`)
	})
	if f.value("a") != "x" {
		t.Errorf("a = %q, want x", f.value("a"))
	}
	f.want(f.apply(apps("a.yaml", configMap("a", "1"))), "unchanged ConfigMap/a")
}

// A Secret's conflict names its fields and none of its values (N5).
func TestConflictOfASecret(t *testing.T) {
	f := newField(t)
	f.app.Conflicts = ConflictsRefuse
	f.kubectl("kubectl-create", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: live-value}\n")
	_, err := f.try(apps("s.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: git-value}\n"), f.head())
	if err == nil || !strings.Contains(err.Error(), ".data.a of kubectl-create") {
		t.Errorf("error = %v, want the field", err)
	}
	for _, v := range []string{"live-value", "git-value", "bGl2ZS12YWx1ZQ", "Z2l0LXZhbHVl"} {
		if strings.Contains(err.Error(), v) {
			t.Errorf("the error has a value: %v", err)
		}
	}
}
