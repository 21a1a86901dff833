package scanner

import (
	"bytes"
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// pageSize is what is asked for; a registry may give less or ignore it. More
// than 1000 is refused by some.
const pageSize = 1000

// page is what is remembered of a page after its tags were read: enough to see
// next time that nothing changed without reading them again, or without
// getting them again where the registry answers conditional requests.
type page struct {
	sum     uint64 // of the body
	listed  int    // tags on it
	kept    int    // of these, what is a tag
	dropped int    // and what is none
	last    string // the last one listed, where the page was full
	link    string // what its Link header said of the next page; "" where there was none
	when    validator
}

// validator is what a registry wants to hear to answer "not modified"
// (RFC 9110, 13.1). The zero value asks for no such answer.
type validator struct {
	url      string // it is for this request and no other
	etag     string
	modified string
}

var (
	seed    = maphash.MakeSeed()
	buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}
)

// listing reads the pages of one tag list, in order.
type listing struct {
	send     func(*http.Request) (*http.Response, error)
	size     int // tags to ask for on a page
	maxPages int
	maxTags  int
	known    snapshot // the last complete listing, the zero value for none
	tags     *roll    // takes the tags, where they are not those that are known
	habit    *habit   // of the registry; nil where nothing is remembered of it

	pages   []page
	same    bool // all pages so far are the known ones
	skipped int  // pages whose tags were not read, because they are known
	count   int
	linked  bool // a page linked to the next one
	asked   map[string]bool
}

// read follows the pages from the first URL to the end. It returns false where
// every page was the same as before. An error means that nothing read is of use.
func (l *listing) read(ctx context.Context, first *url.URL) (changed bool, err error) {
	l.asked = make(map[string]bool)
	l.same = len(l.known.pages) > 0
	for next := first; next != nil; {
		where := next.String()
		if l.asked[where] {
			return false, fmt.Errorf("page %d leads back to an earlier page, %s", len(l.pages), shortURL(next))
		}
		l.asked[where] = true
		if len(l.pages) == l.maxPages {
			return false, fmt.Errorf("more than %d pages of tags", l.maxPages)
		}
		if next, err = l.readOne(ctx, next); err != nil {
			return false, err
		}
	}
	if l.same && len(l.pages) == len(l.known.pages) {
		return false, nil
	}
	l.recall()
	return true, nil
}

// readOne reads the page at here and returns where the next one is, nil after
// the last.
func (l *listing) readOne(ctx context.Context, here *url.URL) (*url.URL, error) {
	a, err := l.fetch(ctx, here, l.condition(here))
	if err == nil && a.unmodified && a.link != "" && a.link != l.known.pages[len(l.pages)].link {
		a, err = l.fetch(ctx, here, validator{}) // it contradicts itself: the whole page, please
	}
	if err != nil {
		return nil, err
	}
	if err := l.take(a); err != nil {
		return nil, fmt.Errorf("page %d of the tag list: %w", len(l.pages)+1, err)
	}
	return l.after(ctx, here, a.url, l.pages[len(l.pages)-1].link)
}

// recallable tells whether the tags of the known pages can be told apart in
// the known list, so that a page that is the same need not be read again.
func (l *listing) recallable() bool { return !l.known.mixed || len(l.known.pages) == 1 }

// condition returns what the registry may compare the next page with.
func (l *listing) condition(here *url.URL) validator {
	if n := len(l.pages); l.same && n < len(l.known.pages) && l.recallable() {
		if v := l.known.pages[n].when; v.url != "" && v.url == here.String() {
			return v
		}
	}
	return validator{}
}

// take adds one page, and its tags where they are not known.
func (l *listing) take(a answer) error {
	n := len(l.pages)
	if a.unmodified {
		l.pages = append(l.pages, l.known.pages[n])
		l.skipped++
		return l.bound(l.known.pages[n].listed)
	}
	defer keepBuffer(a.body)
	p := page{sum: maphash.Bytes(seed, a.body.Bytes()), link: a.link, when: a.when}
	l.same = l.same && n < len(l.known.pages) && l.known.pages[n].sum == p.sum
	if l.same && l.recallable() {
		old := l.known.pages[n]
		p.listed, p.kept, p.dropped, p.last = old.listed, old.kept, old.dropped, old.last
		l.pages = append(l.pages, p)
		l.skipped++
		return l.bound(p.listed)
	}
	l.recall()
	kept, dropped := len(l.tags.ends), l.tags.dropped
	listed, last, err := readPage(l.tags, a.body.Bytes())
	if err != nil {
		return err
	}
	p.listed, p.kept, p.dropped = listed, len(l.tags.ends)-kept, l.tags.dropped-dropped
	if listed == l.size {
		p.last = last
	}
	l.pages = append(l.pages, p)
	return l.bound(listed)
}

// recall adds the tags of the pages that were skipped, out of the known list.
func (l *listing) recall() {
	if l.skipped == 0 {
		return
	}
	kept := 0
	for _, p := range l.known.pages[:l.skipped] {
		kept += p.kept
		l.tags.dropped += p.dropped
	}
	if l.skipped == len(l.known.pages) {
		kept = len(l.known.tags) // fewer, where a tag was there twice
	}
	for _, tag := range l.known.tags[:kept] {
		add(l.tags, tag)
	}
	l.skipped = 0
}

