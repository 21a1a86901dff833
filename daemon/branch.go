package daemon

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"hoist/bump"
	"hoist/plan"
	"hoist/reconcile"
)

const (
	defaultPoll = time.Minute
	// A pass that fails is tried again after firstRetry, then twice that, and so
	// on up to the polling interval or maxRetry, whichever is longer.
	firstRetry = 2 * time.Second
	maxRetry   = 5 * time.Minute
	// longestUnknown is how long a first pass waits to hear what is suspended.
	longestUnknown = 5 * time.Second
)

// branch is the one goroutine that passes over a repository. Whoever has news
// wakes it; what it finds it hands to the apps of the repository.
type branch struct {
	*walker
	house  *House
	push   pushFunc
	lookUp func(...bump.Name) // asks for elections, and is not waited for
	apps   []*applier
	wakes  chan struct{}
	log    *zap.Logger
	// pushedAt is when the last commits went out. What comes soon after them is
	// gathered: a burst of releases costs two pushes, and a lone one no delay.
	pushedAt time.Time
	// notices are those of the last pass: they are logged when they change.
	notices []string
	rests   bool // it was suspended when last looked at

	open map[bump.Name]bool // policies whose breaker was open when last looked at

	mu         sync.Mutex
	asks       []func(Pass, error)     // who is told how the next pass ended
	complaints map[bump.Name]complaint // of apps that are not well, by app
}

// ask asks for a pass, also of a suspended repository, and has told called with
// its outcome after it was handed on.
func (b *branch) ask(told func(Pass, error)) {
	b.mu.Lock()
	b.asks = append(b.asks, told)
	b.mu.Unlock()
	b.wake()
}

func (b *branch) takeAsks() []func(Pass, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	asks := b.asks
	b.asks = nil
	return asks
}

// wake asks for a pass. Any number of wakes before the pass begins make one.
func (b *branch) wake() {
	select {
	case b.wakes <- struct{}{}:
	default:
	}
}

// run passes at once, then at every wake and interval, until ctx ends.
func (b *branch) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	failures := 0
	select { // it may be suspended; a cluster that does not answer delays nothing
	case <-ctx.Done():
		return
	case <-b.house.controls.first:
	case <-time.After(longestUnknown):
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wakes:
		case <-timer.C:
		}
		asks := b.takeAsks()
		at := b.house.controls.suspension(repositorySubject(b.repository.Name))
		b.rest(at)
		if at != nil && len(asks) == 0 {
			timer.Reset(b.poll(0))
			continue
		}
		b.answerComplaints(ctx)
		pass, err := b.guarded(ctx)
		if ctx.Err() != nil {
			return
		}
		b.report(pass, err)
		for _, told := range asks {
			told(pass, err)
		}
		b.remember(ctx, pass.Newest())
		if len(pass.Commits) > 0 {
			b.pushedAt = time.Now()
		}
		if err == nil {
			failures = 0
		} else {
			failures++
		}
		timer.Reset(b.next(failures, len(pass.Drafts) > len(pass.Commits)))
	}
}

// rest notes whether the repository is suspended.
func (b *branch) rest(at *reconcile.Suspension) {
	b.house.status.restsRepository(b.repository.Name, at)
	if rests := at != nil; rests != b.rests {
		b.rests = rests
		if rests {
			b.log.Info("suspended", zap.String("reason", at.String()))
		} else {
			b.log.Info("resumed")
		}
	}
}

// guarded is a pass whose panic ends that pass only.
func (b *branch) guarded(ctx context.Context) (pass Pass, err error) {
	defer recovered("pass over "+b.repository.Name.Name, b.house.metrics.panics, &err)
	started := b.house.opt.Now()
	if b.settling() > 0 {
		pass.Proposal, err = b.propose(ctx, b.house.board.current)
	} else {
		pass, err = b.pass(ctx, b.house.board.current, b.push)
	}
	b.house.metrics.passSeconds.Observe(b.house.opt.Now().Sub(started).Seconds())
	return pass, err
}

