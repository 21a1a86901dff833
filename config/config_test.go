package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"hoist/bump"
)

// update rewrites what the tests want to see. Read the difference before it is committed.
var update = flag.Bool("update", false, "rewrite the golden files")

const (
	goodDir = "../testdata/config/good"
	badDir  = "../testdata/config/bad"
)

// TestGood loads every good configuration and compares its normalised form and
// its lints with the archive beside it. Read again, the normalised form gives
// the same, so nothing is lost between the dialects.
func TestGood(t *testing.T) {
	for _, file := range glob(t, goodDir, "*.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c, err := Parse(filepath.Base(file), read(t, file))
			if err != nil {
				t.Fatalf("Parse(%s):\n%v", file, err)
			}
			view := viewOf(t, c)
			var lints strings.Builder
			for _, l := range c.Lints() {
				lints.WriteString(l.String() + "\n")
			}
			got := &txtar.Archive{Files: []txtar.File{{Name: "lints", Data: []byte(lints.String())}, {Name: "view", Data: view}}}
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", txtar.Format(got))

			again, err := Parse("view", view)
			if err != nil {
				t.Fatalf("its own view does not load:\n%v\n%s", err, view)
			}
			sameModel(t, again, c)
		})
	}
}

// spelt are the parts of an app that are compared by their text.
func spelt(t *testing.T, a App) string {
	t.Helper()
	text, err := json.Marshal([]any{a.HealthCheckExprs, a.DependsOn})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// sameModel compares two configurations but for their lints, images that no
// policy uses and how references are spelt.
func sameModel(t *testing.T, got, want *Config) {
	t.Helper()
	used := make(map[bump.Name]bool)
	for _, p := range want.Policies {
		used[p.Image] = true
	}
	plain := func(c *Config) Config {
		p := Config{Repositories: c.Repositories, Updates: c.Updates, Registries: c.Registries, Webhooks: c.Webhooks}
		for _, i := range c.Images {
			if used[i.Name] {
				p.Images = append(p.Images, i)
			}
		}
		for _, q := range c.Policies {
			q.Policy = nil
			p.Policies = append(p.Policies, q)
		}
		slices.SortFunc(p.Policies, func(a, b Policy) int { return strings.Compare(a.Name.String(), b.Name.String()) })
		for _, a := range c.Apply {
			a.Repository = ""
			a.HealthCheckExprs, a.DependsOn = nil, nil // they hold programs
			p.Apply = append(p.Apply, a)
		}
		return p
	}
	for i := range min(len(got.Apply), len(want.Apply)) {
		g, w := spelt(t, got.Apply[i]), spelt(t, want.Apply[i])
		if g != w {
			t.Errorf("the view reads back as\n%s\nwant\n%s", g, w)
		}
	}
	if g, w := plain(got), plain(want); !reflect.DeepEqual(g, w) {
		t.Errorf("the view reads back as\n%+v\nwant\n%+v", g, w)
	}
}

// TestBad loads archives of bad files, all of an archive together, and wants
// exactly the messages in its file "want".
func TestBad(t *testing.T) {
	for _, file := range glob(t, badDir, "*.txtar") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			file, err := filepath.Abs(file)
			if err != nil {
				t.Fatal(err)
			}
			archive := txtar.Parse(read(t, file))
			t.Chdir(t.TempDir())
			var paths []string
			want := -1
			for i, f := range archive.Files {
				if f.Name == "want" {
					want = i
					continue
				}
				paths = append(paths, f.Name)
				if err := os.WriteFile(f.Name, f.Data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c, err := Load(paths...)
			if err == nil || c != nil {
				t.Fatalf("Load(%q) = %v, %v, want no configuration and an error", paths, c, err)
			}
			got := err.Error() + "\n"
			if *update {
				if want < 0 {
					archive.Files = append(archive.Files, txtar.File{Name: "want"})
					want = len(archive.Files) - 1
				}
				archive.Files[want].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want < 0 || got != string(archive.Files[want].Data) {
				t.Errorf("got:\n%s\nwant:\n%s", got, archive.Files[max(want, 0)].Data)
			}
		})
	}
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := read(t, file); !bytes.Equal(got, want) {
		t.Errorf("%s:\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

func viewOf(t *testing.T, c *Config) []byte {
	t.Helper()
	v, err := c.View()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func glob(t testing.TB, dir, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no %s in %s: %v", pattern, dir, err)
	}
	return files
}

// A zero that was written is not the same as nothing.
func TestViewKeepsZeros(t *testing.T) {
	c, err := Parse("hoist.yaml", []byte(`apiVersion: hoist/v1
kind: Config
repositories:
  - {name: fleet, url: "https://git.example.com/fleet.git", branch: main}
images:
  - {name: web, image: registry.example.com/web, policy: {semver: {range: "1.x"}}}
updates:
  - {name: all, repository: fleet, maxMajors: 0, commit: {author: {email: hoist@example.com}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	view, err := c.View()
	if err != nil || !strings.Contains(string(view), "maxMajors: 0") {
		t.Errorf("View = %s, %v; want maxMajors: 0 in it", view, err)
	}
}
