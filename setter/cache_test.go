package setter

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"hoist/bump"
)

// gitTree is a tree whose files and directories know their hashes, as in Git. It
// counts what is opened and listed.
type gitTree struct {
	fstest.MapFS
	mu     sync.Mutex
	opened []string
	listed []string
}

func (g *gitTree) Open(name string) (fs.File, error) {
	g.mu.Lock()
	g.opened = append(g.opened, name)
	g.mu.Unlock()
	return g.MapFS.Open(name)
}

func (g *gitTree) ReadDir(name string) ([]fs.DirEntry, error) {
	g.listed = append(g.listed, name)
	return g.list(name)
}

func (g *gitTree) list(name string) ([]fs.DirEntry, error) {
	list, err := g.MapFS.ReadDir(name)
	for i, e := range list {
		list[i] = gitEntry{e, g, path.Join(name, e.Name())}
	}
	return list, err
}

func (g *gitTree) Stat(name string) (fs.FileInfo, error) {
	fi, err := g.MapFS.Lstat(name)
	if err != nil {
		return nil, err
	}
	return gitInfo{fi, gitHash(g.hash(name, fi))}, nil
}

func (g *gitTree) hash(name string, fi fs.FileInfo) string {
	h := sha1.New()
	if !fi.IsDir() {
		h.Write(g.MapFS[name].Data)
		return hex.EncodeToString(h.Sum(nil))
	}
	list, err := g.list(name)
	if err != nil {
		panic(err)
	}
	for _, e := range list {
		fi, err := e.Info()
		if err != nil {
			panic(err)
		}
		fmt.Fprintln(h, e.Name(), fi.Mode(), fi.Sys())
	}
	return hex.EncodeToString(h.Sum(nil))
}

// forget returns what was opened and listed since the last call.
func (g *gitTree) forget() (opened, listed []string) {
	opened, listed, g.opened, g.listed = g.opened, g.listed, nil, nil
	slices.Sort(opened)
	return opened, listed
}

type gitEntry struct {
	fs.DirEntry
	tree *gitTree
	path string
}

func (e gitEntry) Info() (fs.FileInfo, error) { return e.tree.Stat(e.path) }

type gitInfo struct {
	fs.FileInfo
	hash gitHash
}

func (i gitInfo) Sys() any { return i.hash }

type gitHash string

func (h gitHash) Hash() string { return string(h) }

func marked(policy, value string) *fstest.MapFile {
	return &fstest.MapFile{Data: fmt.Appendf(nil, "image: %s # {\"$imagepolicy\": %q}\n", value, policy)}
}

func plainFile(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

func mustSites(t *testing.T, c *Cache, tree fs.FS, opt Options) []string {
	t.Helper()
	sites, err := c.Sites(t.Context(), tree, opt)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range sites {
		text := s.Position() + " " + s.Value
		if s.Problem != "" {
			text = s.Position() + " !" + s.Problem
		}
		out = append(out, text)
	}
	return out
}

func wantStrings(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s = %q, want %q", what, got, want)
	}
}

// A quiet pass is one look-up, one changed file costs its path, a moved folder
// costs the folder above it, and what was taken away is gone.
func TestCacheReadsOnlyWhatIsNew(t *testing.T) {
	files := fstest.MapFS{
		"a/one.yaml":       marked("n:one", "x:1"),
		"a/deep/two.yml":   marked("n:two", "y:1"),
		"a/deep/none.yaml": plainFile("a: b\n"),
		"b/three.yaml":     marked("n:three", "z:1"),
		"b/readme.md":      marked("n:four", "no"),
	}
	c := NewCache()
	g := &gitTree{MapFS: files}
	all := []string{"a/deep/two.yml:1 y:1", "a/one.yaml:1 x:1", "b/three.yaml:1 z:1"}
	wantStrings(t, "first pass", mustSites(t, c, g, Options{}), all...)
	opened, listed := g.forget()
	wantStrings(t, "opened in the first pass", opened, "a/deep/none.yaml", "a/deep/two.yml", "a/one.yaml", "b/three.yaml")
	wantStrings(t, "listed in the first pass", listed, ".", "a", "a/deep", "b")

	wantStrings(t, "second pass", mustSites(t, c, g, Options{}), all...)
	opened, listed = g.forget()
	wantStrings(t, "opened in a quiet pass", opened)
	wantStrings(t, "listed in a quiet pass", listed)

	changed := maps.Clone(files)
	changed["a/deep/two.yml"] = marked("n:two", "y:22")
	g = &gitTree{MapFS: changed}
	wantStrings(t, "third pass", mustSites(t, c, g, Options{}), "a/deep/two.yml:1 y:22", "a/one.yaml:1 x:1", "b/three.yaml:1 z:1")
	opened, listed = g.forget()
	wantStrings(t, "opened after one change", opened, "a/deep/two.yml")
	wantStrings(t, "listed after one change", listed, ".", "a", "a/deep")

	moved := fstest.MapFS{}
	for name, f := range changed {
		moved[strings.Replace(name, "a/deep/", "c/", 1)] = f
	}
	g = &gitTree{MapFS: moved}
	wantStrings(t, "fourth pass", mustSites(t, c, g, Options{}), "a/one.yaml:1 x:1", "b/three.yaml:1 z:1", "c/two.yml:1 y:22")
	opened, listed = g.forget()
	wantStrings(t, "opened after a move", opened)
	wantStrings(t, "listed after a move", listed, ".", "a")

	delete(moved, "c/two.yml")
	delete(moved, "c/none.yaml")
	wantStrings(t, "fifth pass", mustSites(t, c, &gitTree{MapFS: moved}, Options{}), "a/one.yaml:1 x:1", "b/three.yaml:1 z:1")
}

