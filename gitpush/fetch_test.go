package gitpush

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"hoist/bump"
)

// A quiet fetch is one request; a fetch of news brings only the news.
func TestFetch(t *testing.T) {
	s := newServer(t, fleet)
	m := s.mirror()
	if _, ok := m.Head(); ok {
		t.Error("Head before the first fetch: ok")
	}
	h := fetch(t, m)
	if h.Hash != s.head() || h.Branch != "main" || h.Repository.Name != "fleet" {
		t.Errorf("Fetch = %v, want main at %s", h, s.head())
	}
	before := s.requests.Load()
	fetch(t, m)
	if n := s.requests.Load() - before; n != 1 {
		t.Errorf("a quiet fetch made %d requests, want 1", n)
	}
	human := s.humanCommit("news", map[string]string{web: "image: example.com/web:3\n"})
	var sent atomic.Int64
	s.stand(func(w http.ResponseWriter, r *http.Request, backend http.Handler) {
		backend.ServeHTTP(&counted{w, &sent}, r)
	})
	if h = fetch(t, m); h.Hash != human {
		t.Errorf("Fetch = %s, want %s", h.Hash, human)
	}
	packs, err := m.objects.packFiles()
	if err != nil || len(packs) != 2 {
		t.Errorf("%d packs (%v), want 2", len(packs), err)
	}
	list, err := packEntries(packs[0].base + ".idx")
	more, err2 := packEntries(packs[1].base + ".idx")
	if n := min(len(list), len(more)); err != nil || err2 != nil || n != 5 {
		t.Errorf("the second fetch brought %d objects, want a commit, three directories and a file", n)
	}
}

type counted struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counted) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return c.ResponseWriter.Write(p)
}

// G4: a person rewrote the branch. We follow, say so, and nothing comes back.
func TestFetchRewritten(t *testing.T) {
	s := newServer(t, fleet)
	s.humanCommit("second", map[string]string{"b": "2"})
	third := s.humanCommit("third", map[string]string{"c": "3"})
	core, logs := observer.New(zap.InfoLevel)
	m := s.mirror()
	m.log = zap.New(core)
	old := fetch(t, m)
	w := s.worktree()
	runGit(t, w, "reset", "-q", "--hard", "HEAD~2")
	runGit(t, w, "commit", "-q", "--allow-empty", "-m", "other")
	runGit(t, w, "push", "-q", "-f", "origin", "HEAD:main")
	if _, err := m.Push(t.Context(), old, []Draft{write(t, m, old, web, "x")}); !errors.Is(err, ErrMoved) {
		t.Errorf("Push on the dropped commit = %v, want ErrMoved", err)
	}
	now := fetch(t, m)
	if now.Hash != s.head() {
		t.Fatalf("Fetch = %s, want %s", now.Hash, s.head())
	}
	if logs.FilterMessage("branch was rewritten on the remote").Len() != 1 {
		t.Errorf("log = %v, want a line about the rewrite", logs.All())
	}
	if within, err := m.Contains(now, old); err != nil || within {
		t.Errorf("Contains = %v, %v, want false", within, err)
	}
	// Back again: the commits are still here, so nothing is sent.
	s.bareGit("update-ref", "refs/heads/main", third)
	before := s.requests.Load()
	if got := fetch(t, m); got.Hash != third || s.requests.Load()-before != 1 {
		t.Errorf("Fetch = %s with %d requests, want %s with 1", got.Hash, s.requests.Load()-before, third)
	}
	if within, err := m.Contains(now, now); err != nil || !within {
		t.Errorf("Contains itself = %v, %v, want true", within, err)
	}
}

