//go:build !unix

package setter

import (
	"io/fs"
	"os"
)

func openFile(full, _ string) (fs.File, error) { return os.Open(full) }
