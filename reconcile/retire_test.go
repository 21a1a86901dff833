package reconcile

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hoist/bump"
)

func nobody() ([]Neighbour, error) { return nil, nil }

// leave gives up the field's app as a daemon does whose configuration lacks it.
func (f *field) leave(wanted func() ([]Neighbour, error)) bump.Result {
	f.t.Helper()
	r, err := f.eng.Retire(f.t.Context(), f.app.Name, wanted)
	if err != nil {
		f.t.Fatalf("Retire: %v", err)
	}
	return r
}

// there tells whether the app has an inventory.
func (f *field) there() bool {
	f.t.Helper()
	all, err := f.eng.Inventories(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return len(all) > 0
}

// D8: what becomes of the objects is what was recorded with the last apply, and
// they stay wherever it is not certain that they may go.
func TestD8DeletionPolicy(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*field)
		owner  string // of the engine that finds no entry
		stay   string
	}{
		"nothing said":     {func(*field) {}, "us", "its deletionPolicy leaves them"},
		"orphan":           {func(f *field) { f.app.DeletionPolicy = DeletionOrphan }, "us", "its deletionPolicy leaves them"},
		"mirror, no prune": {func(f *field) { f.app.DeletionPolicy, f.app.Prune = DeletionMirror, false }, "us", "its deletionPolicy leaves them"},
		"mirror":           {func(f *field) { f.app.DeletionPolicy = DeletionMirror }, "us", ""},
		"delete":           {func(f *field) { f.app.DeletionPolicy, f.app.Prune = DeletionDelete, false }, "us", ""},
		"awaited":          {func(f *field) { f.app.DeletionPolicy = DeletionAwaited }, "us", ""},
		"another Hoist":    {func(f *field) { f.app.DeletionPolicy = DeletionDelete }, "them", "it belongs to the Hoist called us, this one is called them"},
		"no name":          {func(f *field) { f.app.DeletionPolicy = DeletionDelete }, "", "this Hoist has no name"},
		"written nameless": {func(f *field) { f.app.DeletionPolicy, f.eng.owner = DeletionDelete, "" }, "us", "does not say which Hoist"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newField(t)
			f.eng.owner = "us"
			c.change(f)
			f.apply(apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1")))
			f.engine()
			f.eng.owner = c.owner
			r := f.leave(nobody)
			if !strings.Contains(r.Reason, c.stay) || (r.Reason == "") != (c.stay == "") {
				t.Errorf("reason = %q, want %q", r.Reason, c.stay)
			}
			if gone := c.stay == ""; gone != (f.get(configMaps, "a") == nil) || gone == f.there() {
				t.Errorf("gone = %t, want %t; inventory: %t", f.get(configMaps, "a") == nil, gone, f.there())
			}
		})
	}
}

