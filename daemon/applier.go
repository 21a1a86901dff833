package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"hoist/bump"
	"hoist/config"
	"hoist/reconcile"
)

// errSuperseded ends the wait for the health of a revision that a newer one replaces.
var errSuperseded = errors.New("a newer revision is here")

const defaultApplyInterval = 10 * time.Minute

// revision is a commit with its files.
type revision struct {
	head bump.Head
	tree fs.FS
}

// engine is the cluster as an applier sees it.
type engine interface {
	ApplySet(context.Context, reconcile.App, *reconcile.Set, bump.Head) (bump.Result, error)
	Health(context.Context, reconcile.App, bump.Result) (bump.Result, error)
}

// applier is the one goroutine that brings an app to the cluster. A newer
// revision ends the wait for the health of an older one.
type applier struct {
	app    config.App
	engine func() (engine, error)
	house  *House
	slots  chan struct{} // how many applies may run at once, over all apps
	wakes  chan struct{}
	needs  []*applier // the apps that this one waits for
	feeds  []*applier // the apps that wait for this one

	built     *reconcile.Set // by the last build; used by run only
	builtFrom fs.FS
	log       *zap.Logger

	mu      sync.Mutex
	want    *revision
	ready   bump.Head // the head at which the app was last ready
	endWait context.CancelFunc
}

// offer hands a revision over. The one that is already wanted changes nothing.
func (a *applier) offer(r revision) {
	a.mu.Lock()
	if a.want != nil && a.want.head == r.head {
		a.mu.Unlock()
		return
	}
	a.want = &r
	if a.endWait != nil {
		a.endWait()
	}
	a.mu.Unlock()
	a.wake()
}

func (a *applier) wake() {
	select {
	case a.wakes <- struct{}{}:
	default:
	}
}

// run applies at every wake and interval until ctx ends.
func (a *applier) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var applied bump.Head
	for {
		due := false
		select {
		case <-ctx.Done():
			return
		case <-a.wakes:
		case <-timer.C:
			due = true
		}
		r := a.wanted()
		if r == nil || !due && r.head == applied {
			continue // woken for a revision that is already there
		}
		if reason := a.blocked(r.head); reason != "" {
			a.house.status.applied(bump.Result{App: a.app.Name, Head: r.head, Reason: reason}, nil)
			timer.Reset(a.next(nil))
			continue
		}
		_, err := a.apply(ctx, *r, applied)
		if ctx.Err() != nil {
			return
		}
		if err == nil || errors.Is(err, errSuperseded) {
			applied = r.head
		}
		timer.Reset(a.next(err))
	}
}

func (a *applier) wanted() *revision {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.want
}

// next is when the app is looked at again: drift is put right on the interval.
func (a *applier) next(err error) time.Duration {
	d := a.app.Interval.Or(defaultApplyInterval)
	if err != nil {
		d = a.app.RetryInterval.Or(min(d, time.Minute))
	}
	return d + rand.N(d/10+1)
}

// blocked returns what the app waits for: a dependency on the same repository
// has to be ready at the same revision, another one at any.
func (a *applier) blocked(head bump.Head) string {
	for _, n := range a.needs {
		n.mu.Lock()
		ready := n.ready
		n.mu.Unlock()
		if ready.Hash == "" || (ready.Repository == head.Repository && ready != head) {
			return fmt.Sprintf("waits for %s", n.app.Name.Name)
		}
	}
	return ""
}

// apply applies one revision and waits for its health.
func (a *applier) apply(ctx context.Context, r revision, before bump.Head) (result bump.Result, err error) {
	defer func() { a.report(result, err, before) }()
	defer recovered("apply "+a.app.Name.Name, a.house.metrics.panics, &err)
	result = bump.Result{App: a.app.Name, Head: r.head}
	e, err := a.engine()
	if err != nil {
		return result, fmt.Errorf("apply %s: %w", a.app.Name.Name, err)
	}
	if result, err = a.inSlot(ctx, e, r); err != nil {
		return result, err
	}
	a.house.opt.Observe(Event{Time: a.house.opt.Now(), Applied: &result})
	waited, err := a.health(ctx, e, r, result)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		return result, errSuperseded
	}
	return waited, err
}

// inSlot applies when one of the slots is free.
func (a *applier) inSlot(ctx context.Context, e engine, r revision) (bump.Result, error) {
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-ctx.Done():
		return bump.Result{App: a.app.Name, Head: r.head}, ctx.Err()
	}
	set, err := a.build(ctx, r)
	if err != nil {
		return bump.Result{App: a.app.Name, Head: r.head}, err
	}
	return e.ApplySet(ctx, a.app.App, set, r.head)
}

// build returns the app's objects at a revision. A revision that touches nothing
// of what the last build read has the same objects.
func (a *applier) build(ctx context.Context, r revision) (*reconcile.Set, error) {
	if a.built != nil && sameInputs(a.built, a.builtFrom, r.tree) {
		a.builtFrom = r.tree
		return a.built, nil
	}
	set, err := reconcile.Build(ctx, r.tree, a.app.App)
	if err != nil {
		return nil, err
	}
	for _, w := range set.Warnings {
		a.log.Debug("build", zap.String("reason", w))
	}
	a.built, a.builtFrom = set, r.tree
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

func hashOf(tree fs.FS, path string) string {
	info, err := fs.Stat(tree, path)
	if err != nil {
		return ""
	}
	if h, ok := info.Sys().(bump.Hasher); ok {
		return h.Hash()
	}
	return ""
}

// asksForHealth tells whether an app is more than applied.
func asksForHealth(a reconcile.App) bool { return a.Wait || len(a.HealthChecks) > 0 }

// health waits until the app is healthy, a newer revision is wanted or its time is over.
func (a *applier) health(ctx context.Context, e engine, r revision, result bump.Result) (bump.Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.mu.Lock()
	if a.want.head != r.head {
		a.mu.Unlock()
		return result, context.Canceled
	}
	a.endWait = cancel
	a.mu.Unlock()
	var err error
	if asksForHealth(a.app.App) {
		result, err = e.Health(ctx, a.app.App, result)
	}
	a.mu.Lock()
	a.endWait = nil
	if err == nil && result.Ready {
		a.ready = r.head
	}
	a.mu.Unlock()
	return result, err
}

// report logs and shows what came of an apply, and wakes who waits for the app.
func (a *applier) report(result bump.Result, err error, before bump.Head) {
	if errors.Is(err, context.Canceled) || errors.Is(err, errSuperseded) {
		return
	}
	a.house.status.applied(result, err)
	log := a.log.With(zap.String("commit", bump.Short(result.Head.Hash)))
	if err != nil {
		a.house.metrics.applies.WithLabelValues(a.app.Name.Name, "failed").Inc()
		log.Warn("apply failed", zap.Error(err))
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
		log.Warn("not ready", zap.String("reason", result.Reason))
		return
	}
	a.house.opt.Observe(Event{Time: a.house.opt.Now(), Ready: &result})
	for _, f := range a.feeds {
		f.wake()
	}
}
