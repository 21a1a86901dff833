package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hoist/bump"
)

// Apply builds the app's directory of tree and makes the cluster equal to it;
// see [Engine.ApplySet].
func (e *Engine) Apply(ctx context.Context, a App, tree fs.FS, h bump.Head) (bump.Result, error) {
	set, err := e.build(ctx, tree, a)
	if err != nil {
		return bump.Result{App: a.Name, Head: h, Reason: err.Error(), Finished: e.now()}, err
	}
	return e.ApplySet(ctx, a, set, h)
}

// ApplySet makes the cluster equal to a set that was built from h, and returns
// what happened to each object: those of the set in its order, then those that
// left it. The set is not changed and may be applied again; that corrects drift.
//
// Within a stage every object is tried, and the error tells of all that failed;
// nothing is deleted then. Of an atomic app a stage is tried as a dry run first,
// nothing of it is written when one object fails, and the stages after it are
// skipped; others go on with what is not refused. The result of an app that waits for nothing is Ready; for others ask
// [Engine.Health].
func (e *Engine) ApplySet(ctx context.Context, a App, set *Set, h bump.Head) (bump.Result, error) {
	if a.Suspend {
		return bump.Result{App: a.Name, Head: h, Reason: "suspended", Finished: e.now()}, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, a.Within(), fmt.Errorf("apply: no end after %s", a.Within()))
	defer cancel()
	past := e.past(a.Name)
	done, err := past.turn(ctx)
	if err != nil {
		return bump.Result{App: a.Name, Head: h, Reason: err.Error(), Finished: e.now()}, err
	}
	defer done()
	past.tellPlaintext(e.log.With(zap.String("app", a.Name.String())), set)

	p := &pass{e: e, app: a, set: set, head: h, past: past, street: e.street(ctx, a, h), log: e.log.With(zap.String("app", a.Name.String()), zap.String("commit", bump.Short(h.Hash)))}
	err = p.run(ctx)
	e.watches.cover(a.Name, p.targets)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	r := bump.Result{App: a.Name, Head: h, Objects: p.results, Applied: p.applied, Finished: e.now()}
	r.Ready = err == nil && !a.Wait && len(a.HealthChecks) == 0
	if err != nil {
		r.Reason = err.Error()
	}
	return r, err
}

// pass is one apply of one app, from guards to the last inventory write.
type pass struct {
	e      *Engine
	app    App
	set    *Set
	head   bump.Head
	past   *past
	street street
	log    *zap.Logger

	inv     *Inventory
	before  string // the revision that the inventory told of
	targets []*target
	uids    map[key]string
	results []bump.ObjectResult
	applied time.Time

	source      string        // repository and branch, as the lineage tells
	confirmedAt *Confirmation // what let a refused revision pass

	fresh bool // the revision is a try that began with this pass
}

// run does the steps in the order that makes a kill between any two of them
// safe: the inventory names an object before it exists and until it is gone.
func (p *pass) run(ctx context.Context) (err error) {
	if _, err = p.e.cluster.Identity(ctx); err != nil {
		return err // one that does not answer is asked for one small thing
	}
	all, err := p.e.locate(ctx, p.app, p.set)
	if err != nil {
		return err
	}
	if p.inv, err = p.e.trusted(ctx, p.past, p.app.Name); err != nil {
		return err
	}
	var ignored []*target
	p.targets, ignored = unignored(all)
	p.inv.forget(ignored)
	p.drop(ignored)
	if err = p.guard(ctx); err != nil {
		return err
	}
	p.before = p.inv.Revision
	p.recall()
	if err = p.begin(ctx); err != nil {
		return err
	}
	defer func() { p.past.stands(p.inv, err) }()
	err = p.stages(ctx)
	p.inv.know(p.uids)
	p.inv.built(p.targets, p.uids)
	if err != nil {
		return errors.Join(err, p.record(ctx, err))
	}
	left, err := p.prune(ctx)
	p.inv.Objects = left
	if err == nil {
		p.inv.Revision = p.head.String()
	}
	if err = errors.Join(err, p.record(ctx, err)); err == nil {
		p.spent(ctx)
	}
	return err
}

// recall marks the targets that were brought to the cluster before as they are
// now, perhaps by another process and at an earlier revision.
func (p *pass) recall() {
	recorded := p.inv.index()
	for _, t := range p.targets {
		at, ok := recorded[t.key]
		if !ok {
			continue
		}
		en := p.inv.Objects[at]
		t.tracked = en.UID != ""
		t.recorded = t.tracked && (p.before == p.head.String() || en.Built != "" && en.Built == t.mark())
	}
}

// drop forgets what was seen of objects that are not to be looked after any more.
func (p *pass) drop(targets []*target) {
	for _, t := range targets {
		p.past.drop(t.key)
	}
}

// begin writes the inventory that covers old and new objects. Nothing may be
// applied before it is stored.
func (p *pass) begin(ctx context.Context) error {
	p.inv.Repository, p.inv.Path, p.inv.Source = p.app.Repository, dirOf(p.app.Path), p.source
	p.beginTrial()
	p.inv.Account, p.inv.Deletion = p.app.Account(), p.app.deletion()
	if called, err := p.e.called(ctx); err == nil { // or home is away, and nothing is known anew
		p.inv.Owner = called
	}
	p.inv.Attempted = p.head.String()
	p.inv.add(p.targets)
	return p.e.write(ctx, p.inv)
}

// record writes how the pass ended. A pass that changed nothing writes nothing.
func (p *pass) record(ctx context.Context, outcome error) error {
	waits := p.app.Wait || len(p.app.HealthChecks) > 0
	if outcome != nil {
		p.inv.Ready, p.inv.Reason = false, firstLine(outcome)
		return p.store(ctx)
	}
	p.recordTrial()
	if p.changed() {
		p.inv.Applied = p.e.now().UTC().Truncate(time.Second)
		if waits {
			p.inv.Ready, p.inv.Reason = false, healthUnknown
		}
	}
	if !waits {
		p.inv.Ready, p.inv.Reason = true, ""
	}
	return p.store(ctx)
}

