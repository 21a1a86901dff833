package scanner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
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
type sendError struct {
	err   error
	at    *url.URL // where the request was for
	proxy *url.URL // that it went through; nil where none was
}

func (e *sendError) Error() string { return e.err.Error() }
func (e *sendError) Unwrap() error { return e.err }

// where is nil-safe: nothing was sent anywhere.
func (e *sendError) where() *url.URL {
	if e == nil {
		return nil
	}
	return e.at
}

// wire is the lowest layer under go-containerregistry's authentication: it
// keeps what that library does not. Requests of the wrong scheme are refused
// (the library falls back to http for localhost and private addresses by
// itself), secrets go to known hosts only, the pauses and budget of each host
// are kept, Retry-After is obeyed, bodies end at a limit counted after
// decompression, and the library's ping is answered from memory after the first.
type wire struct {
	inner     *http.Transport
	host      *host
	others    func(name string) *host // token servers
	settled   func() Registry         // what the configuration says of the registry now
	registry  string                  // host[:port]
	asked     *atomic.Bool            // a server asked for a client certificate
	insecure  bool
	anonymous bool
	ownProxy  bool // the image's, not the environment's
	agent     string
	maxBytes  int64
	now       func() time.Time

	mu    sync.Mutex
	ping  *http.Response // the registry's word on how to authenticate; nil before it was asked
	realm *url.URL       // of its token server; nil where it named none
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	req, hidden := unhide(req)
	atHome := req.URL.Host == w.registry
	switch {
	case req.URL.Scheme != "https" && !w.insecure:
		return nil, errPlainHTTP
	case req.URL.Scheme != "http" && w.insecure && atHome:
		return nil, errNoTLS
	}
	if err := w.guard(req, hidden); err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", w.agent)
	isPing := atHome && req.Method == http.MethodGet && req.URL.Path == "/v2/" && req.Header.Get("Authorization") == ""
	if !isPing {
		return w.send(req)
	}
	resp := w.pinged(req)
	if resp == nil {
		var err error
		if resp, err = w.send(req); err != nil {
			return nil, err
		}
		w.remember(resp)
	}
	if err := w.admitRealm(resp); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// send sends one request within the budget of its host. A token server on a
// host of its own has its failures counted here; the registry's are counted by
// the scan, which knows whether trying again helped.
func (w *wire) send(req *http.Request) (*http.Response, error) {
	h, tokens := w.host, req.URL.Host != w.registry && w.isRealm(req.URL.Host)
	if tokens {
		h = w.others(req.URL.Host)
	}
	if err := h.ready(req.Context()); err != nil {
		return nil, err
	}
	began := w.now()
	resp, err := w.inner.RoundTrip(req)
	if err != nil {
		if tokens && !w.ownProxy && !errors.Is(context.Cause(req.Context()), context.Canceled) {
			h.gate.fail(began, w.spell(req.URL)+" gave no answer")
		}
		sent := &sendError{err: err, at: req.URL}
		if w.inner.Proxy != nil {
			sent.proxy, _ = w.inner.Proxy(req)
		}
		return nil, sent
	}
	asked := false
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		var pause time.Duration
		if pause, asked = retryAfter(resp.Header, w.now()); asked {
			h.gate.pause(pause, fmt.Sprintf("it answered %d and asked for this pause", resp.StatusCode))
		}
	}
	switch busy := resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500; {
	case !tokens || asked:
	case busy:
		h.gate.fail(began, fmt.Sprintf("%s answered %d", w.spell(req.URL), resp.StatusCode))
	default:
		h.gate.succeed(began)
	}
	resp.Body = &capped{body: resp.Body, left: w.maxBytes}
	return resp, nil
}

func (w *wire) pinged(req *http.Request) *http.Response {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ping == nil {
		return nil
	}
	known := *w.ping
	known.Request, known.Header, known.Body = req, w.ping.Header.Clone(), io.NopCloser(bytes.NewReader(nil))
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
