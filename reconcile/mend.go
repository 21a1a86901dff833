package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hoist/bump"
)

func (a App) leavesDrift() bool { return a.Drift == DriftReport || a.Drift == DriftOff }

// Mend looks at those objects of the app that its watches make suspect, and puts
// right what Git says, or tells, as the app's drift says. Without suspects it
// sends no request. set is what was applied last, from h. On an error the objects
// that could not be mended stay suspect.
func (e *Engine) Mend(ctx context.Context, a App, set *Set, h bump.Head) error {
	past := e.past(a.Name)
	if !e.watches.suspicious(a.Name) {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, a.Within(), fmt.Errorf("put drift right: no end after %s", a.Within()))
	defer cancel()
	done, err := past.turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	if set, err = e.substitute(ctx, a, set); err != nil {
		return err
	}
	suspects := e.watches.take(a.Name)
	if anyGone(suspects) { // what is made again has to be in the inventory
		_, err = e.trusted(ctx, past, a.Name)
	}
	if err != nil || e.Doubts(a.Name) {
		e.watches.again(a.Name, suspects)
		return err
	}
	targets, err := e.locate(ctx, a, set.only(suspects))
	if err != nil {
		e.watches.again(a.Name, suspects)
		return err
	}
	outcomes, errs := make([]outcome, len(targets)), make([]error, len(targets))
	street := e.street(ctx, a, h)
	var g errgroup.Group
	g.SetLimit(workers)
	for i, t := range targets {
		was, known := past.get(t.key)
		if _, suspect := suspects[t.key]; !suspect || !known || t.lost != nil || was.built != t.built && !was.alone || past.restUntil(t.key, e.now()) > 0 {
			continue
		}
		g.Go(func() error {
			var live *unstructured.Unstructured
			live, errs[i] = e.read(ctx, t)
			if live != nil && street.yields(t, live, a, known) != nil {
				return nil // it moved to a neighbour; the next pass says so
			}
			if live != nil {
				if o, ok := e.leave(past, t, live); ok {
					outcomes[i] = o
					return nil
				}
			}
			if errs[i] == nil {
				outcomes[i], errs[i] = e.mend(ctx, a, past, t, live, was)
			}
			if errs[i] != nil {
				e.watches.again(a.Name, map[key]observation{t.key: suspects[t.key]})
			}
			return nil
		})
	}
	_ = g.Wait() // errors are in errs
	return errors.Join(gathered(errs, func(i int) *target { return targets[i] }), e.recordNew(ctx, a.Name, h, targets, outcomes))
}

func anyGone(suspects map[key]observation) bool {
	for _, o := range suspects {
		if o.gone {
			return true
		}
	}
	return false
}

// only are the manifests of a set that may be one of the keys: the namespace of
// a manifest is not known before it is located.
func (s *Set) only(keys map[key]observation) *Set {
	type short struct{ group, kind, name string }
	wanted := make(map[short]bool, len(keys))
	for k := range keys {
		wanted[short{k.group, k.kind, k.name}] = true
	}
	part := &Set{}
	for _, m := range s.Objects {
		gvk := m.Object.GroupVersionKind()
		if wanted[short{gvk.Group, gvk.Kind, m.Object.GetName()}] {
			part.Objects = append(part.Objects, m)
		}
	}
	return part
}

// recordNew writes the UIDs of objects that had to be created again.
func (e *Engine) recordNew(ctx context.Context, app bump.Name, h bump.Head, targets []*target, outcomes []outcome) error {
	uids := map[key]string{}
	for i, o := range outcomes {
		if o.action == bump.Created {
			uids[targets[i].key] = o.uid
		}
	}
	if len(uids) == 0 {
		return nil
	}
	inv, err := e.inventory(ctx, app)
	if err != nil || inv.live == nil || inv.Attempted != e.past(app).recordedAs(h) {
		return err
	}
	inv.know(uids)
	return e.write(ctx, inv)
}

