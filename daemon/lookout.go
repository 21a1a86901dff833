package daemon

import (
	"context"
	"sync"
	"time"
)

// lookout runs the watches of every engine that an applier uses, once for all of
// them, and ends them with the last one: an engine that was replaced watches
// nothing any more.
type lookout struct {
	mu    sync.Mutex
	users map[engine]int
	ends  map[engine]context.CancelFunc
	all   sync.WaitGroup
}

func newLookout() *lookout {
	return &lookout{users: map[engine]int{}, ends: map[engine]context.CancelFunc{}}
}

// change says that an applier uses another engine than before; either may be nil.
func (l *lookout) change(ctx context.Context, from, to engine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if to != nil {
		if l.users[to]++; l.users[to] == 1 {
			inner, end := context.WithCancel(ctx)
			l.ends[to] = end
			l.all.Go(func() { to.Watch(inner) })
		}
	}
	if from == nil {
		return
	}
	if l.users[from]--; l.users[from] == 0 {
		l.ends[from]()
		delete(l.users, from)
		delete(l.ends, from)
	}
}

// count is how many engines watch.
func (l *lookout) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.users)
}

// wait returns when all watches have ended.
func (l *lookout) wait() { l.all.Wait() }

// engage returns the engine of the app as its cluster is reached now, and makes
// it follow the app.
func (a *applier) engage(ctx context.Context) (engine, error) {
	e, err := a.engine(ctx, a.app)
	if err != nil {
		a.leave(ctx)
		return nil, err
	}
	if e != a.on {
		a.lookout.change(ctx, a.on, e)
		a.on = e
		e.Follow(a.app.App, func() { signal(a.drifts) })
	}
	return e, nil
}

// leave gives up the engine that follows the app.
func (a *applier) leave(ctx context.Context) {
	a.lookout.change(ctx, a.on, nil)
	a.on = nil
}

// moved looks at the whole app again: the engine that knew it is gone.
func (a *applier) moved(ctx context.Context) (again time.Duration) {
	a.endWait()
	a.leave(ctx)
	if r := a.wanted(); r != nil {
		return a.look(ctx, *r)
	}
	return 0
}
