// Package webhook turns requests of registries, Git hosts and CI into hints: look
// at this image or this repository now. A hint is all that a caller can give. No
// tag, no digest, no commit of a payload is believed, so a forged or replayed
// request costs one look and changes nothing.
//
// A request is answered in this order, and every answer is a status and a line
// that never varies: is there a receiver (404), is it POST (405), is the body
// small (413) and here in time (408), does the caller know the secret (401),
// does the body make sense (400).
//
// The trap that bites first: a receiver that is restricted to some images takes
// requests about others too and gives no hint. Registries tell about all they
// have, and they would repeat for ever what is refused.
package webhook

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"hoist/bump"
)

// maxBody is the largest body of a request, in bytes.
const maxBody = 1 << 20

// maxReading is how many requests may be read at the same time; the others wait.
// It bounds the memory that callers can make us use before they are known.
const maxReading = 64

// secretTimeout bounds how long a request waits for the secret of its receiver.
const secretTimeout = 5 * time.Second

// Hint says where to look. When both are empty, a caller that may hint at
// anything did not say: look at everything.
type Hint struct {
	Image      string // image repository, spelt as the receiver or else the caller did, without tag
	Repository string // name or URL of a Git repository, spelt as the receiver or else the caller did
	Trigger    string // "webhook NAME"
}

// Route is a receiver and how to get its secret. Secret is called at every
// request, so that a rotated secret is used at once.
type Route struct {
	Receiver
	Secret func(context.Context) (bump.Secret, error)
}

// Handler answers requests to the receivers. It calls out once for every
// different hint of a request, from the goroutine of that request; out has to
// return at once and to take calls from several goroutines. Of two receivers
// with the same path the first is served.
func Handler(rs []Route, out func(Hint), log *zap.Logger) http.Handler {
	h := &handler{
		routes:  make(map[string]*route, len(rs)),
		out:     out,
		log:     log,
		reading: make(chan struct{}, maxReading),
	}
	for _, r := range rs {
		path := r.URLPath()
		if _, taken := h.routes[path]; !taken {
			h.routes[path] = newRoute(r)
		}
	}
	return h
}

type handler struct {
	routes  map[string]*route
	out     func(Hint)
	log     *zap.Logger
	reading chan struct{}
}

// answer is all that a caller ever gets to read.
type answer struct {
	code int
	line string
}

var (
	accepted     = answer{http.StatusAccepted, "accepted\n"}
	badRequest   = answer{http.StatusBadRequest, "the body is not what this receiver reads\n"}
	unauthorized = answer{http.StatusUnauthorized, "unauthorized\n"}
	notFound     = answer{http.StatusNotFound, "not found\n"}
	notAllowed   = answer{http.StatusMethodNotAllowed, "only POST\n"}
	tooSlow      = answer{http.StatusRequestTimeout, "the body took too long\n"}
	tooLarge     = answer{http.StatusRequestEntityTooLarge, "the body is too large\n"}
	unavailable  = answer{http.StatusServiceUnavailable, "the receiver is not ready\n"}
)

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The path as it was sent: what is spelt with escapes is another path.
	route, known := h.routes[r.URL.EscapedPath()]
	a := notFound
	if known {
		a = h.receive(w, r, route)
	}
	header := w.Header()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	switch a {
	case notAllowed:
		header.Set("Allow", http.MethodPost)
	case unauthorized:
		if route.Type == Distribution {
			header.Set("WWW-Authenticate", `Bearer, Basic realm="hoist"`)
		}
	case unavailable:
		header.Set("Retry-After", "10")
	}
	w.WriteHeader(a.code)
	_, _ = io.WriteString(w, a.line) // a caller that is gone needs no answer
}

