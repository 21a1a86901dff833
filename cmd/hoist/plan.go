package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"

	"hoist/bump"
	"hoist/daemon"
	"hoist/gitpush"
)

// planOutput is `hoist plan -o json`.
type planOutput struct {
	Version      int              `json:"version"` // of this form; a field may be added without a new number
	Repositories []repositoryPlan `json:"repositories"`
}

type repositoryPlan struct {
	Name     string               `json:"name"`
	Head     string               `json:"head,omitempty"`
	Error    string               `json:"error,omitempty"`
	Verdicts []daemon.VerdictLine `json:"verdicts"`
	Commits  []plannedCommit      `json:"commits"`
	Warnings []string             `json:"warnings,omitempty"`
	Notices  []string             `json:"notices,omitempty"` // files that were passed over and may hold markers
}

type plannedCommit struct {
	Message string `json:"message"`
	Diff    string `json:"diff"`
}

func newPlan() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what would be committed, and why everything else would not",
		Long: `plan reads the registries and the repositories and prints a verdict for every
marked field, the commits with their messages, and the diff. It writes nothing
but its cache.

With --detailed-exitcode it exits 0 when nothing would change, 2 when something would, 1 on errors.`,
		Args: cobra.NoArgs,
	}
	detailed := cmd.Flags().Bool("detailed-exitcode", false, "exit 2 when there is something to commit")
	reading(cmd, func(cmd *cobra.Command, h *daemon.House, format string, _ []string) error {
		failed := []error{h.Scan(cmd.Context(), "plan")}
		printSuspicions(cmd.ErrOrStderr(), h)
		planned := h.Plan(cmd.Context())
		for _, p := range planned {
			failed = append(failed, p.Err)
		}
		plan := planOf(planned)
		print := func() error { return writeAs(cmd.OutOrStdout(), format, plan) }
		if format == "table" {
			print = func() error { return printPlan(cmd.OutOrStdout(), plan) }
		}
		err := errors.Join(append(failed, print())...)
		if err == nil && *detailed && plan.changes() > 0 {
			return &exitError{code: 2}
		}
		return err
	})
	return cmd
}

func (p planOutput) changes() int {
	n := 0
	for _, r := range p.Repositories {
		n += len(r.Commits)
	}
	return n
}

func planOf(planned []daemon.Planned) planOutput {
	out := planOutput{Version: 1, Repositories: []repositoryPlan{}}
	for _, p := range planned {
		r := repositoryPlan{
			Name: p.Repository.String(), Verdicts: daemon.Lines(p.Proposal.Verdicts),
			Commits: []plannedCommit{}, Warnings: p.Proposal.Warnings, Notices: p.Proposal.Notices,
		}
		if p.Proposal.Head.Hash != "" {
			r.Head = p.Proposal.Head.String()
		}
		if p.Err != nil {
			r.Error = p.Err.Error()
		}
		for _, d := range p.Proposal.Drafts {
			r.Commits = append(r.Commits, plannedCommit{Message: d.Message, Diff: diffOf(d)})
		}
		out.Repositories = append(out.Repositories, r)
	}
	return out
}

func diffOf(d gitpush.Draft) string {
	var b strings.Builder
	for _, c := range d.Changes {
		b.WriteString(udiff.Unified("a/"+c.File, "b/"+c.File, string(c.Before), string(c.After)))
	}
	return b.String()
}

func printPlan(w io.Writer, p planOutput) error {
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
	return nil
}