// The same bytes in two places, and under a name that is read in another way.
func TestCacheSameBytesTwice(t *testing.T) {
	f := marked("n:one", "x:1")
	g := &gitTree{MapFS: fstest.MapFS{"a/one.yaml": f, "b/one.yaml": f, "b/two.yml": f, "c/one.json": f, "d/Kustomization": f, "e/one.txt": f}}
	c := NewCache()
	want := []string{"a/one.yaml:1 x:1", "b/one.yaml:1 x:1", "b/two.yml:1 x:1",
		"c/one.json:1 !marker in a JSON file, which has no comments: write the file in YAML, or name the field in the configuration (fields of the update)", "d/Kustomization:1 x:1"}
	wantStrings(t, "sites", mustSites(t, c, g, Options{}), want...)
	opened, _ := g.forget()
	if len(opened) != 2 {
		t.Errorf("opened %q, want one file as YAML and one as JSON", opened)
	}
	wantStrings(t, "again", mustSites(t, NewCache(), g.MapFS, Options{}), want...)
}

// The cache lets go of what no longer exists.
func TestCacheIsBounded(t *testing.T) {
	c := NewCache()
	for round := range 50 {
		files := fstest.MapFS{}
		for i := range 100 {
			files[fmt.Sprintf("d%d/f%d.yaml", i%10, i)] = marked("n:x", fmt.Sprintf("x:%d.%d", round, i))
		}
		mustSites(t, c, &gitTree{MapFS: files}, Options{})
	}
	if n := len(c.dirs) + len(c.files); n > 1500 {
		t.Errorf("%d entries after 50 passes over 111 of them, want them bounded", n)
	}
	for name := range c.roots {
		if len(c.roots) != 1 {
			t.Errorf("roots of %q are kept", name)
		}
	}
}

// Several goroutines share a cache (run with -race).
func TestCacheConcurrent(t *testing.T) {
	c := NewCache()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for round := range 20 {
				g := &gitTree{MapFS: fstest.MapFS{"a/x.yaml": marked("n:x", fmt.Sprintf("x:%d", round)), "b/y.yaml": marked("n:y", "y:1")}}
				opt := Options{Paths: []string{[]string{"", "a"}[i%2]}}
				sites, err := c.Sites(t.Context(), g, opt)
				if err != nil || len(sites) != 2-i%2 || sites[0].Value != fmt.Sprintf("x:%d", round) {
					t.Errorf("Sites = %+v, %v", sites, err)
				}
			}
		})
	}
	wg.Wait()
}

// Paths choose folders and files; .git and odd names are passed over (Y19).
func TestY19Paths(t *testing.T) {
	tree := fstest.MapFS{
		"apps/web.yaml": marked("n:a", "x:1"), "apps/db/db.yml": marked("n:b", "x:2"), "apps/Kustomization": marked("n:c", "x:3"),
		"apps2/web.yaml": marked("n:d", "x:4"), ".git/x.yaml": marked("n:e", "x:5"), ".github/x.yaml": marked("n:f", "x:6"),
		"apps/note.txt": marked("n:g", "x:7"), "apps/kustomization": marked("n:h", "x:8"),
	}
	apps := []string{"apps/Kustomization:1 x:3", "apps/db/db.yml:1 x:2", "apps/web.yaml:1 x:1"}
	for _, tc := range []struct{ paths, want []string }{
		{nil, append([]string{".github/x.yaml:1 x:6"}, append(slices.Clone(apps), "apps2/web.yaml:1 x:4")...)},
		{[]string{"./apps"}, apps},
		{[]string{"/apps/"}, apps},
		{[]string{"apps", "./apps/db", "apps/web.yaml"}, apps},
		{[]string{"apps2", "apps/db"}, []string{"apps/db/db.yml:1 x:2", "apps2/web.yaml:1 x:4"}},
		{[]string{"apps/note.txt"}, []string{"apps/note.txt:1 x:7"}},
		{[]string{"apps", "."}, append([]string{".github/x.yaml:1 x:6"}, append(slices.Clone(apps), "apps2/web.yaml:1 x:4")...)},
	} {
		for name, fsys := range map[string]fs.FS{"plain": tree, "hashed": &gitTree{MapFS: tree}} {
			wantStrings(t, fmt.Sprintf("%s %q", name, tc.paths), mustSites(t, NewCache(), fsys, Options{Paths: tc.paths}), tc.want...)
		}
	}
	for path, want := range map[string]string{
		"../x":    `path "../x" leaves the repository`,
		"a/../..": `path "a/../.." leaves the repository`,
		"gone":    "look for marked fields: open gone: file does not exist",
	} {
		if sites, err := Sites(t.Context(), tree, Options{Paths: []string{path}}); err == nil || err.Error() != want || sites != nil {
			t.Errorf("Sites(%q) = %v, %v, want %s", path, sites, err, want)
		}
	}
}

