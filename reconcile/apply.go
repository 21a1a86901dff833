package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"hoist/bump"
)

// Apply builds the app's directory of tree and makes the cluster equal to it;
// see [Engine.ApplySet].
func (e *Engine) Apply(ctx context.Context, a App, tree fs.FS, h bump.Head) (bump.Result, error) {
	set, err := Build(ctx, tree, a)
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
// the stages after it are then skipped and nothing is deleted. There is no dry
// run before: an object that is refused does not hold back its neighbours. The
// result of an app that waits for nothing is Ready; for others ask
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

	p := &pass{e: e, app: a, set: set, head: h, past: past, log: e.log.With(zap.String("app", a.Name.String()), zap.String("commit", bump.Short(h.Hash)))}
	err = p.run(ctx)
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
	e    *Engine
	app  App
	set  *Set
	head bump.Head
	past *past
	log  *zap.Logger

	inv     *Inventory
	before  string // the revision that the inventory told of
	targets []*target
	uids    map[key]string
	results []bump.ObjectResult
	applied time.Time
}

// run does the steps in the order that makes a kill between any two of them
// safe: the inventory names an object before it exists and until it is gone.
func (p *pass) run(ctx context.Context) (err error) {
	if p.targets, err = p.e.locate(ctx, p.app, p.set); err != nil {
		return err
	}
	if p.inv, err = p.e.inventory(ctx, p.app.Name); err != nil {
		return err
	}
	if err = p.guard(ctx); err != nil {
		return err
	}
	p.before = p.inv.Revision
	if err = p.begin(ctx); err != nil {
		return err
	}
	err = p.stages(ctx)
	p.inv.know(p.uids)
	if err != nil {
		return errors.Join(err, p.record(ctx, err))
	}
	left, err := p.prune(ctx)
	p.inv.Objects = left
	if err == nil {
		p.inv.Revision = p.head.String()
	}
	return errors.Join(err, p.record(ctx, err))
}

// guard refuses what must not be applied whatever it is.
func (p *pass) guard(ctx context.Context) error {
	cluster, err := p.e.identity(ctx)
	if err != nil {
		return err
	}
	if p.inv.Cluster != "" && p.inv.Cluster != cluster {
		return fmt.Errorf("inventory %s/%s was written for another cluster (%s, this is %s): delete it if it was restored from there by mistake",
			p.e.namespace, inventoryName(p.app.Name), p.inv.Cluster, cluster)
	}
	p.inv.Cluster = cluster
	if len(p.targets) == 0 && len(p.inv.Objects) > 0 && !p.app.AllowEmpty {
		return refuseEmpty(len(p.inv.Objects))
	}
	return nil
}

func refuseEmpty(n int) error {
	return fmt.Errorf("the build has no objects, and %d were applied before: refused (set allowEmpty if this is meant)", n)
}

// begin writes the inventory that covers old and new objects. Nothing may be
// applied before it is stored.
func (p *pass) begin(ctx context.Context) error {
	p.inv.Repository, p.inv.Path = p.app.Repository, dirOf(p.app.Path)
	p.inv.Attempted = p.head.String()
	p.inv.add(p.targets)
	return p.e.write(ctx, p.inv)
}

