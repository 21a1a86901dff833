package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"go.uber.org/zap"

	"hoist/bump"
)

// BuilderOptions are what a [Builder] needs. Command is required.
type BuilderOptions struct {
	// Command starts a process that calls [Serve] with the number that is added as
	// its last word; "" for the program means this one.
	Command []string
	Memory  int64         // bytes that one build may use; [DefaultBuildMemory] when 0
	Timeout time.Duration // of one build, where the app's own is not longer; a minute when 0
	Idle    time.Duration // how long a process without work is kept; a minute when 0
	Workers int           // how many may build at once; 2 when 0
	Log     *zap.Logger
}

// Builder renders apps in processes of their own, so that a build which panics,
// hangs or wants all memory ends alone. A process serves one build after the
// other, because kustomize takes longer to start than to build.
//
// It is safe for concurrent use. Close ends it.
type Builder struct {
	o        BuilderOptions
	turns    chan struct{}
	suspects chan struct{} // the turn of those that ended a worker before

	mu     sync.Mutex
	guilty map[bump.Name]bool // apps whose last build ended its worker
	idle   []*worker          // the one that was used last is at the end
	all    map[*worker]bool
	closed bool
}

// NewBuilder returns a builder. The first process is started by the first build.
func NewBuilder(o BuilderOptions) *Builder {
	o.Memory = cmp.Or(o.Memory, DefaultBuildMemory())
	o.Timeout = cmp.Or(o.Timeout, buildTimeout)
	o.Idle = cmp.Or(o.Idle, time.Minute)
	o.Workers = cmp.Or(o.Workers, 2)
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Builder{
		o: o, turns: make(chan struct{}, o.Workers), suspects: make(chan struct{}, max(1, o.Workers-1)),
		guilty: map[bump.Name]bool{}, all: map[*worker]bool{},
	}
}

// Build is [Build] in another process. That one reads nothing but tree, through
// us, and is killed when ctx ends, when the build takes too long, and when it
// uses too much memory. Waiting for a turn counts for ctx only.
func (b *Builder) Build(ctx context.Context, tree fs.FS, a App) (*Set, error) {
	dir := dirOf(a.Path)
	if dir == "" {
		return nil, fmt.Errorf("build %s: the path leaves the repository", a.Path)
	}
	leave, err := b.enter(ctx, a.Name)
	if err != nil {
		return nil, fmt.Errorf("build %s: wait for another build: %w", dir, err)
	}
	defer leave()
	set, err := b.build(ctx, tree, a)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", dir, err)
	}
	return set, nil
}

// enter waits for a turn. Apps that ended a worker leave one turn to the others.
func (b *Builder) enter(ctx context.Context, app bump.Name) (leave func(), err error) {
	b.mu.Lock()
	suspect := b.guilty[app]
	b.mu.Unlock()
	lanes := []chan struct{}{b.turns}
	if suspect {
		lanes = []chan struct{}{b.suspects, b.turns}
	}
	for i, lane := range lanes {
		select {
		case lane <- struct{}{}:
		case <-ctx.Done():
			for _, l := range lanes[:i] {
				<-l
			}
			return nil, ctx.Err()
		}
	}
	return func() {
		for _, l := range lanes {
			<-l
		}
	}, nil
}

// build tries a second time when something else ended the worker: whoever runs
// short of memory kills any process.
func (b *Builder) build(ctx context.Context, tree fs.FS, a App) (*Set, error) {
	most := max(b.o.Timeout, time.Duration(a.Timeout))
	within, cancel := context.WithTimeoutCause(ctx, most, slow(most))
	defer cancel()
	for again := false; ; again = true {
		w, err := b.take()
		if err != nil {
			return nil, err
		}
		set, err := w.build(within, tree, a)
		var end *endError
		if !errors.As(err, &end) {
			b.acquit(a.Name)
			b.give(w)
			return set, err
		}
		w.end()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if end.outside && !again {
			continue
		}
		log := b.o.Log.With(zap.String("app", a.Name.String()))
		if a.Decryption == nil { // or its last words could hold a value
			log = log.With(zap.Error(end), zap.String("said", end.said))
		}
		log.Debug("build process ended")
		b.accuse(a.Name)
		return nil, end
	}
}

func (b *Builder) accuse(app bump.Name) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.guilty[app] = true
}

func (b *Builder) acquit(app bump.Name) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.guilty, app)
}

// take returns a worker for one build: the one that was used last, or a new one.
func (b *Builder) take() (*worker, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errors.New("hoist is stopping")
	}
	for len(b.idle) > 0 {
		w := b.idle[len(b.idle)-1]
		b.idle = b.idle[:len(b.idle)-1]
		if w.rest.Stop() && w.lives() {
			return w, nil
		}
	}
	w, err := startWorker(b.o)
	if err != nil {
		return nil, fmt.Errorf("start a build process: %w", err)
	}
	b.all[w] = true
	go func() {
		<-w.gone
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.all, w)
	}()
	return w, nil
}

// give lets a worker wait for the next build, for a while.
func (b *Builder) give(w *worker) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return // Close has it
	}
	w.rest = time.AfterFunc(b.o.Idle, w.end)
	b.idle = append(b.idle, w)
}

// Warm sees to it that a process is there when the next build comes. It does not wait.
func (b *Builder) Warm() {
	b.mu.Lock()
	ready := len(b.idle) > 0
	b.mu.Unlock()
	if ready {
		return
	}
	select {
	case b.turns <- struct{}{}:
		go func() {
			defer func() { <-b.turns }()
			if w, err := b.take(); err == nil { // a build tells what is wrong
				b.give(w)
			}
		}()
	default: // processes are at work
	}
}

// Close ends all processes; builds under way fail.
func (b *Builder) Close() {
	b.mu.Lock()
	b.closed = true
	var all []*worker
	for w := range b.all {
		all = append(all, w)
	}
	for _, w := range b.idle {
		w.rest.Stop()
	}
	b.mu.Unlock()
	for _, w := range all {
		w.end()
		<-w.gone
	}
}
