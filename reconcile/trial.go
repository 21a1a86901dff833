package reconcile

import (
	"context"
	"slices"
	"time"

	"hoist/bump"
)

// Rollback says when bumps that make an app unhealthy are taken back in Git.
type Rollback struct {
	// After is how long a bump is on trial once it was applied: the app has to be
	// ready then.
	After bump.Duration `json:"after"`
}

// Bounds of a trial.
const (
	leastTrial = time.Second
	mostTrial  = 24 * time.Hour
	maxTries   = 50 // of one app that are remembered; then the oldest are forgotten
)

func (r *Rollback) check(a App, fault func(field, format string, args ...any)) {
	if r == nil {
		return
	}
	switch after := time.Duration(r.After); {
	case after == 0:
		fault("rollback.after", "is missing: say how long a bump may take until the app is ready, such as 5m")
	case after < leastTrial || after > mostTrial:
		fault("rollback.after", "%q is not between 1s and 24h", after)
	}
	if !a.Wait && len(a.HealthChecks) == 0 {
		fault("rollback", "nothing tells whether the app is well: set wait: true, or name objects in healthChecks")
	}
}

// Trial is what an app has to prove. It is kept in the inventory, so that the
// clock goes on over a restart. A revision that changes objects of the app is a
// try; the app has stood it when it is ready [Rollback].After later.
//
//	Proven ---- apply ----> Tries ---- ready at the end of the time ----> Proven
type Trial struct {
	// Proven is the last revision that the app stood its trial with; "" where there
	// is none, or where the app was not well when the first of the tries began.
	Proven string `json:"proven,omitempty"`
	Tries  []Try  `json:"tries,omitempty"` // what came after it, the oldest first
}

// Try is a revision that changed objects of an app.
type Try struct {
	Revision string    `json:"revision"`
	Applied  time.Time `json:"applied,omitzero"` // zero until all of it was applied
}

// begun returns the trial before a revision is applied, and whether it is a try
// of its own. It is written before the first object is, so that a kill leaves no
// try out. well tells that the app was not known to be sick.
func (t Trial) begun(head, before string, well bool) (Trial, bool) {
	if head == before {
		return t, false
	}
	if len(t.Tries) == 0 && !well {
		t.Proven = ""
	}
	t.Tries = slices.Clone(t.Tries)
	if n := len(t.Tries); n > 0 && t.Tries[n-1].Applied.IsZero() {
		t.Tries[n-1].Revision = head // the one before was never applied whole
		return t, false
	}
	t.Tries = append(t.Tries, Try{Revision: head})
	if drop := len(t.Tries) - maxTries; drop > 0 {
		t.Tries = t.Tries[drop:]
	}
	return t, true
}

// applied returns the trial after a revision was applied whole at now. One that
// is a try of its own (fresh) and changed nothing is none after all.
func (t Trial) applied(head string, fresh, changed bool, now time.Time) Trial {
	if n := len(t.Tries); n > 0 && t.Tries[n-1].Revision == head && t.Tries[n-1].Applied.IsZero() {
		t.Tries = slices.Clone(t.Tries)
		if fresh && !changed {
			t.Tries = t.Tries[:n-1]
		} else {
			t.Tries[n-1].Applied = now.UTC().Truncate(time.Millisecond)
		}
	}
	if len(t.Tries) == 0 && t.Proven != "" {
		t.Proven = head
	}
	return t
}

// stood returns the trial after the app was seen well at now.
func (t Trial) stood(head string, after time.Duration, now time.Time) Trial {
	for len(t.Tries) > 0 && !t.Tries[0].Applied.IsZero() && now.Sub(t.Tries[0].Applied) >= after {
		t.Proven, t.Tries = t.Tries[0].Revision, t.Tries[1:]
	}
	if len(t.Tries) == 0 {
		t.Proven, t.Tries = head, nil
	}
	return t
}

// Proves tells whether an app that is well at now with head has proven more than t says.
func (t Trial) Proves(head string, after time.Duration, now time.Time) bool {
	return !sameTrial(t, t.stood(head, after, now))
}

// Next returns when the first try that is judged later than at t ends, or the zero time.
func (t Trial) Next(after time.Duration, than time.Time) time.Time {
	for _, try := range t.Tries {
		if end := try.Applied.Add(after); !try.Applied.IsZero() && end.After(than) {
			return end
		}
	}
	return time.Time{}
}

func sameTrial(a, b Trial) bool { return a.Proven == b.Proven && slices.Equal(a.Tries, b.Tries) }

// healthUnknown is the reason of an app that was applied and not looked at yet.
const healthUnknown = "applied, health not known yet"

// beginTrial notes in the inventory that a revision is about to be applied.
func (p *pass) beginTrial() {
	if p.app.Rollback == nil {
		p.inv.Trial = nil
		p.past.setTrial(Trial{})
		return
	}
	well := p.inv.Ready || p.inv.Reason == healthUnknown
	var t Trial
	if p.inv.Trial != nil {
		t = *p.inv.Trial
	}
	t, p.fresh = t.begun(p.head.String(), p.inv.Revision, well)
	p.inv.Trial = &t
	p.past.setTrial(t)
}

// recordTrial notes in the inventory that the revision was applied whole.
func (p *pass) recordTrial() {
	if p.inv.Trial == nil {
		return
	}
	changed := slices.ContainsFunc(p.results, func(r bump.ObjectResult) bool { return r.Action != bump.Unchanged && r.Action != bump.Skipped })
	t := p.inv.Trial.applied(p.head.String(), p.fresh, changed, p.e.now())
	p.inv.Trial = &t
	p.past.setTrial(t)
}

func (p *past) setTrial(t Trial) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trial = t
}

// Trial returns how far the app has proven itself, as it was after the last
// apply of this process. It sends no request.
func (e *Engine) Trial(app bump.Name) Trial {
	p := e.past(app)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.trial
}

// Prove notes that the app is well at h: tries whose time is over are behind it.
func (e *Engine) Prove(ctx context.Context, a App, h bump.Head) error {
	past := e.past(a.Name)
	done, err := past.turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	inv, err := e.inventory(ctx, a.Name)
	if err != nil || inv.Trial == nil || inv.Revision != h.String() || inv.Attempted != h.String() || a.Rollback == nil {
		return err
	}
	t := inv.Trial.stood(h.String(), time.Duration(a.Rollback.After), e.now())
	if !sameTrial(t, *inv.Trial) {
		inv.Trial = &t
		if err := e.write(ctx, inv); err != nil {
			return err
		}
	}
	past.setTrial(t)
	return nil
}
