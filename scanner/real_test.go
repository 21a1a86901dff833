package scanner

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"hoist/bump"
	"hoist/testenv/proxy"
	"hoist/testenv/registryserver"
)

// realRegistry returns a real registry that holds acme/web with the tags.
func realRegistry(t *testing.T, o registryserver.Options, tags ...string) *registryserver.Server {
	t.Helper()
	o.Progress = os.Stderr
	server, err := registryserver.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	if _, err := server.Push(t.Context(), "acme/web:"+tags[0], registryserver.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	if len(tags) > 1 {
		if err := server.Tag(t.Context(), "acme/web:"+tags[0], tags[1:]...); err != nil {
			t.Fatal(err)
		}
	}
	return server
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// smallPages returns a Scanner that asks for ten tags at a time.
func smallPages(t *testing.T) *Scanner {
	s := newScanner(t, Options{})
	s.pageSize = 10
	return s
}

// The distribution registry, in pages.
func TestRealRegistryPages(t *testing.T) {
	want := numbered(25)
	server := realRegistry(t, registryserver.Options{}, want...)
	src := plain(server.Addr, "acme/web")
	s := smallPages(t)
	if tags := mustScan(t, s, src); !slices.Equal(tags.List, want) {
		t.Errorf("got %d tags, want %d", len(tags.List), len(want))
	}
	scanError(t, s, plain(server.Addr, "acme/none"), "404 not found", "NAME_UNKNOWN")
}

// tokenServer returns the host of the registry's token server.
func tokenServer(t *testing.T, server *registryserver.Server) string {
	t.Helper()
	u, err := url.Parse(server.TokenURL())
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// scannerFor returns a Scanner that lets the registry's token server have its credentials.
func scannerFor(t *testing.T, server *registryserver.Server) *Scanner {
	t.Helper()
	s := newScanner(t, Options{})
	s.SetRegistries([]Registry{{Host: server.Addr, TokenServers: []string{tokenServer(t, server)}}})
	return s
}

// Every way of letting in that the distribution registry knows, over TLS with
// an authority of its own and a certificate asked of the client.
func TestRealRegistryAuth(t *testing.T) {
	for _, auth := range []registryserver.Auth{registryserver.Open, registryserver.Basic, registryserver.Bearer} {
		t.Run(fmt.Sprint(auth), func(t *testing.T) {
			server := realRegistry(t, registryserver.Options{Auth: auth, TLS: true, ClientCA: true, TokensByAddress: true}, "1.0.0", "1.1.0")
			src := Source{Image: Image{Image: server.Addr + "/acme/web"}}
			src.Certs = secretOf(map[string]string{
				"ca.crt": readFile(t, server.CAFile), "tls.crt": readFile(t, server.ClientCert), "tls.key": readFile(t, server.ClientKey),
			})
			var allowed []Registry
			if auth == registryserver.Bearer {
				allowed = []Registry{{Host: server.Addr, TokenServers: []string{tokenServer(t, server)}}}
			}
			if auth != registryserver.Open {
				s := newScanner(t, Options{})
				s.SetRegistries(allowed)
				scanError(t, s, src, "401 unauthorized", "asked without credentials")
			}
			src.Secret = secretOf(map[string]string{".dockerconfigjson": string(server.DockerConfig())})
			given := server.TokensGiven()
			s := newScanner(t, Options{})
			if allowed != nil {
				scanError(t, s, src, fmt.Sprintf("registries: [{host: %s, tokenServers: [%s]}]", server.Addr, allowed[0].TokenServers[0]))
				if n := server.TokensGiven() - given; n != 0 {
					t.Errorf("%d tokens from a server that is not known, want none", n)
				}
				s.SetRegistries(allowed)
			}
			for range 3 {
				if tags := mustScan(t, s, src); !slices.Equal(tags.List, []string{"1.0.0", "1.1.0"}) {
					t.Errorf("List = %q", tags.List)
				}
			}
			if n := server.TokensGiven() - given; auth == registryserver.Bearer && n != 1 {
				t.Errorf("%d tokens for three scans, want 1", n)
			}
			src.Certs = secretOf(map[string]string{"ca.crt": readFile(t, server.CAFile)})
			scanError(t, newScanner(t, Options{}), src)
		})
	}
}

// R1, R4, R5, R7 with a real registry behind a proxy that plays the fault: no
// partial list, and all well once the fault is gone.
func TestRealRegistryFaults(t *testing.T) {
	want := numbered(25)
	server := realRegistry(t, registryserver.Options{}, want...)
	target, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	p := proxy.New(target, nil)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	second := regexp.MustCompile(`last=`)
	for name, fault := range map[string]proxy.Fault{
		"R1 429 for long": {Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"3600"}}},
		"R4 503":          {Status: http.StatusServiceUnavailable},
		"R5 drip":         {Drip: 10},
		"R7 truncated":    {TruncateBody: 60},
		"R7 cut":          {Cut: proxy.CutBefore},
		"R7 empty":        {EmptyBody: true},
	} {
		t.Run(name, func(t *testing.T) {
			src := plain(p.Addr(), "acme/web")
			src.Image.Timeout = bump.Duration(3 * time.Second)
			p.Play(proxy.Rule{URI: second, Fault: fault})
			scanError(t, smallPages(t), src)
			p.Play()
			if tags := mustScan(t, smallPages(t), src); !slices.Equal(tags.List, want) {
				t.Errorf("afterwards: got %d tags, want %d", len(tags.List), len(want))
			}
		})
	}
	p.Play(proxy.Rule{URI: second, Times: 1, Fault: proxy.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}}})
	if tags := mustScan(t, smallPages(t), plain(p.Addr(), "acme/web")); len(tags.List) != len(want) {
		t.Errorf("after a pause of a second: got %d tags, want %d", len(tags.List), len(want))
	}
}
