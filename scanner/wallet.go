package scanner

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

const (
	lendTimeout = 30 * time.Second // of one question to a helper or a cloud
	firstShrug  = 5 * time.Second  // before a lender that failed is asked again; doubled each time
	longShrug   = 10 * time.Minute
	earliest    = 5 * time.Minute // before its end a token is renewed, or a tenth of its time if that is less
	fresh       = time.Minute     // a loan rejected so soon is not forgotten: the next would be no better
)

// loan is credentials that somebody gives for a while.
type loan struct {
	config authn.AuthConfig
	until  time.Time // then the lender is asked again
}

// renewal returns when a token that expires at the given time is renewed:
// shortly before, and in an hour where it does not say when it ends. However
// wrong a clock is, that is not at once.
func renewal(expires, now time.Time) time.Time {
	if expires.IsZero() {
		expires = now.Add(time.Hour)
	}
	left := max(expires.Sub(now), fresh)
	return now.Add(left - min(earliest, left/10))
}

// lender gives credentials for a registry: a program, or a cloud that knows
// who we are.
type lender struct {
	name   string // for a person: "AWS", "docker-credential-pass"
	origin string // of its credentials, for a person
	remedy string // what to do when it gives none
	way    string // tells apart how it is reached: what one way gave or did not says nothing of another
	lend   func(ctx context.Context) (loan, error)
}

// wallet remembers loans, so that each lender is asked once for all images and
// scans. It is safe from several goroutines.
type wallet struct {
	now func() time.Time

	mu      sync.Mutex
	pockets map[pocketKey]*pocket
}

type pocketKey struct{ lender, way, registry string }

// pocket is what one lender gave for one registry.
type pocket struct {
	gate gate          // closed for a while after the lender failed
	turn chan struct{} // held by who asks the lender; the others wait for the answer

	mu    sync.Mutex
	loan  loan
	since time.Time
}

// credentials returns what the lender gives for a registry, remembered where
// possible. The error is a [failure], which names no secret.
func (w *wallet) credentials(ctx context.Context, l lender, registry string) (credentials, error) {
	p := w.pocket(l, registry)
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return credentials{}, ctx.Err()
	}
	if got, ok := p.look(w.now()); ok {
		return credentials{config: got.config, origin: l.origin}, nil
	}
	if shut := p.gate.closed(); shut != nil {
		return credentials{}, &failure{blame: blamePause, text: shut.Error(), err: shut}
	}
	began := w.now()
	asking, cancel := context.WithTimeout(ctx, lendTimeout)
	defer cancel()
	got, err := l.lend(asking)
	switch {
	case err == nil:
		p.gate.succeed(began)
		p.put(got, w.now())
		return credentials{config: got.config, origin: l.origin}, nil
	case ctx.Err() != nil:
		return credentials{}, ctx.Err() // says nothing of the lender
	case errors.Is(asking.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("no answer within %s", lendTimeout)
	}
	text := fmt.Sprintf("ask %s for credentials for %s: %s: %s", l.name, registry, inOneLine(err), l.remedy)
	p.gate.fail(began, text)
	return credentials{}, &failure{blame: blameLender, text: text}
}

func (w *wallet) pocket(l lender, registry string) *pocket {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := pocketKey{l.name, l.way, registry}
	p, ok := w.pockets[key]
	if !ok {
		p = &pocket{
			gate: gate{host: l.name, first: firstShrug, most: longShrug, now: w.now},
			turn: make(chan struct{}, 1),
		}
		w.pockets[key] = p
	}
	return p
}

// forget makes the next scan ask the lenders of a registry again, unless they
// were asked just now.
func (w *wallet) forget(registry string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, p := range w.pockets {
		if key.registry == registry {
			p.drop(w.now())
		}
	}
}

func (p *pocket) look(now time.Time) (loan, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.loan, now.Before(p.loan.until)
}

func (p *pocket) put(got loan, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loan, p.since = got, now
}

func (p *pocket) drop(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.since) >= fresh {
		p.loan = loan{}
	}
}