func (h *handler) receive(w http.ResponseWriter, r *http.Request, to *route) answer {
	if r.Method != http.MethodPost {
		return notAllowed
	}
	select {
	case h.reading <- struct{}{}:
		defer func() { <-h.reading }()
	case <-r.Context().Done():
		return unavailable
	}
	body, refused := read(w, r)
	if refused != nil {
		return *refused
	}
	ctx, cancel := context.WithTimeout(r.Context(), secretTimeout)
	defer cancel()
	secret, err := to.Secret(ctx)
	if err != nil {
		if to.troubled.CompareAndSwap(false, true) {
			h.log.Warn("secret of a receiver not readable", zap.Stringer("receiver", to.Name), zap.Error(err))
		}
		return unavailable
	}
	if !usable(to.Type, secret) {
		if to.troubled.CompareAndSwap(false, true) {
			h.log.Error("secret of a receiver is empty, every request is refused", zap.Stringer("receiver", to.Name))
		}
		return unauthorized
	}
	to.troubled.Store(false)
	if !authentic(to.Type, secret, r.Header, body) {
		return unauthorized
	}
	about, err := to.parse(body)
	switch {
	case errors.Is(err, errTooMany):
		return tooLarge
	case err != nil:
		h.log.Debug("body of a webhook not understood", zap.Stringer("receiver", to.Name), zap.Error(err))
		return badRequest
	}
	hints := to.hints(about)
	for _, hint := range hints {
		h.out(hint)
	}
	h.log.Debug("webhook received", zap.Stringer("receiver", to.Name), zap.Int("hints", len(hints)))
	return accepted
}

// read returns the whole body, or how to refuse it.
func read(w http.ResponseWriter, r *http.Request) ([]byte, *answer) {
	if r.ContentLength > maxBody {
		w.Header().Set("Connection", "close")
		return nil, &tooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	switch {
	case err == nil:
		return body, nil
	case errors.As(err, new(*http.MaxBytesError)):
		return nil, &tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &tooSlow
	default:
		return nil, &badRequest // shorter than its Content-Length, or badly chunked
	}
}

// route is a Route with its restrictions in a form to look up.
type route struct {
	Route
	restricted   bool
	images       map[string]string // key of an image to its spelling in the configuration
	repositories map[string]string
	// troubled is whether the secret is missing or empty and that was said in the log.
	troubled atomic.Bool
}

func newRoute(r Route) *route {
	to := &route{
		Route:        r,
		restricted:   len(r.Images)+len(r.Repositories) > 0,
		images:       make(map[string]string),
		repositories: make(map[string]string),
	}
	for _, image := range slices.Backward(r.Images) { // of two spellings the first stays
		to.images[imageKey(image)] = image
	}
	for _, repo := range slices.Backward(r.Repositories) {
		to.repositories[gitKey(repo)] = repo
	}
	return to
}

func (to *route) parse(body []byte) ([]subject, error) {
	if to.Type == Distribution {
		return parseEnvelope(body)
	}
	about, err := parseGeneric(body)
	if err == nil && about == nil {
		about = to.everything()
	}
	return about, err
}

// everything is what an empty body speaks of: all that the receiver is
// restricted to, or else one subject without a name.
func (to *route) everything() []subject {
	if !to.restricted {
		return []subject{{}}
	}
	var all []subject
	for _, image := range to.Images {
		all = append(all, subject{image: image})
	}
	for _, repo := range to.Repositories {
		all = append(all, subject{repository: repo})
	}
	return all
}

// hints drops what the receiver may not hint at, and what it was told twice.
func (to *route) hints(about []subject) []Hint {
	var hints []Hint
	seen := make(map[Hint]bool)
	for _, s := range about {
		hint := Hint{Image: s.image, Repository: s.repository, Trigger: to.trigger()}
		if to.restricted {
			if s.image != "" {
				hint.Image = to.images[imageKey(s.image)]
			}
			if s.repository != "" {
				hint.Repository = to.repositories[gitKey(s.repository)]
			}
			if hint.Image == "" && hint.Repository == "" {
				continue
			}
		}
		if !seen[hint] {
			seen[hint] = true
			hints = append(hints, hint)
		}
	}
	return hints
}

// The limits of a server for webhooks.
const (
	headerTimeout = 10 * time.Second // from the connection to the end of the headers
	readTimeout   = 30 * time.Second // from the connection to the end of the body
	writeTimeout  = 40 * time.Second // from the end of the headers to the end of the answer
	idleTimeout   = 60 * time.Second // between two requests
	maxHeader     = 16 << 10         // bytes
)

// NewServer returns a server that does not wait for slow callers: 10 s for the
// headers, 30 s for headers and body, 16 KiB of headers. It has no listener and
// no TLS yet.
func NewServer(addr string, h http.Handler) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
	}
}
