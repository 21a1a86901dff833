package scanner

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// The short way through a page takes what encoding/json takes out of it, or
// nothing; and what is taken are tags, in order, once.
func FuzzReadPage(f *testing.F) {
	for _, seed := range []string{
		`{"name":"x","tags":["1.0","1.0","a b"]}`, ` { "tags" : [ "b" , "a" ] } `, `{"tags":null}`, `{"tags":[1]}`, `{"tags":["a"`, `[]`, `{"errors":[{}]}`, "\x00",
		`{"tags":["a"],"tags":["b"]}`, `{"Tags":["a"]}`, `{"tags":["\u0061"]}`, "{\"tags\":[\"a\xff\"]}", `{"tags":["a"]}{}`, `{"tags":["a",]}`, `{"tags":[]}`, `{"tags":["a"],}`, `{"name":"x"}`, `{"name":1,"tags":["a"]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		want, wantErr := parsePage(body)
		plain := openRoll()
		if listed, last, ok := readPlain(plain, body); ok {
			if wantErr != nil || listed != len(want) || len(plain.ends)+plain.dropped != listed || (listed > 0 && string(last) != want[listed-1]) {
				t.Fatalf("readPlain(%q) = %d tags, encoding/json says %q, %v", body, listed, want, wantErr)
			}
		}
		r := openRoll()
		defer r.close()
		add(r, "0")
		listed, last, err := readPage(r, body)
		if err != nil && len(r.ends) != 1 {
			t.Fatalf("readPage(%q) added %d tags beside %v", body, len(r.ends)-1, err)
		}
		if (err == nil) != (wantErr == nil) || listed != len(want) || (listed > 0 && last != want[listed-1]) {
			t.Fatalf("readPage(%q) = %d, %q, %v, encoding/json says %q, %v", body, listed, last, err, want, wantErr)
		}
		want = slices.DeleteFunc(append(want, "0"), func(tag string) bool { return !isTag(tag) })
		slices.Sort(want)
		if got := r.list(); !slices.Equal(got, slices.Compact(want)) {
			t.Fatalf("the tags of %q are %q, want %q", body, got, want)
		}
	})
}

// Whatever pages and links a registry sends, twice and with whatever
// validators: a list is tags of its pages, in order, once, or there is none;
// it ends; and nobody else is asked.
func FuzzListing(f *testing.F) {
	f.Add([]byte(`{"tags":["b","a"]}`), []byte(`{"tags":["c"]}`), `</v2/a/b/tags/list?last=b>; rel="next"`, "x", uint8(0))
	f.Add([]byte(`{"tags":["a"]}`), []byte(`{"tags":null}`), `<?n=2>; rel=next`, "", uint8(0b1010))
	f.Add([]byte(`{"tags":["a"]}`), []byte(`<html>`), `<//other/v2>; rel=next`, `W/"1"`, uint8(0xff))
	f.Fuzz(func(t *testing.T, first, second []byte, link, etag string, unmodified uint8) {
		asked := 0
		send := func(req *http.Request) (*http.Response, error) {
			if req.URL.Host != "reg.example" || req.URL.Scheme != "http" || req.URL.User != nil {
				t.Fatalf("asked %s", req.URL)
			}
			resp := &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Link": {link}, "Etag": {etag}}, Request: req}
			body := first
			if asked > 0 {
				body = second
			}
			if hasCondition(req) && unmodified>>(asked%8)&1 == 1 {
				resp.StatusCode, body = http.StatusNotModified, nil
			}
			resp.Body = io.NopCloser(bytes.NewReader(body))
			asked++
			return resp, nil
		}
		var known snapshot
		for range 2 {
			asked = 0
			found := openRoll()
			l := listing{send: send, size: 1, maxPages: 5, maxTags: 1000, known: known, tags: found}
			changed, err := l.read(t.Context(), &url.URL{Scheme: "http", Host: "reg.example", Path: "/v2/a/b/tags/list"})
			if asked > 10 {
				t.Fatalf("asked %d times for 5 pages at most", asked)
			}
			if err != nil {
				return
			}
			if changed {
				known.take(found, l.pages, caution{maxLoss: 100}, time.Unix(1, 0))
			}
			for i, tag := range known.tags {
				if !isTag(tag) || (i > 0 && known.tags[i-1] >= tag) {
					t.Fatalf("the list is %q", known.tags)
				}
			}
			found.close()
		}
	})
}

// What was written to the shelf is what comes back; of anything else nothing
// but a whole list comes.
func FuzzSnapshot(f *testing.F) {
	f.Add(written(&snapshot{tags: []string{"1.0", "1.1"}, dropped: 3, scanned: time.Unix(7, 0), doubt: &doubt{tags: []string{"1.0"}, why: "x", until: time.Unix(9, 0)}}))
	f.Add(written(&snapshot{scanned: time.Unix(7, 0)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := decodeSnapshot(b)
		if err != nil {
			return
		}
		again, err := decodeSnapshot(written(&l))
		if err != nil || !reflect.DeepEqual(again, l) {
			t.Fatalf("%q is %+v, and written and read again %+v, %v", b, l, again, err)
		}
	})
}

func written(l *snapshot) []byte {
	var b bytes.Buffer
	writeSnapshot(&b, l)
	return b.Bytes()
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
