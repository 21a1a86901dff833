package scanner

import (
	"strings"
	"testing"
)

// Whatever a registry sends, what is taken from it are tags, in order, once.
func FuzzParsePage(f *testing.F) {
	for _, seed := range []string{`{"name":"x","tags":["1.0","1.0","a b"]}`, `{"tags":null}`, `{"tags":[1]}`, `{"tags":["a"`, `[]`, `{"errors":[{}]}`, "\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		read, err := parsePage(body)
		if err != nil && read != nil {
			t.Fatalf("parsePage(%q) = %q beside %v", body, read, err)
		}
		tags, _ := inOrder(read)
		for i, tag := range tags {
			if !isTag(tag) || (i > 0 && tags[i-1] >= tag) {
				t.Fatalf("inOrder gave %q out of %q", tags, body)
			}
		}
	})
}

// A Link header gives a target that stands in it, or none.
func FuzzNextLink(f *testing.F) {
	for _, seed := range []string{`</v2/x>; rel="next"`, `<a>; rel=prev, <b>; rel="next last"`, `<`, `<a`, `<a>; title="x,<y>; rel=next"`, `<a,b>;REL=NEXT`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		if target, ok := nextLink([]string{header}); ok && !strings.Contains(header, "<"+target+">") {
			t.Fatalf("nextLink(%q) = %q", header, target)
		}
	})
}

func TestNextLink(t *testing.T) {
	for header, want := range map[string]string{
		`</v2/x?last=a>; rel="next"`:        "/v2/x?last=a",
		`<a>; rel=prev, <b>; rel="next"`:    "b",
		`<a>;rel="prev",<b>;rel=next`:       "b",
		`<a,b>; REL=NEXT; title="x"`:        "a,b",
		`<a>; rel="last next"`:              "a",
		`<a>; rel="last"`:                   "",
		`<a`:                                "",
		``:                                  "",
		`<https://reg.example/x>; rel=next`: "https://reg.example/x",
	} {
		got, ok := nextLink([]string{header})
		if got != want || ok != (want != "") {
			t.Errorf("nextLink(%q) = %q, %t, want %q", header, got, ok, want)
		}
	}
	if got, _ := nextLink([]string{`<a>; rel=prev`, `<b>; rel=next`}); got != "b" {
		t.Errorf("of two headers: %q, want b", got)
	}
}
