package gitpush

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hoist/bump"
)

var fleet = map[string]string{
	"apps/web/deployment.yaml": "image: example.com/web:1.0.0\n",
	"apps/api/deployment.yaml": "image: example.com/api:1.0.0\n",
	"README.md":                "# fleet\n",
	"run.sh":                   "#!/bin/sh\n",
}

const web = "apps/web/deployment.yaml"

// N2: what is reported is on the remote, and only what was changed is changed.
func TestPush(t *testing.T) {
	s := newServer(t, fleet)
	m := s.mirror()
	h := fetch(t, m)
	d1 := write(t, m, h, web, "image: example.com/web:1.1.0\n")
	d2 := write(t, m, h, "apps/api/deployment.yaml", "image: example.com/api:2.0.0\n")
	commits, err := m.Push(t.Context(), h, []Draft{d1, d2})
	if err != nil {
		t.Fatalf("Push: %v", err)
	}
	if len(commits) != 2 || commits[1].Head.Hash != s.head() || commits[1].Parent != commits[0].Head.Hash || commits[0].Parent != h.Hash {
		t.Fatalf("Push = %+v, want two commits in a row, the last at %s", commits, s.head())
	}
	if got := s.show(web); got != "image: example.com/web:1.1.0\n" {
		t.Errorf("remote file = %q", got)
	}
	if got, want := s.bareGit("diff", "--stat", "--summary", h.Hash, "main"), "2 files changed, 2 insertions(+), 2 deletions(-)"; !strings.Contains(got, want) {
		t.Errorf("diff = %s, want %s", got, want)
	}
	if got, want := s.bareGit("log", "-1", "--format=%an <%ae> %cn <%ce> %ct %s", commits[0].Head.Hash),
		"Hoist <hoist@example.com> Hoist <hoist@example.com> 1767323045 set apps/web/deployment.yaml\n"; got != want {
		t.Errorf("commit = %q, want %q", got, want)
	}
	// The mirror follows without a fetch.
	before := s.requests.Load()
	if at, _ := m.Head(); at.Hash != s.head() {
		t.Errorf("Head = %s, want %s", at.Hash, s.head())
	}
	tree, err := m.Tree(commits[1].Head)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := fs.ReadFile(tree, web); err != nil || string(b) != "image: example.com/web:1.1.0\n" {
		t.Errorf("ReadFile = %q, %v", b, err)
	}
	if n := s.requests.Load() - before; n != 0 {
		t.Errorf("%d requests to read what was just pushed, want 0", n)
	}
}

// Several changes to one file in one commit, and over two commits.
func TestPushSameFileTwice(t *testing.T) {
	s := newServer(t, fleet)
	m := s.mirror()
	h := fetch(t, m)
	one := write(t, m, h, web, "a\n")
	one.Changes = append(one.Changes, bump.Change{File: web, Before: []byte("a\n"), After: []byte("b\n")})
	two := write(t, m, h, web, "c\n")
	two.Changes[0].Before = []byte("b\n")
	commits, err := m.Push(t.Context(), h, []Draft{one, two})
	if err != nil || len(commits) != 2 {
		t.Fatalf("Push = %d commits, %v", len(commits), err)
	}
	if got := s.bareGit("show", "main~1:"+web) + s.show(web); got != "b\nc\n" {
		t.Errorf("files = %q, want b then c", got)
	}
}

func TestPushNothing(t *testing.T) {
	s := newServer(t, fleet)
	m := s.mirror()
	h := fetch(t, m)
	if _, err := m.Push(t.Context(), h, nil); err == nil {
		t.Error("Push without drafts: no error")
	}
	empty := write(t, m, h, web, "x")
	empty.Changes = nil
	if _, err := m.Push(t.Context(), h, []Draft{empty}); err == nil {
		t.Error("Push of a draft without changes: no error")
	}
	same := write(t, m, h, web, fleet[web])
	before := s.requests.Load()
	commits, err := m.Push(t.Context(), h, []Draft{same})
	if err != nil || len(commits) != 0 || s.requests.Load() != before {
		t.Errorf("Push of the same bytes = %v, %v with %d requests, want nothing", commits, err, s.requests.Load()-before)
	}
	stale := write(t, m, h, web, "x")
	stale.Changes[0].Before = []byte("something else")
	if _, err := m.Push(t.Context(), h, []Draft{stale}); err == nil || !strings.Contains(err.Error(), "not what the change was made from") {
		t.Errorf("Push of a change to other bytes: %v", err)
	}
	if s.head() != h.Hash {
		t.Error("the remote moved")
	}
}

