package gitpush

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"hoist/bump"
)

// errSymlink is why a symbolic link has no content to read.
var errSymlink = errors.New("is a symbolic link, which is not followed")

// errSubmodule is why a submodule has no content to read.
var errSubmodule = errors.New("is a submodule, which is not fetched")

// Tree returns the files of a commit that was fetched or pushed. Files are read
// from the mirror when they are asked for; nothing is checked out. It may be
// used from several goroutines, also during a fetch.
//
// Its FileInfos give a [bump.Hasher] in Sys. Symbolic links have fs.ModeSymlink
// and are never followed; ReadLink tells where they point. Submodules have
// fs.ModeIrregular|fs.ModeDir and are empty.
func (m *Mirror) Tree(h bump.Head) (fs.FS, error) {
	f, err := m.objects.files(h.Hash)
	if err != nil {
		return nil, fmt.Errorf("tree of %s at %s: %w", m.url, bump.Short(h.Hash), err)
	}
	return f, nil
}

// files returns the tree of the commit.
func (o *objects) files(hash string) (*treeFS, error) {
	if !plumbing.IsHash(hash) {
		return nil, fmt.Errorf("%q is not a commit hash", hash)
	}
	if !o.has(plumbing.NewHash(hash)) {
		return nil, errors.New("the commit is not in the mirror")
	}
	c, err := o.commit(plumbing.NewHash(hash))
	if err != nil {
		return nil, err
	}
	return &treeFS{objects: o, root: c.TreeHash}, nil
}

// treeFS is an fs.FS, fs.ReadDirFS, fs.ReadFileFS, fs.StatFS and fs.ReadLinkFS.
type treeFS struct {
	objects *objects
	root    plumbing.Hash
}

// lookup walks from the root to name. No element on the way may be a link.
func (f *treeFS) lookup(op, name string) (entry, error) {
	at := entry{mode: modeDir, name: ".", hash: f.root}
	if !fs.ValidPath(name) {
		return at, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	if name == "." {
		return at, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		if !at.isDir() {
			return at, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
		t, err := f.objects.tree(at.hash)
		if err != nil {
			return at, &fs.PathError{Op: op, Path: name, Err: err}
		}
		var ok bool
		if at, ok = t.find(part); !ok {
			return at, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
	}
	return at, nil
}

// Open opens a file or directory. A file's bytes are read at its first Read.
func (f *treeFS) Open(name string) (fs.File, error) {
	e, err := f.lookup("open", name)
	if err != nil {
		return nil, err
	}
	if e.isFile() {
		return &file{fs: f, path: name, entry: e}, nil
	}
	return &dir{fs: f, path: name, entry: e}, nil
}

// Stat tells about a file, directory or link.
func (f *treeFS) Stat(name string) (fs.FileInfo, error) {
	e, err := f.lookup("stat", name)
	if err != nil {
		return nil, err
	}
	return f.info(e), nil
}

// Lstat is Stat, which does not follow links either.
func (f *treeFS) Lstat(name string) (fs.FileInfo, error) { return f.Stat(name) }

// ReadLink returns where a symbolic link points; nobody has checked that.
func (f *treeFS) ReadLink(name string) (string, error) {
	e, err := f.lookup("readlink", name)
	if err != nil {
		return "", err
	}
	if e.mode != modeSymlink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	b, err := f.objects.blob(e.hash)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return string(b), nil
}

// ReadFile returns the bytes of a regular file.
func (f *treeFS) ReadFile(name string) ([]byte, error) {
	e, err := f.lookup("open", name)
	if err != nil {
		return nil, err
	}
	return f.content(name, e)
}

func (f *treeFS) content(name string, e entry) ([]byte, error) {
	if err := unreadable(e); err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	b, err := f.objects.blob(e.hash)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return b, nil
}

// unreadable says why e has no bytes to read; nil for a regular file.
func unreadable(e entry) error {
	switch {
	case e.isFile():
		return nil
	case e.mode == modeSymlink:
		return errSymlink
	case e.mode == modeSubmodule:
		return errSubmodule
	case e.isDir():
		return errors.New("is a directory")
	}
	return fmt.Errorf("has the unknown mode %s", e.mode)
}

// ReadDir lists a directory in the order of the names.
func (f *treeFS) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := f.lookup("readdir", name)
	if err != nil {
		return nil, err
	}
	return f.list(name, e)
}

func (f *treeFS) list(name string, e entry) ([]fs.DirEntry, error) {
	if e.mode == modeSubmodule {
		return nil, nil
	}
	if !e.isDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("not a directory")}
	}
	t, err := f.objects.tree(e.hash)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	infos := make([]info, len(t.byName))
	list := make([]fs.DirEntry, len(t.byName))
	for i, at := range t.byName {
		infos[i] = info{fs: f, entry: t.entries[at]}
		list[i] = &infos[i]
	}
	return list, nil
}