// mend compares an object with what we left there, was, and does about a
// difference what the app says. live is nil when the object is gone.
func (e *Engine) mend(ctx context.Context, a App, past *past, t *target, live *unstructured.Unstructured, was seen) (outcome, error) {
	as := outcome{action: bump.Unchanged, uid: was.uid}
	if live == nil {
		was.health = health{status.NotFoundStatus, "was deleted"}
	}
	if live != nil {
		as.uid, was.uid, was.live = string(live.GetUID()), string(live.GetUID()), digestLive(live)
		was.generation, was.health = live.GetGeneration(), t.judge.of(live)
		intact := digestOurs(t.Object, live) == was.ours && digestHeld(live.GetManagedFields(), e.manager) == was.held
		if intact || live.GetDeletionTimestamp() != nil { // what is being deleted comes back when it is gone
			past.put(t.key, was)
			e.settle(a, past, t)
			return as, nil
		}
	}
	if a.Drift == DriftOff || past.restUntil(t.key, e.now()) > 0 {
		past.put(t.key, was)
		return as, nil
	}
	if a.Drift == DriftReport {
		return e.report(ctx, a, past, t, live, was, as)
	}
	after, err := e.bring(ctx, a, t, live, false)
	if isConflict(err) {
		return e.report(ctx, a, past, t, live, was, as)
	}
	if err != nil {
		return outcome{}, t.refused("put drift right of", err)
	}
	is := e.seenOf(t, after)
	past.put(t.key, is)
	as = outcome{action: actionOf(was, is), uid: is.uid, drift: e.driftOf(t, live, after, DriftReverted)}
	if live == nil {
		as.action = bump.Created
	}
	if as.drift != nil {
		e.tell(a, *as.drift)
		e.referee(a, past, t, *as.drift)
	}
	return as, nil
}

// report tells of a drift that is not put right, once.
func (e *Engine) report(ctx context.Context, a App, past *past, t *target, live *unstructured.Unstructured, was seen, as outcome) (outcome, error) {
	after, err := e.would(ctx, t, live)
	if err != nil {
		return outcome{}, t.refused("dry run of", err)
	}
	past.put(t.key, was)
	if d := e.driftOf(t, live, after, DriftReported); d == nil {
		e.settle(a, past, t)
	} else if past.news(t.key, d) {
		as.drift = d
		e.tell(a, *d)
	}
	return as, nil
}

// driftOf tells how live differs from what is right; nil when it does not, which
// is so where a field was only taken over with the same value.
func (e *Engine) driftOf(t *target, live, right *unstructured.Unstructured, action string) *Drift {
	d := &Drift{Object: t.object, File: t.File, Action: action, Seen: e.now().UTC().Truncate(time.Second)}
	if live == nil {
		d.Gone = true
		return d
	}
	found := differences(t.Object.Object, live.Object, right.Object, nil)
	if len(found) == 0 {
		return nil
	}
	d.Fields, d.By = tellable(t.Manifest, live, found, e.manager)
	return d
}

// tell says once what drifted.
func (e *Engine) tell(a App, d Drift) {
	message := "drift corrected"
	if d.Action == DriftReported {
		message = "drift found"
	}
	e.log.Info(message, zap.String("app", a.Name.String()), zap.Stringer("object", d.Object), zap.String("action", d.Action),
		zap.String("file", d.File), zap.String("by", d.By), zap.Stringer("fields", d))
	e.drifted(a.Name, d)
}

// settle ends the report of a drift.
func (e *Engine) settle(a App, past *past, t *target) {
	if past.news(t.key, nil) {
		d := Drift{Object: t.object, File: t.File, Action: DriftSettled, Seen: e.now().UTC().Truncate(time.Second)}
		e.log.Info("drift is gone", zap.String("app", a.Name.String()), zap.Stringer("object", t.object))
		e.drifted(a.Name, d)
	}
}

// news tells whether a drift, or the end of one with nil, was not told before.
func (p *past) news(k key, d *Drift) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, known := p.told[k]
	if d == nil {
		delete(p.told, k)
		return known
	}
	now := digest([]any{d.Gone, d.Fields})
	p.told[k] = now
	return now != before
}
