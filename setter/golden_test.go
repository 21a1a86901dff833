package setter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"hoist/bump"
)

// Control characters are written in the archives as these words.
var unescape = strings.NewReplacer("^M", "\r", "^BOM", "\ufeff", "^I", "\t", "^S", " ", "^END\n", "")

// TestGolden runs the archives of testdata/setter: the selections make of before
// what after says, and problems lists the sites that cannot be followed. update is
// the section of the configuration, as JSON, and file the name of the file.
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
	l := lookOf(t, part, selections)
	sites := l.sites(before)
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
	if n := len(l.sites(after)); n != len(sites) {
		t.Errorf("%d sites after the edit, want %d", n, len(sites))
	}
	if again := apply(t, after, l.sites(after), selections); !bytes.Equal(again, after) {
		t.Errorf("a second time:\n%s\nwant:\n%s", again, after)
	}
}

// lookOf returns what an archive looks for in its file.
func lookOf(t *testing.T, part map[string]string, selections map[bump.Name]bump.Selection) look {
	var spec Spec
	if text := part["update"]; text != "" {
		if err := json.Unmarshal([]byte(text), &spec); err != nil {
			t.Fatal(err)
		}
	}
	if faults := spec.Check(); len(faults) > 0 {
		t.Fatal(faults)
	}
	images := map[bump.Name]string{}
	for name, s := range selections {
		images[name] = s.Image()
	}
	r, err := newRules(spec.Options(images))
	if err != nil {
		t.Fatal(err)
	}
	file := strings.TrimSpace(part["file"])
	if file == "" {
		file = "web.yaml"
	}
	return r.lookAt(file, kindOf(path.Base(file)))
}

// sites returns the sites of a file as [Sites] does.
func (l look) sites(src []byte) []bump.Site {
	sites, _ := l.find(src)
	for i := range sites {
		if l.json {
			sites[i].File = "web.json"
		}
	}
	return sites
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
