package daemon

import (
	"context"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"hoist/bump"
	"hoist/config"
	"hoist/reconcile"
)

// controls are what people asked of the entries, as the cluster keeps it.
type controls struct {
	now func() time.Time

	mu    sync.Mutex
	known bool
	err   error // why it is not known
	all   map[reconcile.Subject]reconcile.Control
	first chan struct{} // closed after the first look, whatever came of it
}

func newControls(now func() time.Time) *controls {
	return &controls{now: now, first: make(chan struct{})}
}

func (c *controls) of(s reconcile.Subject) reconcile.Control {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[s]
}

// suspension returns the one of s that is in force, or nil.
func (c *controls) suspension(s reconcile.Subject) *reconcile.Suspension {
	if at := c.of(s).Suspended; at.At(c.now()) {
		return at
	}
	return nil
}

// unknown says why nothing may be applied yet: it could be suspended.
func (c *controls) unknown() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.known:
		return ""
	case c.err != nil:
		return c.err.Error()
	}
	return "what is suspended is not known yet"
}

// take keeps what was read and returns the subjects of which something changed.
// What cannot be read any more stays as it was known.
func (c *controls) take(all map[reconcile.Subject]reconcile.Control, err error) (changed map[reconcile.Subject]reconcile.Control, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.first:
	default:
		first = true
		close(c.first)
	}
	c.err = err
	if err != nil {
		return nil, first
	}
	first = first || !c.known
	changed = map[reconcile.Subject]reconcile.Control{}
	for s, now := range all {
		if before := c.all[s]; !sameSuspension(before.Suspended, now.Suspended) || requestID(before) != requestID(now) {
			changed[s] = now
		}
	}
	for s, before := range c.all {
		if _, still := all[s]; !still && before.Suspended != nil {
			changed[s] = reconcile.Control{}
		}
	}
	c.all, c.known = all, true
	return changed, first
}

func sameSuspension(a, b *reconcile.Suspension) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

func requestID(c reconcile.Control) string {
	if c.Request == nil {
		return ""
	}
	return c.Request.ID
}

// oldestRequest is how old a request may be that a daemon finds: who asked has
// gone away by then.
const oldestRequest = 5 * time.Minute

// open returns the request of a control that nobody answered yet, or nil.
func (c *controls) open(at reconcile.Control) *reconcile.Request {
	if at.Request == nil || at.Answer != nil && at.Answer.ID == at.Request.ID && at.Answer.Over() || c.now().Sub(at.Request.At) > oldestRequest {
		return nil
	}
	return at.Request
}

func appSubject(n bump.Name) reconcile.Subject { return reconcile.Subject{Kind: "apply", Name: n} }
func repositorySubject(n bump.Name) reconcile.Subject {
	return reconcile.Subject{Kind: "repository", Name: n}
}
func imageSubject(n bump.Name) reconcile.Subject { return reconcile.Subject{Kind: "image", Name: n} }

// Controlled tells whether there is a cluster in which people could ask for
// anything: a laptop that only updates images, or only applies to clusters whose
// kubeconfigs are in directories, is not to touch the one that its own kubeconfig
// happens to name.
func (h *House) Controlled() bool {
	here := func(a config.App) bool {
		return a.Cluster == nil || a.Cluster.KubeconfigSecretRef != nil || a.PostBuild != nil && len(a.PostBuild.SubstituteFrom) > 0
	}
	return slices.ContainsFunc(h.Config.Apply, here) || h.opt.Kubeconfig != "" || os.Getenv("KUBERNETES_SERVICE_HOST") != ""
}

// control follows what people ask for until ctx ends.
func (l *live) control(ctx context.Context) {
	c := l.house.controls
	if l.engine == nil || !l.house.Controlled() {
		c.take(nil, nil)
		l.controlsSeen(ctx, nil)
		return
	}
	e, err := l.engine(ctx, config.App{}) // of the cluster where we run
	if err != nil {
		c.take(nil, err)
		l.controlsSeen(ctx, nil)
		return
	}
	told := ""
	e.WatchControls(ctx, func(all map[reconcile.Subject]reconcile.Control, err error) {
		if text(err) != told {
			if told = text(err); err != nil {
				l.house.log.Named("daemon").Warn("requests and suspensions cannot be read", zap.Error(err))
			}
		}
		changed, first := c.take(all, err)
		if first {
			l.controlsSeen(ctx, all)
		} else {
			l.controlsSeen(ctx, changed)
		}
	})
}

// controlsSeen hands changes on to whom they are about; everybody hears of the
// first look.
func (l *live) controlsSeen(ctx context.Context, changed map[reconcile.Subject]reconcile.Control) {
	for _, a := range l.appliers {
		signal(a.controls)
	}
	for _, b := range l.branches {
		s := repositorySubject(b.repository.Name)
		at, is := changed[s]
		if !is {
			continue
		}
		if until := at.Suspended; until.At(l.house.opt.Now()) && !until.Until.IsZero() {
			time.AfterFunc(until.Until.Sub(l.house.opt.Now()), b.wake)
		}
		if r := l.house.controls.open(at); r != nil {
			l.look(ctx, b, s, *r)
		} else {
			b.wake()
		}
	}
	for _, i := range l.house.Config.Images {
		s := imageSubject(i.Name)
		if r := l.house.controls.open(changed[s]); r != nil {
			if l.house.scanner.Hint(i.Image, "request") == 0 {
				l.house.answer(ctx, s, *r, reconcile.AnswerFailed, "the image is not scanned: it is suspended in the configuration")
				continue
			}
			l.house.answer(ctx, s, *r, reconcile.AnswerDone, "a scan was asked for")
		}
	}
}

// look passes over a repository for a request.
func (l *live) look(ctx context.Context, b *branch, s reconcile.Subject, r reconcile.Request) {
	if at := l.house.controls.suspension(s); at != nil && !r.OnceWhileSuspended {
		l.house.answer(ctx, s, r, reconcile.AnswerFailed, at.String())
		return
	}
	l.house.answer(ctx, s, r, reconcile.AnswerWorking, "fetch "+b.repository.Name.Name)
	b.ask(func(p Pass, err error) {
		if err != nil {
			l.house.answer(ctx, s, r, reconcile.AnswerFailed, err.Error())
			return
		}
		l.house.answer(ctx, s, r, reconcile.AnswerDone, p.Newest().String())
	})
}

// answer tells how far a request is. Who asked sees it in the cluster.
func (h *House) answer(ctx context.Context, s reconcile.Subject, r reconcile.Request, state, message string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	e, err := h.Engine()
	if err == nil {
		err = e.Answer(ctx, s, reconcile.Answer{ID: r.ID, State: state, Message: message, At: h.opt.Now().UTC().Truncate(time.Second)})
	}
	if err != nil && ctx.Err() == nil {
		h.log.Named("daemon").Warn("request not answered", zap.Stringer("object", s), zap.Error(err))
	}
}