// Y17: a file above the limit is a problem if it holds a marker, wherever that is.
func TestY17TooLarge(t *testing.T) {
	filler := strings.Repeat("a: b # no marker\n", 9_000)
	mark := "image: x:1 # {\"$imagepolicy\": \"n:a\"}\n"
	tree := fstest.MapFS{"first.yaml": plainFile(mark + filler), "last.yaml": plainFile(filler + mark), "none.yaml": plainFile(filler + "# $imagepolicy\n"), "small.yaml": plainFile(mark)}
	for i := range 50 { // so that the marker stands on each side of the edge of a window
		tree[fmt.Sprintf("edge%02d.yaml", i)] = plainFile(filler[:128<<10-45+i] + "\n" + mark + filler)
	}
	sites, err := Sites(t.Context(), tree, Options{MaxFileSize: 1000})
	if err != nil || len(sites) != 53 {
		t.Fatalf("%d sites, %v, want 53", len(sites), err)
	}
	for _, s := range sites {
		src := string(tree[s.File].Data)
		line := 1 + strings.Count(src[:strings.Index(src, "$imagepolicy")], "\n")
		want := "file has a marker but is larger than 1000 bytes: split it"
		if s.File == "small.yaml" {
			want = ""
		}
		if s.Line != line || s.Problem != want {
			t.Errorf("%s: %q, want line %d: %q", s.Position(), s.Problem, line, want)
		}
	}
}

// A tree that cannot be read gives an error and no part of the sites.
func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	for name, f := range map[string]*fstest.MapFile{"a.yaml": marked("n:a", "x:1"), "b.yaml": marked("n:b", "x:2")} {
		if err := os.WriteFile(filepath.Join(dir, name), f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	broken := errors.New("disk is broken")
	sites, err := Sites(t.Context(), brokenFile{Dir(dir), "b.yaml", broken}, Options{})
	if !errors.Is(err, broken) || sites != nil || err.Error() != "look for marked fields in b.yaml: disk is broken" {
		t.Errorf("Sites = %v, %v, want the error of b.yaml", sites, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if sites, err := Sites(ctx, Dir(dir), Options{}); !errors.Is(err, context.Canceled) || sites != nil {
		t.Errorf("Sites = %v, %v, want it cancelled", sites, err)
	}
}

// brokenFile is a tree of which one file cannot be read.
type brokenFile struct {
	fs.FS
	name string
	err  error
}

func (b brokenFile) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(b.FS, name) }

func (b brokenFile) Open(name string) (fs.File, error) {
	f, err := b.FS.Open(name)
	if name == b.name && err == nil {
		return brokenReader{f, b.err}, nil
	}
	return f, err
}

type brokenReader struct {
	fs.File
	err error
}

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }

// Dir reads files whole, whatever their size, and passes symbolic links over.
func TestDir(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "secret.yaml")
	if err := os.WriteFile(outside, marked("n:out", "x:1").Data, 0o600); err != nil {
		t.Fatal(err)
	}
	big := append(marked("n:big", "x:1").Data, []byte(strings.Repeat("# padding\n", 50_000))...)
	if err := os.WriteFile(filepath.Join(dir, "big.yaml"), big, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	wantStrings(t, "sites", mustSites(t, NewCache(), Dir(dir), Options{}), "big.yaml:1 x:1")
	if _, err := Dir(dir).Open("link.yaml"); err == nil {
		t.Error("a symbolic link was opened")
	}
	if _, err := Dir(dir).Open("../x"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("Open(../x) = %v, want it invalid", err)
	}
	got, err := fs.ReadFile(Dir(dir), "big.yaml")
	if err != nil || string(got) != string(big) {
		t.Errorf("ReadFile = %d bytes, %v, want %d", len(got), err, len(big))
	}
	if _, err := Sites(t.Context(), Dir(dir), Options{Paths: []string{"link.yaml"}}); err == nil || err.Error() != "look for marked fields: link.yaml is neither a file nor a folder" {
		t.Errorf("a link named as path: %v", err)
	}
}

var _ bump.Hasher = gitHash("")
