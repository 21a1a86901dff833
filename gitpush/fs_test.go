package gitpush

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"hoist/bump"
)

// oddTree serves a repository with a link, a submodule, an LFS pointer, a script
// and directories whose names sort differently in Git and in io/fs.
func oddTree(t *testing.T) (*server, *Mirror, fs.FS) {
	t.Helper()
	s := newServer(t, nil)
	w := s.worktree()
	for name, text := range map[string]string{
		"a/file.yaml": "x", "a.yaml": "y", "a-b/file.yaml": "z", "deep/er/still/file": strings.Repeat("long ", 9000), "empty": "",
		"big.bin": "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 12345\n",
	} {
		path := filepath.Join(w, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		os.WriteFile(path, []byte(text), 0o644)
	}
	os.WriteFile(filepath.Join(w, "run.sh"), []byte("#!/bin/sh\n"), 0o755)
	os.Symlink("../../../etc/passwd", filepath.Join(w, "link"))
	os.Symlink("a", filepath.Join(w, "linked-dir"))
	runGit(t, w, "add", "-A")
	runGit(t, w, "update-index", "--add", "--cacheinfo", "160000,1234567890123456789012345678901234567890,vendored")
	runGit(t, w, "commit", "-q", "-m", "odd")
	runGit(t, w, "push", "-q", "origin", "main")
	m := s.mirror()
	tree, err := m.Tree(fetch(t, m))
	if err != nil {
		t.Fatal(err)
	}
	return s, m, tree
}

// G19, G20: a commit's tree as an fs.FS: the rules of io/fs, links and
// submodules listed and never followed, LFS pointers as they are.
func TestTree(t *testing.T) {
	s, _, tree := oddTree(t)
	plain, err := fs.Sub(tree, "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(plain, "file.yaml"); err != nil {
		t.Error(err)
	}
	var got []string
	err = fs.WalkDir(tree, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		got = append(got, p+" "+d.Type().String())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{". d---------", "a d---------", "a/file.yaml ----------", "a-b d---------", "a-b/file.yaml ----------", "a.yaml ----------",
		"big.bin ----------", "deep d---------", "deep/er d---------", "deep/er/still d---------", "deep/er/still/file ----------", "empty ----------",
		"link L---------", "linked-dir L---------", "run.sh ----------", "vendored d?---------"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("WalkDir =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, path := range []string{"link", "linked-dir", "vendored", "a", "linked-dir/file.yaml", "link/x", "vendored/x", "none", "a/none", "../x", "/a"} {
		if b, err := fs.ReadFile(tree, path); err == nil {
			t.Errorf("ReadFile(%q) = %q, want an error", path, b)
		}
	}
	if _, err := fs.ReadFile(tree, "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadFile of nothing = %v, want ErrNotExist", err)
	}
	if to, err := fs.ReadLink(tree, "link"); err != nil || to != "../../../etc/passwd" {
		t.Errorf("ReadLink = %q, %v", to, err)
	}
	if b, err := fs.ReadFile(tree, "big.bin"); err != nil || !strings.HasPrefix(string(b), "version https://git-lfs") {
		t.Errorf("LFS pointer = %q, %v", b, err)
	}
	if i, err := fs.Stat(tree, "run.sh"); err != nil || i.Mode() != 0o555 || i.Size() != 10 {
		t.Errorf("Stat(run.sh) = %v %d, %v", i.Mode(), i.Size(), err)
	}
	for path, rev := range map[string]string{"a/file.yaml": "main:a/file.yaml", "a": "main:a", ".": "main^{tree}"} {
		i, err := fs.Stat(tree, path)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.TrimSpace(s.bareGit("rev-parse", rev))
		if h, ok := i.Sys().(bump.Hasher); !ok || h.Hash() != want {
			t.Errorf("Sys of %s = %v, want hash %s", path, i.Sys(), want)
		}
	}
}

// A tree is read by many at once, while fetches and pushes go on.
func TestTreeConcurrent(t *testing.T) {
	s := newServer(t, robotFiles(50))
	m := s.mirror()
	h := fetch(t, m)
	tree, err := m.Tree(h)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 50 {
				name := fmt.Sprintf("apps/%02d.yaml", i)
				if b, err := fs.ReadFile(tree, name); err != nil || string(b) != "start\n" {
					t.Errorf("ReadFile(%s) = %q, %v", name, b, err)
				}
			}
		})
	}
	for i := range 3 {
		commits, err := m.Push(t.Context(), h, []Draft{write(t, m, h, "apps/00.yaml", fmt.Sprint(i))})
		if err != nil {
			t.Fatal(err)
		}
		h = commits[0].Head
	}
	wg.Wait()
}

func TestTreeOfUnknownCommit(t *testing.T) {
	s := newServer(t, fleet)
	m := s.mirror()
	h := fetch(t, m)
	for _, hash := range []string{"", "main", strings.Repeat("1", 40)} {
		h.Hash = hash
		if _, err := m.Tree(h); err == nil {
			t.Errorf("Tree at %q: no error", hash)
		}
	}
	if m.objects.broken != nil {
		t.Errorf("asking for an unknown commit marks the mirror as broken: %v", m.objects.broken)
	}
}
