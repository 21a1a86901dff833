package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"hoist/bump"
	"hoist/config"
	"hoist/reconcile"
)

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
	Watch(context.Context)
	WatchControls(context.Context, func(map[reconcile.Subject]reconcile.Control, error))
	Follow(a reconcile.App, wake func())
	Quiet(bump.Name) bool
	Doubts(bump.Name) bool
	Reached(bump.Name, bump.Head) bool
	Mend(context.Context, reconcile.App, *reconcile.Set, bump.Head) error
	Unwell(reconcile.App) (failed, pending []string)
	RecordHealth(context.Context, bump.Result) error
	Trial(bump.Name) reconcile.Trial
	Prove(context.Context, reconcile.App, bump.Head) error
	Sick(context.Context, reconcile.App, bump.Result) ([]reconcile.Sick, error)
}

// applier is the one goroutine that brings an app to the cluster and keeps it
// there. The wait for its health goes on beside it, so that drift is put right
// meanwhile; a newer revision ends the wait for an older one.
type applier struct {
	app    config.App
	engine func(context.Context, config.App) (engine, error)
	house  *House
	slots  chan struct{} // how many apps may be written to its cluster at once
	wakes  chan struct{}
	moves  chan struct{} // its cluster is reached in another way
	drifts chan struct{} // wakes of the watches

	controls chan struct{} // something was asked for
	fetched  chan error    // the fetch for a request is over
	branch   *branch
	lookout  *lookout

	needs []need     // the apps that this one waits for
	feeds []*applier // the apps that wait for this one
	log   *zap.Logger

	// of run alone
	built     *reconcile.Set // by the last build
	builtFrom fs.FS
	builtAt   bump.Head
	applied   bump.Head          // what was applied last, healthy or not
	looked    time.Time          // when the whole app was compared with the cluster
	waiting   *waiting           // nil while no wait for health goes on
	failures  int                // to mend, in a row
	rests     bool               // it was suspended when last looked at
	request   *reconcile.Request // that is being answered
	taken     string             // ID of the last request
	on        engine             // that follows the app; nil before its first apply
	last      bump.Result        // how the last apply settled
	failed    bool               // the last apply ended with an error
	told      string             // the trouble that was logged last; empty when all is well
	unwell    time.Time          // since when something of it is on its way; zero when nothing is
	grace     time.Duration
	trials    chan struct{} // it is time to judge what is on trial
	trialEnds *time.Timer   // that says so
	heard     time.Time     // until when what ended was judged
	again     atomic.Bool   // it was judged too early: the next apply may bring what was missing
	wrote     bump.Result   // of the last apply

	mu     sync.Mutex
	want   *revision
	ready  bump.Head // the head at which the app was last ready
	stands standing
}

// waiting is a wait for the health of a revision.
type waiting struct {
	before bump.Head // what had been applied before
	cancel context.CancelFunc
	over   chan struct{}
	result bump.Result // once over
	err    error
}

// offer hands a revision over. The one that is already wanted changes nothing.
func (a *applier) offer(r revision) {
	a.mu.Lock()
	if a.want != nil && a.want.head == r.head {
		a.mu.Unlock()
		return
	}
	a.want = &r
	a.mu.Unlock()
	a.wake()
}

func (a *applier) wake() { signal(a.wakes) }

