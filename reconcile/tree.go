package reconcile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// kustomize sees the Git tree below treeRoot, and beside it one directory of our
// own: its kustomization names the app's directory and adds what the
// configuration asks for. It cannot stand inside the tree, because a
// kustomization must not name a directory above itself.
const (
	treeRoot  = "/tree"
	buildRoot = "/build"
)

// treeFS shows an [fs.FS] to kustomize: read only, nothing but the tree, and
// every kustomization file checked and cleaned before kustomize reads it. Files
// are read when they are asked for.
//
// It serves one build on one goroutine.
type treeFS struct {
	ctx       context.Context
	tree      fs.FS
	app       string            // directory of the app
	top       string            // its kustomization file, "" when it has none
	overlay   Overlay           // what goes into that file
	generated map[string][]byte // files that stand in for some of the tree, or beside it, by kustomize's path
	files     map[string]bool   // files of the tree that were read (true) or looked for in vain (false)
	texts     map[string]string // nil, or where to keep files with variables
	lines     lines             // where the objects are in the files that were read
	warnings  []string
	custom    bool  // a kustomization brings its own OpenAPI schema
	refused   error // the first thing that a kustomization file may not do
}

var errReadOnly = errors.New("the tree is read only")

// rel returns the path in the tree, or false for a path outside of it.
func rel(p string) (string, bool) {
	p = path.Clean(p)
	if p == treeRoot {
		return ".", true
	}
	r, ok := strings.CutPrefix(p, treeRoot+"/")
	return r, ok
}

// stat tells about a path of the tree. A symbolic link is an error: it could
// lead anywhere, and Git trees that need one are rare.
func (t *treeFS) stat(name string) (fs.FileInfo, error) {
	if err := t.ctx.Err(); err != nil {
		return nil, err
	}
	info, err := fs.Lstat(t.tree, name)
	if err != nil {
		return nil, err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return nil, fmt.Errorf("%s: symbolic links are not followed", name)
	}
	return info, nil
}

func (t *treeFS) IsDir(p string) bool {
	if p == buildRoot || p == "/" {
		return true
	}
	name, ok := rel(p)
	if !ok {
		return false
	}
	info, err := t.stat(name)
	return err == nil && info.IsDir()
}

func (t *treeFS) Exists(p string) bool {
	if _, ok := t.generated[p]; ok || t.IsDir(p) {
		return true
	}
	name, ok := rel(p)
	if !ok {
		return false
	}
	_, err := t.stat(name)
	t.note(name, err == nil)
	return err == nil
}

func (t *treeFS) note(name string, found bool) { t.files[name] = t.files[name] || found }

func (t *treeFS) CleanedAbs(p string) (filesys.ConfirmedDir, string, error) {
	if !path.IsAbs(p) {
		p = path.Join("/", p)
	}
	p = path.Clean(p)
	if t.IsDir(p) {
		return filesys.ConfirmedDir(p), "", nil
	}
	if !t.Exists(p) {
		return "", "", &fs.PathError{Op: "open", Path: shown(p), Err: fs.ErrNotExist}
	}
	return filesys.ConfirmedDir(path.Dir(p)), path.Base(p), nil
}

// ReadFile returns a file of the tree. A kustomization file comes checked and
// with its deprecated spellings replaced.
func (t *treeFS) ReadFile(p string) ([]byte, error) {
	p = path.Clean(p)
	if b, ok := t.generated[p]; ok {
		return b, nil
	}
	name, ok := rel(p)
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
	}
	b, err := t.read(name)
	if err != nil {
		return nil, err
	}
	if isKustomization(path.Base(name)) {
		b, err = t.clean(name, b)
	} else {
		err = t.checkPlugins(name, b)
		t.lines.skim(name, b)
	}
	if err != nil && t.refused == nil {
		t.refused = err
	}
	return b, err
}

// read returns the bytes of a file as they are and notes that they mattered.
func (t *treeFS) read(name string) ([]byte, error) {
	info, err := t.stat(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			t.note(name, false)
		}
		return nil, err
	}
	if info.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a directory")}
	}
	t.note(name, true)
	b, err := fs.ReadFile(t.tree, name)
	if t.texts != nil && bytes.Contains(b, []byte("${")) {
		t.texts[name] = string(b)
	}
	return b, err
}

func (t *treeFS) Open(p string) (filesys.File, error) {
	b, err := t.ReadFile(p)
	if err != nil {
		return nil, err
	}
	return &memFile{bytes.NewReader(b)}, nil
}

func (t *treeFS) ReadDir(p string) ([]string, error) {
	name, ok := rel(p)
	if !ok {
		return nil, &fs.PathError{Op: "readdir", Path: p, Err: fs.ErrNotExist}
	}
	entries, err := fs.ReadDir(t.tree, name)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (t *treeFS) Glob(pattern string) ([]string, error) {
	r, ok := rel(pattern)
	if !ok {
		return nil, nil
	}
	found, err := fs.Glob(t.tree, r)
	for i := range found {
		found[i] = path.Join(treeRoot, found[i])
	}
	sort.Strings(found)
	return found, err
}

func (t *treeFS) Walk(string, filepath.WalkFunc) error { return errors.ErrUnsupported }

func (t *treeFS) Create(string) (filesys.File, error) { return nil, errReadOnly }
func (t *treeFS) Mkdir(string) error                  { return errReadOnly }
func (t *treeFS) MkdirAll(string) error               { return errReadOnly }
func (t *treeFS) RemoveAll(string) error              { return errReadOnly }
func (t *treeFS) WriteFile(string, []byte) error      { return errReadOnly }

// shown takes our own roots out of a text for people.
func shown(s string) string {
	s = strings.ReplaceAll(s, treeRoot+"/", "")
	s = strings.ReplaceAll(s, "../tree/", "")
	s = strings.ReplaceAll(s, treeRoot, ".")
	return s
}

type memFile struct{ *bytes.Reader }

func (f *memFile) Close() error               { return nil }
func (f *memFile) Write([]byte) (int, error)  { return 0, errReadOnly }
func (f *memFile) Stat() (os.FileInfo, error) { return nil, errors.ErrUnsupported }

var _ io.Reader = (*memFile)(nil)
