package scanner

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"hoist/bump"
)

// Limits of a connection. They are shorter than a scan's timeout, so that a
// host that accepts and then says nothing is told from a slow one.
const (
	dialTimeout   = 10 * time.Second
	tlsTimeout    = 10 * time.Second
	headerTimeout = 20 * time.Second
	idleTimeout   = 90 * time.Second
	headerBytes   = 256 << 10
	unusedFor     = 30 * time.Minute // then an endpoint and its connections are dropped
)

// endpoint is a registry host asked with one set of credentials and
// certificates: connections and tokens are shared by all its repositories and
// live from scan to scan.
type endpoint struct {
	host  *host
	wire  *wire
	creds credentials
	login gate          // closed while the registry rejects the credentials
	first chan struct{} // held by a scan that is the first to try the credentials

	mu     sync.Mutex
	proven bool // an authenticated answer was had
	denied int  // rejections in a row
	authed map[string]http.RoundTripper
	used   time.Time
}

// endpointFor returns the endpoint for repo, made at first use or after the
// credentials or certificates changed.
func (s *Scanner) endpointFor(repo name.Repository, insecure bool, creds credentials, certs bump.Secret, through *url.URL) (*endpoint, error) {
	registry := repo.RegistryStr()
	key := fmt.Sprintf("%s insecure=%t %s %s %s", registry, insecure, creds.fingerprint(), certsFingerprint(certs), proxyFingerprint(through))
	s.mu.Lock()
	defer s.mu.Unlock()
	if ep, ok := s.endpoints[key]; ok {
		ep.used = s.now()
		return ep, nil
	}
	tlsConfig, err := newTLSConfig(certs)
	if err != nil {
		return nil, err
	}
	for old, ep := range s.endpoints {
		if s.now().Sub(ep.used) > unusedFor {
			ep.wire.inner.CloseIdleConnections()
			delete(s.endpoints, old)
		}
	}
	h := s.hostFor(registry)
	asked := noticeRequest(tlsConfig)
	ep := &endpoint{
		host:  h,
		creds: creds,
		login: gate{host: registry, first: firstLogout, most: longLogout, now: s.now},
		first: make(chan struct{}, 1),
		wire: &wire{
			host: h, others: s.lookUpHost, settled: func() Registry { return s.settledFor(registry) },
			registry: registry, insecure: insecure, anonymous: creds.anonymous(), ownProxy: through != nil,
			now: s.now, agent: s.opts.UserAgent, maxBytes: s.opts.MaxPageBytes,
			inner: s.newTransport(tlsConfig, through), asked: asked,
		},
		authed: make(map[string]http.RoundTripper),
		used:   s.now(),
	}
	s.endpoints[key] = ep
	return ep, nil
}

// newTransport returns a transport through the given proxy, or else the one
// that the environment names.
func (s *Scanner) newTransport(tlsConfig *tls.Config, through *url.URL) *http.Transport {
	dial := s.dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	proxy := s.proxies.forRequest
	if through != nil {
		proxy = http.ProxyURL(through)
	}
	return &http.Transport{
		Proxy:                  proxy,
		OnProxyConnectResponse: proxyAnswered,
		DialContext:            dial,
		TLSClientConfig:        tlsConfig,
		TLSHandshakeTimeout:    tlsTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: headerBytes,
		MaxIdleConnsPerHost:    maxConcurrency, // no more than the host's slots are ever in use
		IdleConnTimeout:        idleTimeout,
		ForceAttemptHTTP2:      true,
	}
}

// newTLSConfig adds ca.crt to the system's authorities and takes tls.crt and
// tls.key as the client certificate. There is no way to switch verification off.
func newTLSConfig(certs bump.Secret) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca := certs["ca.crt"]; len(ca) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("read the system's certificate authorities: %w", err)
		}
		if !pool.AppendCertsFromPEM(ca) {
			return nil, errors.New("ca.crt of the certificate secret holds no certificate in PEM form")
		}
		cfg.RootCAs = pool
	}
	crt, key := certs["tls.crt"], certs["tls.key"]
	if len(crt) == 0 && len(key) == 0 {
		return cfg, nil
	}
	pair, err := tls.X509KeyPair(crt, key)
	if err != nil {
		return nil, fmt.Errorf("tls.crt and tls.key of the certificate secret: %w", err)
	}
	cfg.Certificates = []tls.Certificate{pair}
	return cfg, nil
}

// noticeRequest makes cfg note whether a server asked for a client's
// certificate. TLS 1.3 lets it refuse the certificate, or its absence, after the
// client's handshake is over; how the connection ends then is a matter of luck.
func noticeRequest(cfg *tls.Config) (asked *atomic.Bool) {
	asked = new(atomic.Bool)
	certificate := new(tls.Certificate) // none
	if len(cfg.Certificates) > 0 {
		certificate = &cfg.Certificates[0]
	}
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked.Store(true)
		return certificate, nil
	}
	return asked
}

func certsFingerprint(certs bump.Secret) string {
	h := sha256.New()
	for _, key := range []string{"ca.crt", "tls.crt", "tls.key"} {
		fmt.Fprintf(h, "%d:", len(certs[key]))
		h.Write(certs[key])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// client returns an HTTP client that is authenticated for pulling from repo.
// The token behind it is fetched once and again only when the registry no
// longer takes it.
func (e *endpoint) client(ctx context.Context, repo name.Repository) (*http.Client, error) {
	e.mu.Lock()
	rt, ok := e.authed[repo.RepositoryStr()]
	e.mu.Unlock()
	if !ok {
		var err error
		rt, err = transport.NewWithContext(ctx, repo.Registry, e.creds.authenticator(), e.wire, []string{repo.Scope(transport.PullScope)})
		if err != nil {
			return nil, err
		}
		e.mu.Lock()
		e.authed[repo.RepositoryStr()] = rt
		e.mu.Unlock()
	}
	return &http.Client{Transport: rt}, nil
}

// try keeps scans with new credentials in single file until one was let in, so
// that wrong ones are not tried as often as there are images.
func (e *endpoint) try(ctx context.Context) (done func(), err error) {
	if shut := e.login.closed(); shut != nil {
		return nil, shut
	}
	e.mu.Lock()
	proven := e.proven
	e.mu.Unlock()
	if proven || e.creds.anonymous() {
		return func() {}, nil
	}
	select {
	case e.first <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if shut := e.login.closed(); shut != nil {
		<-e.first
		return nil, shut
	}
	return func() { <-e.first }, nil
}

// accepted notes that the registry took the credentials.
func (e *endpoint) accepted() {
	e.mu.Lock()
	e.proven, e.denied = true, 0
	e.mu.Unlock()
}

// rejected notes that it did not; after two rejections in a row the endpoint
// is left alone for long, since an account may be locked by more.
func (e *endpoint) rejected(repo name.Repository, times int, cause string) {
	e.forget(repo)
	e.mu.Lock()
	e.proven = false
	e.denied += times
	enough := e.denied >= 2
	e.mu.Unlock()
	if enough {
		e.login.fail(e.login.now(), cause)
	}
}

// forget drops what was learnt about authentication: it may have changed.
func (e *endpoint) forget(repo name.Repository) {
	e.wire.forget()
	e.mu.Lock()
	delete(e.authed, repo.RepositoryStr())
	e.mu.Unlock()
}
