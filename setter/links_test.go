package setter

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

func linkTo(name string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(name), Mode: fs.ModeSymlink | 0o777}
}

func mustFind(t *testing.T, c *Cache, tree fs.FS, opt Options) Found {
	t.Helper()
	found, err := c.Find(t.Context(), tree, opt)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Symbolic links are not followed. One is told of when there are markers behind it
// that nobody sets, or when that cannot be seen.
func TestLinks(t *testing.T) {
	files := fstest.MapFS{
		"apps/web.yaml": marked("n:a", "x:1"), "base/web.yaml": marked("n:b", "x:2"), "base/none.yaml": plainFile("a: b\n"),
		"deep/er/web.yaml":      marked("n:c", "x:3"),
		"apps/inside.yaml":      linkTo("web.yaml"),
		"apps/outside.yaml":     linkTo("../base/web.yaml"),
		"apps/unmarked.yaml":    linkTo("../base/none.yaml"),
		"apps/folder":           linkTo("../deep"),
		"apps/twice.yaml":       linkTo("outside.yaml"),
		"apps/gone.yaml":        linkTo("../nowhere.yaml"),
		"apps/round.yaml":       linkTo("round.yaml"),
		"apps/away.yaml":        linkTo("/etc/hosts"),
		"apps/up.yaml":          linkTo("../../x.yaml"),
		"apps/readme":           linkTo("/etc/motd"),
		"apps/note.txt":         linkTo("../base/web.yaml"),
		"apps/skipped/out.yaml": linkTo("../../base/web.yaml"),
		"apps/.sourceignore":    plainFile("skipped\n"),
		"more":                  linkTo("deep"),
		"apps/way.yaml":         linkTo("../more/er/web.yaml"),
	}
	const out = ": is a symbolic link that leads out of what is looked at, and is not followed: markers behind it do not count"
	want := []string{
		"apps/away.yaml" + out,
		"apps/folder: is a symbolic link to deep, which holds markers and is not below the path: links are not followed, add deep to the paths",
		"apps/outside.yaml: is a symbolic link to base/web.yaml, which holds markers and is not below the path: links are not followed, add base/web.yaml to the paths",
		"apps/up.yaml" + out,
	}
	for kind, tree := range map[string]fs.FS{"plain": files, "hashed": &gitTree{MapFS: files}} {
		c := NewCache()
		for range 2 {
			found := mustFind(t, c, tree, Options{Paths: []string{"apps"}})
			wantStrings(t, kind+" notices", found.Notices, want...)
			if len(found.Sites) != 1 || found.Sites[0].File != "apps/web.yaml" {
				t.Errorf("%s: sites = %+v, want apps/web.yaml alone", kind, found.Sites)
			}
		}
		wantStrings(t, kind+" notices where everything counts", mustFind(t, c, tree, Options{}).Notices, want[0], want[3])
	}
}

// The same on a disk, where a link out of the folder leads somewhere.
func TestLinksOnDisk(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret.yaml")
	write := func(name string, f *fstest.MapFile) {
		t.Helper()
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("apps/web.yaml", marked("n:a", "x:1"))
	write("base/web.yaml", marked("n:b", "x:2"))
	write("apps/vendor/.git", plainFile("gitdir: ../../.git/modules/vendor\n"))
	write("apps/vendor/web.yaml", marked("n:c", "x:3"))
	for name, to := range map[string]string{"apps/link.yaml": "../base/web.yaml", "apps/out.yaml": secret, "apps/here": "."} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(secret, marked("n:d", "x:4").Data, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "apps", "socket.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	found := mustFind(t, NewCache(), Dir(dir), Options{Paths: []string{"apps"}})
	wantStrings(t, "notices", found.Notices,
		"apps/link.yaml: is a symbolic link to base/web.yaml, which holds markers and is not below the path: links are not followed, add base/web.yaml to the paths",
		"apps/out.yaml: is a symbolic link that leads out of what is looked at, and is not followed: markers behind it do not count",
		"apps/socket.yaml: is not a regular file and is not read: markers in it do not count",
		"apps/vendor: is a submodule, which is not entered: markers in it do not count")
	if len(found.Sites) != 1 || found.Sites[0].File != "apps/web.yaml" {
		t.Errorf("sites = %+v, want apps/web.yaml alone", found.Sites)
	}
}

// G19: a submodule of a Git tree is not entered, and that is said.
func TestG19Submodule(t *testing.T) {
	files := fstest.MapFS{"apps/web.yaml": marked("n:a", "x:1"), "apps/vendor": {Mode: fs.ModeDir | fs.ModeIrregular | 0o555}}
	found := mustFind(t, NewCache(), &gitTree{MapFS: files}, Options{})
	wantStrings(t, "notices", found.Notices, "apps/vendor: is a submodule, which is not entered: markers in it do not count")
	if len(found.Sites) != 1 {
		t.Errorf("sites = %+v, want one", found.Sites)
	}
}

// No marker is skipped in silence: every one in a tree is a site or has a problem,
// or stands in a file of which a notice tells or that a pattern ignores.
func TestEveryMarkerIsToldOf(t *testing.T) {
	files := fstest.MapFS{}
	for name, text := range placements {
		files["places/"+name+".yaml"] = plainFile(text)
	}
	files["other/latin.yaml"] = plainFile("# caf\xe9\nimage: x:1 " + mark + "\n")
	files["other/wide.yaml"] = plainFile("\xff\xfe" + wide("image: x:1 "+mark, 0))
	files["other/tab.yml"] = plainFile("a:\n\tb: x:1 " + mark + "\n")
	files["other/values.json"] = plainFile(`{"image": "x:1", "$imagepolicy": "a:b"}`)
	files["other/Kustomization"] = plainFile("images: [{newTag: x}] " + strings.Replace(mark, `b"`, `b:tag"`, 1))
	files["other/large.yaml"] = plainFile("image: x:1 " + mark + "\n" + strings.Repeat("a: b\n", 1000))
	markers := 0
	for _, f := range files {
		markers += strings.Count(strings.ToLower(string(f.Data)), key)
	}
	markers++ // the UTF-16 one has a zero between its letters
	sites, err := Sites(t.Context(), files, Options{MaxFileSize: 4000})
	if err != nil {
		t.Fatal(err)
	}
	if len(sites) != markers {
		told := map[string]int{}
		for _, s := range sites {
			told[s.File]++
		}
		for name, f := range files {
			if n := strings.Count(strings.ToLower(string(f.Data)), key); n != told[name] {
				t.Errorf("%s has %d markers, %d are told of:\n%s", name, n, told[name], f.Data)
			}
		}
		t.Errorf("%d markers, %d sites", markers, len(sites))
	}
	for _, s := range sites {
		if s.Line == 0 || s.Problem == "" && s.End <= s.Start {
			t.Errorf("%+v: a site without a place", s)
		}
	}
}
