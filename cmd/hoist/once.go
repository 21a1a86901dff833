package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"hoist/bump"
	"hoist/daemon"
)

func newOnce() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "once",
		Short: "Scan, bump, push and apply once, then exit",
		Long: `once walks through everything a single time: it reads the registries, pushes
the bumps that the policies allow, applies every app of the configuration and
waits for the health that the app asks for.

It exits 1 if anything failed; what did not fail is done all the same.

With --plan it does exactly what "hoist plan" showed under that id, or refuses.`,
		Args: cobra.NoArgs,
	}
	wanted := cmd.Flags().String("plan", "", "push the plan of this `id`, and nothing where something has moved since")
	s := newSettings(cmd, "warn")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		h, err := s.open(cmd)
		if err != nil {
			return err
		}
		defer h.Close()
		ctx, out := cmd.Context(), cmd.OutOrStdout()
		var failed []error
		if err := h.Scan(ctx, triggerOnce); err != nil {
			failed = append(failed, err)
		}
		printSuspicions(cmd.ErrOrStderr(), h)
		passes, err := pushes(ctx, h, *wanted)
		if err != nil {
			return errors.Join(append(failed, err)...)
		}
		failed = append(failed, printPasses(out, cmd.ErrOrStderr(), passes)...)
		changed := 0
		if len(h.Config.Apply) > 0 {
			n, errs := printApps(out, h.Apply(ctx, headsOf(passes)))
			changed, failed = n, append(failed, errs...)
			left, err := h.Retire(ctx, headsOf(passes))
			n, errs = printLeftovers(out, cmd.ErrOrStderr(), left)
			changed, failed = changed+n, append(append(failed, err), errs...)
		}
		if errors.Join(failed...) == nil && changed == 0 && commits(passes) == 0 {
			fmt.Fprintln(out, "nothing to do")
		}
		return errors.Join(failed...)
	}
	return cmd
}

// pushes walks every repository, or pushes what was planned under an id.
func pushes(ctx context.Context, h *daemon.House, id string) ([]daemon.PassOf, error) {
	if id == "" {
		return h.Push(ctx), nil
	}
	planned := h.Plan(ctx)
	if err := samePlan(id, daemon.PlanID(planned)); err != nil {
		return nil, err
	}
	return h.Carry(ctx, planned), nil
}

// headsOf returns where every repository stands after its pass; a pass whose
// push failed has still seen a head.
func headsOf(passes []daemon.PassOf) map[bump.Name]bump.Head {
	heads := make(map[bump.Name]bump.Head)
	for _, p := range passes {
		if head := p.Pass.Newest(); head.Hash != "" {
			heads[p.Repository] = head
		}
	}
	return heads
}

// printSuspicions says which images are judged by an older tag list, and why.
func printSuspicions(stderr io.Writer, h *daemon.House) {
	for _, s := range h.Suspicions() {
		fmt.Fprintln(stderr, "hoist: held: "+s)
	}
}

func commits(passes []daemon.PassOf) int {
	n := 0
	for _, p := range passes {
		n += len(p.Pass.Commits)
	}
	return n
}

// printPasses writes a line for each bump and, to stderr, for what a person has to look at.
func printPasses(out, stderr io.Writer, passes []daemon.PassOf) []error {
	var failed []error
	bumped := 0
	for _, p := range passes {
		for _, c := range p.Pass.Commits {
			bumped += printCommit(out, c)
		}
		for _, w := range p.Pass.Warnings {
			fmt.Fprintln(stderr, "hoist: warning: "+w)
		}
		for _, n := range p.Pass.Notices {
			fmt.Fprintln(stderr, "hoist: notice: "+n)
		}
		for _, v := range p.Pass.Verdicts {
			if v.Outcome == bump.Problem || v.Outcome == bump.Held {
				fmt.Fprintf(stderr, "hoist: %s: %s: %s\n", v.Outcome, v.Site.Position(), v.Reason)
			}
		}
		if p.Err != nil {
			failed = append(failed, p.Err)
		}
	}
	if bumped > 0 {
		fmt.Fprintf(out, "%d bumped\n", bumped)
	}
	return failed
}

func printCommit(out io.Writer, c bump.Commit) int {
	n := 0
	for _, change := range c.Changes {
		for _, v := range change.Verdicts {
			fmt.Fprintf(out, "%s: %s -> %s (%s, %s)\n", v.Site.Position(), v.Site.Value, v.New, v.Site.Policy, bump.Short(c.Head.Hash))
			n++
		}
	}
	return n
}

// printApps writes a line for each app and returns how many objects were touched.
func printApps(out io.Writer, apps []daemon.AppOf) (changed int, failed []error) {
	for _, a := range apps {
		n := a.Result.Counts()
		touched := n[bump.Created] + n[bump.Configured] + n[bump.Deleted]
		changed += touched
		if touched > 0 {
			fmt.Fprintf(out, "%s: %s applied: %d created, %d configured, %d unchanged, %d deleted\n", daemon.On(a.App.Name, a.Cluster),
				bump.Short(a.Result.Head.Hash), n[bump.Created], n[bump.Configured], n[bump.Unchanged], n[bump.Deleted])
		}
		switch {
		case a.Err != nil:
			failed = append(failed, a.Err)
		case !a.Result.Ready:
			failed = append(failed, fmt.Errorf("app %s is not ready: %s", daemon.On(a.App.Name, a.Cluster), a.Result.Reason))
		}
	}
	return changed, failed
}
