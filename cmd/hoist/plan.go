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
	ID           string           `json:"id"`      // of what would happen: the same for the same heads, commits and verdicts
	Repositories []repositoryPlan `json:"repositories"`
	Cluster      []appPlan        `json:"cluster,omitempty"` // with --cluster
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

// appPlan is what an apply of the planned commits would change in the cluster.
type appPlan struct {
	App     string          `json:"app"`
	Error   string          `json:"error,omitempty"`
	Objects []plannedObject `json:"objects"`
}

type plannedObject struct {
	Object string `json:"object"`
	Action string `json:"action"`
	Reason string `json:"reason,omitempty"`
	Diff   string `json:"diff,omitempty"` // values of Secrets are masked
}

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
		plan := planOf(planned)
		if *cluster {
			differences := h.DiffPlanned(cmd.Context(), planned)
			plan.Cluster = clusterOf(differences)
			for _, d := range differences {
				failed = append(failed, d.Err)
			}
		}
		err := errors.Join(append(failed, writePlan(cmd.OutOrStdout(), format, plan))...)
		if err == nil && *detailed && plan.changes() > 0 {
			return &exitError{code: 2}
		}
		return err
	})
	return cmd
}

func writePlan(w io.Writer, format string, plan planOutput) error {
	switch format {
	case "table":
		return printPlan(w, plan)
	case "markdown":
		return printPlanMarkdown(w, plan)
	}
	return writeAs(w, format, plan)
}

func (p planOutput) changes() int {
	n := 0
	for _, r := range p.Repositories {
		n += len(r.Commits)
	}
	return n
}

func planOf(planned []daemon.Planned) planOutput {
	out := planOutput{Version: 1, ID: planID(planned), Repositories: []repositoryPlan{}}
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

func clusterOf(differences []daemon.Difference) []appPlan {
	var all []appPlan
	for _, d := range differences {
		app := appPlan{App: d.App.String(), Objects: []plannedObject{}}
		if d.Err != nil {
			app.Error = d.Err.Error()
		}
		for _, o := range d.Differences {
			app.Objects = append(app.Objects, plannedObject{Object: o.Object.String(), Action: string(o.Action), Reason: o.Reason, Diff: o.Diff})
		}
		all = append(all, app)
	}
	return all
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
	for _, a := range p.Cluster {
		if a.Error != "" {
			continue // stderr tells
		}
		fmt.Fprintf(w, "\nin the cluster, by app %s: %s\n", a.App, sumOf(a.Objects))
		for _, o := range a.Objects {
			fmt.Fprintf(w, "\n%s %s%s\n%s", o.Object, o.Action, behind(": ", o.Reason), o.Diff)
		}
	}
	if p.changes() > 0 {
		fmt.Fprintf(w, "\nplan %s; `hoist once --plan %s` does this and nothing else\n", p.ID, p.ID)
	}
	return nil
}

// sumOf counts objects by what would happen to them.
func sumOf(objects []plannedObject) string {
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
