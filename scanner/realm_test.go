package scanner

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"hoist/bump"
)

// apart serves a registry that wants tokens, and its token server at a port of
// its own. It returns the addresses of both.
func apart(t *testing.T, b *bearer) (registry, tokens string) {
	t.Helper()
	tokens = serve(t, b)
	b.realm = "http://" + tokens + "/token"
	return serve(t, b), tokens
}

// N5: credentials go to a token server on another host only where that was
// allowed; the message says how, and it holds from the next scan on.
func TestTokenServerOnAnotherHost(t *testing.T) {
	for _, named := range []string{"127.0.0.1", "localhost"} {
		t.Run(named, func(t *testing.T) {
			b := &bearer{user: "alice", pass: "s3cret"}
			b.list.set("1.0")
			registry, tokens := apart(t, b)
			tokens = strings.Replace(tokens, "127.0.0.1", named, 1)
			b.realm = "http://" + tokens + "/token"
			s := newScanner(t, Options{})
			src := with(plain(registry, "acme/web"), "alice", "s3cret")
			err := scanError(t, s, src, registry+" sends for its tokens to "+tokens, "nothing was sent there",
				fmt.Sprintf("registries: [{host: %s, tokenServers: [%s]}]", registry, tokens))
			if b.issued != 0 || strings.Contains(err.Error(), "s3cret") {
				t.Fatalf("%d requests at the token server, error %v", b.issued, err)
			}

			s.SetRegistries([]Registry{{Host: registry, TokenServers: []string{tokens}}})
			mustScan(t, s, src)
			mustScan(t, s, src)
			if b.issued != 1 {
				t.Errorf("%d tokens for two scans, want 1", b.issued)
			}
			s.SetRegistries(nil)
			b.expire()
			scanError(t, s, src, "is not known as its token server")
			if b.issued != 1 {
				t.Errorf("%d requests at the token server after it was taken back, want no more than 1", b.issued)
			}
		})
	}
}

// Without credentials no secret goes to a token server, so any will do, but
// for one at a private address.
func TestTokenServerForAnybody(t *testing.T) {
	b := &bearer{}
	b.list.set("1.0")
	registry, tokens := apart(t, b)
	b.realm = "http://" + strings.Replace(tokens, "127.0.0.1", "localhost", 1) + "/token"
	mustScan(t, newScanner(t, Options{}), plain(registry, "acme/web"))

	b.realm = "http://" + tokens + "/token"
	before := b.issued
	s := newScanner(t, Options{})
	scanError(t, s, plain(registry, "acme/web"), "sends for its tokens to "+tokens, "tokenServers: ["+tokens+"]")
	if b.issued != before {
		t.Errorf("a private address that the registry named was asked")
	}
	s.SetRegistries([]Registry{{Host: registry, TokenServers: []string{tokens}}})
	mustScan(t, s, plain(registry, "acme/web"))
}

// A registry cannot name a private address in disguise.
func TestHiddenNameIsNoWayIn(t *testing.T) {
	var asked atomic.Int32
	inside := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	for _, src := range []Source{plain("", ""), with(plain("", ""), "alice", "s3cret")} {
		b := &bearer{realm: "http://" + hideHost(inside) + "/token"}
		src.Image.Image = serve(t, b) + "/acme/web"
		scanError(t, newScanner(t, Options{}), src, "is not known as its token server")
	}
	if asked.Load() > 0 {
		t.Errorf("the address inside was asked %d times", asked.Load())
	}
}

// A registry with TLS may not send for its tokens to a server without.
func TestTokenServerWithoutTLS(t *testing.T) {
	var asked atomic.Int32
	tokens := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	registry := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="reg"`, tokens))
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(registry.Close)
	address := registry.Listener.Addr().String()
	src := with(Source{Image: Image{Image: address + "/acme/web"}}, "alice", "s3cret")
	src.Certs = secretOf(map[string]string{"ca.crt": pemOf(registry.Certificate())})
	s := newScanner(t, Options{})
	s.SetRegistries([]Registry{{Host: address, TokenServers: []string{tokens}}})
	scanError(t, s, src, "sends for its tokens to http://"+tokens, "without TLS", "by https")
	if asked.Load() > 0 {
		t.Errorf("the server without TLS was asked %d times", asked.Load())
	}
}

// R13: a token server that redirects takes no credentials along, neither the
// password nor the refresh token in a form.
func TestR13TokenServerRedirects(t *testing.T) {
	for name, secret := range map[string]map[string]string{
		"password":      {"username": "alice", "password": "s3cret"},
		"refresh token": {".dockerconfigjson": `{"auths": {"REGISTRY": {"identitytoken": "s3cret"}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			var leaked, asked atomic.Bool
			other := strings.Replace(serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Store(true)
				body, _ := io.ReadAll(r.Body)
				if r.Header.Get("Authorization") != "" || strings.Contains(string(body), "s3cret") {
					leaked.Store(true)
				}
				w.WriteHeader(http.StatusUnauthorized)
			})), "127.0.0.1", "localhost", 1)
			registry := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/token" {
					http.Redirect(w, r, "http://"+other+"/token", http.StatusTemporaryRedirect)
					return
				}
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="reg"`, r.Host))
				w.WriteHeader(http.StatusUnauthorized)
			}))
			src := plain(registry, "acme/web")
			src.Secret = func(context.Context) (bump.Secret, error) {
				s := bump.Secret{}
				for k, v := range secret {
					s[k] = []byte(strings.ReplaceAll(v, "REGISTRY", registry))
				}
				return s, nil
			}
			scanError(t, newScanner(t, Options{}), src)
			if leaked.Load() {
				t.Error("the secret went to the host that the token server redirects to")
			}
			if name == "refresh token" && asked.Load() {
				t.Error("a form that was for the token server went to another host")
			}
		})
	}
}

// R13: what a registry gives as a token stays with the registry.
func TestR13TokenStaysHome(t *testing.T) {
	var leaked atomic.Bool
	list := &tagList{tags: []string{"1.0"}}
	other := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			leaked.Store(true)
		}
		list.ServeHTTP(w, r)
	}))
	b := &bearer{user: "alice", pass: "s3cret"}
	registry := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Authorization"), "Bearer") && strings.HasSuffix(r.URL.Path, "/tags/list") {
			http.Redirect(w, r, "http://"+other+r.URL.String(), http.StatusTemporaryRedirect)
			return
		}
		b.ServeHTTP(w, r)
	}))
	mustScan(t, newScanner(t, Options{}), with(plain(registry, "acme/web"), "alice", "s3cret"))
	if leaked.Load() {
		t.Error("the token went to the host that the registry redirects to")
	}
}
