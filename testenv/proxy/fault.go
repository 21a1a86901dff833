package proxy

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// Rule plays a fault for the requests that it matches. What is left empty
// matches everything.
type Rule struct {
	Method string
	Prefix string         // of the path
	URI    *regexp.Regexp // found anywhere in path?query

	Skip  int // let so many matching requests pass first
	Times int // then play for so many; 0 means for all

	Fault
}

// Fault is what goes wrong. Latency goes with all the others; of Cut and Status
// one; EmptyBody, TruncateBody and Drip are for answers that are given.
type Fault struct {
	Latency time.Duration // before anything else

	Cut Cut

	// Status, with Header and Body, is answered in the target's place.
	Status int
	Header http.Header
	Body   string

	EmptyBody    bool // status and header as they are, and nothing behind them
	TruncateBody int  // cut the connection after so many bytes of a longer body
	Drip         int  // bytes per second of the body
}

// Cut says when the connection is cut without an answer.
type Cut int

// CutBefore cuts before the target has seen the request. CutAfter lets the
// target answer in full, and loses the answer.
const (
	NoCut Cut = iota
	CutBefore
	CutAfter
)

// playing is a rule and how many requests it has matched.
type playing struct {
	Rule
	matched int
}

// Play replaces the rules. Of several that match a request, the first one that
// has not had its Times is played. Without rules all is calm.
func (p *Proxy) Play(rules ...Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = nil
	for _, r := range rules {
		p.rules = append(p.rules, &playing{Rule: r})
	}
}

// choose needs the lock. Only rules that were reached count a match.
func (p *Proxy) choose(r *http.Request) (Fault, bool) {
	for _, rule := range p.rules {
		if !rule.matches(r) {
			continue
		}
		rule.matched++
		if n := rule.matched - rule.Skip; n > 0 && (rule.Times == 0 || n <= rule.Times) {
			return rule.Fault, true
		}
	}
	return Fault{}, false
}

func (r Rule) matches(q *http.Request) bool {
	return (r.Method == "" || r.Method == q.Method) &&
		strings.HasPrefix(q.URL.Path, r.Prefix) &&
		(r.URI == nil || r.URI.MatchString(q.URL.RequestURI()))
}

// answer passes an answer on, as far and as fast as the fault lets it.
type answer struct {
	http.ResponseWriter
	request *http.Request
	fault   Fault
	record  func(status int)
	sent    int
}

// Unwrap serves http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) WriteHeader(status int) {
	if status >= 200 {
		a.record(status)
		if a.fault.EmptyBody {
			a.Header().Del("Content-Length")
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.fault.EmptyBody {
		return len(p), nil
	}
	cut := a.fault.TruncateBody > 0 && a.sent+len(p) > a.fault.TruncateBody
	now := p
	if cut {
		now = p[:a.fault.TruncateBody-a.sent]
	}
	if err := a.drip(now); err != nil {
		return 0, err
	}
	a.sent += len(now)
	if cut {
		_ = a.flush()
		panic(http.ErrAbortHandler)
	}
	return len(p), nil
}

// drip writes in portions of a tenth of a second.
func (a *answer) drip(p []byte) error {
	if a.fault.Drip == 0 {
		_, err := a.ResponseWriter.Write(p)
		return err
	}
	portion := max(a.fault.Drip/10, 1)
	for len(p) > 0 {
		n := min(portion, len(p))
		if _, err := a.ResponseWriter.Write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
		if err := a.flush(); err != nil {
			return err
		}
		if !wait(a.request.Context(), time.Duration(n)*time.Second/time.Duration(a.fault.Drip)) {
			return a.request.Context().Err()
		}
	}
	return nil
}

func (a *answer) flush() error { return http.NewResponseController(a.ResponseWriter).Flush() }

// swallow takes an answer that nobody will get.
type swallow struct{ header http.Header }

func (s *swallow) Header() http.Header         { return s.header }
func (s *swallow) Write(p []byte) (int, error) { return len(p), nil }
func (s *swallow) WriteHeader(int)             {}

// Flush is asked for by the forwarder.
func (s *swallow) Flush() {}

// wait tells whether it waited all the time, or ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
