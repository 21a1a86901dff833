package setter

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"hoist/bump"
)

// Control characters are written in the archives as these words.
var unescape = strings.NewReplacer("^M", "\r", "^BOM", "\ufeff", "^I", "\t", "^S", " ", "^END\n", "")

// TestGolden runs the archives of testdata/setter: the selections make of before
// what after says, and problems lists the markers that cannot be followed.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("../testdata/setter/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) { golden(t, name) })
	}
}

func golden(t *testing.T, name string) {
	ar, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	part := map[string]string{}
	for _, f := range ar.Files {
		part[f.Name] = unescape.Replace(string(f.Data))
	}
	selections := map[bump.Name]bump.Selection{}
	for line := range strings.Lines(part["selections"]) {
		policy, ref, _ := strings.Cut(strings.TrimSpace(line), "=")
		s := selection(t, policy, ref)
		selections[s.Policy] = s
	}
	before := []byte(part["before"])
	if got, err := Edit(before, nil); err != nil || string(got) != part["before"] {
		t.Errorf("no selection: %q, %v, want not one byte changed", got, err)
	}
	sites := find(before)
	var problems strings.Builder
	for _, s := range sites {
		if s.Problem != "" {
			fmt.Fprintf(&problems, "%d: %s\n", s.Line, s.Problem)
		}
	}
	if problems.String() != part["problems"] {
		t.Errorf("problems:\n%s\nwant:\n%s", problems.String(), part["problems"])
	}
	after := apply(t, before, sites, selections)
	if string(after) != part["after"] {
		t.Errorf("after:\n%s\nwant:\n%s", after, part["after"])
	}
	if len(find(after)) != len(sites) {
		t.Errorf("%d markers after the edit, want %d", len(find(after)), len(sites))
	}
	if again := apply(t, after, find(after), selections); !bytes.Equal(again, after) {
		t.Errorf("a second time:\n%s\nwant:\n%s", again, after)
	}
}

// verdicts returns a bump for each good site with another value than the selection's.
func verdicts(t testing.TB, sites []bump.Site, selections map[bump.Name]bump.Selection) []bump.Verdict {
	t.Helper()
	var vs []bump.Verdict
	for _, s := range sites {
		sel, ok := selections[s.Policy]
		if s.Problem != "" || !ok {
			continue
		}
		v, err := Value(s, sel)
		if err != nil {
			t.Fatalf("Value(%v) = %v", s, err)
		}
		if v != s.Value {
			vs = append(vs, bump.Verdict{Site: s, Selection: sel, Outcome: bump.Bump, New: v})
		}
	}
	return vs
}

func apply(t testing.TB, before []byte, sites []bump.Site, selections map[bump.Name]bump.Selection) []byte {
	t.Helper()
	kept := bytes.Clone(before)
	after, err := Edit(before, verdicts(t, sites, selections))
	if err != nil {
		t.Fatalf("Edit: %v", err)
	}
	if !bytes.Equal(kept, before) {
		t.Fatal("Edit changed the bytes that it was given")
	}
	return after
}
