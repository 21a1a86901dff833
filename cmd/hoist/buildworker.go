package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"hoist/reconcile"
)

// workerVerb is how Hoist starts itself for builds.
const workerVerb = "build-worker"

// newBuildWorker is the verb that nobody types: a process that builds for the
// one that started it, and ends when that one hangs up.
func newBuildWorker() *cobra.Command {
	return &cobra.Command{
		Use:    workerVerb + " BYTES",
		Short:  "Build apps for another hoist, which starts this by itself",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			memory, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || memory <= 0 {
				return fmt.Errorf("%s %q: is no number of bytes; this verb is for hoist itself", workerVerb, args[0])
			}
			signal.Ignore(os.Interrupt, syscall.SIGTERM) // a Ctrl-C is for the other one
			return reconcile.Serve(os.Stdin, os.Stdout, memory)
		},
	}
}
