package daemon

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"hoist/bump"
	"hoist/scanner"
)

const (
	firstReelection = 5 * time.Second  // after an election that the registry kept from its end; doubled each time
	maxReelection   = 15 * time.Minute // the most that this adds up to
)

// elections holds an election for whoever asks for one, and again when its
// result says so. One policy has at most one under way and one waiting.
// Registries that hang keep their own policies waiting and nobody else.
type elections struct {
	house *House
	wake  func() // called after a selection changed
	log   *zap.Logger
	bell  chan struct{}

	mu    sync.Mutex
	polls map[bump.Name]*poll // policies with an election under way or to come
}

// poll is the state of one policy's elections.
type poll struct {
	under bool      // way
	at    time.Time // of the next one; zero: none is to come
	fails int       // in a row
}

func newElections(h *House, wake func()) *elections {
	return &elections{
		house: h, wake: wake, log: h.log.Named("daemon"),
		bell:  make(chan struct{}, 1),
		polls: make(map[bump.Name]*poll),
	}
}

// ask asks for an election now. It does not wait for it.
func (e *elections) ask(policies ...bump.Name) {
	if len(policies) == 0 {
		return
	}
	e.mu.Lock()
	for _, name := range policies {
		e.poll(name).at = e.house.opt.Now()
	}
	e.mu.Unlock()
	e.ring()
}

// poll is called with e.mu held.
func (e *elections) poll(name bump.Name) *poll {
	p, ok := e.polls[name]
	if !ok {
		p = new(poll)
		e.polls[name] = p
	}
	return p
}

func (e *elections) ring() {
	select {
	case e.bell <- struct{}{}:
	default:
	}
}

// run holds elections until ctx ends and all of them have.
func (e *elections) run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.bell:
		case <-timer.C:
		}
		due, next := e.due()
		for _, name := range due {
			all.Go(func() { e.hold(ctx, name) })
		}
		timer.Reset(next)
	}
}

// due takes the policies whose election is to begin, and returns how long it is
// until the next one.
func (e *elections) due() (due []bump.Name, next time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.house.opt.Now()
	next = time.Hour
	for name, p := range e.polls {
		switch {
		case p.under:
		case p.at.IsZero():
			delete(e.polls, name)
		case p.at.After(now):
			next = min(next, p.at.Sub(now))
		default:
			p.under, p.at = true, time.Time{}
			due = append(due, name)
		}
	}
	return due, next
}

// hold holds one election, tells its result and plans the next.
func (e *elections) hold(ctx context.Context, name bump.Name) {
	s, known, err := e.guarded(ctx, name)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		e.log.Error("election", zap.String("policy", name.String()), zap.Error(err))
		s = bump.Selection{Policy: name, Err: err}
	}
	if known && e.house.elected(s) {
		e.wake()
	}
	e.after(name, s)
}

// guarded is an election whose panic ends that election only.
func (e *elections) guarded(ctx context.Context, name bump.Name) (s bump.Selection, known bool, err error) {
	defer recovered(fmt.Sprintf("election of %s", name), e.house.metrics.panics, &err)
	s, known = e.house.elect(ctx, name)
	return s, known, nil
}

// after plans the next election of a policy. One that the registry did not let
// come to its end is held again soon, later each time.
func (e *elections) after(name bump.Name, s bump.Selection) {
	e.mu.Lock()
	p := e.poll(name)
	p.under = false
	at := s.Again
	var paused *scanner.PausedError
	var unanswered *lookUpError
	switch {
	case errors.As(s.Err, &paused):
		at = paused.Until.Add(rand.N(firstReelection))
	case errors.As(s.Err, &unanswered):
		d := min(firstReelection<<min(p.fails, 10), maxReelection)
		at = e.house.opt.Now().Add(d + rand.N(d/5))
		p.fails++
	default:
		p.fails = 0
	}
	if !at.IsZero() && (p.at.IsZero() || at.Before(p.at)) {
		p.at = at
	}
	e.mu.Unlock()
	e.ring()
}