// A server that has lost all that we know still serves us.
func TestFetchUnrelated(t *testing.T) {
	s := newServer(t, fleet)
	m := s.mirror()
	fetch(t, m)
	w := t.TempDir()
	runGit(t, w, "init", "-q", "-b", "main")
	runGit(t, w, "commit", "-q", "--allow-empty", "-m", "fresh start")
	runGit(t, w, "push", "-q", "-f", s.bare, "main")
	s.bareGit("-c", "gc.reflogExpire=now", "gc", "-q", "--prune=now")
	if got := fetch(t, m); got.Hash != s.head() {
		t.Errorf("Fetch = %s, want %s", got.Hash, s.head())
	}
}

// G5, G29: no branch, no commit, no repository: clear errors; nothing is made.
func TestFetchNoBranch(t *testing.T) {
	s := newServer(t, fleet)
	m := s.mirror()
	h := fetch(t, m)
	s.bareGit("branch", "-q", "-m", "main", "other")
	_, err := m.Fetch(t.Context())
	if !errors.Is(err, ErrNoBranch) || !strings.Contains(err.Error(), `"main"`) {
		t.Errorf("Fetch = %v, want ErrNoBranch with the name", err)
	}
	if _, err := m.Push(t.Context(), h, []Draft{write(t, m, h, web, "x")}); !errors.Is(err, ErrNoBranch) {
		t.Errorf("Push = %v, want ErrNoBranch", err)
	}
	if got := s.bareGit("for-each-ref", "--format=%(refname)"); got != "refs/heads/other\n" {
		t.Errorf("refs = %q, want only other", got)
	}
	empty := newServer(t, nil)
	if _, err := empty.mirror().Fetch(t.Context()); !errors.Is(err, ErrEmpty) {
		t.Errorf("Fetch of an empty repository = %v, want ErrEmpty", err)
	}
	gone := openIn(t, t.TempDir(), strings.Replace(s.URL, "fleet", "nothing", 1), nil)
	if _, err := gone.Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "404 not found; check url") {
		t.Errorf("Fetch of no repository = %v, want 404", err)
	}
}

