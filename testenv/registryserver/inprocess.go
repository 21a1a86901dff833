package registryserver

import (
	"cmp"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/registry"
)

// InProcessOptions say what registry to run inside this process.
type InProcessOptions struct {
	Addr           string // empty: a free port on 127.0.0.1
	User, Password string // empty: open to everybody
	PageSize       int    // most tags in one answer; 0 means 1000

	// OnPush is called for each pushed manifest, before its pusher has the
	// answer. It may be called from several goroutines at once.
	OnPush func(Push)
}

// Push is a manifest that arrived. Tag is empty when it was pushed by digest.
type Push struct{ Repository, Tag, Digest, MediaType string }

// Local is a registry in this process: go-containerregistry's own, which lists
// tags in pages as the OCI distribution specification has it. It keeps all in
// memory and has no TLS.
type Local struct {
	*Client
	Addr           string
	User, Password string

	options InProcessOptions
	store   http.Handler
	http    *http.Server
	gone    chan struct{}

	mu   sync.RWMutex
	tags map[string][]string // by repository, sorted
}

// InProcess starts a registry.
func InProcess(o InProcessOptions) (*Local, error) {
	l, err := net.Listen("tcp", cmp.Or(o.Addr, "127.0.0.1:0"))
	if err != nil {
		return nil, err
	}
	o.PageSize = cmp.Or(o.PageSize, 1000)
	s := &Local{
		Addr: l.Addr().String(), User: o.User, Password: o.Password, options: o,
		store: registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true)),
		gone:  make(chan struct{}), tags: map[string][]string{},
	}
	var auth authn.Authenticator = authn.Anonymous
	if o.User != "" {
		auth = &authn.Basic{Username: o.User, Password: o.Password}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	s.Client = &Client{Host: s.Addr, auth: auth, transport: transport}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(s.gone)
		_ = s.http.Serve(l)
	}()
	return s, nil
}

// URL returns where the registry is, without a slash at the end.
func (s *Local) URL() string { return "http://" + s.Addr }

// Close ends the registry. What it held is gone.
func (s *Local) Close() error {
	err := s.http.Close()
	<-s.gone
	s.transport.(*http.Transport).CloseIdleConnections()
	return err
}

// SetTags makes the registry list these tags for a repository, whether there
// are manifests or not: for lists too long to push.
func (s *Local) SetTags(repository string, tags []string) {
	sorted := slices.Clone(tags)
	slices.Sort(sorted)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tags[repository] = slices.Compact(sorted)
}

func (s *Local) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.User != "" {
		user, password, _ := r.BasicAuth()
		if user != s.User || subtle.ConstantTimeCompare([]byte(password), []byte(s.Password)) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			writeError(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
			return
		}
	}
	repo, kind, reference, ok := splitPath(r.URL.Path)
	switch {
	case ok && kind == "tags" && reference == "list" && r.Method == http.MethodGet:
		s.listTags(w, r, repo)
	case ok && kind == "manifests" && (r.Method == http.MethodPut || r.Method == http.MethodDelete):
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		s.store.ServeHTTP(seen, r)
		if seen.status < 300 {
			s.note(r, repo, reference, seen.Header().Get("Docker-Content-Digest"))
		}
	default:
		s.store.ServeHTTP(w, r)
	}
}

// note takes in a manifest that came or went.
func (s *Local) note(r *http.Request, repo, reference, digest string) {
	tag := reference
	if strings.Contains(reference, ":") {
		tag = ""
	}
	if tag != "" {
		s.mu.Lock()
		at, found := slices.BinarySearch(s.tags[repo], tag)
		switch {
		case r.Method == http.MethodPut && !found:
			s.tags[repo] = slices.Insert(s.tags[repo], at, tag)
		case r.Method == http.MethodDelete && found:
			s.tags[repo] = slices.Delete(s.tags[repo], at, at+1)
		}
		s.mu.Unlock()
	}
	if r.Method == http.MethodPut && s.options.OnPush != nil {
		s.options.OnPush(Push{Repository: repo, Tag: tag, Digest: cmp.Or(digest, reference), MediaType: r.Header.Get("Content-Type")})
	}
}

// listTags answers with a page: at most n tags after last, and a link to the
// next page when there is one.
func (s *Local) listTags(w http.ResponseWriter, r *http.Request, repo string) {
	n, q := s.options.PageSize, r.URL.Query()
	if text := q.Get("n"); text != "" {
		asked, err := strconv.Atoi(text)
		if err != nil || asked < 0 {
			writeError(w, http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", fmt.Sprintf("n %q", text))
			return
		}
		n = min(n, asked)
	}
	s.mu.RLock()
	tags, known := s.tags[repo]
	page, more := cutPage(tags, q.Get("last"), n)
	page = append([]string{}, page...) // never null, and ours once unlocked
	s.mu.RUnlock()
	if !known {
		writeError(w, http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")
		return
	}
	if more && n > 0 {
		next := url.Values{"n": {strconv.Itoa(n)}, "last": {page[len(page)-1]}}
		w.Header().Set("Link", fmt.Sprintf(`</v2/%s/tags/list?%s>; rel="next"`, repo, next.Encode()))
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"name": repo, "tags": page})
}

func cutPage(sorted []string, last string, n int) (page []string, more bool) {
	if last != "" {
		at, found := slices.BinarySearch(sorted, last)
		if found {
			at++
		}
		sorted = sorted[at:]
	}
	if len(sorted) > n {
		return sorted[:n], true
	}
	return sorted, false
}

func writeError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap serves http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
