package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hoist/bump"
	"hoist/daemon"
	"hoist/reconcile"
)

func newSuspend() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "suspend apply/NAME|repository/NAME",
		Short: "Make the daemon leave an app or a repository alone for a while",
		Long: `suspend writes a small ConfigMap beside the inventories: the cluster's permissions
say who may, restarts change nothing, and every replica sees it. Nothing of a
suspended app is applied, deleted or put right, so that what somebody does by hand
stays. A suspended repository is neither fetched nor pushed to.`,
		Example: `  hoist suspend apply/shop --reason "rollout undo until the fix is in" --for 2h`,
	}
	reason := cmd.Flags().String("reason", "", "why, for those who wonder")
	long := cmd.Flags().Duration("for", 0, "how long; until hoist resume when absent")
	controlling(cmd, []string{"apply", "repository"}, func(ctx context.Context, _ *daemon.House, e *reconcile.Engine, s reconcile.Subject) error {
		if *long < 0 || cmd.Flags().Changed("for") && *long == 0 {
			return fmt.Errorf("--for %s: expected a time to come, such as 2h", *long)
		}
		now := time.Now().UTC().Truncate(time.Second)
		at := &reconcile.Suspension{Since: now, Reason: *reason}
		if *long > 0 {
			at.Until = now.Add(*long)
		}
		if err := e.Suspend(ctx, s, at); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", s, at)
		return nil
	})
	return cmd
}

func newResume() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume apply/NAME|repository/NAME",
		Short: "Put Git back in charge of what was suspended",
		Long: `resume ends what hoist suspend began. The app is compared and put right at once.
"suspend: true" in the configuration is another thing, and ends there.`,
	}
	controlling(cmd, []string{"apply", "repository"}, func(ctx context.Context, _ *daemon.House, e *reconcile.Engine, s reconcile.Subject) error {
		if err := e.Suspend(ctx, s, nil); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: resumed\n", s)
		return nil
	})
	return cmd
}

func newReconcile() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reconcile apply/NAME|repository/NAME|image/NAME",
		Short: "Ask the daemon for a pass now, and wait for what comes of it",
		Long: `reconcile leaves a request in the cluster and waits for the daemon's answer: the
repository is fetched, the whole app applied and its health awaited; a repository
is passed over; an image is scanned. It exits 0 when that went well.

--confirm-prune and --confirm-rewind let one commit pass that a guard refuses: one
that would delete more than the app allows, or does not follow the one in the
cluster. The word is kept in the cluster and ends when the app has moved on.`,
		Example: `  hoist reconcile apply/shop --confirm-prune 1a2b3c4`,
	}
	confirm := confirmFlags(cmd)
	once := cmd.Flags().Bool("once-while-suspended", false, "also when it is suspended, which it stays")
	patience := cmd.Flags().Duration("patience", 15*time.Second, "how long a daemon may take to begin")
	controlling(cmd, []string{"apply", "repository", "image"}, func(ctx context.Context, h *daemon.House, e *reconcile.Engine, s reconcile.Subject) error {
		r := reconcile.Request{ID: rand.Text(), At: time.Now().UTC().Truncate(time.Second), OnceWhileSuspended: *once}
		confirmed, err := confirm.give(ctx, h, s)
		if err != nil {
			return err
		}
		r.Revision = confirmed
		if err := e.Ask(ctx, s, &r); err != nil {
			return err
		}
		a, err := e.Await(ctx, s, r.ID, *patience, func(a reconcile.Answer) {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", s, a.Message)
		})
		switch {
		case errors.Is(err, reconcile.ErrUnanswered):
			hints := []string{"is hoist run at work in this cluster, with the same --namespace and this entry in its configuration?"}
			if confirmed != "" {
				hints = append(hints, "the word is kept: the next hoist run or hoist once counts it")
			}
			return &exitError{code: 1, err: fmt.Errorf("%s: %w within %s", s, err, *patience), hints: hints}
		case err != nil:
			return fmt.Errorf("%s: %w", s, err)
		case a.State == reconcile.AnswerFailed:
			return fmt.Errorf("%s: %s", s, a.Message)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", s, a.Message)
		return nil
	})
	return cmd
}

// controlling makes cmd a verb about one entry of the configuration.
func controlling(cmd *cobra.Command, kinds []string, do func(context.Context, *daemon.House, *reconcile.Engine, reconcile.Subject) error) {
	cmd.Args = cobra.RangeArgs(1, 2) // "apply/shop" or "apply shop"
	s := newSettings(cmd, "warn")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		h, err := s.openReader(cmd)
		if err != nil {
			return err
		}
		defer h.Close()
		subject, err := subjectOf(h, kinds, strings.Join(args, "/"))
		if err != nil {
			return err
		}
		if !h.Controlled() {
			return &exitError{code: 1, err: fmt.Errorf("%s: there is no cluster in which it could be asked for", subject),
				hints: []string{"all apps are on clusters of kubeconfigSecretDir: give --kubeconfig to the daemon and to this, which is where such things are kept"}}
		}
		e, err := h.Engine()
		if err != nil {
			return err
		}
		return do(cmd.Context(), h, e, subject)
	}
}

// subjectOf finds the entry that KIND/NAME means; NAME may be NAMESPACE:NAME.
func subjectOf(h *daemon.House, kinds []string, arg string) (reconcile.Subject, error) {
	kind, name, ok := strings.Cut(arg, "/")
	if !ok || !slices.Contains(kinds, kind) {
		return reconcile.Subject{}, fmt.Errorf("%q: expected %s/NAME", arg, strings.Join(kinds, "/NAME or "))
	}
	var all []bump.Name
	switch kind {
	case "apply":
		for _, a := range h.Config.Apply {
			all = append(all, a.Name)
		}
	case "repository":
		for _, r := range h.Config.Repositories {
			all = append(all, r.Name)
		}
	case "image":
		for _, i := range h.Config.Images {
			all = append(all, i.Name)
		}
	}
	var found []bump.Name
	var there []string
	for _, n := range all {
		there = append(there, reconcile.Subject{Kind: kind, Name: n}.String())
		if n.Name == name || n.String() == name {
			found = append(found, n)
		}
	}
	switch {
	case len(found) == 1:
		return reconcile.Subject{Kind: kind, Name: found[0]}, nil
	case len(found) > 1:
		return reconcile.Subject{}, fmt.Errorf("%q means several entries: say NAMESPACE:NAME", arg)
	case len(there) == 0:
		return reconcile.Subject{}, fmt.Errorf("there is no %s: the configuration has no such entries", arg)
	}
	return reconcile.Subject{}, fmt.Errorf("there is no %s; there are %s", arg, strings.Join(there, ", "))
}
