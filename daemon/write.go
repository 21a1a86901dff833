package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"go.uber.org/zap"

	"hoist/bump"
	"hoist/reconcile"
)

// apply applies one revision and begins the wait for its health.
func (a *applier) apply(ctx context.Context, r revision) error {
	before := a.applied
	result, e, err := a.write(ctx, r)
	if ctx.Err() != nil {
		return err
	}
	a.looked, a.failed = time.Now(), err != nil
	if err != nil {
		a.report(result, err, before)
		a.finish(ctx, result, err)
		return err
	}
	a.applied, a.wrote = r.head, result
	if a.again.Swap(false) {
		a.heard = time.Time{}
	}
	signal(a.trials)
	a.house.opt.Observe(Event{Time: a.house.opt.Now(), Applied: &result})
	if !asksForHealth(a.app.App) {
		a.settled(result, before)
		a.finish(ctx, result, nil)
		return nil
	}
	a.progress(ctx, "applied "+result.Head.String()+", waits for health")
	a.stand(standing{result.Head, "Unknown", standsOnItsWay, "applied, waits for health"})
	a.await(ctx, e, result, before)
	return nil
}

// write builds, and applies when one of the slots is free.
func (a *applier) write(ctx context.Context, r revision) (result bump.Result, e engine, err error) {
	result = bump.Result{App: a.app.Name, Head: r.head}
	defer recovered("apply "+a.app.Name.Name, a.house.metrics.panics, &err)
	if e, err = a.engage(ctx); err != nil {
		return result, nil, fmt.Errorf("apply %s: %w", a.app.Name.Name, err)
	}
	before, beforeFrom, beforeAt := a.built, a.builtFrom, a.builtAt
	set, err := a.build(ctx, r) // builds have turns of their own
	if err != nil {
		return result, e, err
	}
	a.builtAt = r.head
	err = a.inSlot(ctx, func() error {
		result, err = e.ApplySet(ctx, a.app.App, set, r.head)
		return err
	})
	if refusalOf(err) != nil { // what is in the cluster is still to be kept as it is
		a.built, a.builtFrom, a.builtAt = before, beforeFrom, beforeAt
	}
	return result, e, err
}

// inSlot works when one of the slots is free.
func (a *applier) inSlot(ctx context.Context, work func() error) error {
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
		return work()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// build returns the app's objects at a revision. A revision that touches nothing
// of what the last build read has the same objects.
func (a *applier) build(ctx context.Context, r revision) (*reconcile.Set, error) {
	if a.built != nil && sameInputs(a.built, a.builtFrom, r.tree) {
		a.builtFrom = r.tree
		return a.built, nil
	}
	set, err := a.house.build(ctx, r.tree, a.app.App)
	if err != nil {
		return nil, err
	}
	for _, w := range set.Warnings {
		a.log.Debug("build", zap.String("reason", w))
	}
	a.built, a.builtFrom = set, r.tree
	a.house.census.built(a.app, set, r.tree)
	return set, nil
}

// sameInputs tells whether everything that a build read is the same in another
// tree. Trees that do not know hashes are never the same.
func sameInputs(set *reconcile.Set, was, is fs.FS) bool {
	for _, path := range slices.Concat(set.Files, set.Dirs) {
		before, now := hashOf(was, path), hashOf(is, path)
		if before == "" || before != now {
			return false
		}
	}
	return true
}

// hashOf returns what a path of the tree holds: a build looks in vain for files, too.
func hashOf(tree fs.FS, path string) string {
	info, err := fs.Stat(tree, path)
	if errors.Is(err, fs.ErrNotExist) {
		return "nothing"
	}
	if err != nil {
		return ""
	}
	if h, ok := info.Sys().(bump.Hasher); ok {
		return h.Hash()
	}
	return ""
}

// settled notes how an apply ended.
func (a *applier) settled(result bump.Result, before bump.Head) {
	a.last, a.unwell = result, time.Time{}
	if result.Ready {
		a.mu.Lock()
		a.ready = result.Head
		a.mu.Unlock()
	}
	a.report(result, nil, before)
}

// report logs and shows what came of an apply, and wakes who waits for the app.
func (a *applier) report(result bump.Result, err error, before bump.Head) {
	if errors.Is(err, context.Canceled) {
		return
	}
	a.house.status.applied(result, err)
	a.stand(standingOf(result, err))
	log := a.log.With(zap.String("commit", bump.Short(result.Head.Hash)))
	if err != nil {
		a.house.metrics.applies.WithLabelValues(a.app.Name.Name, "failed").Inc()
		a.warn(log, "apply failed", zap.Error(err), err.Error())
		return
	}
	outcome := "applied"
	if !result.Ready {
		outcome = "unhealthy"
	}
	a.house.metrics.applies.WithLabelValues(a.app.Name.Name, outcome).Inc()
	if n := result.Counts(); result.Head != before {
		log.Info("revision applied", zap.Int("created", n[bump.Created]), zap.Int("configured", n[bump.Configured]),
			zap.Int("unchanged", n[bump.Unchanged]), zap.Int("deleted", n[bump.Deleted]), zap.Bool("ready", result.Ready))
	}
	if !result.Ready {
		a.warn(log, "not ready", zap.String("reason", result.Reason), result.Reason)
		return
	}
	if a.told != "" && result.Head == before {
		log.Info("ready")
	}
	a.told = ""
	a.house.opt.Observe(Event{Time: a.house.opt.Now(), Ready: &result})
}
