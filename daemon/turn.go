package daemon

import (
	"context"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"hoist/bump"
	"hoist/config"
)

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
