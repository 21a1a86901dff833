// Package proxy is a reverse proxy that plays faults: it stands before a
// registry, a Git server or an API server, and between calm and storm a test
// changes its rules.
//
// It counts what passes, so that "nothing was written" can be shown.
//
// The trap that bites first: when a kept connection is cut before the answer,
// Go's HTTP client asks again by itself for a GET, on another connection. One
// cut is then two requests here, and no error there.
package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"hoist/testenv/internal/certs"
	"hoist/testenv/kubeconfig"
)

// Proxy forwards to one target. Its methods are safe from several goroutines.
type Proxy struct {
	target  *url.URL
	forward *httputil.ReverseProxy
	own     *http.Transport // when the caller gave none

	listener net.Listener
	server   *http.Server
	ca       *certs.Authority
	gone     chan struct{}

	mu       sync.Mutex
	rules    []*playing
	requests []*Request
	news     chan struct{} // closed when a request is recorded
}

// New returns a proxy before target, not yet started. A nil transport is a plain
// one; [Transport] gives one for a target with its own authority.
//
// The target sees the Host that the client meant, as behind any reverse proxy.
// When the target cannot be reached the client's connection is cut.
func New(target *url.URL, transport http.RoundTripper) *Proxy {
	p := &Proxy{target: target, news: make(chan struct{})}
	if transport == nil {
		p.own, _ = Transport(nil)
		transport = p.own
	}
	p.forward = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		Transport:     transport,
		FlushInterval: -1, // watches and progress pass as they come
		ErrorLog:      log.New(io.Discard, "", 0),
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	return p
}

// Transport returns a transport that trusts the authorities in a PEM text, or
// with none the system's, and uses no proxy of the environment.
func Transport(caPEM []byte) (*http.Transport, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	if caPEM != nil {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(caPEM) {
			return nil, errors.New("no certificate in the authority's PEM")
		}
		t.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return t, nil
}

// Start serves plain HTTP on a free port of 127.0.0.1.
func (p *Proxy) Start() error { return p.start(nil) }

// StartTLS serves HTTPS, with a certificate that CAData's authority has signed.
func (p *Proxy) StartTLS() error {
	ca, err := certs.New("hoist test proxy")
	if err != nil {
		return err
	}
	pair, err := ca.Server()
	if err != nil {
		return err
	}
	cert, err := pair.TLS()
	if err != nil {
		return err
	}
	p.ca = ca
	// Not HTTP/2: there, a cut would end one stream and leave the connection.
	return p.start(&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
}

func (p *Proxy) start(config *tls.Config) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	p.listener = l
	if config != nil {
		l = tls.NewListener(l, config)
	}
	p.gone = make(chan struct{})
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: 30 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	go func() {
		defer close(p.gone)
		_ = p.server.Serve(l)
	}()
	return nil
}

// Close ends the proxy and cuts what is open.
func (p *Proxy) Close() error {
	if p.server == nil {
		return nil
	}
	err := p.server.Close()
	<-p.gone
	if p.own != nil {
		p.own.CloseIdleConnections()
	}
	return err
}

// Addr returns HOST:PORT, as an image's name begins.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// URL returns where the proxy is, with the target's path below it.
func (p *Proxy) URL() string {
	scheme := "http"
	if p.ca != nil {
		scheme = "https"
	}
	return scheme + "://" + p.Addr()
}

// CAData returns the PEM of the authority behind StartTLS, or nil.
func (p *Proxy) CAData() []byte {
	if p.ca == nil {
		return nil
	}
	return p.ca.PEM
}

// Kubeconfig writes a kubeconfig to path that leads through this proxy to the
// API server of another kubeconfig, with that one's token. It takes StartTLS:
// clients send no token over plain HTTP.
func (p *Proxy) Kubeconfig(path, original string) error {
	if p.ca == nil {
		return errors.New("a kubeconfig needs a proxy started with TLS")
	}
	c, err := kubeconfig.Read(original)
	if err != nil {
		return err
	}
	c.Server, c.CAData = p.URL(), p.CAData()
	return kubeconfig.Write(path, c)
}

// ServeHTTP forwards a request, or plays the fault that the rules have for it.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	record, fault := p.arrive(r)
	seen := &answer{ResponseWriter: w, request: r, fault: fault, record: func(status int) { p.answered(record, status) }}
	if fault.Latency > 0 && !wait(r.Context(), fault.Latency) {
		panic(http.ErrAbortHandler)
	}
	switch {
	case fault.Cut == CutBefore:
		panic(http.ErrAbortHandler)
	case fault.Status != 0:
		for name, values := range fault.Header {
			seen.Header()[http.CanonicalHeaderKey(name)] = values
		}
		seen.WriteHeader(fault.Status)
		_, _ = io.WriteString(seen, fault.Body)
	case fault.Cut == CutAfter:
		p.forward.ServeHTTP(&swallow{header: http.Header{}}, r)
		panic(http.ErrAbortHandler)
	default:
		p.forward.ServeHTTP(seen, r)
	}
}
