package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hoist/daemon"
	"hoist/reconcile"
)

// confirmation are the flags by which a person lets a refused revision pass.
type confirmation struct{ prune, rewind *string }

func confirmFlags(cmd *cobra.Command) confirmation {
	return confirmation{
		cmd.Flags().String("confirm-prune", "", "delete what the commit `REVISION` leaves out, although it is everything or more than maxPrune"),
		cmd.Flags().String("confirm-rewind", "", "apply the commit `REVISION` although it does not follow the one in the cluster"),
	}
}

// give keeps the word in the cluster and returns the revision that it is about,
// "" without one.
func (c confirmation) give(ctx context.Context, h *daemon.House, s reconcile.Subject) (revision string, err error) {
	if *c.prune == "" && *c.rewind == "" {
		return "", nil
	}
	if s.Kind != "apply" {
		return "", fmt.Errorf("%s: only apps are confirmed: expected apply/NAME", s)
	}
	word := reconcile.Confirmation{At: time.Now().UTC().Truncate(time.Second)}
	for _, flag := range []struct {
		name, typed string
		into        *string
	}{{"--confirm-prune", *c.prune, &word.Prune}, {"--confirm-rewind", *c.rewind, &word.Rewind}} {
		if flag.typed == "" {
			continue
		}
		if *flag.into, err = reconcile.ParseRevision(flag.typed); err != nil {
			return "", fmt.Errorf("%s: %w", flag.name, err)
		}
		if len(*flag.into) > len(revision) {
			revision = *flag.into
		}
	}
	if !strings.HasPrefix(revision, word.Prune) || !strings.HasPrefix(revision, word.Rewind) {
		return "", fmt.Errorf("--confirm-prune %s and --confirm-rewind %s are two commits: confirm one", word.Prune, word.Rewind)
	}
	e, err := h.EngineOf(ctx, s.Name) // what it confirms is in the app's cluster
	if err != nil {
		return "", err
	}
	return revision, e.Confirm(ctx, s.Name, word)
}
