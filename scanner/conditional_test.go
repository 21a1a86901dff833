package scanner

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// conditional is a registry of several pages that has validators and answers
// conditions, rightly where wrong is nil.
type conditional struct {
	pages     [][]string
	version   []int // of each page
	dated     bool  // Last-Modified in the place of ETag
	full, not int   // answers given
	wrong     func(w http.ResponseWriter, page int, asked bool) (done bool)
}

func (c *conditional) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v2/" {
		return
	}
	var n int
	fmt.Sscan(r.URL.Query().Get("page"), &n)
	etag := fmt.Sprintf(`W/"%d-%d"`, n, c.version[n])
	date := time.Date(2020, 1, 1, 0, n, c.version[n], 0, time.UTC).Format(http.TimeFormat)
	same := r.Header.Get("If-None-Match") == etag || r.Header.Get("If-Modified-Since") == date
	if c.wrong != nil && c.wrong(w, n, r.Header.Get("If-None-Match") != "") {
		return
	}
	if c.dated {
		w.Header().Set("Last-Modified", date)
	} else {
		w.Header().Set("ETag", etag)
	}
	if same {
		c.not++
		w.WriteHeader(http.StatusNotModified)
		return
	}
	c.full++
	if n+1 < len(c.pages) {
		w.Header().Set("Link", fmt.Sprintf(`<%s?page=%d>; rel="next"`, r.URL.Path, n+1))
	}
	writeTags(w, c.pages[n])
}

func (c *conditional) counts() (full, not int) {
	full, not = c.full, c.not
	c.full, c.not = 0, 0
	return full, not
}

func newConditional(pages ...[]string) *conditional {
	return &conditional{pages: pages, version: make([]int, len(pages))}
}

// A registry that has validators sends a page again only where it changed.
func TestConditionalRequests(t *testing.T) {
	for _, dated := range []bool{false, true} {
		reg := newConditional([]string{"1.0", "1.1"}, []string{"1.2"}, []string{"1.3", "1.4"})
		reg.dated = dated
		src := plain(serve(t, reg), "acme/web")
		s := newScanner(t, Options{})
		var known snapshot
		step := func(change func(), wantFull, wantNot int, wantChanged bool, want ...string) {
			t.Helper()
			change()
			changed, fail := s.scan(t.Context(), src, &known, caution{maxLoss: 100})
			if fail != nil {
				t.Fatal(fail)
			}
			full, not := reg.counts()
			if full != wantFull || not != wantNot || changed != wantChanged || !slices.Equal(known.tags, want) {
				t.Errorf("dated=%t: %d pages and %d times \"not modified\", changed = %t, %q; want %d, %d, %t, %q", dated, full, not, changed, known.tags, wantFull, wantNot, wantChanged, want)
			}
		}
		step(func() {}, 3, 0, true, "1.0", "1.1", "1.2", "1.3", "1.4")
		step(func() {}, 0, 3, false, "1.0", "1.1", "1.2", "1.3", "1.4")
		step(func() { reg.pages[2], reg.version[2] = []string{"1.4", "1.5"}, 1 }, 1, 2, true, "1.0", "1.1", "1.2", "1.4", "1.5")
		step(func() {}, 0, 3, false, "1.0", "1.1", "1.2", "1.4", "1.5")
		step(func() { reg.version[1] = 1 }, 1, 2, false, "1.0", "1.1", "1.2", "1.4", "1.5")
		step(func() { reg.pages[0], reg.version[0] = []string{"0.9", "1.0"}, 1 }, 3, 0, true, "0.9", "1.0", "1.2", "1.4", "1.5")
		step(func() { reg.pages, reg.version = reg.pages[:2], []int{1, 2} }, 1, 1, true, "0.9", "1.0", "1.2")
		step(func() {
			reg.pages, reg.version[1] = append(reg.pages, []string{"0.1"}), 3
			reg.version = append(reg.version, 0)
		}, 2, 1, true, "0.1", "0.9", "1.0", "1.2")
		// the pages are in no order now: they are asked for whole, which is always right
		step(func() {}, 3, 0, false, "0.1", "0.9", "1.0", "1.2")
	}
}

// What changes twice within a second has one Last-Modified, so a fresh one
// proves nothing.
func TestFreshTimeIsNoValidator(t *testing.T) {
	at := func(d time.Duration) string { return time.Unix(1e9, 0).Add(d).UTC().Format(http.TimeFormat) }
	for _, c := range []struct {
		modified, date string
		want           bool
	}{
		{at(0), at(time.Hour), true}, {at(0), at(time.Minute), true}, {at(0), at(30 * time.Second), false}, {at(0), "", false}, {"yesterday", at(0), false}, {at(time.Hour), at(0), false},
	} {
		req, err := http.NewRequest(http.MethodGet, "http://reg.example/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if v := newValidator(req.URL, http.Header{"Last-Modified": {c.modified}, "Date": {c.date}}); (v.modified != "") != c.want {
			t.Errorf("Last-Modified %q at %q gives %+v", c.modified, c.date, v)
		}
	}
}

// A registry that gets conditions wrong costs a request or a failed scan,
// never a wrong list.
func TestConditionalRequestsGoneWrong(t *testing.T) {
	fresh := func() (*conditional, *snapshot, func() (bool, *failure)) {
		reg := newConditional([]string{"1.0"}, []string{"1.1"})
		src := plain(serve(t, reg), "acme/web")
		s := newScanner(t, Options{})
		known := new(snapshot)
		scan := func() (bool, *failure) { return s.scan(t.Context(), src, known, caution{maxLoss: 100}) }
		if _, fail := scan(); fail != nil {
			t.Fatal(fail)
		}
		return reg, known, scan
	}
	t.Run("304 to nothing", func(t *testing.T) {
		reg, known, scan := fresh()
		known.pages[0].when, known.pages[1].when = validator{}, validator{}
		reg.wrong = func(w http.ResponseWriter, _ int, _ bool) bool {
			w.WriteHeader(http.StatusNotModified)
			return true
		}
		if _, fail := scan(); fail == nil || !strings.Contains(fail.text, "304") || len(known.tags) != 2 {
			t.Errorf("%v, %q, want an error and the old list", fail, known.tags)
		}
	})
	t.Run("304 with another link", func(t *testing.T) {
		reg, known, scan := fresh()
		reg.pages, reg.version = [][]string{{"1.0"}, {"1.1"}, {"1.2"}}, []int{0, 1, 0}
		stale := 0
		reg.wrong = func(w http.ResponseWriter, page int, asked bool) bool {
			if page != 0 || !asked {
				return false
			}
			stale++
			w.Header().Set("Link", `</v2/acme/web/tags/list?page=2>; rel="next"`)
			w.WriteHeader(http.StatusNotModified)
			return true
		}
		if changed, fail := scan(); fail != nil || !changed || !slices.Equal(known.tags, []string{"1.0", "1.1", "1.2"}) || stale != 1 {
			t.Errorf("%t, %v, %q after %d stale answers, want all three tags", changed, fail, known.tags, stale)
		}
	})
	t.Run("304 to the old order", func(t *testing.T) {
		reg, known, scan := fresh()
		reg.pages[0], reg.pages[1] = []string{"1.1"}, []string{"1.0"} // and the validators stay
		if changed, fail := scan(); fail != nil || changed || len(known.tags) != 2 {
			t.Errorf("%t, %v, %q", changed, fail, known.tags)
		}
	})
}
