package daemon

import (
	"context"
	"fmt"
	"time"

	"hoist/bump"
	"hoist/gitpush"
)

// movedLately counts how often a commit of ours moved a policy in the last hour
// of the branch's history. Where no update asks, nothing is read.
func (w *walker) movedLately(ctx context.Context, head bump.Head) (int, error) {
	if !w.countsHours() || w.history == nil {
		return 0, nil
	}
	entries, err := w.history.History(ctx, head, gitpush.HistoryOptions{Since: w.now().Add(-time.Hour)})
	if err != nil {
		return 0, fmt.Errorf("read history of %s: %w", head.Branch, err)
	}
	type move struct {
		commit string
		policy bump.Name
	}
	moves := make(map[move]bool)
	for e, err := range entries {
		if err != nil {
			return 0, fmt.Errorf("read history of %s: %w", head.Branch, err)
		}
		moves[move{e.Commit, e.Policy}] = true
	}
	return len(moves), nil
}

func (w *walker) countsHours() bool {
	for _, u := range w.updates {
		if u.Rules.MaxBumps != nil && u.Rules.MaxBumps.PerHour > 0 {
			return true
		}
	}
	return false
}
