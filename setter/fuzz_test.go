package setter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v3"

	"hoist/bump"
)

// seeds adds the files of the golden archives and a few that are odd.
func seeds(f *testing.F) {
	files, err := filepath.Glob("../testdata/setter/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatalf("no archives: %v", err)
	}
	for _, name := range files {
		ar, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range ar.Files {
			if part.Name == "before" {
				f.Add([]byte(unescape.Replace(string(part.Data))))
			}
		}
	}
	for _, s := range []string{
		"images:\n- name: x\n  newTag: 1.0\n- {name: y, newName: ghcr.io/acme/web, newTag: '1', digest: sha256:0}\n- name: x\n",
		"spec: {image: &i x:1}\nb: v1.9-x\na: [{b: x}]\nimage: *i\n", `{"spec": {"image": "x:1"}, "b": 1.9, "image": "y"}`, "- 1\n- x: y\n- |\n  z\n",
		"a: &x x:1 " + mark + "\nb: {c: *x, d: [*x]} " + mark,
		"[a, {b: c}] " + mark, "- - x:1 " + mark + "\n  - |\n   y\n", "a: >2- " + mark + "\n   x\n", "? |\n  k\n: x:1 " + mark,
		"\ufeff---\n\"a\": 'it''s' " + mark + "\r\nb: \"q\\\"\" " + mark, "a: x\u0085b: y:1 " + mark, "a:\tx:1\t" + mark, "!!map {a: !x y:1 " + mark + "\n}",
		"--- # c\nx:1 " + mark + "\n...\n", "a: x\n  y\n\n  z " + mark, "{? a : b} " + mark, "a: [x,\n" + mark + "\ny]", "a: - " + mark,
		`a: ' v=1' # {"$imagepolicy": "a:b:tag", "match": "\\s*v=(.*)"}`, `- a "b" 1 c # {"$imagepolicy": "a:b:tag", "match": ".* (\\S+) c"}`,
	} {
		f.Add([]byte(s))
	}
}

// FuzzEdit promises N8: the bytes outside of marked scalars stay; the result is
// the same tree but for them; twice is the same as once.
func FuzzEdit(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, before []byte) {
		for _, tag := range []string{"1.10", "v2.0.0", "on"} {
			editOnce(t, everything, before, tag)
		}
		if everything := everything; json.Valid(before) {
			everything.markers, everything.json = false, true
			editOnce(t, everything, before, "1.10")
		}
	})
}

// everything looks for markers, for the images of kustomizations and for fields.
var everything = func() look {
	r, err := newRules(Options{
		Kustomize: map[bump.Name]string{{Namespace: "k", Name: "web"}: "ghcr.io/acme/web", {Namespace: "k", Name: "x"}: "x"},
		Fields: []Field{
			{File: "**", Path: "spec.image", Policy: "f:a"},
			{File: "**", Path: "[*]", Policy: "f:b", Part: bump.Tag},
			{File: "**", Path: "/a/0/b", Policy: "f:c", Part: bump.Digest},
			{File: "**", Path: "b", Policy: "f:d", Part: bump.Tag, Match: `\D*(\S+?)\D*`},
			{File: "**", Path: "image", Policy: "f:e", Part: bump.Repo, Match: `([^:]*):?.*`},
		},
	})
	if err != nil {
		panic(err)
	}
	return r.lookAt("kustomization.yaml", yamlFile)
}()

func (l look) good(src []byte) []bump.Site {
	sites, _ := l.find(src)
	if l.json {
		for i := range sites {
			sites[i].File = "x.json"
		}
	}
	return slices.DeleteFunc(sites, func(s bump.Site) bool { return s.Problem != "" })
}

