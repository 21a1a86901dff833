package reconcile

import (
	"strings"
	"testing"

	"hoist/bump"
)

// A revision with the same objects is reached without a request, and what is
// recorded later still counts for the inventory of the one before.
func TestReachedCostsNoRequest(t *testing.T) {
	f := newField(t)
	f.app.Wait = true
	first := f.watching(apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1")))
	f.line.reset()
	next := f.head()
	if !f.eng.Reached(f.app.Name, next) {
		t.Fatal("a quiet app does not reach the next revision")
	}
	if n := f.line.writes(); n != 0 || f.line.counts["GET"] != 0 {
		t.Errorf("requests: %v", f.line.counts)
	}
	if err := f.eng.RecordHealth(t.Context(), bump.Result{App: f.app.Name, Head: next, Ready: false, Reason: "degraded: a"}); err != nil {
		t.Fatal(err)
	}
	inv, err := f.eng.Inventory(t.Context(), f.app.Name)
	if err != nil {
		t.Fatal(err)
	}
	if inv.Revision != first.String() || inv.Reason != "degraded: a" {
		t.Errorf("inventory says %s, %q", inv.Revision, inv.Reason)
	}
}

// What could not be deleted keeps the app from reaching a revision unseen.
func TestLeftoversAreNotReached(t *testing.T) {
	f := newField(t)
	f.apply(apps("a.yaml", configMap("a", "1"), "b.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, annotations: {hoist/prune: disabled}}\ndata: {key: \"1\"}\n"))
	f.watching(apps("a.yaml", configMap("a", "1")))
	if f.eng.Reached(f.app.Name, f.head()) {
		t.Errorf("reached although the inventory is %s", f.recorded())
	}
}

// After a restart at a later revision, an object that Git did not change is
// drift, and one that it did is news.
func TestDriftOverARestartAtALaterRevision(t *testing.T) {
	f := newField(t)
	f.app.Drift = DriftReport
	f.apply(apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1")))
	f.edit("a", "key", "by hand")
	f.edit("b", "key", "by hand")
	f.engine()
	f.apply(apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "2")))
	if f.value("a") != "by hand" || f.value("b") != "2" {
		t.Errorf("a = %q, b = %q; want the drift of a to stay and b to be 2", f.value("a"), f.value("b"))
	}
	if got := f.drifts(); !strings.HasPrefix(got, "reported ConfigMap/a") || strings.Contains(got, "ConfigMap/b") {
		t.Errorf("told: %s", got)
	}
}

// The digest of a Secret's values is nowhere.
func TestInventoryHoldsNoDigestOfSecrets(t *testing.T) {
	f := newField(t)
	f.apply(apps("a.yaml", configMap("a", "1"), "s.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2}\n"))
	inv, err := f.eng.Inventory(t.Context(), f.app.Name)
	if err != nil {
		t.Fatal(err)
	}
	for _, en := range inv.Objects {
		if (en.Built == "") != (en.Kind == "Secret") {
			t.Errorf("%s has the digest %q", en, en.Built)
		}
	}
}
