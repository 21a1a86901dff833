package hoist

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// storeys are the packages of the house from the ground up. A package may import
// those below its own storey only; rooms do not import each other.
var storeys = [][]string{
	{"bump", "sops"},
	{"scanner", "policy", "setter", "plan", "gitpush", "reconcile", "webhook"},
	{"config"},
	{"daemon"},
	{"cmd/hoist"},
}

func TestImportsRunDownwards(t *testing.T) {
	storey := make(map[string]int)
	for i, rooms := range storeys {
		for _, r := range rooms {
			storey[r] = i
		}
	}
	seen := make(map[string]bool)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		pkg := filepath.ToSlash(filepath.Dir(path))
		mine, ok := storey[pkg]
		if !ok {
			return nil
		}
		seen[pkg] = true
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if name == "hoist" && pkg == "cmd/hoist" {
				continue // the example repository
			}
			below, ours := strings.CutPrefix(name, "hoist/")
			if !ours {
				continue
			}
			theirs, known := storey[below]
			// The demo is a test environment for people.
			if !known && strings.HasPrefix(below, "testenv/") && pkg == "cmd/hoist" {
				continue
			}
			if !known || theirs >= mine {
				t.Errorf("%s imports %s; imports run downwards: %s", path, name, slices.Concat(storeys...))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range storey {
		if !seen[pkg] {
			t.Errorf("package %s has no Go files; is the list of storeys true?", pkg)
		}
	}
}
