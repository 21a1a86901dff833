package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"hoist/bump"
	"hoist/daemon"
)

func newDiff() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff",
		Short: "Compare the repositories with the cluster",
		Long: `diff builds every app at the newest commit and asks the API server, by dry run,
what an apply would change. Nothing is changed. It exits as kubectl diff does:
0 no difference, 1 differences, 2 and more errors.`,
		Args: cobra.NoArgs,
	}
	s := newSettings(cmd, "warn")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		h, err := s.openReader(cmd)
		if err != nil {
			return &exitError{code: 2, err: err}
		}
		defer h.Close()
		heads, err := h.Heads(cmd.Context())
		failed := []error{err}
		differs := 0
		for _, d := range append(h.Diff(cmd.Context(), heads), h.DiffLeftovers(cmd.Context())...) {
			failed = append(failed, d.Err)
			differs += printDifference(cmd.OutOrStdout(), d)
		}
		if err := errors.Join(failed...); err != nil {
			return &exitError{code: 2, err: err}
		}
		if differs > 0 {
			return &exitError{code: 1}
		}
		return nil
	}
	return cmd
}

func printDifference(w io.Writer, d daemon.Difference) int {
	n, app := 0, daemon.On(d.App.Name, d.Cluster)
	if d.Left != "" {
		fmt.Fprintf(w, "%s: %s\n", app, d.Left)
	}
	for _, o := range d.Differences {
		if o.Action == bump.Skipped { // an apply would leave it as it is: no difference
			fmt.Fprintf(w, "%s: %s stays: %s\n", app, o.Object, o.Reason)
			continue
		}
		n++
		reason := ""
		if o.Reason != "" {
			reason = ", " + o.Reason
		}
		fmt.Fprintf(w, "%s: %s %s%s\n", app, o.Object, o.Action, reason)
		for _, f := range o.Drift {
			fmt.Fprintf(w, "%s: drift: %s\n", app, f)
		}
		fmt.Fprint(w, o.Diff)
	}
	return n
}
