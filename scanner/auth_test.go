package scanner

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hoist/bump"
)

// bearer is a registry that wants tokens, and its own token server. A token
// names the scope it is for and can be made invalid.
type bearer struct {
	list       tagList
	user, pass string // "" for anonymous pulls

	mu     sync.Mutex
	realm  string // "": at the registry's own host
	issued int
	pings  int
	valid  map[string]string // token → scope
	on     func(r *http.Request)
}

func (b *bearer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.on != nil {
		b.on(r)
	}
	switch {
	case r.URL.Path == "/token":
		b.token(w, r)
		return
	case r.URL.Path == "/v2/":
		b.pings++
	}
	scope := b.valid[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	repo := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/v2/"), "/tags/list")
	if scope == "" || (r.URL.Path != "/v2/" && scope != "repository:"+repo+":pull") {
		realm := b.realm
		if realm == "" {
			realm = "http://" + r.Host + "/token"
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s",service="reg"`, realm))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	b.list.ServeHTTP(w, r)
}

func (b *bearer) token(w http.ResponseWriter, r *http.Request) {
	b.issued++
	user, pass, _ := r.BasicAuth()
	if user != b.user || pass != b.pass {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"errors":[{"code":"UNAUTHORIZED","message":"no entry for %s with %s"}]}`, user, pass)
		return
	}
	token := fmt.Sprintf("token-%d", b.issued)
	if b.valid == nil {
		b.valid = make(map[string]string)
	}
	b.valid[token] = r.URL.Query().Get("scope")
	fmt.Fprintf(w, `{"token":%q}`, token)
}

// expire makes every token invalid.
func (b *bearer) expire() {
	clear(b.valid)
}

func TestTokensAndConnectionsAreReused(t *testing.T) {
	b := &bearer{user: "alice", pass: "s3cret"}
	b.list.set("1.0")
	address := serve(t, b)
	var dials int
	s := newScanner(t, Options{})
	s.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		dials++
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	for range 5 {
		mustScan(t, s, with(plain(address, "acme/web"), "alice", "s3cret"))
		mustScan(t, s, with(plain(address, "acme/api"), "alice", "s3cret"))
	}
	if b.issued != 2 || b.pings != 1 || dials != 1 {
		t.Errorf("%d tokens, %d pings, %d connections for 5 scans of 2 repositories, want 2, 1, 1", b.issued, b.pings, dials)
	}
}

// R14: a token that runs out between two pages is renewed once, and the scan goes on.
func TestR14TokenExpiresMidScan(t *testing.T) {
	b := &bearer{}
	b.list = tagList{tags: numbered(300), pageMost: 100}
	expired := false
	b.on = func(r *http.Request) {
		if r.URL.Query().Has("last") && !expired {
			expired = true
			b.expire()
		}
	}
	tags := mustScan(t, newScanner(t, Options{}), plain(serve(t, b), "acme/web"))
	if len(tags.List) != 300 || b.issued != 2 {
		t.Errorf("got %d tags with %d tokens, want 300 with 2", len(tags.List), b.issued)
	}
}

// R16: wrong credentials are tried twice and then left alone for half an hour,
// however many images have them; new ones are used at once. N5: what a token
// server says of them is not repeated.
func TestR16Revoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bearer{user: "alice", pass: "new-s3cret"}
		b.list.set("1.0")
		var network pipeNet
		network.serve(t, "reg.example:80", b)
		s := newScanner(t, Options{})
		s.dial = network.dial
		for n := range 20 {
			err := scanError(t, s, with(plain("reg.example", fmt.Sprintf("acme/web%d", n)), "alice", "old-s3cret"), "401 unauthorized")
			if strings.Contains(err.Error(), "s3cret") {
				t.Fatalf("%v shows the password", err)
			}
		}
		if b.issued != 2 {
			t.Errorf("wrong credentials were tried %d times, want 2", b.issued)
		}
		mustScan(t, s, with(plain("reg.example", "acme/web"), "alice", "new-s3cret"))
		b.issued = 0
		time.Sleep(firstLogout * 12 / 10)
		scanError(t, s, with(plain("reg.example", "acme/web"), "alice", "old-s3cret"), "401 unauthorized")
		scanError(t, s, with(plain("reg.example", "acme/api"), "alice", "old-s3cret"), "left alone")
		if b.issued != 1 {
			t.Errorf("after the pause wrong credentials were tried %d times, want once", b.issued)
		}
	})
}

// basic is a registry with a password.
func basic(user, pass string, next http.Handler, tried *int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, p, sent := r.BasicAuth()
		if sent {
			*tried++
		}
		if u != user || p != pass {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// R16, where the registry itself has the passwords.
func TestR16RevokedBasic(t *testing.T) {
	var tried int
	address := serve(t, basic("alice", "s3cret", &tagList{tags: []string{"1.0"}}, &tried))
	s := newScanner(t, Options{})
	for n := range 10 {
		scanError(t, s, with(plain(address, fmt.Sprintf("acme/web%d", n)), "alice", "wrong"), "401 unauthorized", "renew them")
	}
	if tried != 2 {
		t.Errorf("wrong credentials were tried %d times, want 2", tried)
	}
	mustScan(t, s, with(plain(address, "acme/web"), "alice", "s3cret"))
	scanError(t, s, plain(address, "acme/web"), "asked without credentials", "set secretRef or secretDir")
}

// N6: a repository that is refused with good credentials harms no other.
func TestRefusedRepositoryHarmsNoOther(t *testing.T) {
	var tried int
	list := &tagList{tags: []string{"1.0"}}
	address := serve(t, basic("alice", "s3cret", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "secret-project") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		list.ServeHTTP(w, r)
	}), &tried))
	s := newScanner(t, Options{})
	for range 5 {
		scanError(t, s, with(plain(address, "secret-project/web"), "alice", "s3cret"), "401")
	}
	mustScan(t, s, with(plain(address, "acme/web"), "alice", "s3cret"))
}

func TestRotatedSecretIsUsedAtTheNextScan(t *testing.T) {
	var tried int
	address := serve(t, basic("alice", "s3cret", &tagList{tags: []string{"1.0"}}, &tried))
	pass := "old"
	src := plain(address, "acme/web")
	src.Secret = func(context.Context) (bump.Secret, error) {
		return bump.Secret{"username": []byte("alice"), "password": []byte(pass)}, nil
	}
	s := newScanner(t, Options{})
	scanError(t, s, src, "401")
	pass = "s3cret\n"
	mustScan(t, s, src)
}

func TestWhereCredentialsComeFrom(t *testing.T) {
	var tried int
	address := serve(t, basic("alice", "s3cret", &tagList{tags: []string{"1.0"}}, &tried))
	config := func(host string) string {
		return fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, host, base64.StdEncoding.EncodeToString([]byte("alice:s3cret")))
	}
	src := plain(address, "acme/web")
	src.Secret = secretOf(map[string]string{".dockerconfigjson": config(address)})
	mustScan(t, newScanner(t, Options{}), src)
	src.Secret = secretOf(map[string]string{".dockerconfigjson": config("ghcr.io")})
	scanError(t, newScanner(t, Options{}), src, "401 unauthorized", "the secret has credentials only for ghcr.io")
	src.Secret = secretOf(map[string]string{"token": "x"})
	scanError(t, newScanner(t, Options{}), src, "neither .dockerconfigjson nor both of username and password")

	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, []byte(config(address)), 0o600); err != nil {
		t.Fatal(err)
	}
	mustScan(t, newScanner(t, Options{DockerConfig: file}), plain(address, "acme/web"))

	home := t.TempDir()
	t.Setenv("DOCKER_CONFIG", home)
	t.Setenv("HOME", t.TempDir())
	if err := os.WriteFile(filepath.Join(home, "config.json"), []byte(config(address)), 0o600); err != nil {
		t.Fatal(err)
	}
	standard := New(Options{})
	defer standard.Close()
	mustScan(t, standard, plain(address, "acme/web"))
}