// store writes the inventory, also when the pass was cancelled: the cluster should say why.
func (p *pass) store(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return p.e.write(ctx, p.inv)
}

// changed says whether this pass changed anything that the inventory tells.
func (p *pass) changed() bool {
	for _, r := range p.results {
		if r.Action != bump.Unchanged && r.Action != bump.Skipped {
			return true
		}
	}
	return p.before != p.inv.Revision
}

func firstLine(err error) string {
	s, _, more := strings.Cut(err.Error(), "\n")
	if more {
		s += " (and more)"
	}
	return s
}

// stages applies the targets: first, stage by stage, those whose content is new
// to the cluster or to us, then those that we wrote before, which only drift can
// have changed. So a bump does not wait for a look at everything else.
func (p *pass) stages(ctx context.Context) error {
	p.uids = make(map[key]string, len(p.targets))
	p.results = make([]bump.ObjectResult, len(p.targets))
	var fresh, known []int
	for i, t := range p.targets {
		p.results[i] = bump.ObjectResult{Object: t.object, File: t.File, Action: bump.Skipped}
		if t.alone {
			p.results[i].Reason = "left alone: its file says reconcile: disabled"
			p.past.drop(t.key)
		} else if was, ok := p.past.get(t.key); ok && was.built == t.built {
			known = append(known, i)
		} else {
			fresh = append(fresh, i)
		}
	}
	err := p.half(ctx, fresh, known)
	if err != nil && p.app.atomic() {
		return err
	}
	return errors.Join(err, p.half(ctx, known, nil))
}

// half applies some of the targets stage by stage. After errors in one stage the
// later ones, and then, are left out, unless the app goes on.
func (p *pass) half(ctx context.Context, part, then []int) error {
	live, err := p.e.look(ctx, p.app, p.expected(part))
	if err != nil {
		return err
	}
	var errs []error
	for s := definitions; s <= lastStage; s++ {
		batch, later := split(part, func(i int) bool { return p.targets[i].stage == s })
		part = later
		err := p.stage(ctx, batch, live)
		if err == nil {
			continue
		}
		errs = append(errs, err)
		if p.app.atomic() {
			for _, i := range append(later, then...) {
				p.results[i].Reason = fmt.Sprintf("not tried: there were errors among the %s", s)
			}
			break
		}
		p.orphan(batch)
	}
	return errors.Join(errs...)
}

func split(all []int, which func(int) bool) (yes, no []int) {
	for _, i := range all {
		if which(i) {
			yes = append(yes, i)
		} else {
			no = append(no, i)
		}
	}
	return yes, no
}

// expected are those of the targets that should be in the cluster already and
// have to be looked at before they are written.
func (p *pass) expected(part []int) []*target {
	recorded := p.inv.index()
	var all []*target
	for _, i := range part {
		t := p.targets[i]
		if t.lost != nil {
			continue
		}
		was, known := p.past.get(t.key)
		at, tracked := recorded[t.key]
		if known && was.built == t.built || !known && tracked && p.inv.Objects[at].UID != "" {
			all = append(all, t)
		}
	}
	return all
}

// stage applies targets in parallel, of an atomic app after all of them passed a
// dry run.
func (p *pass) stage(ctx context.Context, batch []int, live map[key]*unstructured.Unstructured) error {
	glances := make([]glance, len(batch))
	for at, i := range batch {
		glances[at].live = live[p.targets[i].key]
	}
	if p.app.atomic() {
		if err := p.rehearse(ctx, batch, glances); err != nil {
			return err
		}
	}
	outcomes := make([]outcome, len(batch))
	errs := make([]error, len(batch))
	var g errgroup.Group
	g.SetLimit(workers)
	for at, i := range batch {
		g.Go(func() error {
			outcomes[at], errs[at] = p.e.apply(ctx, p.app, p.past, p.street, p.targets[i], glances[at])
			return nil
		})
	}
	_ = g.Wait() // errors are in errs
	for at, i := range batch {
		p.note(i, outcomes[at], errs[at])
	}
	if err := gathered(errs, func(at int) *target { return p.targets[batch[at]] }); err != nil {
		if !p.app.atomic() {
			err = errors.Join(err, p.established(ctx, batch))
		}
		return err
	}
	return p.established(ctx, batch)
}

// note keeps what happened to target i and logs what changed the world.
func (p *pass) note(i int, o outcome, err error) {
	r := &p.results[i]
	if err != nil {
		r.Action, r.Reason = bump.Failed, err.Error()
		p.past.homeless(r.Object, err)
		return
	}
	r.Action, r.Reason = o.action, o.reason
	if o.action == bump.Skipped {
		return
	}
	p.uids[p.targets[i].key] = o.uid
	if o.action == bump.Unchanged {
		return
	}
	p.applied = p.e.now()
	if o.drift != nil {
		return // told already
	}
	p.log.Info("object applied", zap.Stringer("object", r.Object), zap.String("action", string(o.action)), zap.String("file", r.File))
}

// established waits until the kinds that a stage brought are served.
func (p *pass) established(ctx context.Context, batch []int) error {
	var pending []ref
	for _, i := range batch {
		t := p.targets[i]
		if t.stage != definitions || p.results[i].Action == bump.Failed {
			continue
		}
		if was, _ := p.past.get(t.key); was.health.status != current {
			pending = append(pending, ref{object: t.object, resource: t.resource})
		}
	}
	if len(pending) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return p.e.await(ctx, pending, nil).err()
}
