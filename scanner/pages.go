package scanner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// pageSize is what is asked for; a registry may give less or ignore it. More
// than 1000 is refused by some.
const pageSize = 1000

// page is what is remembered of a page after its tags were read: enough to see
// next time that nothing changed without reading them again.
type page struct {
	sum  uint64 // of the body
	tags int
	last string // the last tag
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

	before []page   // of the last complete listing
	held   [][]byte // bodies not parsed yet, because they equal before's pages
	pages  []page
	tags   []string
	count  int
	linked bool // a page linked to the next one
	asked  map[string]bool
}

// read follows the pages from the first URL to the end. It returns false where
// every page was the same as before; then no tag was parsed. An error means
// that nothing read is of use.
func (l *listing) read(ctx context.Context, first *url.URL) (changed bool, err error) {
	l.asked = make(map[string]bool)
	same := len(l.before) > 0
	for next := first; next != nil; {
		if l.asked[next.String()] {
			return false, fmt.Errorf("page %d leads back to an earlier page, %s", len(l.pages), shortURL(next))
		}
		l.asked[next.String()] = true
		if len(l.pages) == l.maxPages {
			return false, fmt.Errorf("more than %d pages of tags", l.maxPages)
		}
		here := next
		body, final, links, err := l.fetch(ctx, here)
		if err != nil {
			return false, err
		}
		if same, err = l.take(body, same); err != nil {
			return false, fmt.Errorf("page %d of the tag list: %w", len(l.pages)+1, err)
		}
		if next, err = l.after(here, final, links); err != nil {
			return false, err
		}
	}
	if same && len(l.pages) == len(l.before) {
		return false, nil
	}
	return true, l.parseHeld()
}

// take adds one page: held while all pages equal those of the last listing,
// parsed otherwise. Tags come out in no order; the caller sorts.
func (l *listing) take(body *bytes.Buffer, same bool) (bool, error) {
	defer buffers.Put(body)
	sum := maphash.Bytes(seed, body.Bytes())
	if n := len(l.pages); same && n < len(l.before) && l.before[n].sum == sum {
		l.pages = append(l.pages, l.before[n])
		l.held = append(l.held, bytes.Clone(body.Bytes()))
		return true, l.bound(l.before[n].tags)
	}
	tags, err := parsePage(body.Bytes())
	if err != nil {
		return false, err
	}
	l.pages = append(l.pages, newPage(sum, tags))
	l.tags = append(l.tags, tags...)
	return false, l.bound(len(tags))
}

func newPage(sum uint64, tags []string) page {
	p := page{sum: sum, tags: len(tags)}
	if len(tags) > 0 {
		p.last = strings.Clone(tags[len(tags)-1])
	}
	return p
}

func (l *listing) bound(more int) error {
	if l.count += more; l.count > l.maxTags {
		return fmt.Errorf("more than %d tags", l.maxTags)
	}
	return nil
}

func (l *listing) parseHeld() error {
	for _, body := range l.held {
		tags, err := parsePage(body)
		if err != nil {
			return err
		}
		l.tags = append(l.tags, tags...)
	}
	l.held = nil
	return nil
}

// parsePage reads {"name": …, "tags": […]}. Registries write null for no tags;
// an answer without the word tags is no tag list.
func parsePage(body []byte) ([]string, error) {
	var list struct {
		Tags   *[]string `json:"tags"`
		Name   *string   `json:"name"`
		Errors []transport.Diagnostic
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, errors.New("not a whole tag list: " + describeJSON(err, body))
	}
	if len(list.Errors) > 0 {
		return nil, errors.New(clean(list.Errors[0].String()))
	}
	if list.Tags == nil && list.Name == nil {
		return nil, errors.New("the answer is not a tag list")
	}
	if list.Tags == nil {
		return nil, nil
	}
	return *list.Tags, nil
}

func describeJSON(err error, body []byte) string {
	if trimmed := bytes.TrimSpace(body); len(trimmed) == 0 {
		return "the answer is empty"
	} else if trimmed[0] == '<' {
		return "the answer is a web page"
	}
	return clean(err.Error())
}

// after returns the URL of the page that follows, nil after the last.
func (l *listing) after(here, final *url.URL, links []string) (*url.URL, error) {
	target, ok := nextLink(links)
	if !ok {
		return l.guess(here), nil
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
	if p.tags != l.size || l.linked {
		return nil
	}
	if n > 1 && p.last <= l.pages[n-2].last {
		return nil
	}
	next := *here
	next.RawQuery = url.Values{"n": {fmt.Sprint(l.size)}, "last": {p.last}}.Encode()
	return &next
}

// nextLink returns the target of rel="next" in Link headers (RFC 8288).
func nextLink(headers []string) (string, bool) {
	for _, header := range headers {
		for rest := header; ; {
			start := strings.IndexByte(rest, '<')
			if start < 0 {
				break
			}
			end := strings.IndexByte(rest[start:], '>')
			if end < 0 {
				break
			}
			target := rest[start+1 : start+end]
			rest = rest[start+end+1:]
			params := rest
			if comma := strings.Index(rest, ",<"); comma >= 0 {
				params = rest[:comma]
			} else if comma := strings.Index(rest, ", <"); comma >= 0 {
				params = rest[:comma]
			}
			if relIsNext(params) {
				return target, true
			}
		}
	}
	return "", false
}

func relIsNext(params string) bool {
	for param := range strings.SplitSeq(params, ";") {
		key, value, _ := strings.Cut(param, "=")
		if !strings.EqualFold(strings.TrimSpace(key), "rel") {
			continue
		}
		for rel := range strings.FieldsSeq(strings.Trim(strings.TrimSpace(value), `",`)) {
			if strings.EqualFold(rel, "next") {
				return true
			}
		}
	}
	return false
}

// fetch gets one page: its body, the URL it came from after redirects, and its
// Link headers. The caller puts the buffer back.
func (l *listing) fetch(ctx context.Context, u *url.URL) (*bytes.Buffer, *url.URL, []string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, nil, nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := l.send(req)
	if err != nil {
		return nil, nil, nil, err
	}
	defer resp.Body.Close()
	body := buffers.Get().(*bytes.Buffer)
	body.Reset()
	if _, err := io.Copy(body, resp.Body); err != nil {
		return nil, nil, nil, fmt.Errorf("page %d of the tag list broke off after %d bytes: %w", len(l.pages)+1, body.Len(), err)
	}
	return body, resp.Request.URL, resp.Header.Values("Link"), nil
}

// shortURL is a URL without user and query, for messages.
func shortURL(u *url.URL) string { return u.Scheme + "://" + u.Host + u.Path }
