// Package hoist is the root of the module. The program is in cmd/hoist; read
// bump/bump.go and daemon/pass.go for how it works.
package hoist

import (
	"embed"
	"io/fs"
)

//go:embed all:testdata/infrastructure
var embedded embed.FS

// ExampleRepository returns the files of the example repository that the demo,
// the scripts and the documentation use.
func ExampleRepository() fs.FS {
	sub, err := fs.Sub(embedded, "testdata/infrastructure")
	if err != nil {
		panic(err) // the path is a constant
	}
	return sub
}
