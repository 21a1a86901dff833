package daemon

import (
	"context"
	"sync"
	"time"
)

// How long the answer of the API server about a secret counts. A thousand
// images with one secret cost one request in that time; a rotated secret is
// used that much later at most, and at once where the old one is rejected.
const (
	secretTTL     = 10 * time.Second
	failureTTL    = 2 * time.Second
	secretTimeout = 15 * time.Second // of one request
)

// briefly remembers what was read, for a moment. Who asks for the same while it
// is being read waits for that. It is safe from several goroutines.
type briefly[T any] struct {
	now func() time.Time

	mu    sync.Mutex
	known map[string]*reading[T]
}

type reading[T any] struct {
	turn  chan struct{} // held by who reads
	value T
	err   error
	until time.Time
}

func newBriefly[T any](now func() time.Time) *briefly[T] {
	return &briefly[T]{now: now, known: make(map[string]*reading[T])}
}

// get returns what read gave for key a moment ago, or what it gives now.
func (b *briefly[T]) get(ctx context.Context, key string, read func(context.Context) (T, error)) (T, error) {
	b.mu.Lock()
	r, ok := b.known[key]
	if !ok {
		r = &reading[T]{turn: make(chan struct{}, 1)}
		b.known[key] = r
	}
	b.mu.Unlock()

	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
	if b.now().Before(r.until) {
		return r.value, r.err
	}
	bounded, cancel := context.WithTimeout(ctx, secretTimeout)
	defer cancel()
	value, err := read(bounded)
	if ctx.Err() != nil {
		return value, err // the caller gave up: says nothing for the others
	}
	r.value, r.err, r.until = value, err, b.now().Add(secretTTL)
	if err != nil {
		r.until = b.now().Add(failureTTL)
	}
	return value, err
}

// forget makes the next get read again, and returns what was known.
func (b *briefly[T]) forget(key string) (known T) {
	b.mu.Lock()
	r, ok := b.known[key]
	delete(b.known, key)
	b.mu.Unlock()
	if !ok {
		return known
	}
	r.turn <- struct{}{} // not for long: reading has a timeout
	defer func() { <-r.turn }()
	return r.value
}
