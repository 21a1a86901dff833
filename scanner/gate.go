package scanner

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// How long a host is left alone.
const (
	firstPause  = 2 * time.Second  // after one failure; doubled with each further one
	longPause   = 15 * time.Minute // the most that failures add up to
	longestAsk  = time.Hour        // the most that a Retry-After is believed
	patience    = 10 * time.Second // a scan sits out a pause up to this long, if its own deadline allows
	retryPause  = 250 * time.Millisecond
	tries       = 3                // of one request that meets a 5xx, a 429 or a broken connection
	firstLogout = 30 * time.Minute // after the credentials were rejected twice; doubled with each further time
	longLogout  = 4 * time.Hour
	firstBan    = 30 * time.Minute // after a firewall turned us away; doubled with each further time
	longBan     = 4 * time.Hour
)

// PausedError says that nothing was sent, because the host is left alone for
// now. Cause is what it did to deserve that.
type PausedError struct {
	Host  string
	Until time.Time
	Cause string
}

func (e *PausedError) Error() string {
	return fmt.Sprintf("%s is left alone until %s: %s", e.Host, e.Until.UTC().Format(time.RFC3339), e.Cause)
}

// gate closes for a while after something failed, for longer each time it
// fails again. It is safe from several goroutines.
type gate struct {
	host        string
	first, most time.Duration
	now         func() time.Time
	told        func(shut *PausedError, host string) // called when it closes after it was well, and with nil when it is well again; may be nil

	mu       sync.Mutex
	until    time.Time
	cause    string
	fails    int
	failed   time.Time // the last failure that counted
	answered time.Time // the last success
	unwell   bool      // it closed, and nothing has succeeded since
}

// closed returns nil when the gate is open.
func (g *gate) closed() *PausedError {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.now().Before(g.until) {
		return nil
	}
	return &PausedError{Host: g.host, Until: g.until, Cause: g.cause}
}

// wait returns when the gate is open, or at once with an error where that is
// further off than patience or than ctx lasts.
func (g *gate) wait(ctx context.Context) error {
	for {
		shut := g.closed()
		if shut == nil {
			return nil
		}
		pause := shut.Until.Sub(g.now())
		if deadline, ok := ctx.Deadline(); pause > patience || (ok && time.Until(deadline) < pause) {
			return shut
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// pause closes the gate for d at least, with up to a tenth on top so that not
// everybody comes back in the same instant.
func (g *gate) pause(d time.Duration, cause string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.close(min(d, longestAsk), cause)
}

func (g *gate) close(d time.Duration, cause string) {
	if until := g.now().Add(d + rand.N(d/10+1)); until.After(g.until) {
		g.until, g.cause = until, cause
	}
	if !g.unwell && g.told != nil {
		g.told(&PausedError{Host: g.host, Until: g.until, Cause: g.cause}, g.host)
	}
	g.unwell = true
}

// fail counts a failure of work that began at the given time and closes the
// gate for first, then 2×first, 4×first … up to most. What began before the
// last failure was counted says nothing new.
func (g *gate) fail(began time.Time, cause string) { g.failAtLeast(began, 0, cause) }

// ban is fail for a host that a person has to speak with: half an hour at
// least, and longer each time.
func (g *gate) ban(began time.Time, cause string) { g.failAtLeast(began, firstBan, cause) }

func (g *gate) failAtLeast(began time.Time, least time.Duration, cause string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fails > 0 && !began.After(g.failed) {
		return
	}
	g.failed = g.now()
	g.close(max(doubled(g.first, g.fails, g.most), doubled(least, g.fails, longBan)), cause)
	g.fails++
}

// succeed forgets the failures before the work that began at the given time.
func (g *gate) succeed(began time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answered = g.now()
	if !began.Before(g.failed) {
		g.fails = 0
	}
	if g.unwell && g.fails == 0 && !g.answered.Before(g.until) {
		g.unwell = false
		if g.told != nil {
			g.told(nil, g.host)
		}
	}
}

// answeredSince tells whether something succeeded after the given time.
func (g *gate) answeredSince(t time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.answered.After(t)
}

// failures returns how many there were in a row.
func (g *gate) failures() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.fails
}

// doubled returns d·2ⁿ, but no more than most.
func doubled(d time.Duration, n int, most time.Duration) time.Duration {
	for ; n > 0 && d < most; n-- {
		d *= 2
	}
	return min(d, most)
}

// retryAfter reads both spellings of the header: seconds and an HTTP date
// (RFC 9110, 10.2.3). What is in the past or cannot be read is not there.
func retryAfter(header http.Header, now time.Time) (time.Duration, bool) {
	value := strings.TrimSpace(header.Get("Retry-After"))
	if value == "" {
		return 0, false
	}
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second, seconds > 0
	}
	date, err := http.ParseTime(value)
	if err != nil || !date.After(now) {
		return 0, false
	}
	return date.Sub(now), true
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
