package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"hoist/bump"
	"hoist/config"
	"hoist/daemon"
)

// newRollback returns the verb that sets a policy's fields back and holds what
// was there.
func newRollback() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "rollback POLICY [--to TAG]",
		Short: "Set the fields of a policy back, and hold the version that was there",
		Long: `rollback sets every field of the policy to TAG, or each to the version that was
there before, and pushes that as one commit, by the author of the update. The
version that it takes out is held: no pass puts it back until there is a newer
one, someone sets it by hand, or "hoist release" says so. No registry is asked.`,
		Example: `  hoist rollback api-service --reason "5xx since 14:00"
  hoist rollback api-service --to 2.3.0 --dry-run`,
		Args: cobra.ExactArgs(1),
	}
	undoing(cmd, func(ctx context.Context, h *daemon.House, doors daemon.Doors, p config.Policy, _ []string, reason string) ([]daemon.PassOf, error) {
		if to != "" && !tagGrammar.MatchString(to) {
			return nil, fmt.Errorf("--to %q is not a tag", to)
		}
		passes, err := h.Rollback(ctx, doors, p, to, reason)
		if out := h.TakenOut(p, passes); err == nil && out != "" {
			if next := h.Newer(p, out); next != "" {
				fmt.Fprintf(cmd.ErrOrStderr(), "hoist: hint: %s is newer than %s and is what the policy chooses next: a hold is of one version\n", next, out)
			}
		}
		return passes, err
	})
	cmd.Flags().StringVar(&to, "to", "", "the `tag` to go back to (default: what was there before)")
	return cmd
}

// newRelease returns the verb that ends holds.
func newRelease() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "release POLICY [TAG]",
		Short: "Let a version that was taken out come back",
		Long: `release pushes an empty commit that ends the holds of the policy: those on TAG,
or all of them. From then on the next pass may set the version again. The same
can be done by hand:

  git commit --allow-empty -m 'Release web' -m 'Bump-Release: hoist:web 1.4.3'`,
		Args: cobra.RangeArgs(1, 2),
	}
	undoing(cmd, func(ctx context.Context, h *daemon.House, doors daemon.Doors, p config.Policy, args []string, reason string) ([]daemon.PassOf, error) {
		tag := ""
		if len(args) == 2 {
			if tag = args[1]; !tagGrammar.MatchString(tag) {
				return nil, fmt.Errorf("%q is not a tag", tag)
			}
		}
		return h.Release(ctx, doors, p, tag, reason)
	})
	return cmd
}

// undoing makes cmd a verb that pushes one commit about a policy.
func undoing(cmd *cobra.Command, undo func(context.Context, *daemon.House, daemon.Doors, config.Policy, []string, string) ([]daemon.PassOf, error)) {
	s := newSettings(cmd, "warn")
	reason := cmd.Flags().String("reason", "", "why, for the commit and for those who read the history")
	dry := cmd.Flags().Bool("dry-run", false, "show the commit and push nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		h, err := s.openReader(cmd) // beside a daemon that has the same data directory
		if err != nil {
			return err
		}
		defer h.Close()
		policies := asked(h.Config, args[0])
		if len(policies) == 0 {
			return fmt.Errorf("no policy or image is called %q; there are %s", args[0], known(h.Config))
		}
		if len(policies) > 1 {
			var names []string
			for _, p := range policies {
				names = append(names, p.Name.String())
			}
			return fmt.Errorf("%q means several policies: name one of %s", args[0], strings.Join(names, ", "))
		}
		doors := daemon.OpenDoors()
		if *dry {
			doors = daemon.ClosedDoors(zap.NewNop())
		}
		passes, err := undo(cmd.Context(), h, doors, policies[0], args, *reason)
		if err != nil {
			return err
		}
		return printUndone(cmd.OutOrStdout(), passes, *dry)
	}
}

// printUndone tells what was pushed, or shows what would be.
func printUndone(w io.Writer, passes []daemon.PassOf, dry bool) error {
	var failed []error
	for _, p := range passes {
		if p.Err != nil {
			failed = append(failed, p.Err)
			continue
		}
		for _, d := range p.Pass.Drafts {
			if dry {
				fmt.Fprintf(w, "%s at %s would get\n\n    %s\n\n%s", p.Repository, p.Pass.Head, strings.ReplaceAll(d.Message, "\n", "\n    "), daemon.DiffOf(d))
			}
		}
		for _, c := range p.Pass.Commits {
			printCommit(w, c)
			fmt.Fprintf(w, "%s: %s pushed: %s\n", p.Repository, bump.Short(c.Head.Hash), c.Subject)
		}
	}
	return errors.Join(failed...)
}