// D8: of an entry that says so goes nothing that another entry has, that may be
// another's, that is spared, or that was written for another cluster.
func TestD8WhatOthersHaveStays(t *testing.T) {
	f := newField(t)
	f.eng.owner, f.app.DeletionPolicy = "us", DeletionDelete
	keep := strings.Replace(configMap("keep", "1"), "metadata:\n", "metadata:\n  annotations: {hoist/prune: disabled}\n", 1)
	f.apply(apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1"), "keep.yaml", keep, "theirs.yaml", configMap("theirs", "1")))
	theirs := f.get(configMaps, "theirs")
	mark(theirs, bump.Name{Namespace: "hoist", Name: "they"})
	if _, err := f.eng.client.Resource(configMaps).Namespace(f.ns).Update(t.Context(), theirs, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	other := f.app
	other.Name.Name = "other"
	unread := func() ([]Neighbour, error) { return nil, errors.New("repository fleet has not been read yet") }
	f.leave(unread)
	if got := f.recorded(); got != "ConfigMap/a(another app may have it now: repository fleet has not been read yet) ConfigMap/b(another app may have it now: repository fleet has not been read yet) ConfigMap/keep(its annotation says not to prune it)" {
		t.Errorf("unread: inventory = %s", got)
	}
	set, err := Build(t.Context(), tree("apps/a.yaml", configMap("a", "1")), other)
	if err != nil {
		t.Fatal(err)
	}
	r := f.leave(func() ([]Neighbour, error) { return []Neighbour{NeighbourOf(other, set, nil)}, nil })
	if got := f.recorded(); got != "ConfigMap/a(moved to app hoist:other) ConfigMap/keep(its annotation says not to prune it)" {
		t.Errorf("inventory = %s", got)
	}
	if want := "left the configuration, 2 of its objects are still there, such as ConfigMap/" + f.ns + "/a: moved to app hoist:other"; r.Reason != want {
		t.Errorf("reason = %q, want %q", r.Reason, want)
	}
	for _, name := range []string{"a", "keep", "theirs"} {
		if f.get(configMaps, name) == nil {
			t.Errorf("%s was deleted", name)
		}
	}
	if f.get(configMaps, "b") != nil {
		t.Error("b is still there")
	}
	inv, err := f.eng.inventory(t.Context(), f.app.Name)
	if err != nil {
		t.Fatal(err)
	}
	inv.Cluster = "elsewhere"
	if err := f.eng.write(t.Context(), inv); err != nil {
		t.Fatal(err)
	}
	if r := f.leave(nobody); r.Reason != "the inventory was written for another cluster" || f.get(configMaps, "a") == nil {
		t.Errorf("reason = %q", r.Reason)
	}
}

// D8: with WaitForTermination the inventory goes after the last object; without
// it does not wait for finalizers.
func TestD8WaitForTermination(t *testing.T) {
	for _, policy := range []string{DeletionDelete, DeletionAwaited} {
		f := newField(t)
		f.eng.owner, f.app.DeletionPolicy = "us", policy
		held := strings.Replace(configMap("b", "1"), "metadata:\n", "metadata:\n  finalizers: [example.com/hold]\n", 1)
		f.apply(apps("a.yaml", configMap("a", "1"), "b.yaml", held))
		done := make(chan bump.Result, 1)
		go func() {
			r, err := f.eng.Retire(t.Context(), f.app.Name, nobody)
			if err != nil {
				t.Error(err)
			}
			done <- r
		}()
		f.eventually(20*time.Second, "b is being deleted", func() bool { return f.get(configMaps, "b").GetDeletionTimestamp() != nil })
		if policy == DeletionAwaited {
			f.eventually(20*time.Second, "a is gone", func() bool { return f.get(configMaps, "a") == nil })
			if !f.there() {
				t.Error("the inventory went before b did")
			}
			b := f.get(configMaps, "b")
			b.SetFinalizers(nil)
			if _, err := f.eng.client.Resource(configMaps).Namespace(f.ns).Update(t.Context(), b, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		f.want(<-done, "deleted ConfigMap/a, deleted ConfigMap/b")
		if f.there() {
			t.Errorf("%s: the inventory is still there", policy)
		}
	}
}

// K15 of an entry that left: killed before or after any write, the rest goes next time.
func TestKilledWhileRetiring(t *testing.T) {
	for _, lost := range []string{"request", "answer"} {
		for n, dead := 1, true; dead; n++ {
			f := newField(t)
			f.eng.owner, f.app.DeletionPolicy, f.eng.maxPart = "us", DeletionDelete, 100
			f.apply(many(3))
			writes := 0
			dead = false
			f.line.cut = func(r *http.Request) (bool, bool) {
				if dead {
					return true, false
				}
				if r.Method != http.MethodGet {
					writes++
				}
				dead = writes == n
				return dead && lost == "request", dead && lost == "answer"
			}
			_, _ = f.eng.Retire(t.Context(), f.app.Name, nobody)
			at := fmt.Sprintf("%s %d lost", lost, n)
			f.line.reset()
			f.nothingUntracked(at)
			f.engine()
			f.eng.owner = "us"
			f.leave(nobody)
			if f.owned() != "" || f.there() {
				t.Errorf("%s: still there: %s, inventory %t", at, f.owned(), f.there())
			}
		}
	}
}

// What an entry says about its end is recorded also while it is not applied.
func TestD8RegisterOfASuspendedApp(t *testing.T) {
	f := newField(t)
	f.eng.owner, f.app.DeletionPolicy = "us", DeletionDelete
	f.apply(apps("a.yaml", configMap("a", "1")))
	f.app.Suspend = true
	all, err := f.eng.Inventories(t.Context())
	if err != nil || len(all) != 1 || all[0].App != f.app.Name {
		t.Fatalf("Inventories = %v, %v", all, err)
	}
	for _, writes := range []int{1, 0} {
		f.line.reset()
		if err := f.eng.Register(t.Context(), f.app, all[0]); err != nil || f.line.writes() != writes {
			t.Errorf("Register: %v, %d writes, want %d", err, f.line.writes(), writes)
		}
		if all, err = f.eng.Inventories(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if r := f.leave(nobody); r.Reason != "its deletionPolicy leaves them" || f.value("a") != "1" {
		t.Errorf("reason = %q, a = %q", r.Reason, f.value("a"))
	}
}