// signal leaves a word in c unless there is one already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run applies at every wake and interval until ctx ends.
func (a *applier) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	defer func() { a.lookout.change(ctx, a.on, nil) }()
	defer a.endWait()
	for {
		var again time.Duration // 0 for as planned
		select {
		case <-ctx.Done():
			return
		case <-a.wakes:
			again = a.turn(ctx, false)
		case <-timer.C:
			again = a.turn(ctx, true)
		case <-a.drifts:
			again = a.drifted(ctx)
		case <-a.moves:
			again = a.moved(ctx)
		case <-a.controls:
			again = a.asked(ctx)
		case err := <-a.fetched:
			again = a.requested(ctx, err)
		case <-a.waiting.done():
			again = a.healthy(ctx)
		case <-a.trials:
			a.judge(ctx)
		}
		if again > 0 {
			timer.Reset(again)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// turn applies what is wanted if it is new, or if it is time to look at it again.
func (a *applier) turn(ctx context.Context, due bool) (again time.Duration) {
	r := a.wanted()
	switch {
	case r == nil || r.head == a.applied && !due:
		return 0
	case r.head == a.applied && a.waiting != nil:
		return a.next(nil)
	case r.head == a.applied && a.quiet() && !readsValues(a.app):
		return a.patience(ctx)
	}
	return a.look(ctx, *r)
}

// look applies a revision, new or not, unless something holds the app back.
func (a *applier) look(ctx context.Context, r revision) (again time.Duration) {
	a.endWait()
	if why := a.house.controls.unknown(); why != "" {
		a.house.status.applied(bump.Result{App: a.app.Name, Head: r.head, Reason: why}, nil)
		return a.next(nil)
	}
	if a.suspension() != nil && a.request == nil {
		return a.next(nil)
	}
	if reason := a.blocked(r.head); reason != "" {
		a.house.status.applied(bump.Result{App: a.app.Name, Head: r.head, Reason: reason}, nil)
		a.stand(standing{ready: "False", reason: standsDependency, message: reason})
		a.progress(ctx, reason)
		return a.next(nil)
	}
	if a.reached(r) {
		return a.next(nil)
	}
	return a.next(a.apply(ctx, r))
}

// reached tells whether a new revision has nothing for this app: the files that
// its build reads are those of the revision before, which it is ready at. Such a
// revision costs no request.
func (a *applier) reached(r revision) bool {
	if r.head == a.applied || a.request != nil || a.built == nil || a.builtAt != a.applied || !a.last.Ready || a.last.Head != a.applied ||
		!a.quiet() || !sameInputs(a.built, a.builtFrom, r.tree) {
		return false
	}
	if !a.on.Reached(a.app.Name, r.head) {
		return false
	}
	a.log.Debug("revision has nothing for this app", zap.String("commit", bump.Short(r.head.Hash)))
	a.builtFrom, a.builtAt, a.applied, a.last.Head = r.tree, r.head, r.head, r.head
	a.mu.Lock()
	a.ready = r.head
	a.mu.Unlock()
	a.house.status.applied(a.last, nil)
	a.stand(standingOf(a.last, nil))
	return true
}

// longestTrust is how long the watches alone are believed: then the whole app is
// compared again.
const longestTrust = time.Hour

// quiet tells whether a look at the whole app would find nothing: the watches
// see all of it and saw nothing.
func (a *applier) quiet() bool {
	settled := a.last.Head == a.applied && !a.failed
	return a.on != nil && settled && time.Since(a.looked) < longestTrust && a.on.Quiet(a.app.Name)
}

// readsValues tells whether an app has values that no watch sees.
func readsValues(a config.App) bool {
	return a.PostBuild != nil && len(a.PostBuild.SubstituteFrom) > 0
}

// drifted looks at what the watches saw. Where they saw that the cluster went back
// to an older state, all of the app is.
func (a *applier) drifted(ctx context.Context) (again time.Duration) {
	a.mend(ctx)
	if r := a.wanted(); r != nil && a.on != nil && a.on.Doubts(a.app.Name) && a.suspension() == nil {
		return a.look(ctx, *r)
	}
	a.attend(ctx)
	return 0
}

// mend puts drift right that the watches saw. What cannot be put right is tried
// again soon, then later and later.
func (a *applier) mend(ctx context.Context) {
	if a.suspension() != nil {
		return // what drifted is put right when it is resumed
	}
	err := a.mended(ctx)
	if err == nil || ctx.Err() != nil {
		a.failures = 0
		return
	}
	a.failures++
	a.log.Warn("drift not put right", zap.Error(err), zap.Int("attempt", a.failures))
	time.AfterFunc(min(firstRetry<<min(a.failures-1, 10), maxRetry), func() { signal(a.drifts) })
}

func (a *applier) mended(ctx context.Context) (err error) {
	defer recovered("mend "+a.app.Name.Name, a.house.metrics.panics, &err)
	if a.on == nil || a.built == nil {
		return nil
	}
	return a.inSlot(ctx, func() error { return a.on.Mend(ctx, a.app.App, a.built, a.builtAt) })
}

func (a *applier) wanted() *revision {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.want
}

// next is when the app is looked at again.
func (a *applier) next(err error) time.Duration {
	d := a.app.Interval.Or(defaultApplyInterval)
	if err != nil {
		d = a.app.RetryInterval.Or(min(d, time.Minute))
	}
	return d + rand.N(d/10+1)
}

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

// asksForHealth tells whether an app is more than applied.
func asksForHealth(a reconcile.App) bool { return a.Wait || len(a.HealthChecks) > 0 }

// await begins the wait until the app is healthy or its time is over.
func (a *applier) await(ctx context.Context, e engine, result bump.Result, before bump.Head) {
	ctx, cancel := context.WithCancel(ctx)
	w := &waiting{before: before, cancel: cancel, over: make(chan struct{}), result: result}
	a.waiting = w
	go func() {
		defer close(w.over)
		defer recovered("wait for "+a.app.Name.Name, a.house.metrics.panics, &w.err)
		w.result, w.err = e.Health(ctx, a.app.App, result)
	}()
}

// done is closed when the wait is over; there is no such channel without one.
func (w *waiting) done() <-chan struct{} {
	if w == nil {
		return nil
	}
	return w.over
}

// endWait gives up the wait for health, if there is one.
func (a *applier) endWait() {
	if w := a.waiting; w != nil {
		w.cancel()
		<-w.over
		a.waiting = nil
	}
}

// healthy takes in how the wait for health ended.
func (a *applier) healthy(ctx context.Context) (again time.Duration) {
	w := a.waiting
	w.cancel()
	a.waiting = nil
	if ctx.Err() != nil {
		return 0
	}
	if w.err != nil {
		a.report(w.result, w.err, w.before)
	} else {
		a.settled(w.result, w.before)
	}
	a.finish(ctx, w.result, w.err)
	signal(a.trials)
	if w.err == nil {
		return a.patience(ctx)
	}
	return a.next(w.err)
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
