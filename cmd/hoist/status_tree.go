package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"hoist/bump"
	"hoist/daemon"
	"hoist/reconcile"
)

// appsMeant are the apps that "apply NAME" or "apply/NAME" names, all without one.
func appsMeant(ctx context.Context, h *daemon.House, args []string) ([]bump.Name, error) {
	if len(args) == 0 {
		var all []bump.Name
		for _, a := range h.Config.Apply {
			all = append(all, a.Name)
		}
		return all, nil
	}
	arg := strings.Join(args, "/")
	kind, name, ok := strings.Cut(arg, "/")
	if !ok || kind != "apply" || name == "" {
		return nil, fmt.Errorf("%q: expected apply/NAME", arg)
	}
	app, err := h.AppNamed(ctx, name)
	return []bump.Name{app}, err
}

// familyOutput is `hoist status --tree -o json`.
type familyOutput struct {
	Version int      `json:"version"`
	Apps    []family `json:"apps"`
}

type family struct {
	Name    string             `json:"name"`
	Cluster string             `json:"cluster,omitempty"`
	Applied string             `json:"applied,omitempty"`
	Ready   bool               `json:"ready"`
	Reason  string             `json:"reason,omitempty"`
	Left    string             `json:"left,omitempty"`
	Objects []reconcile.Member `json:"objects"`
	Drift   []reconcile.Drift  `json:"drift,omitempty"` // with --daemon
}

// families reads the objects of apps.
func families(ctx context.Context, h *daemon.House, apps []bump.Name, s *daemon.Status) (familyOutput, error) {
	out := familyOutput{Version: 1, Apps: []family{}}
	var failed []error
	for _, name := range apps {
		f, err := h.Family(ctx, name)
		if err != nil {
			failed = append(failed, fmt.Errorf("app %s: %w", name, err))
		}
		row := family{
			Name: name.String(), Cluster: f.Cluster, Applied: f.Inventory.Revision, Ready: f.Inventory.Ready, Reason: f.Inventory.Reason,
			Left: f.Left, Objects: append([]reconcile.Member{}, f.Members...),
		}
		if s != nil {
			for _, a := range s.Apps {
				if a.Name == row.Name {
					row.Drift = a.Drift
				}
			}
		}
		out.Apps = append(out.Apps, row)
	}
	return out, errors.Join(failed...)
}

// printFamilies draws a tree for each app.
func printFamilies(w io.Writer, out familyOutput) {
	for _, f := range out.Apps {
		state := "not ready"
		switch {
		case f.Left != "":
			state = f.Left
		case f.Applied == "":
			state = "not applied yet"
		case f.Ready:
			state = "ready"
		case f.Reason != "":
			state += ": " + f.Reason
		}
		fmt.Fprintf(w, "%s  %s\n", daemon.On(f.Name, f.Cluster), strings.TrimSpace(f.Applied+"  "+state))
		drift := make(map[bump.Object][]string)
		for _, d := range f.Drift {
			drift[d.Object] = append(drift[d.Object], fmt.Sprintf("drift %s: %s", d.Action, d))
		}
		printMembers(w, "", f.Objects, drift)
	}
}

func printMembers(w io.Writer, indent string, members []reconcile.Member, drift map[bump.Object][]string) {
	for i, m := range members {
		branch, below := "├─ ", "│  "
		if i == len(members)-1 {
			branch, below = "└─ ", "   "
		}
		line := m.Object.String() + "  " + m.Health
		if m.Message != "" {
			line += ": " + strings.ReplaceAll(m.Message, "\n", " ")
		}
		if m.Left != "" {
			line += "  (left Git: " + m.Left + ")"
		}
		for _, d := range drift[m.Object] {
			line += "  (" + d + ")"
		}
		fmt.Fprintln(w, indent+branch+line)
		printMembers(w, indent+below, m.Children, drift)
	}
}