// N6: servers that hang end after the timeout, wherever they hang.
func TestFetchHangs(t *testing.T) {
	release := make(chan struct{})
	s := newServer(t, fleet)
	t.Cleanup(func() { close(release) })
	short := func(r *Repository) { r.Timeout = bump.Duration(300 * time.Millisecond) }
	hang := func(w http.ResponseWriter) {
		w.(http.Flusher).Flush()
		<-release
	}
	stands := map[string]func(w http.ResponseWriter, r *http.Request, backend http.Handler){
		"before the refs": func(http.ResponseWriter, *http.Request, http.Handler) { <-release },
		"within the refs": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			fmt.Fprint(w, "001e#")
			hang(w)
		},
		"before the pack": func(w http.ResponseWriter, r *http.Request, b http.Handler) {
			if r.Method == http.MethodPost {
				<-release
			}
			b.ServeHTTP(w, r)
		},
		"within the pack": func(w http.ResponseWriter, r *http.Request, b http.Handler) {
			if r.Method == http.MethodPost {
				fmt.Fprint(w, "0008NAK\n0009\x01PACK")
				hang(w)
			}
			b.ServeHTTP(w, r)
		},
	}
	for name, f := range stands {
		t.Run(name, func(t *testing.T) {
			s.stand(f)
			m := s.mirror(short)
			begun := time.Now()
			_, err := m.Fetch(t.Context())
			if err == nil || time.Since(begun) > 5*time.Second {
				t.Fatalf("Fetch = %v after %v, want an error in time", err, time.Since(begun))
			}
			s.stand(nil)
			if _, err := m.Fetch(t.Context()); err != nil {
				// The timeout is short for a busy machine; one more try is fair.
				fetch(t, m)
			}
			if left, _ := filepath.Glob(filepath.Join(m.path, "objects/pack/tmp_*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// G18: a transfer that is slow but goes on may take longer than the timeout.
func TestFetchSlow(t *testing.T) {
	s := newServer(t, fleet)
	s.stand(func(w http.ResponseWriter, r *http.Request, backend http.Handler) {
		if r.Method != http.MethodPost {
			backend.ServeHTTP(w, r)
			return
		}
		whole := httptest.NewRecorder()
		backend.ServeHTTP(whole, r)
		const parts = 5
		b := whole.Body.Bytes()
		for i := range parts {
			w.Write(b[len(b)*i/parts : len(b)*(i+1)/parts])
			w.(http.Flusher).Flush()
			time.Sleep(600 * time.Millisecond)
		}
	})
	fetch(t, s.mirror(func(r *Repository) { r.Timeout = bump.Duration(2 * time.Second) }))
}

// N5: credentials stay on the host that they are for.
func TestRedirects(t *testing.T) {
	s := newServer(t, fleet)
	var leaked atomic.Bool
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	evil := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { leaked.Store(true) })}
	go evil.Serve(other)
	t.Cleanup(func() { evil.Close() })
	s.stand(func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		http.Redirect(w, r, "http://"+other.Addr().String()+r.URL.RequestURI(), http.StatusFound)
	})
	secret := bump.Secret{"username": []byte("bot"), "password": []byte("hunter2")}
	m := openIn(t, t.TempDir(), s.URL, secret)
	_, err = m.Fetch(t.Context())
	if err == nil || !strings.Contains(err.Error(), "set url to http://"+other.Addr().String()+"/fleet.git") {
		t.Errorf("Fetch = %v, want a refusal with the new address", err)
	}
	if leaked.Load() {
		t.Error("the other host was asked")
	}
	// A rename on the same host is followed, and pushes go there.
	s.stand(func(w http.ResponseWriter, r *http.Request, backend http.Handler) {
		if rest, ok := strings.CutPrefix(r.URL.Path, "/old.git/"); ok {
			http.Redirect(w, r, "/fleet.git/"+rest+"?"+r.URL.RawQuery, http.StatusMovedPermanently)
			return
		}
		backend.ServeHTTP(w, r)
	})
	m = openIn(t, t.TempDir(), strings.Replace(s.URL, "fleet", "old", 1), secret)
	h := fetch(t, m)
	if _, err := m.Push(t.Context(), h, []Draft{write(t, m, h, web, "x\n")}); err != nil {
		t.Errorf("Push: %v", err)
	}
}

// A mirror that is damaged, or of another repository, is made anew; a directory
// of somebody else is left alone.
func TestOpenHeals(t *testing.T) {
	s := newServer(t, fleet)
	damage := map[string]func(t *testing.T, path string){
		"truncated pack": func(t *testing.T, path string) {
			packs, _ := filepath.Glob(filepath.Join(path, "objects/pack/*.pack"))
			os.Chmod(packs[0], 0o600)
			if err := os.Truncate(packs[0], 40); err != nil {
				t.Fatal(err)
			}
		},
		"no index": func(t *testing.T, path string) {
			packs, _ := filepath.Glob(filepath.Join(path, "objects/pack/*.idx"))
			os.Remove(packs[0])
		},
		"broken index": func(t *testing.T, path string) {
			packs, _ := filepath.Glob(filepath.Join(path, "objects/pack/*.idx"))
			os.Chmod(packs[0], 0o600)
			os.Truncate(packs[0], 100)
		},
		"ref to nothing": func(t *testing.T, path string) {
			os.WriteFile(filepath.Join(path, "refs/heads/main"), []byte(strings.Repeat("1", 40)+"\n"), 0o600)
		},
		"empty ref": func(t *testing.T, path string) { os.WriteFile(filepath.Join(path, "refs/heads/main"), nil, 0o600) },
		"other url": func(t *testing.T, path string) {
			os.WriteFile(filepath.Join(path, "config"), []byte("[core]\n"), 0o600)
		},
		"no objects": func(t *testing.T, path string) { os.RemoveAll(filepath.Join(path, "objects")) },
	}
	for name, f := range damage {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			m := openIn(t, dir, s.URL, nil)
			fetch(t, m)
			m.Close()
			f(t, m.path)
			m = openIn(t, dir, s.URL, nil)
			h := fetch(t, m)
			tree, err := m.Tree(h)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := fs.ReadFile(tree, web); err != nil || string(b) != fleet[web] {
				t.Errorf("ReadFile = %q, %v", b, err)
			}
		})
	}
	t.Run("another repository of that name", func(t *testing.T) {
		dir := t.TempDir()
		m := openIn(t, dir, s.URL, nil)
		fetch(t, m)
		m.Close()
		m = openIn(t, dir, newServer(t, fleet).URL, nil)
		if h, ok := m.Head(); ok {
			t.Errorf("Head = %v, want none", h)
		}
	})
	t.Run("somebody else's directory", func(t *testing.T) {
		dir := t.TempDir()
		mine := filepath.Join(dir, "hoist,fleet.git", "letters.txt")
		os.MkdirAll(filepath.Dir(mine), 0o755)
		os.WriteFile(mine, []byte("dear"), 0o644)
		_, err := Open(dir, Repository{Name: bump.Name{Namespace: "hoist", Name: "fleet"}, URL: s.URL, Branch: "main"}, nil, nil)
		if err == nil {
			t.Error("Open: no error")
		}
		if _, err := os.Stat(mine); err != nil {
			t.Error("the file is gone")
		}
	})
	t.Run("damaged while open", func(t *testing.T) {
		m := s.mirror()
		h := fetch(t, m)
		m.objects.mu.Lock()
		m.objects.store.Close()
		packs, _ := filepath.Glob(filepath.Join(m.path, "objects/pack/*.pack"))
		os.Remove(packs[0])
		m.objects.open()
		m.objects.mu.Unlock()
		if _, err := m.Tree(h); err == nil {
			t.Error("Tree of a damaged mirror: no error")
		}
		if _, err := m.Tree(fetch(t, m)); err != nil {
			t.Errorf("Tree after the next fetch: %v", err)
		}
	})
}

