package scanner

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// A registry that wants tokens names the server that gives them, its realm, in
// an answer that anybody between us and an old or broken registry may have
// made up. So credentials go to the registry's own host and to hosts that are
// known or configured as its token servers, and nowhere else. A realm that is
// asked without credentials gets no secret and may be anywhere but at a
// private address, where it might be somebody's unguarded service.

// strangerError says that a registry sends for its tokens to a host that is
// not known as its token server. Nothing was sent there.
type strangerError struct{ registry, server string }

func (e *strangerError) Error() string {
	return fmt.Sprintf("%s sends for its tokens to %s, which is not known as its token server: nothing was sent there; "+
		"if it is, write registries: [{host: %s, tokenServers: [%s]}]", e.registry, e.server, e.registry, e.server)
}

// plainRealmError says that a registry with TLS sends for its tokens to a
// server without.
type plainRealmError struct{ registry, server string }

func (e *plainRealmError) Error() string {
	return fmt.Sprintf("%s sends for its tokens to http://%s, without TLS: nothing was sent there; let it name its token server by https", e.registry, e.server)
}

// bearerRealm finds the realm of a Bearer challenge (RFC 6750, 3).
var bearerRealm = regexp.MustCompile(`(?i)(\bbearer\s.*?\brealm=")([^"]*)"`)

// admitRealm judges the token server that the registry's word on how to
// authenticate names, remembers it, and hides it from the library where that
// would refuse it.
func (w *wire) admitRealm(resp *http.Response) error {
	const key = "Www-Authenticate"
	for i, challenge := range resp.Header[key] {
		at := bearerRealm.FindStringSubmatchIndex(challenge)
		if at == nil {
			continue
		}
		realm, err := url.Parse(challenge[at[4]:at[5]])
		if err != nil || realm.Host == "" {
			return nil // the library says what is wrong
		}
		if err := w.judge(realm); err != nil {
			return err
		}
		w.mu.Lock()
		w.realm = realm
		w.mu.Unlock()
		if realm.Host != w.registry && privateAddress(realm.Host) {
			hidden := *realm
			hidden.Host = hideHost(realm.Host)
			resp.Header[key][i] = challenge[:at[4]] + hidden.String() + challenge[at[5]:]
		}
	}
	return nil
}

func (w *wire) judge(realm *url.URL) error {
	switch {
	case realm.Scheme == "http" && !w.insecure:
		return &plainRealmError{w.registry, realm.Host}
	case realm.Host == w.registry || w.settled().tokensFrom(realm):
		return nil
	case !w.anonymous || privateAddress(realm.Host):
		return &strangerError{w.registry, realm.Host}
	}
	return nil
}

// guard refuses a request that would take a secret to a host that is neither
// the registry nor one of its token servers, whoever sent it there. hidden is
// set where the request came under a hidden name.
func (w *wire) guard(req *http.Request, hidden bool) error {
	if req.URL.Host == w.registry {
		return nil
	}
	kind, _, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	secret := strings.EqualFold(kind, "Basic") || req.Method == http.MethodPost // the form with a refresh token
	if (secret || hidden) && !w.settled().tokensFrom(req.URL) {
		return &strangerError{w.registry, req.URL.Host}
	}
	return nil
}

// isRealm tells whether the registry named this host as its token server.
func (w *wire) isRealm(host string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.realm != nil && w.realm.Host == host
}

// isTokenRequest tells whether u is where the registry sends for its tokens.
func (w *wire) isTokenRequest(u *url.URL) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.realm != nil && w.realm.Host == u.Host && w.realm.Path == u.Path
}

// spell returns what is at u for a person: the registry, its token server, or
// a host that it redirects to.
func (w *wire) spell(u *url.URL) string {
	switch {
	case u == nil || u.Host == w.registry && !w.isTokenRequest(u):
		return w.registry
	case u.Host == w.registry:
		return "the token server of " + w.registry
	case w.isRealm(u.Host):
		return fmt.Sprintf("the token server %s of %s", u.Host, w.registry)
	}
	return fmt.Sprintf("%s, to which %s redirects,", u.Host, w.registry)
}

// The library refuses token servers that are named by a private address. One
// that is allowed goes through it under a name that exists nowhere, and gets
// its own back before the request is sent, so that TLS is verified against it.
const hiddenDomain = ".token-server.invalid"

func hideHost(host string) string { return hex.EncodeToString([]byte(host)) + hiddenDomain }

// unhide returns req with the real host where it is for a hidden one. Anybody
// can make such a name up: guard stands behind it.
func unhide(req *http.Request) (real *http.Request, hidden bool) {
	name, hidden := strings.CutSuffix(req.URL.Host, hiddenDomain)
	host, err := hex.DecodeString(name)
	if !hidden || err != nil {
		return req, false
	}
	req = req.Clone(req.Context())
	req.URL.Host, req.Host = string(host), ""
	return req, true
}
