package scanner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// host is a registry host, or one that a registry sends to: how much it is
// asked at once, how often, and whether it is left alone just now. All images
// of the host share it, and it outlives every configuration.
type host struct {
	gate  gate
	slots slots         // one per running scan
	rate  *rate.Limiter // of single requests
}

// hostFor is called with s.mu held.
func (s *Scanner) hostFor(name string) *host {
	name = registryKey(name)
	h, ok := s.hosts[name]
	if !ok {
		budget := settled(s.registries, s.opts, name)
		h = &host{rate: rate.NewLimiter(limitOf(budget), max(budget.RequestsPerSecond, 1))}
		h.gate = gate{host: name, first: firstPause, most: longPause, now: s.now, told: s.tellPause}
		h.slots.resize(budget.Concurrency)
		s.hosts[name] = h
	}
	return h
}

// lookUpHost is hostFor without s.mu held.
func (s *Scanner) lookUpHost(name string) *host {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hostFor(name)
}

// SetRegistries replaces the budgets and token servers that a configuration
// names; what it does not name has its default again. Connections, tokens and
// pauses stay, and a scan that is under way goes on. The sections have been
// checked.
func (s *Scanner) SetRegistries(all []Registry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.registries = slices.Clone(all)
	for name, h := range s.hosts {
		h.allow(settled(s.registries, s.opts, name))
	}
}

// settledFor returns what is so for a registry now.
func (s *Scanner) settledFor(registry string) Registry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return settled(s.registries, s.opts, registryKey(registry))
}

// tellPause logs that a host is left alone from now on, and that it is no more.
func (s *Scanner) tellPause(shut *PausedError, host string) {
	if shut == nil {
		s.log.Info("host answers again", zap.String("host", host))
		return
	}
	s.log.Warn("host left alone", zap.String("host", host), zap.Time("until", shut.Until), zap.String("cause", shut.Cause))
}

// allow changes the budget.
func (h *host) allow(r Registry) {
	h.slots.resize(r.Concurrency)
	h.rate.SetLimit(limitOf(r))
	h.rate.SetBurst(max(r.RequestsPerSecond, 1))
}

func limitOf(r Registry) rate.Limit {
	if r.RequestsPerSecond < 0 {
		return rate.Inf
	}
	return rate.Limit(r.RequestsPerSecond)
}

// enter takes a slot and returns how to give it back.
func (h *host) enter(ctx context.Context) (leave func(), err error) {
	if err := h.slots.take(ctx); err != nil {
		return nil, err
	}
	return h.slots.give, nil
}

// errOverBudget says that a request's turn would come after its deadline.
var errOverBudget = errors.New("over budget")

// ready waits until one request may be sent.
func (h *host) ready(ctx context.Context) error {
	for {
		if err := h.gate.wait(ctx); err != nil {
			return err
		}
		if err := h.rate.Wait(ctx); err != nil {
			if errors.Is(context.Cause(ctx), context.Canceled) {
				return ctx.Err()
			}
			return fmt.Errorf("%w: %s gets %.0f requests a second", errOverBudget, h.gate.host, h.rate.Limit())
		}
		if h.gate.closed() == nil { // it may have closed while we waited for our turn
			return nil
		}
	}
}

// HostStatus is how a host stands.
type HostStatus struct {
	Host              string    `json:"host"`
	Concurrency       int       `json:"concurrency"`
	RequestsPerSecond int       `json:"requestsPerSecond,omitempty"` // 0 where there is no limit
	InFlight          int       `json:"inFlight"`                    // scans under way
	Until             time.Time `json:"leftAloneUntil,omitzero"`     // nothing is sent before; zero where it is not left alone
	Cause             string    `json:"cause,omitempty"`             // why it is left alone
	Failures          int       `json:"failures,omitempty"`          // in a row
}

// Paused tells whether the host is left alone.
func (s HostStatus) Paused() bool { return !s.Until.IsZero() }

// Hosts returns the hosts that were asked since the Scanner was made, token
// servers and other hosts that registries send to included, by name.
func (s *Scanner) Hosts() []HostStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]HostStatus, 0, len(s.hosts))
	for _, h := range s.hosts {
		all = append(all, h.status())
	}
	slices.SortFunc(all, func(a, b HostStatus) int { return strings.Compare(a.Host, b.Host) })
	return all
}

func (h *host) status() HostStatus {
	var st HostStatus
	st.Host = h.gate.host
	st.Concurrency, st.InFlight = h.slots.use()
	if limit := h.rate.Limit(); limit != rate.Inf {
		st.RequestsPerSecond = int(limit)
	}
	st.Failures = h.gate.failures()
	if shut := h.gate.closed(); shut != nil {
		st.Until, st.Cause = shut.Until, shut.Cause
	}
	return st
}

// slots is a number of places that can be changed while some are taken. Who
// waits longest is next.
type slots struct {
	mu     sync.Mutex
	limit  int
	taken  int
	queued []chan struct{} // closed when its owner has a place
}

// take returns when there is a place, or with ctx's error.
func (s *slots) take(ctx context.Context) error {
	s.mu.Lock()
	if s.taken < s.limit && len(s.queued) == 0 {
		s.taken++
		s.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	s.queued = append(s.queued, turn)
	s.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		s.leave(turn)
		return ctx.Err()
	}
}

// leave takes turn out of the queue. Where it had its place already, that goes on.
func (s *slots) leave(turn chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := slices.Index(s.queued, turn); n >= 0 {
		s.queued = slices.Delete(s.queued, n, n+1)
		return
	}
	s.taken--
	s.next()
}

func (s *slots) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	s.next()
}

func (s *slots) resize(limit int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = limit
	s.next()
}

// next hands free places to those who wait.
func (s *slots) next() {
	for s.taken < s.limit && len(s.queued) > 0 {
		close(s.queued[0])
		s.queued = s.queued[1:]
		s.taken++
	}
}

func (s *slots) use() (limit, taken int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limit, s.taken
}