// G1, G3: a person was quicker. Nothing is overwritten, the caller plans again.
func TestPushMoved(t *testing.T) {
	s := newServer(t, fleet)
	m := s.mirror()
	h := fetch(t, m)
	d := write(t, m, h, web, "ours\n")
	human := s.humanCommit("by hand", map[string]string{web: "theirs\n"})
	before := s.requests.Load()
	if _, err := m.Push(t.Context(), h, []Draft{d}); !errors.Is(err, ErrMoved) {
		t.Fatalf("Push = %v, want ErrMoved", err)
	}
	if n := s.requests.Load() - before; n != 1 {
		t.Errorf("%d requests, want 1: nothing is sent when the list of refs tells it already", n)
	}
	if s.head() != human {
		t.Fatal("the person's commit is gone")
	}
	h = fetch(t, m)
	if h.Hash != human {
		t.Fatalf("Fetch = %s, want %s", h.Hash, human)
	}
	if _, err := m.Push(t.Context(), h, []Draft{d}); err == nil || errors.Is(err, ErrMoved) {
		t.Errorf("Push of the old plan on the new head = %v, want a refusal", err)
	}
}

// G2: the branch moves between the list of refs and the push; whatever the
// server's words are, the head decides.
func TestPushMovedInBetween(t *testing.T) {
	s := newServer(t, fleet)
	m := s.mirror()
	h := fetch(t, m)
	d := write(t, m, h, web, "ours\n")
	var human string
	s.stand(func(w http.ResponseWriter, r *http.Request, backend http.Handler) {
		if r.Method == http.MethodPost && human == "" {
			human = s.humanCommit("by hand", map[string]string{"README.md": "theirs\n"})
		}
		backend.ServeHTTP(w, r)
	})
	if _, err := m.Push(t.Context(), h, []Draft{d}); !errors.Is(err, ErrMoved) {
		t.Fatalf("Push = %v, want ErrMoved", err)
	}
	if s.head() != human {
		t.Fatal("the person's commit is gone")
	}
	h = fetch(t, m)
	if _, err := m.Push(t.Context(), h, []Draft{d}); err != nil {
		t.Fatalf("second Push: %v", err)
	}
	if got := s.count(); got != 3 {
		t.Errorf("%d commits, want 3: theirs and ours once", got)
	}
}

// G7: a rule of the server refuses; its words reach the person, it is not ErrMoved.
func TestPushRejected(t *testing.T) {
	s := newServer(t, fleet)
	hook(t, s, "pre-receive", "echo 'main is protected: open a pull request' >&2; exit 1")
	m := s.mirror()
	h := fetch(t, m)
	_, err := m.Push(t.Context(), h, []Draft{write(t, m, h, web, "ours\n")})
	var rejected *RejectedError
	if !errors.As(err, &rejected) || !strings.Contains(err.Error(), "open a pull request") {
		t.Fatalf("Push = %v, want a RejectedError with the hook's words", err)
	}
	if s.head() != h.Hash {
		t.Error("the remote moved")
	}
}

func hook(t *testing.T, s *server, name, script string) {
	t.Helper()
	path := filepath.Join(s.bare, "hooks", name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// G9, G10: the server took the push, but its answer is lost, empty or nonsense.
func TestPushAnswerLost(t *testing.T) {
	answers := map[string]func(w http.ResponseWriter){
		"connection cut": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"empty":          func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) },
		"nonsense":       func(w http.ResponseWriter) { io.WriteString(w, "<html>busy</html>") },
		"502":            func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) },
		"cut in the middle": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "0030\x01000eunpack ok\n")
			panic(http.ErrAbortHandler)
		},
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, fleet)
			m := s.mirror()
			h := fetch(t, m)
			s.stand(func(w http.ResponseWriter, r *http.Request, backend http.Handler) {
				if r.Method != http.MethodPost {
					backend.ServeHTTP(w, r)
					return
				}
				backend.ServeHTTP(httptest.NewRecorder(), r)
				answer(w)
			})
			commits, err := m.Push(t.Context(), h, []Draft{write(t, m, h, web, "ours\n")})
			if err != nil || len(commits) != 1 || commits[0].Head.Hash != s.head() {
				t.Fatalf("Push = %v, %v; want the commit %s", commits, err, s.head())
			}
			if s.count() != 2 {
				t.Errorf("%d commits, want 2", s.count())
			}
		})
	}
}

// G10: 200 and nothing happened is not success.
func TestPushSwallowed(t *testing.T) {
	s := newServer(t, fleet)
	m := s.mirror()
	h := fetch(t, m)
	s.stand(func(w http.ResponseWriter, r *http.Request, backend http.Handler) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusOK)
			return
		}
		backend.ServeHTTP(w, r)
	})
	commits, err := m.Push(t.Context(), h, []Draft{write(t, m, h, web, "ours\n")})
	if err == nil || commits != nil || errors.Is(err, ErrMoved) {
		t.Fatalf("Push = %v, %v; want an error", commits, err)
	}
	if at, _ := m.Head(); at.Hash != h.Hash {
		t.Error("the mirror moved")
	}
}

