//go:build unix

package setter

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// openFile opens a file for one reading. An [os.File] asks the kernel four times
// more before the first byte, to see whether it can be waited for.
func openFile(full, name string) (fs.File, error) {
	for {
		fd, err := syscall.Open(full, syscall.O_RDONLY|syscall.O_CLOEXEC|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return &diskFile{fd: fd, full: full, name: name}, nil
	}
}

// diskFile is a regular file that is read from its beginning to its end.
type diskFile struct {
	fd         int
	full, name string
}

// Read fills p as far as the file goes; a short read of a regular file is its end.
func (f *diskFile) Read(p []byte) (int, error) {
	for {
		n, err := syscall.Read(f.fd, p)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return 0, &fs.PathError{Op: "read", Path: f.name, Err: err}
		case n < len(p):
			return n, io.EOF
		}
		return n, nil
	}
}

// Stat tells what the path is now.
func (f *diskFile) Stat() (fs.FileInfo, error) { return os.Lstat(f.full) }

// Close closes the file.
func (f *diskFile) Close() error {
	if f.fd < 0 {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	err := syscall.Close(f.fd)
	f.fd = -1
	return err
}
