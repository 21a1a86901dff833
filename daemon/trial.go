package daemon

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"hoist/bump"
	"hoist/config"
	"hoist/reconcile"
)

// complaint is an app that did not stand its trial, for the branch that wrote
// what was tried.
type complaint struct {
	app   config.App
	head  bump.Head      // what was applied last
	set   *reconcile.Set // what was built from it
	trial reconcile.Trial
	sick  []reconcile.Sick
	again *atomic.Bool // set where the next revision may bring what is missing now
}

// after is how long a bump is on trial.
func (c complaint) after() time.Duration { return time.Duration(c.app.Rollback.After) }

// judge looks how the trial of what was applied goes, as far as the app has one:
// what was well to the end has proven itself, and of what was not the branch is told.
func (a *applier) judge(ctx context.Context) {
	if a.app.Rollback == nil || a.on == nil || a.applied.Hash == "" || a.built == nil || a.suspension() != nil {
		return
	}
	if err := a.judged(ctx, a.on); err != nil && ctx.Err() == nil {
		a.log.Warn("trial not judged", zap.Error(err))
		a.judgeLater(firstRetry)
	}
}

func (a *applier) judged(ctx context.Context, e engine) error {
	trial, after, now := e.Trial(a.app.Name), time.Duration(a.app.Rollback.After), a.house.opt.Now()
	first := trial.Next(after, a.heard)
	ended := !first.IsZero() && !first.After(now)
	switch {
	case a.wellNow() && a.unwell.IsZero():
		return a.well(ctx, e, now)
	case a.wellNow() && time.Since(a.unwell) < min(a.grace, after):
		a.judgeLater(min(a.grace, after)) // a pod that moves is nothing
		return nil
	case len(trial.Tries) == 0:
		return nil // it has proven itself, and what ails it came later
	case a.waiting != nil && !ended:
		a.judgeAt(trial, now)
		return nil
	}
	sick, err := e.Sick(ctx, a.app.App, a.wrote)
	if err != nil {
		return err
	}
	failed := slices.ContainsFunc(sick, func(s reconcile.Sick) bool { return s.Failed })
	if len(sick) > 0 && (failed || ended) {
		a.complain(trial, sick)
		a.heard = now
	}
	a.judgeAt(trial, now)
	return nil
}

// wellNow tells whether the app is ready with what was applied last.
func (a *applier) wellNow() bool {
	return a.waiting == nil && a.last.Head == a.applied && a.last.Ready
}

// well notes what has proven itself, and looks again when the next one may have.
func (a *applier) well(ctx context.Context, e engine, now time.Time) error {
	a.branch.withdraw(a.app.Name)
	if e.Trial(a.app.Name).Proves(a.applied.String(), time.Duration(a.app.Rollback.After), now) {
		if err := e.Prove(ctx, a.app.App, a.applied); err != nil {
			return err
		}
	}
	a.judgeAt(e.Trial(a.app.Name), now)
	return nil
}

// judgeAt looks at the trial again when the first try ends that has not ended now.
func (a *applier) judgeAt(trial reconcile.Trial, now time.Time) {
	next := trial.Next(time.Duration(a.app.Rollback.After), now)
	a.house.status.onTrial(a.app.Name, trial.Proven, next)
	if !next.IsZero() {
		a.judgeLater(next.Sub(now))
	}
}

func (a *applier) judgeLater(d time.Duration) {
	if a.trialEnds != nil {
		a.trialEnds.Stop()
	}
	a.trialEnds = time.AfterFunc(d, func() { signal(a.trials) })
}

// complain tells the branch that the app is not well.
func (a *applier) complain(trial reconcile.Trial, sick []reconcile.Sick) {
	if trial.Proven == "" {
		const why = "the app was not ready before what is on trial"
		a.house.status.rollsBack(a.app.Name, minute(a.house.opt.Now())+": nothing is rolled back: "+why)
		a.log.Info("not rolled back", zap.String("reason", why))
		return
	}
	a.branch.complain(complaint{a.app, a.applied, a.built, trial, sick, &a.again})
}

// complain has the next turn of the branch look for the bumps that made an app
// unhealthy. A newer complaint of an app replaces the older one.
func (b *branch) complain(c complaint) {
	b.mu.Lock()
	if b.complaints == nil {
		b.complaints = make(map[bump.Name]complaint)
	}
	b.complaints[c.app.Name] = c
	b.mu.Unlock()
	b.wake()
}

// withdraw takes back what an app complained of.
func (b *branch) withdraw(app bump.Name) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.complaints, app)
}

// next returns a complaint that is not among those done, in the order of the apps' names.
func (b *branch) nextComplaint(done map[bump.Name]bool) (complaint, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range sortedNames(b.complaints) {
		if !done[name] {
			return b.complaints[name], true
		}
	}
	return complaint{}, false
}

// answerComplaints rolls back what made apps unhealthy. What could not be pushed
// is tried again at the next turn, if the app still complains then.
func (b *branch) answerComplaints(ctx context.Context) {
	done := make(map[bump.Name]bool)
	for c, ok := b.nextComplaint(done); ok && ctx.Err() == nil; c, ok = b.nextComplaint(done) {
		done[c.app.Name] = true
		if b.house.controls.suspension(appSubject(c.app.Name)) != nil {
			b.withdraw(c.app.Name)
			continue
		}
		found, pass, err := b.rollBack(ctx, c)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			b.withdraw(c.app.Name)
			c.again.Store(found.later)
		}
		b.tellRollback(c, found, pass, err)
	}
}

// rollBack pushes the commit that takes guilty bumps back. A panic ends it alone.
func (b *branch) rollBack(ctx context.Context, c complaint) (found finding, pass Pass, err error) {
	defer recovered("roll back for "+c.app.Name.Name, b.house.metrics.panics, &err)
	pass, err = b.repeat(ctx, func() (Proposal, error) {
		var p Proposal
		p, found, err = b.accuse(ctx, c)
		return p, err
	}, b.push)
	return found, pass, err
}

// tellRollback logs and shows what came of a complaint.
func (b *branch) tellRollback(c complaint, found finding, pass Pass, err error) {
	log := b.log.With(zap.String("app", c.app.Name.String()))
	say := func(outcome string) { b.house.status.rollsBack(c.app.Name, minute(b.house.opt.Now())+": "+outcome) }
	switch {
	case err != nil:
		log.Warn("not rolled back", zap.Error(err))
		say("rollback is tried again: " + err.Error())
	case len(pass.Drafts) == 0:
		log.Info("not rolled back", zap.String("reason", found.why))
		say("nothing is rolled back: " + found.why)
	case len(pass.Commits) == 0: // the door is closed
		say("would be rolled back: " + found.reason)
	}
	for _, commit := range pass.Commits {
		policies := make(map[bump.Name]bool)
		for _, v := range verdictsOf(commit.Changes) {
			policies[v.Site.Policy] = true
			log.Warn("image rolled back", zap.String("image", v.Selection.Image()), zap.String("policy", v.Site.Policy.String()),
				zap.String("from", v.Site.Value), zap.String("to", v.New), zap.String("file", v.Site.File), zap.Int("line", v.Site.Line),
				zap.String("commit", bump.Short(commit.Head.Hash)), zap.String("reason", found.reason))
		}
		for policy := range policies {
			b.house.metrics.undone.WithLabelValues(c.app.Name.Name, policy.String()).Inc()
		}
		say(fmt.Sprintf("rolled back in %s: %s", bump.Short(commit.Head.Hash), found.reason))
		b.house.opt.Observe(Event{Time: b.house.opt.Now(), Commit: &commit})
	}
}
