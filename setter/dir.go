package setter

import (
	"io/fs"
	"os"
	"path/filepath"
)

// Dir returns the directory called name as a tree for [Sites]. It reads what
// [os.DirFS] reads, with half of the system calls for each file, and does not
// open what is a symbolic link.
func Dir(name string) fs.FS { return diskTree(name) }

type diskTree string

// Open implements [fs.FS] for files, directories and the root.
func (d diskTree) Open(name string) (fs.File, error) {
	full, err := d.full("open", name)
	if err != nil {
		return nil, err
	}
	return openFile(full, name)
}

// Stat implements [fs.StatFS]. It does not follow a symbolic link, but for the root.
func (d diskTree) Stat(name string) (fs.FileInfo, error) {
	full, err := d.full("stat", name)
	if err != nil {
		return nil, err
	}
	if name == "." {
		return os.Stat(full)
	}
	return os.Lstat(full)
}

// Lstat implements [fs.ReadLinkFS].
func (d diskTree) Lstat(name string) (fs.FileInfo, error) { return d.Stat(name) }

// ReadLink implements [fs.ReadLinkFS].
func (d diskTree) ReadLink(name string) (string, error) {
	full, err := d.full("readlink", name)
	if err != nil {
		return "", err
	}
	to, err := os.Readlink(full)
	return filepath.ToSlash(to), err
}

// ReadDir implements [fs.ReadDirFS].
func (d diskTree) ReadDir(name string) ([]fs.DirEntry, error) {
	full, err := d.full("open", name)
	if err != nil {
		return nil, err
	}
	return os.ReadDir(full)
}

func (d diskTree) full(op, name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	local, err := filepath.Localize(name)
	if err != nil {
		return "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return filepath.Join(string(d), local), nil
}
