// Command hoist keeps the images of a GitOps repository fresh and the cluster
// equal to that repository. Each verb has a file of its own; main only wires.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait
	code := run(ctx, newRoot(), os.Args[1:])
	stop()
	os.Exit(code)
}

// run executes the command line and returns the exit code. It is the one place
// that prints an error.
func run(ctx context.Context, root *cobra.Command, args []string) int {
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var e *exitError
	if !errors.As(err, &e) {
		e = &exitError{code: 1, err: err}
	}
	if e.err != nil {
		for line := range strings.SplitSeq(strings.TrimRight(e.err.Error(), "\n"), "\n") {
			fmt.Fprintln(root.ErrOrStderr(), "hoist: "+line)
		}
	}
	for _, h := range e.hints {
		fmt.Fprintln(root.ErrOrStderr(), "hoist: hint: "+h)
	}
	return e.code
}

// exitError ends the program with a code of its own. A nil err prints nothing:
// what is to be said was said on stdout.
type exitError struct {
	code  int
	err   error
	hints []string // what the person probably meant, or what to type next
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "hoist",
		Short:         "Keep the images of a GitOps repository fresh and the cluster equal to it",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
	}
	root.SetVersionTemplate("hoist {{.Version}}\n")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return fromEnvironment(cmd) }
	root.AddCommand(
		newRun(), newOnce(), newPlan(), newExplain(), newSelect(openCounter), newSet(), newHistory(), newRollback(), newRelease(),
		newStatus(), newDiff(), newSuspend(), newResume(), newReconcile(), newConfig(), newDemo(), newVersion(),
	)
	root.AddCommand(newInit(), newImport(), newBuildWorker())
	return root
}