// record writes how the pass ended. A pass that changed nothing writes nothing.
// It does so even when the pass was cancelled: the cluster should say why.
func (p *pass) record(ctx context.Context, outcome error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	waits := p.app.Wait || len(p.app.HealthChecks) > 0
	if outcome != nil {
		p.inv.Ready, p.inv.Reason = false, firstLine(outcome)
		return p.e.write(ctx, p.inv)
	}
	if p.changed() {
		p.inv.Applied = p.e.now().UTC().Truncate(time.Second)
		if waits {
			p.inv.Ready, p.inv.Reason = false, "applied, health not known yet"
		}
	}
	if !waits {
		p.inv.Ready, p.inv.Reason = true, ""
	}
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

// stages applies the targets stage by stage.
func (p *pass) stages(ctx context.Context) error {
	p.uids = make(map[key]string, len(p.targets))
	p.results = make([]bump.ObjectResult, len(p.targets))
	for i, t := range p.targets {
		p.results[i] = bump.ObjectResult{Object: t.object, File: t.File, Action: bump.Skipped}
	}
	for s := definitions; s <= lastStage; s++ {
		if err := p.stage(ctx, s); err != nil {
			for i, t := range p.targets {
				if t.stage > s {
					p.results[i].Reason = fmt.Sprintf("not tried: there were errors among the %s", s)
				}
			}
			return err
		}
	}
	return nil
}

// stage applies the targets of one stage in parallel: first those whose content
// is new, so that a bump does not wait for the look at everything else.
func (p *pass) stage(ctx context.Context, s stage) error {
	var fresh, known []int
	for i, t := range p.targets {
		if t.stage != s {
			continue
		}
		if was, ok := p.past.get(t.key); ok && was.built == t.built {
			known = append(known, i)
		} else {
			fresh = append(fresh, i)
		}
	}
	outcomes := make([]outcome, len(p.targets))
	errs := make([]error, len(p.targets))
	for _, part := range [][]int{fresh, known} {
		var g errgroup.Group
		g.SetLimit(workers)
		for _, i := range part {
			g.Go(func() error {
				outcomes[i], errs[i] = p.e.apply(ctx, p.app, p.past, p.targets[i])
				return nil
			})
		}
		_ = g.Wait() // errors are in errs
	}
	for _, i := range append(fresh, known...) {
		p.note(i, outcomes[i], errs[i])
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return p.established(ctx, s)
}

// note keeps what happened to target i and logs what changed the world.
func (p *pass) note(i int, o outcome, err error) {
	r := &p.results[i]
	if err != nil {
		r.Action, r.Reason = bump.Failed, err.Error()
		return
	}
	r.Action = o.action
	p.uids[p.targets[i].key] = o.uid
	if o.action == bump.Unchanged {
		return
	}
	p.applied = p.e.now()
	message := "object applied"
	if p.before == p.head.String() && !o.fresh {
		message = "drift corrected"
	}
	p.log.Info(message, zap.Stringer("object", r.Object), zap.String("action", string(o.action)), zap.String("file", r.File))
}

// established waits until the kinds that a stage brought are served.
func (p *pass) established(ctx context.Context, s stage) error {
	var pending []ref
	for _, t := range p.targets {
		if t.stage != s || t.stage != definitions {
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
	return p.e.await(ctx, pending).err()
}

// outcome is what the server made of one object.
type outcome struct {
	action bump.Action
	uid    string
	fresh  bool // what was built differs from what we wrote last, or we do not know
}

// apply brings one object to the state that was built, with as few requests as
// what we know of it allows: one look when we wrote the same before, one write
// when the content is new, a look and a write when we know nothing.
func (e *Engine) apply(ctx context.Context, a App, past *past, t *target) (outcome, error) {
	was, known := past.get(t.key)
	fresh := !known || was.built != t.built
	var before *unstructured.Unstructured
	if !known || !fresh {
		live, err := e.at(t.resource, t.object.Namespace).Get(ctx, t.object.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return outcome{}, fmt.Errorf("%s: read %s: %w", t.where(), t.object, err)
		default:
			before = live
			if other, ok := owner(live); ok && other != a.Name && !known {
				return outcome{}, fmt.Errorf("%s: %s belongs to app %s", t.where(), t.object, other)
			}
		}
	}
	if !fresh && before != nil && before.GetDeletionTimestamp() == nil && digestOurs(t.Object, before) == was.ours {
		was.health = healthOf(before)
		past.put(t.key, was)
		return outcome{action: bump.Unchanged, uid: was.uid}, nil
	}
	if before != nil {
		was.live, was.uid = digestLive(before), string(before.GetUID())
	} else if !fresh {
		was = seen{}
	}
	after, err := e.patch(ctx, t)
	if err != nil {
		past.forget(t.key)
		return outcome{}, fmt.Errorf("%s: apply %s: %w", t.where(), t.object, err)
	}
	is := seen{built: t.built, live: digestLive(after), ours: digestOurs(t.Object, after), uid: string(after.GetUID()), health: healthOf(after)}
	past.put(t.key, is)
	o := outcome{action: bump.Configured, uid: is.uid, fresh: fresh && known}
	switch {
	case was.uid != is.uid:
		o.action = bump.Created
	case was.live == is.live:
		o.action = bump.Unchanged
	}
	return o, nil
}

// patch applies one object on the server. Where another manager holds a field,
// ours wins, as in Flux.
func (e *Engine) patch(ctx context.Context, t *target) (*unstructured.Unstructured, error) {
	body, err := json.Marshal(t.Object)
	if err != nil {
		return nil, err
	}
	force := true
	for tries := 0; ; tries++ {
		live, err := e.at(t.resource, t.object.Namespace).Patch(ctx, t.object.Name, types.ApplyPatchType, body,
			metav1.PatchOptions{FieldManager: e.manager, Force: &force})
		again := t.young && unserved(err) && tries < 100 || apierrors.IsConflict(err) && tries < 3
		if !again {
			return live, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// unserved recognizes the answer for a kind whose definition was accepted a
// moment ago: a 404 that names no object.
func unserved(err error) bool {
	var status apierrors.APIStatus
	return apierrors.IsNotFound(err) && errors.As(err, &status) &&
		(status.Status().Details == nil || status.Status().Details.Name == "")
}
