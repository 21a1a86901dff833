//go:build unix

package gitpush

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockFile takes the lock at path for this process, or says that another one
// has it. The lock ends with the process, however that ends.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s %w; give this one a data directory of its own", path, ErrHeld)
		}
		return nil, err
	}
	return func() { f.Close() }, nil
}