// N2: the answer is lost and so is the branch: said as it is, and put right by
// the next fetch.
func TestPushUnknown(t *testing.T) {
	s := newServer(t, fleet)
	m := s.mirror()
	h := fetch(t, m)
	down := false
	s.stand(func(w http.ResponseWriter, r *http.Request, backend http.Handler) {
		switch {
		case r.Method == http.MethodPost:
			backend.ServeHTTP(httptest.NewRecorder(), r)
			down = true
			panic(http.ErrAbortHandler)
		case down:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			backend.ServeHTTP(w, r)
		}
	})
	if _, err := m.Push(t.Context(), h, []Draft{write(t, m, h, web, "ours\n")}); !errors.Is(err, ErrUnknown) {
		t.Fatalf("Push = %v, want ErrUnknown", err)
	}
	s.stand(nil)
	if got := fetch(t, m); got.Hash != s.head() || got.Hash == h.Hash {
		t.Errorf("Fetch = %s, want our commit %s", got.Hash, s.head())
	}
}

// G9: our push was taken and somebody built on it before we read the branch back.
func TestPushBuiltUpon(t *testing.T) {
	s := newServer(t, fleet)
	m := s.mirror()
	h := fetch(t, m)
	s.stand(func(w http.ResponseWriter, r *http.Request, backend http.Handler) {
		backend.ServeHTTP(w, r)
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, receivePack) {
			s.humanCommit("on top", map[string]string{"README.md": "theirs\n"})
		}
	})
	commits, err := m.Push(t.Context(), h, []Draft{write(t, m, h, web, "ours\n")})
	if err != nil || len(commits) != 1 {
		t.Fatalf("Push = %v, %v; want our commit", commits, err)
	}
	if parent := strings.TrimSpace(s.bareGit("rev-parse", "main~1")); commits[0].Head.Hash != parent {
		t.Errorf("commit = %s, want %s", commits[0].Head.Hash, parent)
	}
}

// G8: a slow hook outlives our patience, but takes the push in the end.
func TestPushSlowHook(t *testing.T) {
	s := newServer(t, fleet)
	hook(t, s, "post-receive", "sleep 3")
	m := s.mirror(func(r *Repository) { r.Timeout = bump.Duration(time.Second) })
	h := fetch(t, m)
	commits, err := m.Push(t.Context(), h, []Draft{write(t, m, h, web, "ours\n")})
	if err != nil || len(commits) != 1 || commits[0].Head.Hash != s.head() {
		t.Fatalf("Push = %v, %v; want the commit", commits, err)
	}
}

// G14: an interrupted push leaves nothing, neither here nor there; a new process
// on the same directory starts from the remote.
func TestPushInterrupted(t *testing.T) {
	s := newServer(t, fleet)
	dir := t.TempDir()
	m := openIn(t, dir, s.URL, nil)
	h := fetch(t, m)
	files := diskFiles(t, m.path)
	s.stand(func(w http.ResponseWriter, r *http.Request, backend http.Handler) {
		if r.Method == http.MethodPost {
			panic(http.ErrAbortHandler) // never reaches the server
		}
		backend.ServeHTTP(w, r)
	})
	if _, err := m.Push(t.Context(), h, []Draft{write(t, m, h, web, "ours\n")}); err == nil {
		t.Fatal("Push: no error")
	}
	if got := diskFiles(t, m.path); got != files {
		t.Errorf("files of the mirror = %s\nwant %s", got, files)
	}
	s.stand(nil)
	m.Close()
	m2 := openIn(t, dir, s.URL, nil)
	if got := fetch(t, m2); got != h {
		t.Errorf("Fetch = %v, want %v", got, h)
	}
	if s.count() != 1 {
		t.Errorf("%d commits, want 1", s.count())
	}
}

