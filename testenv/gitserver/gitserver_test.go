package gitserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func start(t *testing.T, o Options) *Server {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// client is a person's git: their folder, their settings.
type client struct {
	t   *testing.T
	dir string
	env []string
}

func newClient(t *testing.T, env ...string) *client {
	home := t.TempDir()
	return &client{t: t, dir: home, env: append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "GIT_SSH_VARIANT=ssh",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.test", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.test",
	}, env...)}
}

// try runs git and returns all that it said.
func (c *client) try(args ...string) (string, error) {
	cmd := exec.CommandContext(c.t.Context(), "git", args...)
	cmd.Dir, cmd.Env = c.dir, c.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (c *client) git(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (c *client) write(path string, text []byte) {
	c.t.Helper()
	must(c.t, os.WriteFile(filepath.Join(c.dir, path), text, 0o644))
}

// clone clones into the client's folder w and works in it from then on.
func (c *client) clone(url string) {
	c.t.Helper()
	c.git("clone", "-q", url, "w")
	c.dir = filepath.Join(c.dir, "w")
}

func (c *client) commit(path string, text []byte) {
	c.t.Helper()
	c.write(path, text)
	c.git("add", "-A")
	c.git("commit", "-q", "-m", "change "+path)
}

// as puts a user into an address.
func as(url, user string) string { return strings.Replace(url, "://", "://"+user+"@", 1) }

func TestHTTP(t *testing.T) {
	s := start(t, Options{Users: map[string]string{"bot": "pw"}})
	must(t, s.Init("fleet", map[string]string{"web.yaml": "image: web:1\n", "dir/a b.txt": "x"}))
	c := newClient(t)
	c.clone(as(s.URL("fleet"), "bot:pw"))
	if got, err := os.ReadFile(filepath.Join(c.dir, "dir", "a b.txt")); err != nil || string(got) != "x" {
		t.Errorf("cloned %q, %v", got, err)
	}

	big := make([]byte, 5<<20) // sent in chunks
	_, _ = rand.Read(big)
	c.commit("big", big)
	c.git("push", "-q")
	head, err := s.Git("fleet", "rev-parse", "main")
	must(t, err)
	if want := strings.TrimSpace(c.git("rev-parse", "HEAD")); head != want {
		t.Errorf("main is %s after the push, want %s", head, want)
	}

	for range 25 { // enough to say in a fetch that git packs its request with gzip
		c.git("commit", "-q", "--allow-empty", "-m", "more")
	}
	theirs, err := s.Commit("fleet", "a person's", map[string]string{"web.yaml": "image: web:2\n"}, "dir/a b.txt")
	must(t, err)
	c.git("fetch", "-q")
	if got := c.git("show", "--stat=200", "--format=%an %s", "origin/main"); !strings.Contains(got, "Somebody a person's") || !strings.Contains(got, "a b.txt") {
		t.Errorf("fetched %s, want %s with two files", got, theirs)
	}
	if out, err := c.try("push", "-q"); err == nil || !strings.Contains(out, "rejected") {
		t.Errorf("a push behind main: %v, %s", err, out)
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	open := start(t, Options{Users: map[string]string{"bot": "pw", "nopassword": ""}, AnonymousRead: true})
	closed := start(t, Options{Users: map[string]string{"bot": "pw"}})
	for _, s := range []*Server{open, closed} {
		must(t, s.Init("fleet", map[string]string{"a": "b"}))
	}
	for _, row := range []struct {
		server         *Server
		service        string
		user, password string
		want           int
	}{
		{open, "git-upload-pack", "", "", 200},
		{open, "git-upload-pack", "bot", "wrong", 401},
		{open, "git-receive-pack", "", "", 401},
		{open, "git-receive-pack", "bot", "pw", 200},
		{open, "git-receive-pack", "bot", "", 401},
		{open, "git-receive-pack", "other", "pw", 401},
		{open, "git-receive-pack", "other", "", 401},
		{closed, "git-upload-pack", "", "", 401},
		{closed, "git-upload-pack", "bot", "pw", 200},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, row.server.URL("fleet")+"/info/refs?service="+row.service, nil)
		must(t, err)
		if row.user != "" {
			req.SetBasicAuth(row.user, row.password)
		}
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		res.Body.Close()
		if res.StatusCode != row.want {
			t.Errorf("%s as %q %q: %d, want %d", row.service, row.user, row.password, res.StatusCode, row.want)
		}
		if (res.Header.Get("WWW-Authenticate") != "") != (row.want == 401) {
			t.Errorf("%s as %q: WWW-Authenticate %q", row.service, row.user, res.Header.Get("WWW-Authenticate"))
		}
	}
	if out, err := newClient(t).try("clone", as(closed.URL("fleet"), "bot:wrong")); err == nil || !strings.Contains(out, "Authentication failed") {
		t.Errorf("clone with a wrong password: %v, %s", err, out)
	}
	if out, err := newClient(t).try("clone", as(closed.URL("nosuch"), "bot:pw")); err == nil || !strings.Contains(out, "not found") {
		t.Errorf("clone of nothing: %v, %s", err, out)
	}
}

func TestHTTPS(t *testing.T) {
	s := start(t, Options{AnonymousRead: true, TLS: true})
	must(t, s.Init("fleet", map[string]string{"a": "b"}))
	ca := filepath.Join(t.TempDir(), "ca.crt")
	must(t, os.WriteFile(ca, s.CAData, 0o644))
	newClient(t, "GIT_SSL_CAINFO="+ca).clone(s.URL("fleet"))
	if out, err := newClient(t).try("clone", s.URL("fleet")); err == nil || !strings.Contains(out, "certificate") {
		t.Errorf("clone without the authority: %v, %s", err, out)
	}
}

func TestEmptyRepository(t *testing.T) {
	s := start(t, Options{Users: map[string]string{"bot": "pw"}})
	must(t, s.Init("new", nil))
	c := newClient(t)
	c.clone(as(s.URL("new"), "bot:pw"))
	c.commit("a", []byte("b"))
	c.git("push", "-q", "origin", "HEAD:main")
	if log, err := s.Git("new", "log", "--format=%s", "main"); err != nil || log != "change a" {
		t.Errorf("main has %q, %v", log, err)
	}
}

// TestHook: a server's own rules reach the client, and can be lifted.
func TestHook(t *testing.T) {
	s := start(t, Options{Users: map[string]string{"bot": "pw"}})
	must(t, s.Init("fleet", map[string]string{"a": "b"}))
	must(t, s.Hook("fleet", "pre-receive", "echo main is protected >&2; exit 1"))
	c := newClient(t)
	c.clone(as(s.URL("fleet"), "bot:pw"))
	c.commit("a", []byte("c"))
	if out, err := c.try("push", "-q"); err == nil || !strings.Contains(out, "remote: main is protected") {
		t.Errorf("push: %v, %s", err, out)
	}
	must(t, s.Hook("fleet", "pre-receive", ""))
	c.git("push", "-q")
}

// TestPushOutlivesItsClient: as on a real server, a push that has arrived is
// carried out though nobody waits for the answer.
func TestPushOutlivesItsClient(t *testing.T) {
	s := start(t, Options{Users: map[string]string{"bot": "pw"}})
	must(t, s.Init("fleet", map[string]string{"a": "b"}))
	dir := t.TempDir()
	entered, release := filepath.Join(dir, "entered"), filepath.Join(dir, "release")
	must(t, s.Hook("fleet", "pre-receive", fmt.Sprintf("touch %s; until [ -e %s ]; do sleep 0.02; done", entered, release)))
	c := newClient(t)
	c.clone(as(s.URL("fleet"), "bot:pw"))
	c.commit("a", []byte("c"))
	ctx, cancel := context.WithCancel(t.Context())
	push := exec.CommandContext(ctx, "git", "push", "-q")
	push.Dir, push.Env = c.dir, c.env
	push.WaitDelay = time.Second
	must(t, push.Start())
	eventually(t, func() bool { _, err := os.Stat(entered); return err == nil })
	cancel()
	if err := push.Wait(); err == nil {
		t.Error("the push was not cut")
	}
	must(t, os.WriteFile(release, nil, 0o644))
	want := strings.TrimSpace(c.git("rev-parse", "HEAD"))
	eventually(t, func() bool { head, err := s.Git("fleet", "rev-parse", "main"); return err == nil && head == want })
}

// TestCloseEndsWhatRuns: a hook that would hang for ever ends with the server.
func TestCloseEndsWhatRuns(t *testing.T) {
	s, err := Start(Options{Users: map[string]string{"bot": "pw"}})
	must(t, err)
	must(t, s.Init("fleet", map[string]string{"a": "b"}))
	entered := filepath.Join(t.TempDir(), "entered")
	must(t, s.Hook("fleet", "pre-receive", "touch "+entered+"; sleep 600"))
	c := newClient(t)
	c.clone(as(s.URL("fleet"), "bot:pw"))
	c.commit("a", []byte("c"))
	pushed := make(chan error, 1)
	go func() { _, err := c.try("push", "-q"); pushed <- err }()
	eventually(t, func() bool { _, err := os.Stat(entered); return err == nil })
	begin := time.Now()
	must(t, s.Close())
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("Close took %v", took)
	}
	if err := <-pushed; err == nil {
		t.Error("the push succeeded")
	}
	if _, err := os.Stat(s.Root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary root is still there: %v", err)
	}
}

// TestRacingCommits: of two commits on one head, one is refused.
func TestRacingCommits(t *testing.T) {
	s := start(t, Options{})
	must(t, s.Init("fleet", map[string]string{"a": "0"}))
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 8 {
		wg.Go(func() {
			if _, err := s.Commit("fleet", "race", map[string]string{"a": fmt.Sprint(i)}); err == nil {
				mu.Lock()
				won++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	log, err := s.Git("fleet", "log", "--format=%s", "--grep=race", "main")
	must(t, err)
	if got := len(strings.Fields(log)); got != won || won == 0 {
		t.Errorf("%d commits on main, %d were said to have succeeded", got, won)
	}
}

func TestSpoolIsRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	b, err := spool(strings.NewReader("body"))
	must(t, err)
	b.remove()
	if _, err := spool(http.MaxBytesReader(nil, http.NoBody, 1)); err != nil {
		t.Error(err)
	}
	if _, err := spool(http.MaxBytesReader(nil, nopCloser{bytes.NewReader([]byte("long"))}, 1)); err == nil {
		t.Error("a body over the limit was taken")
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "hoist-git-body-*")); err != nil || len(left) > 1 {
		t.Errorf("left %v, %v", left, err)
	}
}

type nopCloser struct{ *bytes.Reader }

func (nopCloser) Close() error { return nil }

func eventually(t *testing.T, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatal("did not happen within 20s")
		case <-tick.C:
		}
	}
}