func editOnce(t *testing.T, l look, before []byte, tag string) {
	sites := l.good(before)
	var vs []bump.Verdict
	for _, s := range sites {
		if s.Start < 0 || s.End <= s.Start || s.End > len(before) {
			t.Fatalf("site %+v lies outside of %q", s, before)
		}
		v, err := Value(s, bump.Selection{Policy: s.Policy, Tags: bump.Tags{Image: "ghcr.io/acme/web"}, Tag: tag, Digest: "sha256:" + strings.Repeat("0", 64)})
		if err != nil && s.Match != "" {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		vs = append(vs, bump.Verdict{Site: s, Outcome: bump.Bump, New: v})
	}
	kept := bytes.Clone(before)
	after, err := Edit(before, vs)
	if !bytes.Equal(kept, before) {
		t.Fatalf("Edit changed what it was given: %q, was %q", before, kept)
	}
	if err != nil {
		if after != nil {
			t.Fatalf("Edit(%q) = %q and %v", before, after, err)
		}
		t.Logf("Edit(%q) refused: %v", before, err)
		return
	}
	if trouble := outside(before, after, vs); trouble != "" {
		t.Fatalf("Edit(%q) = %q: %s", before, after, trouble)
	}
	sameTrees(t, before, after, vs)
	byPlace := map[string]string{}
	for _, v := range vs {
		byPlace[place(v.Site)] = v.New
	}
	var later []bump.Verdict
	for _, s := range l.good(after) { // that of an image whose name was set is another one now
		if v, ok := byPlace[place(s)]; ok {
			later = append(later, bump.Verdict{Site: s, Outcome: bump.Bump, New: v})
		}
	}
	again, err := Edit(after, later)
	if err != nil || !bytes.Equal(again, after) {
		t.Fatalf("Edit(%q) a second time = %q, %v, want the same", after, again, err)
	}
}

func place(s bump.Site) string { return fmt.Sprint(s.Field, s.Policy, s.Part, s.Match) }

// outside compares before and after outside of the scalars that vs set, and those
// scalars with the new value in the old quotes, or in new ones.
func outside(before, after []byte, vs []bump.Verdict) string {
	done := 0
	for _, v := range vs {
		s := v.Site
		if between := before[done:s.Start]; !bytes.HasPrefix(after, between) {
			return fmt.Sprintf("%q is followed by %q", between, after)
		}
		after = after[s.Start-done:]
		done = s.End
		raw, full := string(before[s.Start:s.End]), s.Before+v.New+s.After
		allowed := []string{`"` + full + `"`, `'` + full + `'`, full}
		switch {
		case v.New == s.Value:
			allowed = []string{raw}
		case raw[0] == '"' || raw[0] == '\'':
			allowed = []string{raw[:1] + full + raw[:1], full} // full alone in a block that begins with a quote
		}
		i := slices.IndexFunc(allowed, func(a string) bool { return bytes.HasPrefix(after, []byte(a)) })
		if i < 0 {
			return fmt.Sprintf("%q became %q, want one of %q", raw, after, allowed)
		}
		after = after[len(allowed[i]):]
	}
	if !bytes.Equal(before[done:], after) {
		return fmt.Sprintf("ends in %q, want %q", after, before[done:])
	}
	return ""
}

// sameTrees compares the values that a decoder of its own finds before and after:
// as many differ as fields were set to something new, and those are the new ones.
func sameTrees(t *testing.T, before, after []byte, vs []bump.Verdict) {
	want, got := scalars(t, before), scalars(t, after)
	if len(want) != len(got) {
		t.Fatalf("%q has %d scalars, %q has %d", before, len(want), after, len(got))
	}
	allowed := map[string]int{}
	for _, v := range vs {
		allowed[v.Site.Before+v.New+v.Site.After]++
	}
	for i := range want {
		if want[i] == got[i] {
			continue
		}
		v := strings.TrimRight(strings.TrimPrefix(got[i], "!!str "), "\n")
		if allowed[v]--; allowed[v] < 0 {
			t.Fatalf("%q became %q in %q, made of %q", want[i], got[i], after, before)
		}
	}
}

func scalars(t *testing.T, src []byte) []string {
	var out []string
	dec := yaml.NewDecoder(bytes.NewReader(src))
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		switch n.Kind {
		case yaml.ScalarNode:
			out = append(out, n.ShortTag()+" "+n.Value)
		case yaml.AliasNode:
			out = append(out, "*"+n.Value)
		}
		for _, c := range n.Content {
			walk(c)
		}
	}
	for {
		n := new(yaml.Node)
		if err := decode(dec, n); err != nil {
			return out
		}
		walk(n)
	}
}

// decode turns the library's panics into an end of the file.
func decode(dec *yaml.Decoder, n *yaml.Node) (err error) {
	defer func() {
		if recover() != nil {
			err = bytes.ErrTooLarge
		}
	}()
	return dec.Decode(n)
}

// FuzzFlux promises that a field which Flux would set is a good site here or a
// marker with a problem, and that a line comment never sets another field than
// Flux would.
func FuzzFlux(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		if _, err := parse(src); err != nil || !bytes.Contains(src, []byte(key)) || bytes.IndexByte(src, 0) >= 0 {
			return
		}
		sites := find(src)
		ours := map[int]bump.Site{}
		problems := 0
		for _, s := range sites {
			if s.Problem != "" {
				problems++
				continue
			}
			ours[s.Start] = s
		}
		for start, policy := range fluxFields(t, src) {
			s, ok := ours[start]
			if !ok {
				if problems--; problems < 0 {
					t.Fatalf("Flux sets the field at %d of %q to %s; sites are %+v", start, src, policy, sites)
				}
				continue
			}
			name := s.Policy.String()
			if s.Part != bump.Whole {
				name += ":" + string(s.Part)
			}
			if name != policy {
				t.Fatalf("Flux sets the field at %d of %q to %s, we to %s", start, src, policy, name)
			}
		}
	})
}

// fluxFields returns what Flux's setter would set: by the rules of its filter, a
// scalar whose line comment, or if it has none whose head comment, is a JSON
// object of texts with the key. The offsets are those of sites.
func fluxFields(t *testing.T, src []byte) map[int]string {
	f, err := parse(src)
	if err != nil {
		t.Fatal(err)
	}
	out := map[int]string{}
	for _, l := range f.leafs {
		if l.step.role == name || l.node.Kind != yaml.ScalarNode || l.empty() {
			continue
		}
		c := l.node.LineComment
		if c == "" {
			c = l.node.HeadComment
		}
		var fields map[string]string
		if json.Unmarshal([]byte(strings.TrimLeft(c, "#")), &fields) != nil {
			continue
		}
		if policy := fields[key]; policy != "" {
			start := l.start
			if block(l.node) {
				start = l.body.start
			}
			out[start] = policy
		}
	}
	return out
}
