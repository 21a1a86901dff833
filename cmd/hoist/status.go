package main

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hoist/bump"
	"hoist/daemon"
	"hoist/reconcile"
	"hoist/scanner"
)

func newStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [apply/NAME]",
		Short: "Show where the repositories and the apps of the cluster stand",
		Long: `status reads the heads of the repositories and the inventories in the cluster,
so it works without the daemon. It changes nothing. With --daemon it also asks a
running one how the registries stand: budgets, and which are left alone and why.

--tree shows every object of the app, or of all apps, with its health, and what grew
from it: ReplicaSets, Jobs, Pods. With --daemon it shows what drifted lately, too.`,
		Example: `  hoist status apply/shop --tree`,
		Args:    cobra.MaximumNArgs(2), // "apply/shop" or "apply shop"
	}
	tree := cmd.Flags().Bool("tree", false, "show the objects of the app, with their health and what they own")
	address := cmd.Flags().String("daemon", "", "host:port of a running daemon's --api-addr, to show its registries too")
	reading(cmd, func(cmd *cobra.Command, h *daemon.House, format string, args []string) error {
		meant, err := appsMeant(cmd.Context(), h, args)
		if err != nil {
			return err
		}
		var running *daemon.Status
		var daemonErr error
		if *address != "" {
			running, daemonErr = daemonStatus(cmd.Context(), *address)
		}
		if *tree {
			out, err := families(cmd.Context(), h, meant, running)
			if format == "table" {
				printFamilies(cmd.OutOrStdout(), out)
				return errors.Join(err, daemonErr)
			}
			return errors.Join(err, daemonErr, writeAs(cmd.OutOrStdout(), format, out))
		}
		heads, err := h.Heads(cmd.Context())
		apps, appErr := h.Recorded(cmd.Context())
		asked, askErr := h.Controls(cmd.Context())
		out := standing(h, heads, apps)
		out.suspended(asked)
		left, leftErr := h.Leftovers(cmd.Context())
		out.left(left)
		if len(args) > 0 {
			out.only(meant)
		}
		if running != nil && len(args) == 0 {
			out.Registries = running.Registries
		}
		failed := errors.Join(err, appErr, askErr, leftErr, daemonErr)
		if format == "table" {
			return errors.Join(failed, printStanding(cmd, out), printRegistries(cmd.OutOrStdout(), out.Registries))
		}
		return errors.Join(failed, writeAs(cmd.OutOrStdout(), format, out))
	})
	return cmd
}

// standingOutput is `hoist status -o json`.
type standingOutput struct {
	Version      int                  `json:"version"`
	Repositories []standingRepository `json:"repositories"`
	Apps         []standingApp        `json:"apps"`

	Registries []scanner.HostStatus `json:"registries,omitempty"` // with --daemon
}

type standingRepository struct {
	Name string `json:"name"`
	Head string `json:"head,omitempty"` // empty where the repository could not be read

	Suspended *reconcile.Suspension `json:"suspended,omitempty"`
}

type standingApp struct {
	Name    string    `json:"name"`
	Cluster string    `json:"cluster,omitempty"` // empty for the one where hoist runs
	Applied string    `json:"applied,omitempty"` // revision in the cluster
	Behind  bool      `json:"behind"`            // the repository has another head
	Objects int       `json:"objects"`
	Time    time.Time `json:"time,omitzero"`
	Ready   bool      `json:"ready"`
	Reason  string    `json:"reason,omitempty"`
	OnTrial time.Time `json:"onTrial,omitzero"` // until when a bump may be rolled back because of its health

	Suspended *reconcile.Suspension `json:"suspended,omitempty"`
	// Left says what becomes of an app that is in the cluster and not in the configuration.
	Left string `json:"left,omitempty"`
}

func standing(h *daemon.House, heads map[bump.Name]bump.Head, apps []daemon.Recorded) standingOutput {
	out := standingOutput{Version: 1, Repositories: []standingRepository{}, Apps: []standingApp{}}
	for _, r := range h.Config.Repositories {
		row := standingRepository{Name: r.Name.String()}
		if head, ok := heads[r.Name]; ok {
			row.Head = head.String()
		}
		out.Repositories = append(out.Repositories, row)
	}
	for _, a := range apps {
		i := a.Inventory
		row := standingApp{Name: a.App.Name.String(), Cluster: a.App.ClusterName(), Applied: i.Revision, Objects: len(i.Objects), Time: i.Applied, Ready: i.Ready, Reason: i.Reason}
		if r := a.App.Rollback; r != nil && i.Trial != nil {
			row.OnTrial = i.Trial.Next(time.Duration(r.After), time.Now())
		}
		head, ok := heads[a.App.RepositoryName]
		row.Behind = ok && head.String() != i.Revision
		switch {
		case a.Err != nil:
			row.Behind, row.Reason = false, "not known: "+a.Err.Error()
		case i.Revision == "":
			row.Reason = "not applied yet"
		}
		out.Apps = append(out.Apps, row)
	}
	return out
}

// only leaves the apps that are meant.
func (s *standingOutput) only(meant []bump.Name) {
	s.Repositories = []standingRepository{}
	s.Apps = slices.DeleteFunc(s.Apps, func(a standingApp) bool {
		return !slices.ContainsFunc(meant, func(n bump.Name) bool { return n.String() == a.Name })
	})
}

// left adds the apps that have no entry.
func (s *standingOutput) left(all []daemon.Leftover) {
	for _, l := range all {
		text := l.String()
		s.Apps = append(s.Apps, standingApp{Name: l.App.String(), Cluster: l.Cluster, Objects: l.Objects, Reason: text, Left: text})
	}
}

// suspended notes what people suspended at run time.
func (s *standingOutput) suspended(asked map[reconcile.Subject]reconcile.Control) {
	for of, c := range asked {
		if !c.Suspended.At(time.Now()) {
			continue
		}
		for i := range s.Apps {
			if of.Kind == "apply" && s.Apps[i].Name == of.Name.String() {
				s.Apps[i].Suspended = c.Suspended
			}
		}
		for i := range s.Repositories {
			if of.Kind == "repository" && s.Repositories[i].Name == of.Name.String() {
				s.Repositories[i].Suspended = c.Suspended
			}
		}
	}
}

func printStanding(cmd *cobra.Command, s standingOutput) error {
	w := cmd.OutOrStdout()
	rows := [][]string{{"REPOSITORY", "HEAD"}}
	for _, r := range s.Repositories {
		at := r.Head
		if r.Suspended != nil {
			at = strings.TrimSpace(at + "  " + r.Suspended.String())
		}
		rows = append(rows, []string{r.Name, at})
	}
	if len(s.Repositories) > 0 || len(s.Apps) == 0 {
		if err := table(w, rows); err != nil || len(s.Apps) == 0 {
			return err
		}
	}
	rows = [][]string{{"APP", "READY", "APPLIED", "WHY"}}
	for _, a := range s.Apps {
		ready, why := "no", a.Reason
		switch {
		case a.Ready:
			ready = "yes"
		case a.Left != "":
			ready = "-"
		}
		if a.Suspended != nil {
			why = a.Suspended.String()
		}
		if a.Behind && a.Applied != "" && why == "" {
			why = "the repository is ahead"
		}
		if a.Ready && !a.OnTrial.IsZero() && why == "" {
			why = "on trial until " + a.OnTrial.UTC().Format(time.RFC3339)
		}
		rows = append(rows, []string{daemon.On(a.Name, a.Cluster), ready, a.Applied, why})
	}
	return table(w, rows)
}
