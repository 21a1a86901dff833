package scanner

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// helperProgram puts docker-credential-NAME on PATH: a shell script that notes
// each call in a file before it runs its body. It returns how often it ran, and
// on which registries.
func helperProgram(t *testing.T, name, body string) (calls func() []string) {
	t.Helper()
	dir := t.TempDir()
	calls = func() []string {
		text, _ := os.ReadFile(filepath.Join(dir, "calls"))
		return strings.Fields(string(text))
	}
	script := fmt.Sprintf("#!/bin/sh\nserver=$(cat)\necho \"$server\" >> %s/calls\n%s\n", dir, body)
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-"+name), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	return calls
}

// dockerConfigFile writes a docker config file and returns its path.
func dockerConfigFile(t *testing.T, format string, args ...any) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, fmt.Appendf(nil, format, args...), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// passwords is a registry with one password that can be changed.
type passwords struct {
	list tagList
	user string // "": alice
	mu   sync.Mutex
	pass string
}

func (p *passwords) get() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pass
}

func (p *passwords) set(pass string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pass = pass
}

func (p *passwords) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var tried int
	basic(cmp.Or(p.user, "alice"), p.pass, &p.list, &tried).ServeHTTP(w, r)
}

// A helper's answer is used for all images of its registry, asked for again
// after five minutes, and at once where the registry no longer takes it.
func TestHelperIsAskedSeldom(t *testing.T) {
	registry := &passwords{pass: "s3cret"}
	registry.list.set("1.0")
	address := serve(t, registry)
	secret := filepath.Join(t.TempDir(), "secret")
	rotate := func(pass string) {
		t.Helper()
		if err := os.WriteFile(secret, []byte(pass), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rotate("s3cret")
	calls := helperProgram(t, "own", `printf '{"ServerURL":"x","Username":"alice","Secret":"%s"}' "$(cat `+secret+`)"`)
	clock := newClock()
	s := newScanner(t, Options{Now: clock.now, DockerConfig: dockerConfigFile(t, `{"credHelpers": {%q: "own"}}`, address)})

	var all sync.WaitGroup
	for n := range 20 {
		all.Go(func() { mustScan(t, s, plain(address, fmt.Sprintf("acme/web%d", n))) })
	}
	all.Wait()
	if got := calls(); len(got) != 1 || got[0] != address {
		t.Errorf("the helper was asked for %q by 20 images, want once for %s", got, address)
	}
	clock.pass(helperTTL + time.Second)
	mustScan(t, s, plain(address, "acme/web0"))
	if got := calls(); len(got) != 2 {
		t.Errorf("the helper was asked %d times after its answer grew old, want 2", len(got))
	}

	registry.set("new-s3cret")
	rotate("new-s3cret")
	clock.pass(2 * fresh)
	scanError(t, s, plain(address, "acme/web0"), "401 unauthorized", "from docker-credential-own", "renew them")
	mustScan(t, s, plain(address, "acme/web0"))
	if got := calls(); len(got) != 3 {
		t.Errorf("the helper was asked %d times after a rejection, want 3", len(got))
	}
}

// credsStore is asked for every registry; one that it does not know is looked
// for in auths, and is anonymous otherwise.
func TestCredsStore(t *testing.T) {
	registry := &passwords{pass: "s3cret"}
	registry.list.set("1.0")
	address := serve(t, registry)
	known := helperProgram(t, "store", `echo '{"Username":"alice","Secret":"s3cret"}'`)
	s := newScanner(t, Options{DockerConfig: dockerConfigFile(t, `{"credsStore": "store"}`)})
	mustScan(t, s, plain(address, "acme/web"))
	if len(known()) != 1 {
		t.Errorf("the store was asked %d times, want once", len(known()))
	}

	helperProgram(t, "empty", `echo "credentials not found in native keychain"; exit 1`)
	s = newScanner(t, Options{DockerConfig: dockerConfigFile(t, `{"credsStore": "empty", "auths": {%q: {"auth": "YWxpY2U6czNjcmV0"}}}`, address)})
	mustScan(t, s, plain(address, "acme/web"))
	s = newScanner(t, Options{DockerConfig: dockerConfigFile(t, `{"credsStore": "empty"}`)})
	scanError(t, s, plain(address, "acme/web"), "asked without credentials")
}

// N5, N6: a helper that fails says why, without what it knows, and is not
// started by every image.
func TestHelperThatFails(t *testing.T) {
	calls := helperProgram(t, "broken", `echo '{"Username":"alice","Secret":"hunter2"}'
echo "vault is sealed; last Secret=hunter2 token: abc eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQeyJhbGciOiJSUzI1NiI" >&2
exit 3`)
	clock := newClock()
	s := newScanner(t, Options{Now: clock.now, DockerConfig: dockerConfigFile(t, `{"credHelpers": {"reg.example": "broken"}}`)})
	err := scanError(t, s, plain("reg.example", "acme/web"), "ask docker-credential-broken for credentials for reg.example", "vault is sealed", "log in with it")
	for _, secret := range []string{"hunter2", "abc ", "eyJhbGci"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%v shows %q", err, secret)
		}
	}
	for n := range 20 {
		scanError(t, s, plain("reg.example", fmt.Sprintf("acme/web%d", n)), "docker-credential-broken is left alone until", "vault is sealed")
	}
	if got := calls(); len(got) != 1 {
		t.Errorf("a broken helper was started %d times by 21 images, want once", len(got))
	}
	clock.pass(2 * firstShrug)
	scanError(t, s, plain("reg.example", "acme/web"), "ask docker-credential-broken")

	s = newScanner(t, Options{DockerConfig: dockerConfigFile(t, `{"credsStore": "gone"}`)})
	scanError(t, s, plain("reg.example", "acme/web"), "docker-credential-gone", "not found", "on PATH")
}

// clock is a time that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}
