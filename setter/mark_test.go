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

// TestMarkGolden runs the archives of testdata/mark: images lists what is found
// in before, after is before with a marker for each image that can have one, and
// hand says what is left to a person. The comment of an archive names the file.
func TestMarkGolden(t *testing.T) {
	files, err := filepath.Glob("../testdata/mark/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) { goldenMark(t, name) })
	}
}

func goldenMark(t *testing.T, name string) {
	ar, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	part := map[string]string{}
	for _, f := range ar.Files {
		part[f.Name] = unescape.Replace(string(f.Data))
	}
	before := []byte(part["before"])
	found, err := FileImages(strings.TrimSpace(string(ar.Comment)), before)
	if err != nil {
		t.Fatal(err)
	}
	var list, hand strings.Builder
	var marks []Mark
	for _, i := range found {
		fmt.Fprintf(&list, "%d %s %s", i.Line, i.Field, i.Name)
		for _, p := range []struct{ sign, text string }{{":", i.Tag}, {"@", i.Digest}, {" ", string(i.Part)}, {" replaces ", i.Replaces}, {": ", i.Problem}} {
			if p.text != "" {
				list.WriteString(p.sign + p.text)
			}
		}
		if i.Marked {
			list.WriteString(" marked")
		} else if i.Problem == "" {
			marks = append(marks, Mark{Image: i, Policy: bump.Name{Namespace: "hoist", Name: "x"}})
		}
		list.WriteByte('\n')
	}
	if list.String() != part["images"] {
		t.Errorf("images:\n%s\nwant:\n%s", list.String(), part["images"])
	}
	after, byHand, err := AddMarkers(before, marks)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range marks {
		if why, left := byHand[i]; left {
			fmt.Fprintf(&hand, "%d: %s\n", m.Image.Line, why)
		}
	}
	if string(after) != part["after"] {
		t.Errorf("after:\n%q\nwant:\n%q", after, part["after"])
	}
	if hand.String() != part["hand"] {
		t.Errorf("by hand:\n%s\nwant:\n%s", hand.String(), part["hand"])
	}
	onlyComments(t, before, after)
}

// onlyComments checks line by line that nothing but markers was appended.
func onlyComments(t *testing.T, before, after []byte) {
	t.Helper()
	was, is := splitLines(before), splitLines(after)
	if len(was) != len(is) {
		t.Fatalf("%q has %d lines, %q has %d", before, len(was), after, len(is))
	}
	for i := range was {
		added, ok := strings.CutPrefix(is[i].text, was[i].text)
		if !ok || is[i].end != was[i].end || added != "" && (!strings.HasPrefix(strings.TrimPrefix(added, " "), `# {"$imagepolicy": "`) || !strings.HasSuffix(added, `"}`)) {
			t.Fatalf("line %d: %q became %q", i+1, was[i], is[i])
		}
	}
}

type textLine struct{ text, end string }

func splitLines(src []byte) (out []textLine) {
	start := 0
	for i := 0; i <= len(src); {
		n := breakLen(src[i:])
		if n == 0 && i < len(src) {
			i++
			continue
		}
		out = append(out, textLine{string(src[start:i]), string(src[i : i+n])})
		i += max(n, 1)
		start = i
	}
	return out
}

// FuzzMark promises of any YAML and any value in it: a marker is added as a
// comment at the end of a line, everything else reads as before, and the marker
// is found with the value it was meant for. A second time adds nothing.
func FuzzMark(f *testing.F) {
	seeds(f)
	f.Add([]byte("a: x # c\nb: [y, {image: z}]\nimage: {repository: a/b, tag: c}\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) > 4<<10 || bytes.IndexByte(src, 0) >= 0 || encoding(src) != "" {
			return
		}
		parsed, err := parse(src)
		if err != nil {
			return
		}
		sites := find(src)
		marked := map[int]bool{}
		for _, s := range sites {
			marked[s.Start] = s.Problem == ""
		}
		var marks []Mark
		for _, l := range parsed.leafs {
			start, _, problem := parsed.editable(l, false)
			if problem == "" && !marked[start] && l.step.role != name {
				marks = append(marks, Mark{Image: Image{start: start, Part: bump.Tag}, Policy: bump.Name{Namespace: "hoist", Name: "x"}})
			}
		}
		kept := bytes.Clone(src)
		after, byHand, err := AddMarkers(src, marks)
		if !bytes.Equal(kept, src) {
			t.Fatalf("AddMarkers changed what it was given: %q, was %q", src, kept)
		}
		if err != nil {
			t.Fatal(err)
		}
		onlyComments(t, src, after)
		if got, want := scalars(t, after), scalars(t, src); !equalTexts(got, want) {
			t.Fatalf("%q reads %q, and with markers %q reads %q", src, want, after, got)
		}
		if got, want := len(find(after)), len(sites)+len(marks)-len(byHand); got != want {
			t.Fatalf("%q: %d sites, want %d", after, got, want)
		}
	})
}

func equalTexts(a, b []string) bool {
	return strings.Join(a, "\x00") == strings.Join(b, "\x00")
}

// FuzzImages promises that looking for images never panics, and that what is
// found can be marked or says why not.
func FuzzImages(f *testing.F) {
	seeds(f)
	f.Add([]byte("kind: Pod\napiVersion: v1\nspec: {containers: [{image: a:1}, {image: *x}]}\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) > 4<<10 {
			return
		}
		found, err := FileImages("a.yaml", src)
		if err != nil {
			if strings.Contains(err.Error(), "mistake of ours") {
				t.Fatal(err)
			}
			return
		}
		var marks []Mark
		for _, i := range found {
			if i.Problem == "" && !i.Marked {
				marks = append(marks, Mark{Image: i, Policy: bump.Name{Namespace: "hoist", Name: "x"}})
			}
		}
		after, byHand, err := AddMarkers(src, marks)
		if err != nil {
			t.Fatal(err)
		}
		again, err := FileImages("a.yaml", after)
		if err != nil {
			t.Fatal(err)
		}
		left := 0
		for _, i := range again {
			if i.Problem == "" && !i.Marked {
				left++
			}
		}
		if left != len(byHand) {
			t.Fatalf("%q: %d images are left, want %d", after, left, len(byHand))
		}
	})
}
