//go:build !unix

package gitpush

// lockFile does nothing where there is no flock.
func lockFile(string) (unlock func(), err error) { return func() {}, nil }
