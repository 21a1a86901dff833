package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"hoist/bump"
	"hoist/daemon"
)

func newPlan() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what would be committed, and why everything else would not",
		Long: `plan reads the registries and the repositories and prints a verdict for every
marked field, the commits with their messages, and the diff. It writes nothing
but its cache. With --cluster it also asks the API server, by dry run, what an
apply of these commits would change.

The id of a plan stands for everything it would do: "hoist once --plan ID" does
exactly that, or refuses where something has moved since.

With --detailed-exitcode it exits 0 when nothing would change, 2 when something would, 1 on errors.`,
		Args: cobra.NoArgs,
	}
	detailed := cmd.Flags().Bool("detailed-exitcode", false, "exit 2 when there is something to commit")
	cluster := cmd.Flags().Bool("cluster", false, "also show what would change in the cluster")
	readingAs(cmd, []string{"table", "json", "yaml", "markdown"}, func(cmd *cobra.Command, h *daemon.House, format string, _ []string) error {
		failed := []error{h.Scan(cmd.Context(), triggerOnce)}
		printSuspicions(cmd.ErrOrStderr(), h)
		planned := h.Plan(cmd.Context())
		for _, p := range planned {
			failed = append(failed, p.Err)
		}
		plan := daemon.View(planned)
		if *cluster {
			differences := append(h.DiffPlanned(cmd.Context(), planned), h.DiffLeftovers(cmd.Context())...)
			plan.Cluster = daemon.InCluster(differences)
			for _, d := range differences {
				failed = append(failed, d.Err)
			}
		}
		err := errors.Join(append(failed, writePlan(cmd.OutOrStdout(), format, plan))...)
		if err == nil && *detailed && plan.Commits() > 0 {
			return &exitError{code: 2}
		}
		return err
	})
	return cmd
}

func writePlan(w io.Writer, format string, plan daemon.PlanView) error {
	switch format {
	case "table":
		return printPlan(w, plan)
	case "markdown":
		return printPlanMarkdown(w, plan)
	}
	return writeAs(w, format, plan)
}

func printPlan(w io.Writer, p daemon.PlanView) error {
	for _, r := range p.Repositories {
		if r.Error != "" {
			continue // stderr tells
		}
		fmt.Fprintf(w, "%s at %s\n", r.Name, r.Head)
		rows := [][]string{{"VERDICT", "FIELD", "NOW", "NEW", "POLICY", "WHY"}}
		for _, v := range r.Verdicts {
			rows = append(rows, []string{v.Outcome, bump.Site{File: v.File, Line: v.Line}.Position(), v.Now, v.New, v.Policy, v.Reason})
		}
		if len(r.Verdicts) == 0 {
			fmt.Fprintln(w, "no marked fields below the paths of the updates")
		} else if err := table(w, rows); err != nil {
			return err
		}
		for _, n := range r.Notices {
			fmt.Fprintln(w, "notice: "+n)
		}
		for i, c := range r.Commits {
			fmt.Fprintf(w, "\ncommit %d of %d:\n\n    %s\n\n%s", i+1, len(r.Commits),
				strings.ReplaceAll(strings.TrimRight(c.Message, "\n"), "\n", "\n    "), c.Diff)
		}
		if len(r.Commits) == 0 {
			fmt.Fprintln(w, "nothing to commit")
		}
	}
	for _, a := range p.Cluster {
		if a.Error != "" {
			continue // stderr tells
		}
		fmt.Fprintf(w, "\nin the cluster, by app %s: %s\n", daemon.On(a.App, a.Cluster), cmp.Or(whatIsLeft(a), sumOf(a.Objects)))
		for _, o := range a.Objects {
			fmt.Fprintf(w, "\n%s %s%s\n%s", o.Object, o.Action, behind(": ", o.Reason), o.Diff)
		}
	}
	if p.Commits() > 0 {
		fmt.Fprintf(w, "\nplan %s; `hoist once --plan %s` does this and nothing else\n", p.ID, p.ID)
	}
	return nil
}

// whatIsLeft tells of an app that is not in the configuration any more.
func whatIsLeft(a daemon.AppPlan) string {
	if a.Left == "" || len(a.Objects) == 0 {
		return a.Left
	}
	return a.Left + ": " + sumOf(a.Objects)
}

// sumOf counts objects by what would happen to them.
func sumOf(objects []daemon.ObjectPlan) string {
	if len(objects) == 0 {
		return "nothing would change"
	}
	n := make(map[string]int)
	for _, o := range objects {
		n[o.Action]++
	}
	var parts []string
	for _, action := range []string{"created", "configured", "deleted", "skipped"} {
		if n[action] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[action], action))
		}
	}
	return strings.Join(parts, ", ")
}

// behind returns s behind a separator, and nothing for nothing.
func behind(separator, s string) string {
	if s == "" {
		return ""
	}
	return separator + s
}