func (l *listing) bound(more int) error {
	if l.count += more; l.count > l.maxTags {
		return fmt.Errorf("more than %d tags", l.maxTags)
	}
	return nil
}

// after returns the URL of the page that follows, nil after the last.
func (l *listing) after(ctx context.Context, here, final *url.URL, target string) (*url.URL, error) {
	if target == "" {
		next := l.guess(here)
		if next == nil || l.habit.isToLink(func() bool { return l.linksBehindOne(ctx, here) }) {
			return nil, nil
		}
		return next, nil
	}
	l.linked = true
	ref, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("the link to page %d cannot be read", len(l.pages)+1)
	}
	next := final.ResolveReference(ref)
	if next.Scheme != final.Scheme || next.Host != final.Host || next.User != nil {
		return nil, fmt.Errorf("page %d is said to be at %s://%s: a registry may only link to its own pages at %s://%s",
			len(l.pages)+1, next.Scheme, next.Host, final.Scheme, final.Host)
	}
	return next, nil
}

// guess returns the page after one that was exactly full and had no link. By
// the spec that is the end, but some registries obey n and never link; of
// these only the first tags would be seen. One more request settles it: where
// it brings nothing that sorts behind, the list was complete. A registry that
// has linked once is believed.
func (l *listing) guess(here *url.URL) *url.URL {
	n := len(l.pages)
	p := l.pages[n-1]
	if p.listed != l.size || l.linked {
		return nil
	}
	if n > 1 && p.last <= l.pages[n-2].last {
		return nil
	}
	next := *here
	next.RawQuery = url.Values{"n": {fmt.Sprint(l.size)}, "last": {p.last}}.Encode()
	return &next
}

// habit is what is remembered of the part of a registry that an image is in:
// whether it links to next pages. That is asked once, not for each image whose
// number of tags happens to fill its last page.
type habit struct{ word atomic.Int32 }

// The words of a habit.
const (
	unasked int32 = iota
	linking
	notLinking
)

// isToLink tells whether the registry links, which ask finds out.
func (h *habit) isToLink(ask func() bool) bool {
	if h == nil {
		return false
	}
	if h.word.Load() == unasked {
		word := notLinking
		if ask() {
			word = linking
		}
		h.word.Store(word)
	}
	return h.word.Load() == linking
}

// linksBehindOne asks for a page of one tag of a list that has many, and tells
// whether it links to the rest. What cannot be found out is no.
func (l *listing) linksBehindOne(ctx context.Context, here *url.URL) bool {
	one := *here
	one.RawQuery = "n=1"
	a, err := l.fetch(ctx, &one, validator{})
	keepBuffer(a.body)
	return err == nil && a.link != ""
}

// answer is a page as it came: body is nil where it is unmodified. The caller
// gives the body back to keepBuffer.
type answer struct {
	body       *bytes.Buffer
	unmodified bool
	url        *url.URL // after redirects
	link       string   // to the next page; "" for none
	when       validator
}

// fetch gets one page, or the word that it is the one that v is of.
func (l *listing) fetch(ctx context.Context, u *url.URL, v validator) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Accept", "application/json")
	if v.etag != "" {
		req.Header.Set("If-None-Match", v.etag)
	} else if v.modified != "" {
		req.Header.Set("If-Modified-Since", v.modified)
	}
	resp, err := l.send(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{url: resp.Request.URL}
	a.link, _ = nextLink(resp.Header.Values("Link"))
	if a.unmodified = resp.StatusCode == http.StatusNotModified; a.unmodified {
		return a, nil
	}
	a.when = newValidator(u, resp.Header)
	a.body = openBuffer()
	if _, err := io.Copy(a.body, resp.Body); err != nil {
		n := a.body.Len()
		keepBuffer(a.body)
		return answer{}, fmt.Errorf("page %d of the tag list broke off after %d bytes: %w", len(l.pages)+1, n, err)
	}
	return a, nil
}

// newValidator reads what an answer can be recognised by. A time of change is
// one only where it was a minute ago when the answer was made: what changes
// twice in one second has one time (RFC 9110, 8.8.2.2).
func newValidator(u *url.URL, header http.Header) validator {
	if etag := header.Get("ETag"); etag != "" {
		return validator{url: u.String(), etag: etag}
	}
	changed, err1 := http.ParseTime(header.Get("Last-Modified"))
	made, err2 := http.ParseTime(header.Get("Date"))
	if err1 != nil || err2 != nil || made.Sub(changed) < time.Minute {
		return validator{}
	}
	return validator{url: u.String(), modified: header.Get("Last-Modified")}
}

// openBuffer returns an empty buffer for the caller to give back to keepBuffer.
func openBuffer() *bytes.Buffer {
	b := buffers.Get().(*bytes.Buffer)
	b.Reset()
	return b
}

func keepBuffer(b *bytes.Buffer) {
	if b != nil && b.Cap() <= maxKept {
		buffers.Put(b)
	}
}

// shortURL is a URL without user and query, for messages.
func shortURL(u *url.URL) string { return u.Scheme + "://" + u.Host + u.Path }
