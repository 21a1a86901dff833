package gitpush

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"

	"hoist/bump"
)

// webClient talks to Git servers over HTTP. It keeps connections from one
// conversation to the next, until the TLS keys of the secret change.
type webClient struct {
	mu     sync.Mutex
	client *http.Client
	made   [sha256.Size]byte // of the TLS keys that client was made with
}

// userAgent begins with git/, since some hosts answer only to that.
const userAgent = "git/2 (hoist)"

// maxRedirects is how often the first request follows.
const maxRedirects = 5

func (w *webClient) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.client != nil {
		w.client.CloseIdleConnections()
	}
}

// talk asks for the refs. Redirects are followed only here, and only on the
// same host or from http to https on it; credentials never leave that host.
func (w *webClient) talk(ctx context.Context, a address, secret bump.Secret, program string, timeout time.Duration) (conversation, error) {
	client, err := w.clientFor(secret, timeout)
	if err != nil {
		return nil, err
	}
	authorize, err := authorizer(a, secret)
	if err != nil {
		return nil, err
	}
	base := (&url.URL{Scheme: a.scheme, Host: a.host, Path: strings.TrimSuffix(a.path, "/")}).String()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/info/refs?service="+program, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", userAgent)
	authorize(req)
	res, err := client.Do(req)
	if err != nil {
		return nil, plainURLError(err)
	}
	defer res.Body.Close()
	if err := statusError(res); err != nil {
		return nil, err
	}
	if t, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); t != "application/x-"+program+"-advertisement" {
		return nil, fmt.Errorf("%s does not answer as a Git server (content type %q)", a, t)
	}
	ar, err := readRefs(res.Body)
	if err != nil {
		return nil, fmt.Errorf("list of refs: %w", err)
	}
	final := *res.Request.URL
	path, ok := strings.CutSuffix(final.Path, "/info/refs")
	if !ok {
		return nil, fmt.Errorf("redirected to %s, which is not a repository", final.Redacted())
	}
	final.Path, final.RawPath, final.RawQuery = path+"/"+program, "", ""
	return &webConversation{ctx: ctx, client: client, authorize: authorize, url: final.String(), program: program, adv: ar}, nil
}

// clientFor returns the client for the TLS keys of the secret.
func (w *webClient) clientFor(secret bump.Secret, timeout time.Duration) (*http.Client, error) {
	sum := sha256.New()
	for _, k := range []string{"ca.crt", "caFile", "tls.crt", "tls.key"} {
		fmt.Fprintf(sum, "%s %d ", k, len(secret[k]))
		sum.Write(secret[k])
	}
	key := [sha256.Size]byte(sum.Sum(nil))
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.client != nil && w.made == key {
		return w.client, nil
	}
	conf, err := tlsConfig(secret)
	if err != nil {
		return nil, err
	}
	if w.client != nil {
		w.client.CloseIdleConnections()
	}
	w.made = key
	w.client = &http.Client{
		CheckRedirect: sameHostOnly,
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: min(timeout, 10*time.Second)}).DialContext,
			TLSHandshakeTimeout:    min(timeout, 10*time.Second),
			ResponseHeaderTimeout:  timeout,
			MaxResponseHeaderBytes: 64 << 10,
			IdleConnTimeout:        5 * time.Minute,
			MaxIdleConnsPerHost:    2,
			TLSClientConfig:        conf,
			ForceAttemptHTTP2:      true,
		},
	}
	return w.client, nil
}

func tlsConfig(secret bump.Secret) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	ca := secret["ca.crt"]
	if len(ca) == 0 {
		ca = secret["caFile"] // Flux's older key
	}
	if len(ca) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(ca) {
			return nil, errors.New("credentials: ca.crt holds no certificate")
		}
		conf.RootCAs = pool
	}
	if len(secret["tls.crt"]) > 0 || len(secret["tls.key"]) > 0 {
		pair, err := tls.X509KeyPair(secret["tls.crt"], secret["tls.key"])
		if err != nil {
			return nil, errors.New("credentials: tls.crt and tls.key are not a key pair")
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// authorizer returns what puts the credentials onto a request.
func authorizer(a address, secret bump.Secret) (func(*http.Request), error) {
	trim := func(key string) string { return strings.TrimRight(string(secret[key]), "\r\n") }
	user, password, token := trim("username"), trim("password"), trim("bearerToken")
	if user == "" {
		user = a.user
	}
	switch {
	case token != "":
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }, nil
	case password != "":
		if user == "" {
			user = "git" // hosts that take a token as the password ignore the name
		}
		return func(r *http.Request) { r.SetBasicAuth(user, password) }, nil
	case len(secret["username"]) > 0:
		return nil, errors.New("credentials: username without password")
	case len(secret["identity"]) > 0:
		return nil, fmt.Errorf("credentials: the secret holds an SSH key, but the URL is %s", a.scheme)
	}
	return func(*http.Request) {}, nil
}

// sameHostOnly refuses redirects that leave the host, and those of requests
// that carry a body.
func sameHostOnly(req *http.Request, via []*http.Request) error {
	last := via[len(via)-1]
	to := req.URL.Redacted()
	if i := strings.Index(to, "/info/refs"); i > 0 {
		to = to[:i]
	}
	same := req.URL.Scheme == last.URL.Scheme && req.URL.Host == last.URL.Host
	upgrade := last.URL.Scheme == "http" && req.URL.Scheme == "https" &&
		req.URL.Hostname() == last.URL.Hostname() && req.URL.Port() == "" && last.URL.Port() == ""
	switch {
	case !same && !upgrade:
		return fmt.Errorf("redirected to another host: if that is right, set url to %s", to)
	case last.Method != http.MethodGet:
		return fmt.Errorf("redirected to %s in the middle", to)
	case len(via) >= maxRedirects:
		return errors.New("redirected too often")
	}
	return nil
}

// plainURLError takes the method and the URL, which callers name anyway, from
// the errors of net/http.
func plainURLError(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// statusError says in words what a status other than 200 means here.
func statusError(res *http.Response) error {
	if res.StatusCode == http.StatusOK {
		return nil
	}
	text := fmt.Sprintf("%d %s", res.StatusCode, strings.ToLower(http.StatusText(res.StatusCode)))
	if t, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); t == "text/plain" {
		b, _ := io.ReadAll(io.LimitReader(res.Body, 2<<10))
		if said := oneLine(b); said != "" {
			text += ": " + clip(said, 300)
		}
	}
	if after := res.Header.Get("Retry-After"); after != "" {
		text += " (retry after " + clip(oneLine(after), 40) + ")"
	}
	switch res.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		// Hosts answer 404 for what they do not want to show, so the advice is the same.
		return fmt.Errorf("%s; check url and the credentials of secretRef", text)
	}
	return errors.New(text)
}

// webConversation is a conversation over smart HTTP.
type webConversation struct {
	ctx       context.Context
	client    *http.Client
	authorize func(*http.Request)
	url       string
	program   string
	adv       *packp.AdvRefs
}

func (c *webConversation) refs() *packp.AdvRefs { return c.adv }

func (c *webConversation) ask(request []byte) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(c.ctx, http.MethodPost, c.url, bytes.NewReader(request))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Content-Type", "application/x-"+c.program+"-request")
	req.Header.Set("Accept", "application/x-"+c.program+"-result")
	c.authorize(req)
	res, err := c.client.Do(req)
	if err != nil {
		return nil, plainURLError(err)
	}
	if err := statusError(res); err != nil {
		res.Body.Close()
		return nil, err
	}
	return res.Body, nil
}

func (c *webConversation) Close() error { return nil }
