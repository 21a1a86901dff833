package setter

import (
	"fmt"
	"strings"
	"testing"

	"hoist/bump"
)

const mark = `# {"$imagepolicy": "a:b"}`

// Where a marker's field is, and which object holds it.
func TestSiteFieldAndObject(t *testing.T) {
	for _, tc := range []struct{ src, field, object string }{
		{"image: x:1 " + mark, "image", "/"},
		{"x:1 " + mark, "", "/"},
		{"- x:1 " + mark, "[0]", "/"},
		{"apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: n}\nspec:\n  containers:\n  - name: a\n  - image: x:1 " + mark, "spec.containers[1].image", "Pod/n/p"},
		{"kind: List\nitems:\n- kind: Pod\n  metadata: {name: p}\n  spec: [x:1] " + mark, "items[0].spec[0]", "Pod/p"},
		{"kind: List\nitems:\n- kind: List\n  items:\n  - kind: Pod\n    metadata: {name: p}\n    image: x:1 " + mark, "items[0].items[0].image", "Pod/p"},
		{"- kind: Pod\n  metadata: {name: p}\n  image: x:1 " + mark, "[0].image", "Pod/p"},
		{"kind: Outer\nmetadata: {name: o}\nspec:\n  template:\n    kind: Inner\n    image: x:1 " + mark, "spec.template.image", "Outer/o"},
		{"kind: Outer\nmetadata: {name: o}\nspec:\n  items:\n  - kind: Inner\n    image: x:1 " + mark, "spec.items[0].image", "Outer/o"},
		{"a:\n  b.c/d: {\"e f\": x:1} " + mark, `a["b.c/d"]["e f"]`, "/"},
		{"n: &n name\nkind: Pod\nmetadata: {name: *n}\nimage: x:1 " + mark, "image", "Pod/name"},
		{"kind: Pod\nmetadata: {name: one}\n---\nkind: Job\nmetadata: {name: two}\nimage: x:1 " + mark, "image", "Job/two"},
	} {
		sites := find([]byte(tc.src))
		if len(sites) != 1 || sites[0].Problem != "" || sites[0].Field != tc.field || sites[0].Object.String() != tc.object ||
			tc.src[sites[0].Start:sites[0].End] != "x:1" || sites[0].Value != "x:1" {
			t.Errorf("find(%q) = %+v, want field %s of %s", tc.src, sites, tc.field, tc.object)
		}
	}
}

// Named stays when a list is put into another order.
func TestSiteNamed(t *testing.T) {
	for src, want := range map[string]string{
		"spec:\n  containers:\n  - {name: a}\n  - name: web\n    image: x:1 " + mark:    "spec.containers[web].image",
		"spec:\n  containers:\n  - name: web\n    image: x:1 " + mark:                   "spec.containers[web].image",
		"images:\n- name: r/web\n  newTag: x:1 " + mark:                                 "images[r/web].newTag",
		"kind: List\nitems:\n- kind: Pod\n  metadata: {name: p}\n  spec: [x:1] " + mark: "items[p].spec[0]",
		"list:\n- x:1 " + mark: "list[0]",
	} {
		if sites := find([]byte(src)); len(sites) != 1 || sites[0].Named != want {
			t.Errorf("find(%q) = %+v, want the name %s", src, sites, want)
		}
	}
}

