package scanner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"hoist/bump"
)

// proxySchemes are the kinds of proxy that can be spoken with.
var proxySchemes = []string{"http", "https", "socks5", "socks5h"}

// proxies are those that the environment names (HTTPS_PROXY, HTTP_PROXY,
// NO_PROXY, in capitals or not), as they were when the Scanner was made.
type proxies struct {
	choose func(*url.URL) (*url.URL, error)
}

func environmentProxies() proxies {
	return proxies{httpproxy.FromEnvironment().ProxyFunc()}
}

func (p proxies) forRequest(req *http.Request) (*url.URL, error) {
	through, err := p.choose(req.URL)
	if err != nil || through != nil && !speaks(through) { // its text has the whole address, and that may have a password
		return nil, &proxyError{text: "HTTPS_PROXY or HTTP_PROXY is not the address of a proxy, such as http://proxy.example.com:3128"}
	}
	return through, nil
}

// proxyOf returns the proxy that an image brings along, nil where it has none.
func proxyOf(ctx context.Context, src Source) (*url.URL, error) {
	if src.Proxy == nil {
		return nil, nil
	}
	secret, err := src.Proxy(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the proxy secret: %w", err)
	}
	return parseProxy(secret)
}

// parseProxy reads the keys address, username and password, as Flux has them.
// Errors never quote the address, which may hold a password.
func parseProxy(secret bump.Secret) (*url.URL, error) {
	address := trimLine(string(secret["address"]))
	if address == "" {
		return nil, errors.New("the proxy secret has no key address: give it one, such as http://proxy.example.com:3128")
	}
	u, err := url.Parse(address)
	if err != nil || !speaks(u) {
		return nil, fmt.Errorf("the address in the proxy secret is not one of a proxy: write %s://, host and port, such as http://proxy.example.com:3128",
			strings.Join(proxySchemes, "://, "))
	}
	user, password := trimLine(string(secret["username"])), trimLine(string(secret["password"]))
	switch {
	case user != "":
		u.User = url.UserPassword(user, password)
	case password != "":
		return nil, errors.New("the proxy secret has a password and no username")
	}
	return u, nil
}

// speaks tells whether u is a proxy that can be spoken with.
func speaks(u *url.URL) bool {
	return u.Hostname() != "" && !strings.HasSuffix(u.Host, ":") && slices.Contains(proxySchemes, u.Scheme)
}

func proxyFingerprint(through *url.URL) string {
	if through == nil {
		return ""
	}
	sum := sha256.Sum256([]byte(through.String()))
	return hex.EncodeToString(sum[:])
}

// proxyError is what a proxy did wrong. Its text names no credential.
type proxyError struct{ text string }

func (e *proxyError) Error() string { return e.text }

// proxyAnswered keeps the status of a proxy that does not let us through,
// which the transport would give as a bare phrase.
func proxyAnswered(_ context.Context, through *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return refusedByProxy(through, resp.StatusCode)
}

func refusedByProxy(through *url.URL, status int) *proxyError {
	text := fmt.Sprintf("the proxy %s answers %d %s", through.Host, status, strings.ToLower(http.StatusText(status)))
	if status == http.StatusProxyAuthRequired {
		text += ": give it username and password, in the proxy secret or in HTTPS_PROXY"
	}
	return &proxyError{text}
}
