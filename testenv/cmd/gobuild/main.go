// Command gobuild is go build with a progress line: gobuild NAME ARGUMENT…
// It says nothing when there is nothing to do that takes a while.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"hoist/testenv/programs"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: gobuild NAME [argument of go build …]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := programs.GoBuild(ctx, os.Args[1], os.Args[2:], os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "build %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}
