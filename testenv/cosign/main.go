// Command cosign is cosign, upstream code, without its cloud providers: what
// signs the images that tests verify. Its usage is upstream's.
package main

import (
	"fmt"
	"os"

	"github.com/sigstore/cosign/v3/cmd/cosign/cli"
)

func main() {
	if err := cli.New().Execute(); err != nil {
		fmt.Fprintf(os.Stderr, "cosign: %v\n", err)
		os.Exit(1)
	}
}
