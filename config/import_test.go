package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestImport compares what becomes of Flux documents with the archive beside
// them: the notes, what was skipped, and the native document.
func TestImport(t *testing.T) {
	for _, file := range glob(t, "../testdata/config/import", "*.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			got, err := Import([]Source{{Name: filepath.Base(file), Data: read(t, file)}})
			if err != nil {
				t.Fatal(err)
			}
			var notes, skipped strings.Builder
			for _, n := range got.Notes {
				notes.WriteString(n.String() + "\n")
			}
			for _, kind := range slices.Sorted(maps.Keys(got.Skipped)) {
				fmt.Fprintf(&skipped, "%s %d\n", kind, got.Skipped[kind])
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", txtar.Format(&txtar.Archive{Files: []txtar.File{
				{Name: "notes", Data: []byte(notes.String())}, {Name: "skipped", Data: []byte(skipped.String())}, {Name: "text", Data: got.Text},
			}}))
		})
	}
}

// What Load takes, Import takes without losing anything.
func TestImportOfWhatLoads(t *testing.T) {
	file := filepath.Join(goodDir, "flux-article.yaml")
	want, err := Parse("flux.yaml", read(t, file))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Import([]Source{{Name: "flux.yaml", Data: read(t, file)}})
	if err != nil {
		t.Fatal(err)
	}
	sameModel(t, got.Config, want)
}

func TestImportRefuses(t *testing.T) {
	for _, row := range []struct{ text, note, err string }{
		{"", "", "there is nothing to import: no document of Flux that has a counterpart was found"},
		{"apiVersion: image.toolkit.fluxcd.io/v1\nkind: ImageRepository\nmetadata: {name: a}\nspec: {image: b/c, interval: 1m}\n", "f.yaml:1: ImageRepository/default/a: left out: no policy chooses from this image", "there is nothing to import: no document of Flux that has a counterpart was found"},
		{"apiVersion: image.toolkit.fluxcd.io/v1\nkind: ImagePolicy\nmetadata: {name: a}\nspec: {policy: {semver: {range: 1.x}}}\n", "f.yaml:4: ImagePolicy/default/a spec.imageRepositoryRef.name: left out: is missing", "there is nothing to import: no document of Flux that has a counterpart was found"},
		{"apiVersion: v1\nkind: Pod\n", "", "there is nothing to import: no document of Flux that has a counterpart was found"},
		{"apiVersion: image.toolkit.fluxcd.io/v1\nkind: ImagePolicy\n a: [", "f.yaml:3: not read: invalid YAML: mapping values are not allowed in this context", "there is nothing to import: no document of Flux that has a counterpart was found"},
		{"apiVersion: image.toolkit.fluxcd.io/v9\nkind: ImagePolicy\n", `f.yaml:1: apiVersion: left out: "image.toolkit.fluxcd.io/v9" is not a known version of ImagePolicy; known: image.toolkit.fluxcd.io/v1beta1, image.toolkit.fluxcd.io/v1beta2, image.toolkit.fluxcd.io/v1`, "there is nothing to import: no document of Flux that has a counterpart was found"},
	} {
		got, err := Import([]Source{{Name: "f.yaml", Data: []byte(row.text)}})
		var notes []string
		for _, n := range got.Notes {
			notes = append(notes, n.String())
		}
		if note := strings.Join(notes, "\n"); note != row.note {
			t.Errorf("Import(%q) notes\n%s\nwant\n%s", row.text, note, row.note)
		}
		if err == nil || err.Error() != row.err {
			t.Errorf("Import(%q) = %v, want %v", row.text, err, row.err)
		}
	}
}

// FuzzImport promises an end, and that what is given passes the checks.
func FuzzImport(f *testing.F) {
	for _, dir := range []string{goodDir, "../testdata/config/import"} {
		for _, file := range glob(f, dir, "*.yaml") {
			f.Add(read(f, file))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := Import([]Source{{Name: "f.yaml", Data: data}})
		if err != nil {
			if strings.Contains(err.Error(), "mistake of ours") {
				t.Fatal(err)
			}
			return
		}
		if _, err := Parse("text", got.Text); err != nil {
			t.Fatalf("%q is imported as\n%s\nwhich is refused: %v", data, got.Text, err)
		}
	})
}

// A policy that names no image is refused by Load as well.
func TestPolicyWithoutImage(t *testing.T) {
	_, err := Parse("f.yaml", []byte("apiVersion: image.toolkit.fluxcd.io/v1\nkind: ImagePolicy\nmetadata: {name: a}\nspec: {policy: {semver: {range: 1.x}}}\n"))
	if want := "f.yaml:4: ImagePolicy/default/a spec.imageRepositoryRef.name: is missing"; err == nil || err.Error() != want {
		t.Errorf("Parse = %v, want %s", err, want)
	}
}
