package setter

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"hoist/bump"
)

// policyImages returns the images of policies, each written "ns:name=image".
func policyImages(policies ...string) map[bump.Name]string {
	out := map[bump.Name]string{}
	for _, p := range policies {
		policy, image, _ := strings.Cut(p, "=")
		name, err := bump.ParseName(policy)
		if err != nil {
			panic(err)
		}
		out[name] = image
	}
	return out
}

func TestSpecCheck(t *testing.T) {
	field := func(file, path string) Field { return Field{File: file, Path: path, Policy: "web"} }
	for _, tc := range []struct {
		spec Spec
		want string
	}{
		{Spec{}, ""},
		{Spec{Path: "./apps", Strategy: Setters}, ""},
		{Spec{Paths: []string{"a", "/b/c.yaml"}, Strategy: Kustomize, Fields: []Field{field("a/**/x.yaml", `a["b.c"][0][*].d`), field("/x.json", "/a/0/b~1c")}}, ""},
		{Spec{Path: "a", Paths: []string{"b"}}, "paths: stands beside path: write all of them here, or one there"},
		{Spec{Path: "../a"}, `path: "../a" leaves the repository`},
		{Spec{Paths: []string{"a", "b/../.."}}, `paths[1]: "b/../.." leaves the repository`},
		{Spec{Strategy: "Kustomise"}, `strategy: "Kustomise" is not one of Setters, kustomize`},
		{Spec{Fields: []Field{field("", "a")}}, `fields[0].file: "" is not a pattern of files: write it as environments/*/values.yaml`},
		{Spec{Fields: []Field{field("[a", "a")}}, `fields[0].file: "[a" is not a pattern of files: brackets do not match in "[a"`},
		{Spec{Fields: []Field{field("a/../b", "a")}}, `fields[0].file: "a/../b" leaves the repository`},
		{Spec{Fields: []Field{field("a/b**", "a")}}, `fields[0].file: "a/b**" is not a pattern of files: ** stands alone between slashes`},
		{Spec{Fields: []Field{field("a", "")}}, `fields[0].path: "" is not the path of a field`},
		{Spec{Fields: []Field{field("a", "a..b")}}, `fields[0].path: "a..b" is not the path of a field: cannot read "..b"; write it as spec.containers[0].image`},
		{Spec{Fields: []Field{field("a", "a[x]")}}, `fields[0].path: "a[x]" is not the path of a field: cannot read "[x]"; write it as spec.containers[0].image`},
		{Spec{Fields: []Field{field("a", `a["x]`)}}, `fields[0].path: "a[\"x]" is not the path of a field: cannot read "[\"x]"; write it as spec.containers[0].image`},
		{Spec{Fields: []Field{field("a", "a"), {File: "a", Path: "a", Policy: "web", Part: "version"}}}, `fields[1].part: "version" is not one of tag, name, digest`},
		{Spec{Fields: []Field{{File: "a", Path: "a", Policy: "web", Match: "x"}}}, `fields[0].match: "x" has 0 groups: put exactly one pair of brackets, around what is set`},
	} {
		var got []string
		for _, f := range tc.spec.Check() {
			got = append(got, f.Field+": "+f.Message)
		}
		if text := strings.Join(got, "\n"); text != tc.want {
			t.Errorf("Check(%+v) = %s, want %s", tc.spec, text, tc.want)
		}
	}
}

func TestGlob(t *testing.T) {
	for pattern, want := range map[string]string{
		"a.yaml":           "a.yaml",
		"*.yaml":           "a.yaml b.yaml",
		"x/*/v.yaml":       "x/a/v.yaml x/b/v.yaml",
		"**/v.yaml":        "x/a/v.yaml x/b/c/v.yaml x/b/v.yaml",
		"x/**":             "x/a/v.yaml x/b/c/v.yaml x/b/v.yaml",
		"x/**/v.yaml":      "x/a/v.yaml x/b/c/v.yaml x/b/v.yaml",
		"**/b/**/v.yaml":   "x/b/c/v.yaml x/b/v.yaml",
		"./x/[a-b]/?.yaml": "x/a/v.yaml x/b/v.yaml",
		"/a.yaml":          "a.yaml",
		"x":                "",
		"**/**/c/**":       "x/b/c/v.yaml",
	} {
		g, err := newGlob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, name := range []string{"a.yaml", "b.yaml", "x/a/v.yaml", "x/b/c/v.yaml", "x/b/v.yaml"} {
			if g.match(name) {
				got = append(got, name)
			}
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%q matches %q, want %q", pattern, text, want)
		}
	}
}

// A field that is nowhere is a problem: its pattern or path is wrong more likely than meant.
func TestFieldNowhere(t *testing.T) {
	tree := fstest.MapFS{"env/a/values.yaml": plainFile("image: {tag: v1}\n"), "env/b/values.yaml": plainFile("image: {}\n"), "env/c/broken.yaml": plainFile("a: ]\n")}
	for _, tc := range []struct{ file, path, want string }{
		{"env/*/values.yaml", "image.tag", "env/a/values.yaml:1 v1"},
		{"env/b/values.yaml", "image.tag", "env/b/values.yaml !fields[0] names a field that does not exist: the file has no image.tag"},
		{"env/*/values.yaml", "image.tga", "env/*/values.yaml !fields[0] names a field that does not exist: none of 2 files has image.tga"},
		{"env/*/value.yaml", "image.tag", `env/*/value.yaml !fields[0] names a file that does not exist: nothing below env matches "env/*/value.yaml"`},
		{"env/c/*", "a", "env/c/broken.yaml !fields[0] names this file, but it is not valid YAML: did not find expected node content"},
	} {
		opt := Options{Paths: []string{"env"}, Fields: []Field{{File: tc.file, Path: tc.path, Policy: "n:a", Part: "tag"}}}
		wantStrings(t, fmt.Sprintf("%s %s", tc.file, tc.path), mustSites(t, NewCache(), tree, opt), tc.want)
		wantStrings(t, fmt.Sprintf("%s %s in Git", tc.file, tc.path), mustSites(t, NewCache(), &gitTree{MapFS: tree}, opt), tc.want)
	}
}

// A kustomization and a named file that cannot be read are problems, also above the limit.
func TestUnreadableWithoutMarkers(t *testing.T) {
	tree := fstest.MapFS{"kustomization.yaml": plainFile("images: [\n"), "big/kustomization.yml": plainFile("a: b\n" + strings.Repeat("# x\n", 100)), "values.yaml": plainFile("\xff")}
	got := mustSites(t, NewCache(), tree, Options{MaxFileSize: 100, Kustomize: policyImages("n:a=x"), Fields: []Field{{File: "**/*.y*ml", Path: "a", Policy: "n:a"}}})
	want := []string{
		"big/kustomization.yml !fields[0] names this file, but it is larger than 100 bytes: split it",
		"big/kustomization.yml !images of this kustomization cannot be set: it is larger than 100 bytes: split it",
		"kustomization.yaml !fields[0] names this file, but it is not valid YAML: line 1: did not find expected node content",
		"kustomization.yaml !images of this kustomization cannot be set: it is not valid YAML: line 1: did not find expected node content",
		"values.yaml !fields[0] names this file, but it is not UTF-8 text: convert it",
	}
	if !slices.Equal(got, want) {
		t.Errorf("sites = %q, want %q", got, want)
	}
}