// settling is how long bumps are still gathered after the last push.
func (b *branch) settling() time.Duration {
	var settle time.Duration
	for _, u := range b.updates {
		settle = max(settle, u.Rules.Settle.Or(plan.DefaultSettle))
	}
	return settle - time.Since(b.pushedAt)
}

// next is how long to wait before the next look at the remote, with a tenth of
// jitter. It is sooner where bumps are being gathered, or where a window opens.
func (b *branch) next(failures int, waiting bool) time.Duration {
	if left := b.settling(); waiting && left > 0 {
		return left
	}
	return min(b.poll(failures), b.untilCalendar())
}

// untilCalendar is how long it is until a window or a freeze of an update begins or ends.
func (b *branch) untilCalendar() time.Duration {
	now := b.house.opt.Now()
	soonest := time.Duration(math.MaxInt64)
	for _, u := range b.updates {
		if at := u.Calendar.Changes(now); !at.IsZero() {
			soonest = min(soonest, at.Sub(now))
		}
	}
	return soonest
}

func (b *branch) poll(failures int) time.Duration {
	d := b.repository.Interval.Or(defaultPoll)
	for _, u := range b.updates {
		d = min(d, u.Interval.Or(d))
	}
	if failures > 0 {
		retry := firstRetry << min(failures-1, 10)
		d = min(retry, max(d, maxRetry))
	}
	return d + rand.N(d/10+1)
}

// report tells what came of a pass and hands its head to the apps. Also a pass
// whose push was refused has seen a head.
func (b *branch) report(pass Pass, err error) {
	b.house.status.passed(b.repository.Name, pass, err)
	b.log.Debug("pass", zap.String("commit", bump.Short(pass.Newest().Hash)), zap.Int("commits", len(pass.Commits)))
	if err != nil {
		b.log.Warn("pass stopped", zap.Error(err))
	}
	for _, w := range pass.Warnings {
		b.log.Warn("message template", zap.String("reason", w))
	}
	if !slices.Equal(b.notices, pass.Notices) {
		for _, n := range pass.Notices {
			b.log.Info("passed over", zap.String("reason", n))
		}
		b.notices = pass.Notices
	}
	for _, f := range b.memory.news() {
		b.house.metrics.flips.Inc()
		b.log.Error("somebody else sets a field back again and again; it is left alone", zap.String("policy", f.site.Policy.String()),
			zap.String("file", f.site.File), zap.Int("line", f.site.Line), zap.String("reason", f.reason))
	}
	for _, c := range pass.Commits {
		b.pushed(c)
	}
	b.lookUp(plan.ToLookUp(pass.Verdicts)...)
	b.hand(pass)
}

// remember reads the history up to the head that a pass leaves behind, so that
// the next bump does not wait for it. What stops it stops the next pass, loudly.
func (b *branch) remember(ctx context.Context, head bump.Head) {
	if head.Hash == "" || len(b.updates) == 0 {
		return
	}
	if r := b.memory.at(ctx, head, nil); r.load() {
		b.watchBreakers(r)
	}
}

func (b *branch) pushed(c bump.Commit) {
	for _, change := range c.Changes {
		for _, v := range change.Verdicts {
			b.house.metrics.bumps.Inc()
			b.log.Info("image bumped",
				zap.String("image", v.Selection.Image()), zap.String("policy", v.Site.Policy.String()),
				zap.String("from", v.Site.Value), zap.String("to", v.New),
				zap.String("file", v.Site.File), zap.Int("line", v.Site.Line), zap.String("commit", bump.Short(c.Head.Hash)))
		}
	}
	b.house.opt.Observe(Event{Time: b.house.opt.Now(), Commit: &c})
}

func (b *branch) hand(pass Pass) {
	head := pass.Newest()
	if head.Hash == "" || len(b.apps) == 0 {
		return
	}
	tree, err := b.mirror.Tree(head)
	if err != nil {
		b.log.Warn("read revision", zap.Error(err))
		return
	}
	b.house.census.arrived(revision{head, tree})
	for _, a := range b.apps {
		a.offer(revision{head, tree})
	}
}
