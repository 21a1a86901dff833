package daemon

import (
	"context"
	"time"

	"hoist/bump"
	"hoist/reconcile"
)

// waiting is a wait for the health of a revision.
type waiting struct {
	before bump.Head // what had been applied before
	cancel context.CancelFunc
	over   chan struct{}
	result bump.Result // once over
	err    error
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
