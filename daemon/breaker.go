package daemon

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"hoist/bump"
	"hoist/gitpush"
)

// A policy of which one field was rolled back by health maxRollbacks times within
// breakerWindow bumps nothing until the first of these is older than that.
const (
	maxRollbacks  = 3
	breakerWindow = 24 * time.Hour
	maxBacks      = 64 // rollbacks of a policy that are remembered
)

// back is a rollback of a policy that the health of an app asked for.
type back struct {
	commit string
	time   time.Time
	hold   string
	fields []fieldKey
}

// addBack takes in a rollback that is older than all the others before.
func (x *index) addBack(e gitpush.Entry) {
	if e.Kind != gitpush.RolledBack || e.Trigger != gitpush.TriggerHealth {
		return
	}
	b := back{commit: e.Commit, time: e.Time, hold: strings.Clone(e.Hold)}
	for _, f := range e.Fields {
		b.fields = append(b.fields, fieldKey{file: strings.Clone(f.File), id: strings.Clone(f.ID)})
	}
	x.keepBack(bump.Name{Namespace: strings.Clone(e.Policy.Namespace), Name: strings.Clone(e.Policy.Name)}, b)
}

func (x *index) keepBack(policy bump.Name, b back) {
	if len(x.backs[policy]) < maxBacks && !x.isReleased(policy, b.hold) {
		x.backs[policy] = append(x.backs[policy], b)
	}
}

// breaker is open for a policy of which too much was rolled back.
type breaker struct {
	policy bump.Name
	backs  []back // of the field that suffered most, the newest first
	until  time.Time
}

// String says what is going on and what ends it.
func (b breaker) String() string {
	var tags []string
	for _, x := range b.backs {
		if !slices.Contains(tags, x.hold) {
			tags = append(tags, x.hold)
		}
	}
	slices.Reverse(tags)
	return fmt.Sprintf("breaker open: %d rollbacks since %s (%s), the last in %s; nothing of policy %s is bumped until %s: find out why, then set a field of it by hand or run `hoist release %s`, which closes the breaker",
		len(b.backs), minute(b.backs[len(b.backs)-1].time), strings.Join(tags, ", "), bump.Short(b.backs[0].commit), nameOf(b.policy), minute(b.until), nameOf(b.policy))
}

func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// breaker returns the breaker of a policy that is open, or nil. What closes it
// is in Git: a release, or that a person changed a field of the policy after the
// last rollback; or time.
func (r *recall) breaker(policy bump.Name) *breaker {
	if !r.load() {
		return nil
	}
	counts := make(map[fieldKey][]back)
	var worst []back
	since := r.now().Add(-breakerWindow)
	for _, b := range r.index.backs[policy] {
		if b.time.Before(since) {
			continue
		}
		for _, f := range b.fields {
			counts[f] = append(counts[f], b)
			if len(counts[f]) > len(worst) {
				worst = counts[f]
			}
		}
	}
	if len(worst) < maxRollbacks || r.changedByHand(policy, r.index.backs[policy][0]) {
		return nil
	}
	return &breaker{policy, worst, worst[maxRollbacks-1].time.Add(breakerWindow)}
}

// changedByHand tells whether somebody else gave a field of the policy another
// value after a rollback.
func (r *recall) changedByHand(policy bump.Name, after back) bool {
	steps := r.lineage.steps
	end := slices.IndexFunc(steps, func(s gitpush.Step) bool { return s.Commit == after.commit })
	if end < 0 { // it came with a merge
		end = max(slices.IndexFunc(steps, func(s gitpush.Step) bool { return s.Time.Before(after.time) }), 0)
	}
	for _, step := range steps[:end] {
		if slices.ContainsFunc(step.Entries, func(e gitpush.Entry) bool { return e.Policy == policy }) {
			continue
		}
		for _, t := range step.Touches {
			if _, ours := r.index.fields[place{policy, t.File}]; ours && r.moves(step, t, policy) {
				return true
			}
		}
	}
	return false
}

// moves tells whether a step gave a field of the policy in a file another value.
func (r *recall) moves(step gitpush.Step, t gitpush.Touch, policy bump.Name) bool {
	before, err := r.lineage.fields(r.ctx, step.Parent, t.File, t.Before)
	after, errAfter := r.lineage.fields(r.ctx, step.Commit, t.File, t.After)
	if err := cmp.Or(err, errAfter); err != nil {
		r.err = err
		return false
	}
	return slices.ContainsFunc(after, func(f fieldValue) bool {
		i := slices.IndexFunc(before, func(b fieldValue) bool { return b.policy == policy && b.id == f.id && b.part == f.part })
		return f.policy == policy && i >= 0 && before[i].value != f.value
	})
}

// breakers returns every breaker that is open at the head the memory stands at.
func (r *recall) breakers() []breaker {
	var open []breaker
	for _, policy := range sortedNames(r.index.backs) {
		if b := r.breaker(policy); b != nil {
			open = append(open, *b)
		}
	}
	return open
}

// watchBreakers tells, once each, which breakers opened and which closed.
func (b *branch) watchBreakers(r *recall) {
	if len(r.index.backs) == 0 && len(b.open) == 0 {
		return
	}
	open := r.breakers()
	if r.err != nil {
		return // the next pass says so
	}
	now := make(map[bump.Name]bool)
	var lines []string
	for _, x := range open {
		now[x.policy] = true
		lines = append(lines, x.String())
		b.house.metrics.breakers.WithLabelValues(b.repository.Name.Name, x.policy.String()).Set(1)
		if !b.open[x.policy] {
			b.log.Error("breaker open: a policy is rolled back again and again, and is left alone", zap.String("policy", x.policy.String()), zap.String("reason", x.String()))
		}
	}
	for policy := range b.open {
		if !now[policy] {
			b.house.metrics.breakers.WithLabelValues(b.repository.Name.Name, policy.String()).Set(0)
			b.log.Info("breaker closed", zap.String("policy", policy.String()))
		}
	}
	b.open = now
	b.house.status.breakers(b.repository.Name, lines)
}