func diskFiles(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		fmt.Fprintln(&b, p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// N2: twenty robots push to one branch at once; every commit lands once.
func TestPushRobots(t *testing.T) {
	s := newServer(t, robotFiles(20))
	var wg sync.WaitGroup
	for i := range 20 {
		m := s.mirror(func(r *Repository) { r.Timeout = bump.Duration(2 * time.Minute) })
		wg.Go(func() {
			path := fmt.Sprintf("apps/%02d.yaml", i)
			for attempt := 1; ; attempt++ {
				time.Sleep(rand.N(time.Duration(attempt) * 100 * time.Millisecond)) // as the daemon does
				h := fetch(t, m)
				_, err := m.Push(t.Context(), h, []Draft{write(t, m, h, path, fmt.Sprintf("robot %d\n", i))})
				if err == nil {
					return
				}
				if !errors.Is(err, ErrMoved) || attempt > 200 {
					t.Errorf("robot %d, attempt %d: %v", i, attempt, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if s.count() != 21 {
		t.Errorf("%d commits, want 21", s.count())
	}
	for i := range 20 {
		if got, want := s.show(fmt.Sprintf("apps/%02d.yaml", i)), fmt.Sprintf("robot %d\n", i); got != want {
			t.Errorf("file of robot %d = %q, want %q", i, got, want)
		}
	}
}

func robotFiles(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("apps/%02d.yaml", i)] = "start\n"
	}
	return files
}

// G22, G23: names and authors that would break a repository are refused before
// anything is made of them.
func TestPushRefusesNames(t *testing.T) {
	s := newServer(t, fleet)
	m := s.mirror()
	h := fetch(t, m)
	for _, name := range []string{
		"", "/etc/passwd", "a//b", "../x", "apps/../../x", "./x", ".git/config", "a/.GIT/hooks/x", ".git /x", ".git./x", ".git::$INDEX_ALLOCATION/x",
		"git~1/config", "GIT~1/x", ".g\u200cit/config", `a\b`, `..\x`, "a\nb", "a\x00b", "a\rb", "apps/",
	} {
		d := write(t, m, h, web, "x\n")
		d.Changes[0].File, d.Changes[0].Before = name, nil
		if _, err := m.Push(t.Context(), h, []Draft{d}); err == nil {
			t.Errorf("Push of a file named %q: no error", name)
		}
	}
	for _, a := range []Author{
		{"Hoist\nparent 0000", "h@example.com"}, {"Hoist <x@y>", "h@example.com"}, {"Hoist", "h@example.com\n"},
		{"Hoist", "h@example.com> 1 +0000\nparent 1"}, {"Ho\x00ist", "h@example.com"}, {"Hoist", ""}, {"Hoist", "nobody"},
	} {
		d := write(t, m, h, web, "x\n")
		d.Author = a
		if _, err := m.Push(t.Context(), h, []Draft{d}); err == nil {
			t.Errorf("Push by %q: no error", a)
		}
	}
	if s.head() != h.Hash {
		t.Error("the remote moved")
	}
}

// A new file gets directories; a link, a directory or a file on the way is refused.
func TestPushNewFile(t *testing.T) {
	s := newServer(t, fleet)
	m := s.mirror()
	h := fetch(t, m)
	d := write(t, m, h, web, "x\n")
	d.Changes = []bump.Change{{File: "clusters/eu/apps.yaml", After: []byte("new\n")}, {File: "apps.yaml", After: []byte("new\n")}}
	if _, err := m.Push(t.Context(), h, []Draft{d}); err != nil {
		t.Fatal(err)
	}
	if got := s.show("clusters/eu/apps.yaml") + s.show("apps.yaml"); got != "new\nnew\n" {
		t.Errorf("files = %q", got)
	}
	h, _ = m.Head()
	for _, path := range []string{"README.md/x", "apps", web} {
		d.Changes = []bump.Change{{File: path, After: []byte("new\n")}}
		if _, err := m.Push(t.Context(), h, []Draft{d}); err == nil {
			t.Errorf("new file %s: no error", path)
		}
	}
}

// Modes stay: an executable is one afterwards.
func TestPushKeepsModes(t *testing.T) {
	s := newServer(t, nil)
	w := s.worktree()
	if err := os.WriteFile(filepath.Join(w, "run.sh"), []byte("one\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("run.sh", filepath.Join(w, "link")); err != nil {
		t.Fatal(err)
	}
	runGit(t, w, "add", "-A")
	runGit(t, w, "update-index", "--add", "--cacheinfo", "160000,1234567890123456789012345678901234567890,vendored")
	runGit(t, w, "commit", "-q", "-m", "modes")
	runGit(t, w, "push", "-q", "origin", "main")
	m := s.mirror()
	h := fetch(t, m)
	if _, err := m.Push(t.Context(), h, []Draft{write(t, m, h, "run.sh", "two\n")}); err != nil {
		t.Fatal(err)
	}
	got := s.bareGit("diff", "--raw", "main~1", "main")
	if !strings.HasPrefix(got, ":100755 100755") || strings.Count(got, "\n") != 1 {
		t.Errorf("diff = %s, want one file, still executable", got)
	}
	h, _ = m.Head()
	d := write(t, m, h, "run.sh", "x")
	for _, path := range []string{"link", "vendored", "link/x"} {
		d.Changes = []bump.Change{{File: path, Before: []byte("run.sh"), After: []byte("x")}}
		if _, err := m.Push(t.Context(), h, []Draft{d}); err == nil {
			t.Errorf("change of %s: no error", path)
		}
	}
}
