package daemon

import (
	"bytes"
	"io/fs"
	"time"

	"hoist/gitpush"
)

// overlay is a tree with the drafts of a proposal carried out: what the branch
// would hold after the push. Nothing is written anywhere. It knows no hashes, so
// that nobody takes a changed file for the one before; entries of directories
// tell the sizes before.
type overlay struct {
	fs.FS
	files map[string][]byte
}

func newOverlay(tree fs.FS, drafts []gitpush.Draft) overlay {
	o := overlay{tree, make(map[string][]byte)}
	for _, d := range drafts {
		for _, c := range d.Changes {
			o.files[c.File] = c.After // of several changes the last holds those before it
		}
	}
	return o
}

// Open implements [fs.FS].
func (o overlay) Open(name string) (fs.File, error) {
	f, err := o.FS.Open(name)
	content, changed := o.files[name]
	if err != nil || !changed {
		return f, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return &overlaid{bytes.NewReader(content), overlaidInfo{info, int64(len(content))}}, nil
}

// Stat implements [fs.StatFS].
func (o overlay) Stat(name string) (fs.FileInfo, error) {
	info, err := fs.Stat(o.FS, name)
	if content, changed := o.files[name]; changed && err == nil {
		return overlaidInfo{info, int64(len(content))}, nil
	}
	return info, err
}

// ReadFile implements [fs.ReadFileFS].
func (o overlay) ReadFile(name string) ([]byte, error) {
	if content, changed := o.files[name]; changed {
		return bytes.Clone(content), nil
	}
	return fs.ReadFile(o.FS, name)
}

// overlaid is an open file with other bytes.
type overlaid struct {
	*bytes.Reader
	info overlaidInfo
}

func (f *overlaid) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *overlaid) Close() error               { return nil }

// overlaidInfo is a FileInfo of other bytes.
type overlaidInfo struct {
	fs.FileInfo
	size int64
}

func (i overlaidInfo) Size() int64        { return i.size }
func (i overlaidInfo) Sys() any           { return nil }
func (i overlaidInfo) ModTime() time.Time { return time.Time{} }

var _ interface {
	fs.StatFS
	fs.ReadFileFS
} = overlay{}