// Places and spellings that cannot work, each with its whole message.
func TestY12SiteProblem(t *testing.T) {
	const behind = ": write it behind the value"
	for _, tc := range []struct {
		src  string
		line int
		want string
	}{
		{`a: x # {"$imagepolicy": "a:b", "match": "v(.*)"}`, 1, `value "x" does not match "v(.*)", which says what part of it is set`},
		{`a: x # {"$imagepolicy": "a:b", "match": "x|(y)"}`, 1, `value "x" does not match "x|(y)", which says what part of it is set`},
		{`a: ax # {"$imagepolicy": "a:b", "match": "x()"}`, 1, `value "ax" does not match "x()", which says what part of it is set`},
		{`a: x # {"$imagepolicy": "a:b", "match": "x"}`, 1, `marker's match "x" has 0 groups: put exactly one pair of brackets, around what is set`},
		{`a: x # {"$imagepolicy": "a:b", "match": "(x)|(y)"}`, 1, `marker's match "(x)|(y)" has 2 groups: put exactly one pair of brackets, around what is set`},
		{`a: x # {"$imagepolicy": "a:b", "match": "(x"}`, 1, "marker's match \"(x\" is not a regular expression: missing closing ): \"(x\""},
		{`a: x # {"$imagepolicy": "a:b", "match": "((?:x{100}){100})"}`, 1, "marker's match \"((?:x{100}){100})\" is not a regular expression: invalid repeat count: \"{100}\""},
		{`a: x # {"$imagepolicy": "a:b", "match": "(` + strings.Repeat("x", 300) + `)"}`, 1, "marker's match is longer than 256 bytes"},
		{`a: x # {"$imagepolicy": "a:b", "match": 5}`, 1, `marker's "match" is not a text in double quotes`},
		{`a: "x\\ty" # {"$imagepolicy": "a:b", "match": "(.*)"}`, 1, "value of which a part is set has escapes or several lines: write it on one line and without escapes"},
		{"a: x\n  y " + strings.Replace(mark, "}", `, "match": "(.*)"}`, 1), 2, "value of which a part is set has escapes or several lines: write it on one line and without escapes"},
		{`a: x # {"$imagepolicy": "a:b", "n": 1}`, 1, `marker's "n" is not a text in double quotes`},
		{`a: x # {"$imagepolicy": 5}`, 1, `marker's policy is not a text in double quotes: write # {"$imagepolicy": "namespace:name"}`},
		{`a: x # {"$imagepolicy": ""}`, 1, `marker names policy "": write "namespace:name", or "namespace:name:tag"`},
		{`a: x # {"$imagepolicy": "a:"}`, 1, `marker names policy "a:": write "namespace:name", or "namespace:name:tag"`},
		{`a: x # {"$imagepolicy": "a/b"}`, 1, `marker names policy "a/b": write "namespace:name", or "namespace:name:tag"`},
		{`a: x # {"$imagepolicy": "a:b:"}`, 1, `marker asks for part "" of the image: known are tag, name and digest`},
		{`a: x # {"$imagepolicy": "a:b"`, 1, `marker {"$imagepolicy": "a:b" is not JSON: write # {"$imagepolicy": "a:b"}`},
		{`a: x # $imagepolicy: a:b`, 1, `marker $imagepolicy: a:b is not JSON: write # {"$imagepolicy": "a:b"}`},
		{`a: x # {"$imagepolicy: "a:b:tag"}`, 1, `marker {"$imagepolicy: "a:b:tag"} is not JSON: write # {"$imagepolicy": "a:b:tag"}`},
		{"a: {} " + mark, 1, "marker stands behind empty brackets, which hold no value"},
		{"a: [ " + mark + "\n x]", 1, "marker stands behind an opening bracket" + behind},
		{"? a " + mark + "\n: x", 1, "marker stands behind a key" + behind},
		{"a: x\n\n" + mark + "\n\nimage: y:1", 3, "marker stands alone" + behind},
		{"a: x\n  " + mark + "\nimage: y:1", 2, "marker stands alone" + behind},
		{mark + "\n---\nimage: y:1", 1, "marker stands in a document that holds nothing but comments" + behind},
		{"a: b\n---\n# c\n  " + mark, 4, "marker stands in a document that holds nothing but comments" + behind},
		{"a: b\n" + mark + "\n---\nimage: x:1", 2, "marker stands alone" + behind},
		{"- x\n" + mark + "\n\n- y", 2, "marker stands alone" + behind},
		{mark + "\nmetadata: {}\nimage: y:1", 1, "marker does not stand above a single field" + behind},
		{mark + "\n- [x, y]", 1, "marker stands alone" + behind},
		{"image: x " + mark + "\n" + "b: y", 0, ""},
		{mark + "\nimage: x " + mark, 2, "field is marked twice, first in line 1: delete one of the markers"},
		{"a: \"image: x " + strings.ReplaceAll(mark, `"`, `\"`) + "\"", 1, "marker stands inside a text, where # begins no comment: write it behind a field of its own"},
		{`{"a": "x", "$imagepolicy": "a:b"}`, 1, `marker is a field and not a comment: write # {"$imagepolicy": "namespace:name"} behind the value`},
		{"%YAML 1.1 " + mark + "\n---\nimage: x", 1, "marker stands alone" + behind},
	} {
		sites := find([]byte(tc.src))
		problems := sites[:0:0]
		for _, s := range sites {
			if s.Problem != "" {
				problems = append(problems, s)
			}
		}
		if tc.want == "" {
			if len(problems) > 0 {
				t.Errorf("find(%q) = %+v, want no problem", tc.src, problems)
			}
			continue
		}
		if len(problems) != 1 || problems[0].Line != tc.line || problems[0].Problem != tc.want {
			t.Errorf("find(%q) = %+v, want line %d: %s", tc.src, problems, tc.line, tc.want)
		}
	}
}