// Two processes do not share a mirror.
func TestOpenTwice(t *testing.T) {
	s := newServer(t, fleet)
	dir := t.TempDir()
	m := openIn(t, dir, s.URL, nil)
	_, err := Open(dir, m.repo, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "another hoist") {
		t.Errorf("second Open = %v, want a refusal", err)
	}
}

// Many pushes and fetches leave a bounded number of packs, and all objects.
func TestTidy(t *testing.T) {
	s := newServer(t, fleet)
	m := s.mirror()
	h := fetch(t, m)
	first := h
	for i := range maxPacks + 5 {
		commits, err := m.objects.pretend(h, write(t, m, h, web, fmt.Sprintf("version %d\n", i)))
		if err != nil {
			t.Fatal(err)
		}
		h = commits
	}
	list, err := m.objects.packFiles()
	if err != nil || len(list) > 10 {
		t.Errorf("%d packs, %v; want a few", len(list), err)
	}
	out := runGit(t, m.path, "count-objects", "-v")
	if !strings.Contains(out, "count: 0\n") || !strings.Contains(out, "garbage: 0\n") || !strings.Contains(out, "prune-packable: 0\n") {
		t.Errorf("git count-objects = %s", out)
	}
	for _, at := range []bump.Head{first, h} {
		tree, err := m.Tree(at)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fs.ReadFile(tree, web); err != nil {
			t.Error(err)
		}
	}
}

// pretend stores a commit as a push does, without a remote.
func (o *objects) pretend(h bump.Head, d Draft) (bump.Head, error) {
	c, err := o.newChain(plumbing.NewHash(h.Hash))
	if err != nil {
		return h, err
	}
	if err := c.add(d, h.Repository, h.Branch); err != nil {
		return h, err
	}
	pack, err := c.pack()
	if err != nil {
		return h, err
	}
	if err := o.addPack(strings.NewReader(string(pack))); err != nil {
		return h, err
	}
	h.Hash = c.head.String()
	if err := o.setRef(h.Branch, c.head); err != nil {
		return h, err
	}
	return h, o.tidy()
}
