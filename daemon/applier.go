package daemon

import (
	"context"
	"io/fs"
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