func (f *treeFS) info(e entry) *info {
	e.name = path.Base(e.name)
	return &info{fs: f, entry: e}
}

// info is the FileInfo and DirEntry of an entry.
type info struct {
	fs *treeFS
	entry
}

func (i *info) Name() string               { return i.name }
func (i *info) IsDir() bool                { return i.Mode().IsDir() }
func (i *info) Type() fs.FileMode          { return i.Mode().Type() }
func (i *info) Info() (fs.FileInfo, error) { return i, nil }
func (i *info) ModTime() time.Time         { return time.Time{} } // Git keeps none
func (i *info) Sys() any                   { return hasher(i.hash) }
func (i *info) String() string             { return fs.FormatDirEntry(i) }

// Mode maps the modes of Git. Files are read-only here.
func (i *info) Mode() fs.FileMode {
	switch {
	case i.isDir():
		return fs.ModeDir | 0o555
	case i.mode == modeSymlink:
		return fs.ModeSymlink | 0o777
	case i.mode == modeSubmodule:
		return fs.ModeDir | fs.ModeIrregular | 0o555
	case !i.isFile():
		return fs.ModeIrregular
	case i.mode == "100755":
		return 0o555
	}
	return 0o444
}

// Size looks into the mirror each time it is called; 0 when that goes wrong.
func (i *info) Size() int64 {
	if !i.isFile() && i.mode != modeSymlink {
		return 0
	}
	n, err := i.fs.objects.blobSize(i.hash)
	if err != nil {
		return 0
	}
	return n
}

// hasher is the Sys of our FileInfos, a [bump.Hasher].
type hasher plumbing.Hash

// Hash returns the object's hash in hexadecimal digits.
func (h hasher) Hash() string { return plumbing.Hash(h).String() }

// file is an open regular file.
type file struct {
	fs    *treeFS
	path  string
	entry entry
	r     *bytes.Reader
}

func (f *file) Stat() (fs.FileInfo, error) { return f.fs.info(f.entry), nil }
func (f *file) Close() error               { return nil }

func (f *file) load() error {
	if f.r != nil {
		return nil
	}
	b, err := f.fs.content(f.path, f.entry)
	if err != nil {
		return err
	}
	f.r = bytes.NewReader(b)
	return nil
}

func (f *file) Read(b []byte) (int, error) {
	if err := f.load(); err != nil {
		return 0, err
	}
	return f.r.Read(b)
}

func (f *file) ReadAt(b []byte, off int64) (int, error) {
	if err := f.load(); err != nil {
		return 0, err
	}
	return f.r.ReadAt(b, off)
}

func (f *file) Seek(off int64, whence int) (int64, error) {
	if err := f.load(); err != nil {
		return 0, err
	}
	return f.r.Seek(off, whence)
}

// dir is an open directory, link or submodule.
type dir struct {
	fs    *treeFS
	path  string
	entry entry
	list  []fs.DirEntry
	read  bool
}

func (d *dir) Stat() (fs.FileInfo, error) { return d.fs.info(d.entry), nil }
func (d *dir) Close() error               { return nil }

func (d *dir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.path, Err: unreadable(d.entry)}
}

// ReadDir follows [fs.ReadDirFile].
func (d *dir) ReadDir(n int) ([]fs.DirEntry, error) {
	if !d.read {
		list, err := d.fs.list(d.path, d.entry)
		if err != nil {
			return nil, err
		}
		d.list, d.read = list, true
	}
	if n <= 0 || n > len(d.list) {
		if n > 0 && len(d.list) == 0 {
			return nil, io.EOF
		}
		n = len(d.list)
	}
	out := d.list[:n:n]
	d.list = d.list[n:]
	return out, nil
}
