package scanner

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// The answers that wire gives itself.
var (
	errPlainHTTP = errors.New("plain http is not spoken")
	errNoTLS     = errors.New("https is not spoken with insecure: true")
	errTooLarge  = errors.New("the answer is too large")
)

// sendError marks what came from the network, to tell it from wire's own
// refusals where the library joins both in one error.
type sendError struct{ err error }

func (e *sendError) Error() string { return e.err.Error() }
func (e *sendError) Unwrap() error { return e.err }

// wire is the lowest layer under go-containerregistry's authentication: it
// keeps what that library does not. Requests of the wrong scheme are refused
// (the library falls back to http for localhost and private addresses by
// itself), the host's pauses and budget are kept, Retry-After is obeyed, bodies
// end at a limit counted after decompression, and the library's ping is
// answered from memory after the first.
type wire struct {
	inner    *http.Transport
	host     *host
	registry string // host[:port]
	insecure bool
	agent    string
	maxBytes int64
	now      func() time.Time

	mu   sync.Mutex
	ping *http.Response // the registry's word on how to authenticate; nil before it was asked
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	atHome := req.URL.Host == w.registry
	switch {
	case req.URL.Scheme != "https" && !w.insecure:
		return nil, errPlainHTTP
	case req.URL.Scheme != "http" && w.insecure && atHome:
		return nil, errNoTLS
	}
	isPing := atHome && req.Method == http.MethodGet && req.URL.Path == "/v2/" && req.Header.Get("Authorization") == ""
	if isPing {
		if known := w.pinged(req); known != nil {
			return known, nil
		}
	}
	if err := w.host.ready(req.Context()); err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", w.agent)
	resp, err := w.inner.RoundTrip(req)
	if err != nil {
		return nil, &sendError{err}
	}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		if pause, ok := retryAfter(resp.Header, w.now()); ok {
			w.host.gate.pause(pause, fmt.Sprintf("it answered %d and asked for this pause", resp.StatusCode))
		}
	}
	resp.Body = &capped{body: resp.Body, left: w.maxBytes}
	if isPing {
		w.remember(resp)
	}
	return resp, nil
}

func (w *wire) pinged(req *http.Request) *http.Response {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ping == nil {
		return nil
	}
	known := *w.ping
	known.Request, known.Body = req, io.NopCloser(bytes.NewReader(nil))
	return &known
}

func (w *wire) remember(resp *http.Response) {
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusUnauthorized {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ping = &http.Response{
		Status: resp.Status, StatusCode: resp.StatusCode, Header: resp.Header.Clone(),
		Proto: resp.Proto, ProtoMajor: resp.ProtoMajor, ProtoMinor: resp.ProtoMinor,
	}
}

// forget makes the next ping a real one.
func (w *wire) forget() {
	w.mu.Lock()
	w.ping = nil
	w.mu.Unlock()
}

// capped is a body that fails after so many bytes. The transport has taken the
// compression off below it, so a compressed bomb ends here too.
type capped struct {
	body io.ReadCloser
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	if int64(len(p)) > c.left+1 {
		p = p[:c.left+1]
	}
	n, err := c.body.Read(p)
	if int64(n) > c.left {
		n = int(c.left)
		c.left = 0
		return n, errTooLarge
	}
	c.left -= int64(n)
	return n, err
}

func (c *capped) Close() error { return c.body.Close() }
