package gitpush

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"hoist/bump"
)

// server is a real Git server: git http-backend over HTTP, with a place for a
// test to stand in between.
type server struct {
	t        *testing.T
	URL      string
	bare     string // the repository on disk
	requests atomic.Int64
	// between, if set, answers instead of the backend.
	between atomic.Pointer[func(w http.ResponseWriter, r *http.Request, backend http.Handler)]
}

// newServer serves a repository that holds files on its branch main. At the end
// of the test the repository is checked with git fsck.
func newServer(t *testing.T, files map[string]string) *server {
	t.Helper()
	s := &server{t: t, bare: filepath.Join(t.TempDir(), "fleet.git")}
	s.git("init", "-q", "--bare", "-b", "main", s.bare)
	s.bareGit("config", "http.receivepack", "true")
	execPath := strings.TrimSpace(s.git("--exec-path"))
	backend := &cgi.Handler{
		Path: filepath.Join(execPath, "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + filepath.Dir(s.bare), "GIT_HTTP_EXPORT_ALL=1"},
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if f := s.between.Load(); f != nil {
			(*f)(w, r, backend)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(func() { fsck(t, s.bare) })
	s.URL = srv.URL + "/fleet.git"
	if len(files) > 0 {
		s.humanCommit("first", files)
	}
	return s
}

// stand puts f between clients and the backend; nil takes it away.
func (s *server) stand(f func(w http.ResponseWriter, r *http.Request, backend http.Handler)) {
	if f == nil {
		s.between.Store(nil)
		return
	}
	s.between.Store(&f)
}

func (s *server) git(args ...string) string {
	s.t.Helper()
	return runGit(s.t, "", args...)
}

func (s *server) bareGit(args ...string) string {
	s.t.Helper()
	return runGit(s.t, s.bare, args...)
}

func runGit(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.com", "GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func fsck(t testing.TB, dir string) {
	t.Helper()
	out := runGit(t, dir, "fsck", "--strict", "--no-dangling")
	for line := range strings.SplitSeq(out, "\n") {
		if strings.HasPrefix(line, "error") || strings.HasPrefix(line, "warning") || strings.HasPrefix(line, "broken") || strings.HasPrefix(line, "missing") {
			t.Errorf("git fsck %s: %s", dir, line)
		}
	}
}

// humanCommit commits files to main as a person would, in a work tree of its
// own, and returns the new head.
func (s *server) humanCommit(message string, files map[string]string) string {
	s.t.Helper()
	w := s.worktree()
	for name, text := range files {
		path := filepath.Join(w, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
	runGit(s.t, w, "add", "-A")
	runGit(s.t, w, "commit", "-q", "--allow-empty", "-m", message)
	runGit(s.t, w, "push", "-q", "origin", "HEAD:main")
	return strings.TrimSpace(runGit(s.t, w, "rev-parse", "HEAD"))
}

// worktree returns a fresh clone with main checked out.
func (s *server) worktree() string {
	s.t.Helper()
	w := s.t.TempDir()
	runGit(s.t, w, "init", "-q", "-b", "main")
	runGit(s.t, w, "remote", "add", "origin", s.bare)
	if s.bareGit("for-each-ref", "refs/heads/main") != "" {
		runGit(s.t, w, "pull", "-q", "origin", "main")
	}
	return w
}

func (s *server) head() string {
	s.t.Helper()
	return strings.TrimSpace(s.bareGit("rev-parse", "main"))
}

func (s *server) show(path string) string {
	s.t.Helper()
	return s.bareGit("show", "main:"+path)
}

// count returns how many commits main has.
func (s *server) count() int {
	s.t.Helper()
	var n int
	fmt.Sscan(s.bareGit("rev-list", "--count", "main"), &n)
	return n
}

// mirror opens a mirror of the server's main. It is checked at the end.
func (s *server) mirror(change ...func(*Repository)) *Mirror {
	s.t.Helper()
	return openIn(s.t, s.t.TempDir(), s.URL, nil, change...)
}

func openIn(t *testing.T, dir, url string, secret bump.Secret, change ...func(*Repository)) *Mirror {
	t.Helper()
	r := Repository{Name: bump.Name{Namespace: "hoist", Name: "fleet"}, URL: url, Branch: "main", Timeout: bump.Duration(30 * time.Second)}
	for _, c := range change {
		c(&r)
	}
	m, err := Open(dir, r, secretOf(secret), zaptest.NewLogger(t))
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if _, ok := m.Head(); ok {
			fsck(t, m.path)
		}
	})
	return m
}

func fetch(t *testing.T, m *Mirror) bump.Head {
	t.Helper()
	h, err := m.Fetch(t.Context())
	if err != nil {
		t.Fatalf("Fetch: %v", err)
	}
	return h
}

// write returns a draft that changes one file of h to text.
func write(t *testing.T, m *Mirror, h bump.Head, path, text string) Draft {
	t.Helper()
	tree, err := m.Tree(h)
	if err != nil {
		t.Fatal(err)
	}
	before, err := fs.ReadFile(tree, path)
	if err != nil {
		t.Fatal(err)
	}
	return Draft{
		Changes: []bump.Change{{File: path, Before: before, After: []byte(text)}},
		Message: "set " + path + "\n\nBump-Trigger: test\n",
		Author:  Author{"Hoist", "hoist@example.com"},
		Time:    time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

func secretOf(s bump.Secret) func(context.Context) (bump.Secret, error) {
	if s == nil {
		return nil
	}
	return func(context.Context) (bump.Secret, error) { return s, nil }
}
