package reconcile

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"hoist/bump"
)

// refused applies files and returns the refusal that has to come of it, and that
// the inventory tells, too.
func (f *field) refused(files map[string]string, h bump.Head) *Refusal {
	f.t.Helper()
	f.line.reset()
	_, err := f.try(files, h)
	var r *Refusal
	if !errors.As(err, &r) {
		f.t.Fatalf("error = %v, want a refusal", err)
	}
	if n := f.line.writes(); n > 1 {
		f.t.Errorf("a refused revision cost %d writes, want at most the inventory's", n)
	}
	inv, err := f.eng.Inventory(f.t.Context(), f.app.Name)
	if err != nil || inv.Ready || inv.Reason != r.Error() {
		f.t.Errorf("inventory: ready %t, %q, %v; want the refusal", inv.Ready, inv.Reason, err)
	}
	return r
}

func (f *field) confirm(c Confirmation) {
	f.t.Helper()
	if err := f.eng.Confirm(f.t.Context(), f.app.Name, c); err != nil {
		f.t.Fatal(err)
	}
}

// many are n config maps, m0 to m(n-1).
func many(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("apps/m%d.yaml", i)] = configMap(fmt.Sprintf("m%d", i), "1")
	}
	return files
}

// A revision that leaves out too much, or everything, deletes nothing until a
// person confirms exactly it; the word ends with the revision.
func TestB7B8C13RefusedUntilConfirmed(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		why   string
		rest  string
	}{
		"B8 many":  {many(2), "6 of 8 objects left the build, more than maxPrune allows (30 %)", "ConfigMap/m0 ConfigMap/m1"},
		"B7 empty": {apps("README.md", "gone"), "the build has no objects, and 8 were applied before", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newField(t)
			f.apply(many(8))
			h := f.head()
			h.Hash = "abcdef0123456789abcdef0123456789abcdef01"
			r := f.refused(c.files, h)
			command := fmt.Sprintf("hoist reconcile apply/%s --confirm-prune abcdef0", f.app.Name.Name)
			if !strings.Contains(r.Error(), c.why) || !strings.HasSuffix(r.Error(), command) {
				t.Errorf("refusal = %q, want %q … %q", r, c.why, command)
			}
			for _, wrong := range []Confirmation{{Prune: "abcdef1"}, {Rewind: "abcdef0"}, {Prune: "abcdef"}} {
				f.confirm(wrong)
				f.refused(c.files, h)
			}
			f.confirm(Confirmation{Prune: "abcdef0"})
			f.engine() // a restart forgets no word
			if _, err := f.try(c.files, h); err != nil {
				t.Fatalf("confirmed: %v", err)
			}
			if got := f.recorded(); got != c.rest {
				t.Errorf("inventory = %s, want %s", got, c.rest)
			}
			f.apply(many(8))
			f.refused(c.files, h) // back again: that was not meant by the old word
		})
	}
}

// A word that was given before the app moved on does not count any more.
func TestConfirmationEndsWithTheRevision(t *testing.T) {
	f := newField(t)
	f.apply(many(8))
	h := f.head()
	f.confirm(Confirmation{Prune: h.Hash})
	f.apply(many(7)) // somebody repaired it
	f.refused(many(1), h)
}

// C13: the wrong directory, another repository's files or a path that is gone.
func TestB6C13WrongPath(t *testing.T) {
	f := newField(t)
	f.apply(many(8))
	if r := f.refused(apps("other.yaml", configMap("other", "1")), f.head()); !strings.Contains(r.Why, "8 of 8 objects left") {
		t.Errorf("refusal = %v", r)
	}
	f.line.reset()
	_, err := f.try(map[string]string{"elsewhere/x.yaml": configMap("x", "1")}, f.head())
	if err == nil || !strings.Contains(err.Error(), "apps") || f.line.writes() > 0 {
		t.Errorf("error = %v after %d writes, want one that names the path and none", err, f.line.writes())
	}
	if got := strings.Fields(f.recorded()); len(got) != 8 || f.owned() == "" {
		t.Errorf("inventory = %v, want all 8", got)
	}
}

// G4: a branch that was rewound is not followed, unless the app allows it, a
// person confirms it, or the entry was pointed elsewhere on purpose.
func TestG4Rewind(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*field)
		source string
		passes bool
	}{
		"rewound":    {func(*field) {}, "s", false},
		"allowed":    {func(f *field) { f.app.AllowRewind = true }, "s", true},
		"elsewhere":  {func(*field) {}, "another", true},
		"repository": {func(f *field) { f.app.Repository = "another" }, "s", true},
		"confirmed":  {func(f *field) { f.confirm(Confirmation{Rewind: strings.Repeat("b", 7)}) }, "s", true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newField(t)
			source, old := "s", strings.Repeat("a", 40)
			h := f.head()
			h.Hash = old
			asked := ""
			lineage := func(applied string, now bump.Head) (Lineage, error) {
				asked = applied
				return Lineage{Source: source, Follows: applied == "" || applied == now.Hash}, nil
			}
			f.eng.lineage = lineage
			if _, err := f.try(apps("a.yaml", configMap("a", "1")), h); err != nil {
				t.Fatal(err)
			}
			c.change(f)
			source = c.source
			h.Hash = strings.Repeat("b", 40)
			now := apps("a.yaml", configMap("a", "2"))
			if c.passes {
				if _, err := f.try(now, h); err != nil || f.value("a") != "2" {
					t.Errorf("error = %v, a = %s; want it applied", err, f.value("a"))
				}
				return
			}
			r := f.refused(now, h)
			if want := "commit bbbbbbb does not follow aaaaaaa, which was applied"; asked != old || !strings.Contains(r.Error(), want) ||
				!strings.HasSuffix(r.Error(), "--confirm-rewind bbbbbbb") || f.value("a") != "1" {
				t.Errorf("refusal = %v, a = %s, want %q and nothing applied", r, f.value("a"), want)
			}
		})
	}
}

func TestParseRevision(t *testing.T) {
	full := strings.Repeat("0123456789", 4)
	for in, want := range map[string]string{"0123456": "0123456", "ABCDEF0": "abcdef0", "main@sha1:" + full: full, full: full} {
		if got, err := ParseRevision(in); err != nil || got != want {
			t.Errorf("ParseRevision(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]string{"": `"" is not a commit hash`, "main": `"main" is not a commit hash`, "abc123": `"abc123" is too short: give at least 7 digits of the commit hash`} {
		if _, err := ParseRevision(in); err == nil || err.Error() != want {
			t.Errorf("ParseRevision(%q): %v, want %s", in, err, want)
		}
	}
}
