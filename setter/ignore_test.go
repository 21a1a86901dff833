package setter

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// Files that a pattern ignores do not count (Y19): patterns of the configuration,
// of .sourceignore files above the path, at it and below it.
func TestIgnore(t *testing.T) {
	tree := func(ignores map[string]string) fstest.MapFS {
		files := fstest.MapFS{}
		for _, name := range []string{"a.yaml", "apps/a.yaml", "apps/gen/a.yaml", "apps/gen/keep/b.yaml", "apps/web/a.yaml", "gen/a.yaml"} {
			files[name] = marked("n:x", "x:1")
		}
		for dir, text := range ignores {
			files[dir+"/.sourceignore"] = plainFile(text)
		}
		if text, ok := ignores["."]; ok {
			files[".sourceignore"] = plainFile(text)
			delete(files, "./.sourceignore")
		}
		return files
	}
	for _, tc := range []struct {
		name    string
		ignores map[string]string
		ignore  string
		paths   []string
		want    string
	}{
		{"nothing", nil, "", nil, "a apps/a apps/gen/a apps/gen/keep/b apps/web/a gen/a"},
		{"of the configuration", nil, "# generated\ngen/\n", nil, "a apps/a apps/web/a"},
		{"anchored", nil, "/gen\n", nil, "a apps/a apps/gen/a apps/gen/keep/b apps/web/a"},
		{"by name", nil, "a.yaml", nil, "apps/gen/keep/b"},
		{"any depth", nil, "**/gen/*.yaml", nil, "a apps/a apps/gen/keep/b apps/web/a"},
		{"all but one", nil, "/*\n!/apps", nil, "apps/a apps/gen/a apps/gen/keep/b apps/web/a"},
		{"a file of the root", map[string]string{".": "gen/\r\n\r\n# x\r\n"}, "", nil, "a apps/a apps/web/a"},
		{"a file below, which knows its own folder", map[string]string{"apps": "/a.yaml\n/gen"}, "", nil, "a apps/web/a gen/a"},
		{"a file above the path", map[string]string{".": "gen/"}, "", []string{"apps"}, "apps/a apps/web/a"},
		{"a deeper file is stronger", map[string]string{".": "*.yaml", "apps/gen": "!/keep/b.yaml"}, "", nil, "apps/gen/keep/b"},
		{"the configuration is the strongest", map[string]string{".": "*.yaml"}, "!b.yaml", nil, "apps/gen/keep/b"},
		{"an ignored folder says nothing", map[string]string{".": "/apps\n!/x", "apps": "!a.yaml"}, "", nil, "a gen/a"},
		{"a file named in full", nil, "*.yaml", []string{"apps/a.yaml"}, "apps/a"},
		{"an ignored path", map[string]string{".": "/apps"}, "", []string{"apps/web", "gen"}, "gen/a"},
	} {
		files := tree(tc.ignores)
		for kind, fsys := range map[string]fs.FS{"plain": files, "hashed": &gitTree{MapFS: files}} {
			c := NewCache()
			for range 2 {
				sites, err := c.Sites(t.Context(), fsys, Options{Paths: tc.paths, Ignore: tc.ignore})
				var got []string
				for _, s := range sites {
					got = append(got, strings.TrimSuffix(s.File, ".yaml"))
				}
				if err != nil || strings.Join(got, " ") != tc.want {
					t.Errorf("%s, %s: %v, %v, want %s", tc.name, kind, got, err, tc.want)
				}
			}
		}
	}
}

// Patterns mean what they mean to Flux, which asks the library about each file.
func TestIgnoreAsFlux(t *testing.T) {
	names := []string{"a.yaml", "b/a.yaml", "b/c/a.yaml", "b/c/d/e.yaml", "c/b/a.yaml", "d/e.yaml"}
	files := fstest.MapFS{}
	for _, n := range names {
		files[n] = marked("n:x", "x:1")
	}
	for _, text := range []string{
		"b", "b/", "/b", "b/c", "/b/c/", "*.yaml\n!e.yaml", "/*\n!/b", "**/c", "b/**", "b/**/e.yaml", "!b\nb", "b\n!b/c", "/b/*\n!/b/c", "c/\n!a.yaml", " ", "[", "b/*/a.yaml",
	} {
		g := newIgnores(text)
		var flux gitignore.Matcher
		var patterns []gitignore.Pattern
		if g != nil {
			patterns = g.config
		}
		flux = gitignore.NewMatcher(patterns)
		var want []string
		for _, n := range names {
			if !flux.Match(strings.Split(n, "/"), false) {
				want = append(want, n+":1 x:1")
			}
		}
		slices.Sort(want)
		wantStrings(t, fmt.Sprintf("sites with %q", text), mustSites(t, NewCache(), files, Options{Ignore: text}), want...)
	}
}

// What is known of a tree is not used where the patterns or the rules are others.
func TestCacheKnowsTheRules(t *testing.T) {
	files := fstest.MapFS{"apps/kustomization.yaml": plainFile("images: [{name: x, newTag: v1}]\n"), "apps/a.yaml": marked("n:x", "x:1"), "b/a.yaml": marked("n:x", "x:1")}
	g := &gitTree{MapFS: files}
	c := NewCache()
	all := []string{"apps/a.yaml:1 x:1", "b/a.yaml:1 x:1"}
	field := Options{Fields: []Field{{File: "apps/*.yaml", Path: "image", Policy: "n:x"}, {File: "apps/k*.yaml", Path: "images[0].newTag", Policy: "n:y", Part: "tag"}}}
	for _, round := range []struct {
		opt  Options
		want []string
	}{
		{Options{}, all},
		{Options{Ignore: "b"}, all[:1]},
		{Options{}, all},
		{Options{Ignore: "apps"}, all[1:]},
		{Options{Paths: []string{"apps"}}, all[:1]},
		{field, []string{all[0], "apps/kustomization.yaml:1 v1", all[1]}},
		{Options{}, all},
		{Options{Kustomize: policyImages("n:z=x")}, []string{all[0], "apps/kustomization.yaml:1 v1", all[1]}},
		{Options{Kustomize: policyImages("n:z=y")}, all},
	} {
		wantStrings(t, fmt.Sprintf("sites with %+v", round.opt), mustSites(t, c, g, round.opt), round.want...)
	}
	changed := maps.Clone(files)
	changed[".sourceignore"] = plainFile("apps/a.yaml\n")
	wantStrings(t, "with a new .sourceignore", mustSites(t, c, &gitTree{MapFS: changed}, Options{}), all[1:]...)
	wantStrings(t, "below it", mustSites(t, c, &gitTree{MapFS: changed}, Options{Paths: []string{"apps"}}))
	wantStrings(t, "without it", mustSites(t, c, g, Options{}), all...)
}