// Prose that mentions the key, and data that looks like it, are no markers.
func TestNoMarker(t *testing.T) {
	for _, src := range []string{
		"# fields are marked with $imagepolicy comments\na: x",
		"a: x # {\"other\": \"$imagepolicy\"}",
		"a: $imagepolicy",
		"a: '{\"$imagepolicy\": \"a:b\"}'",
		"a: |\n  {\"$imagepolicy\": \"a:b\"}\n",
		"a: x # $image",
	} {
		if sites := find([]byte(src)); len(sites) > 0 {
			t.Errorf("find(%q) = %+v, want none", src, sites)
		}
	}
}

// Files that are not YAML are problems only where they hold a marker: Y8 (tabs,
// bad syntax), Y9 (UTF-16, other bytes).
func TestY8Y9FileProblem(t *testing.T) {
	for _, tc := range []struct{ name, src, want string }{
		{"Y8 tab", "a:\n\tb: x:1 " + mark, "2: file has a marker but is not valid YAML: line 2: found character that cannot start any token"},
		{"Y8 template", "a: {{ .x }}\nimage: x:1 " + mark + "\n{{ end }}", "2: file has a marker but is not valid YAML: line 3: could not find expected ':'"},
		{"Y8 no marker", "a:\n\tb: x:1 # $imagepolicy", ""},
		{"Y9 latin-1", "# caf\xe9\nimage: x:1 " + mark, "2: file has a marker but is not UTF-8 text: convert it"},
		{"Y9 NUL", "a: \x00\nimage: x:1 " + mark, "2: file has a marker but is not UTF-8 text: convert it"},
		{"Y9 UTF-16LE", "\xff\xfe" + wide("a: b\nimage: x:1 "+mark, 0), "2: file has a marker but is UTF-16: convert it to UTF-8"},
		{"Y9 UTF-16BE", "\xfe\xff" + wide("a: b\nimage: x:1 "+mark, 1), "2: file has a marker but is UTF-16: convert it to UTF-8"},
		{"Y9 UTF-16 no marker", "\xff\xfe" + wide("a: b\n", 0), ""},
	} {
		got := ""
		for _, s := range find([]byte(tc.src)) {
			got += fmt.Sprintf("%d: %s", s.Line, s.Problem)
		}
		if got != tc.want {
			t.Errorf("%s: find(%q) = %q, want %q", tc.name, tc.src, got, tc.want)
		}
	}
}

// wide writes ASCII as UTF-16, the other byte first (big) or last.
func wide(s string, big int) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		pair := []byte{c, 0}
		b.WriteByte(pair[big])
		b.WriteByte(pair[1-big])
	}
	return b.String()
}

// Y6: aliases are not followed, so a file costs what it weighs.
func TestY6BillionLaughs(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n")
	for i := 1; i < 40; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 8), i-1)
	}
	b.WriteString("image: x:1 " + mark + "\n")
	sites := find([]byte(b.String()))
	if len(sites) != 1 || sites[0].Problem != "" {
		t.Fatalf("find = %+v, want one good site", sites)
	}
	if _, err := Edit([]byte(b.String()), []bump.Verdict{{Site: sites[0], Outcome: bump.Bump, New: "x:2"}}); err != nil {
		t.Errorf("Edit: %v", err)
	}
}

// Y10: the right one of a thousand documents changes.
func TestY10ThousandDocuments(t *testing.T) {
	var docs []string
	for i := range 1000 {
		docs = append(docs, fmt.Sprintf("kind: Pod\nmetadata: {name: p%d}\nimage: x:1 # {\"$imagepolicy\": \"a:p%d\"}\n", i, i))
	}
	before := strings.Join(docs, "---\n")
	sites := find([]byte(before))
	if len(sites) != 1000 || sites[700].Object.Name != "p700" || sites[700].Policy.Name != "p700" {
		t.Fatalf("%d sites, site 700 = %+v", len(sites), sites[700])
	}
	after, err := Edit([]byte(before), []bump.Verdict{{Site: sites[700], Outcome: bump.Bump, New: "x:2"}})
	docs[700] = strings.Replace(docs[700], "x:1", "x:2", 1)
	if want := strings.Join(docs, "---\n"); err != nil || string(after) != want {
		t.Errorf("Edit: %v; document 700 = %q, want %q", err, strings.Split(string(after), "---\n")[700], docs[700])
	}
}
