package reconcile

import (
	"time"

	"go.uber.org/zap"
)

// A field that had to be put right more than fightReverts times within
// fightWindow is fought over: some controller writes it, too.
const (
	fightReverts = 5
	fightWindow  = 2 * time.Minute
	longestRest  = time.Hour
)

// fight is what an object's drift of late looks like.
type fight struct {
	reverts map[string][]time.Time // by field
	until   time.Time              // the object is left alone until then
	rest    time.Duration          // how long it was left alone the last time; 0 where nobody fights
}

// reverted notes that fields were put right. It tells whether this is the moment
// at which it becomes a fight. One that goes on after a rest rests twice as long.
func (f *fight) reverted(now time.Time, fields []string) (begins bool) {
	if f.rest > 0 && now.Sub(f.until) > fightWindow {
		*f = fight{}
	}
	if f.reverts == nil {
		f.reverts = map[string][]time.Time{}
	}
	fought := f.rest > 0
	for _, field := range fields {
		var recent []time.Time
		for _, t := range append(f.reverts[field], now) {
			if now.Sub(t) <= fightWindow {
				recent = append(recent, t)
			}
		}
		f.reverts[field] = recent
		fought = fought || len(recent) > fightReverts
	}
	if !fought {
		return false
	}
	begins = f.rest == 0
	f.rest = min(max(2*f.rest, fightWindow), longestRest)
	f.until, f.reverts = now.Add(f.rest), nil
	return begins
}

// restUntil is how long the object is still left alone, 0 when it is not.
func (p *past) restUntil(k key, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.fights[k]; f != nil {
		return max(f.until.Sub(now), 0)
	}
	return 0
}

// referee looks whether a drift that was put right is part of a fight, and
// tells once.
func (e *Engine) referee(a App, past *past, t *target, d Drift) {
	var fields []string
	for _, f := range d.Fields {
		fields = append(fields, f.Path)
	}
	if d.Gone {
		fields = []string{""}
	}
	past.mu.Lock()
	f := past.fights[t.key]
	if f == nil {
		f = &fight{}
		past.fights[t.key] = f
	}
	begins := f.reverted(e.now(), fields)
	rest := f.rest
	past.mu.Unlock()
	if rest > 0 {
		e.watches.later(a.Name, t.key, rest)
	}
	if !begins {
		return
	}
	d.Action = DriftFought
	e.log.Error("somebody else sets it back again and again; it is left alone for a while", zap.String("app", a.Name.String()),
		zap.Stringer("object", d.Object), zap.String("file", d.File), zap.String("by", d.By), zap.Stringer("fields", d),
		zap.Duration("rest", rest), zap.String("hint", "take the field out of Git, name it under ignore, or end the other writer"))
	e.drifted(a.Name, d)
}
