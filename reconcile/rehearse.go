package reconcile

import (
	"context"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hoist/bump"
)

func (a App) atomic() bool { return a.Atomic == nil || *a.Atomic }

// rehearse tries those of a stage that will be written as a dry run, and keeps in
// glances what it learnt, so that it costs little more than the looks that it
// saves. One object alone needs no rehearsal: it is written or not.
func (p *pass) rehearse(ctx context.Context, batch []int, glances []glance) error {
	var written []int // positions in batch
	for at, i := range batch {
		t := p.targets[i]
		was, known := p.past.get(t.key)
		if !t.recorded && !(known && was.built == t.built) {
			written = append(written, at)
		}
	}
	if len(written) < 2 {
		return nil
	}
	errs := make([]error, len(batch))
	var g errgroup.Group
	g.SetLimit(workers)
	for _, at := range written {
		g.Go(func() error {
			glances[at], errs[at] = p.e.rehearse(ctx, p.app, p.past, p.street, p.targets[batch[at]], glances[at].live)
			return nil
		})
	}
	_ = g.Wait() // errors are in errs
	err := gathered(errs, func(at int) *target { return p.targets[batch[at]] })
	if err == nil {
		return nil
	}
	for at, i := range batch {
		if errs[at] != nil {
			p.note(i, outcome{}, errs[at])
		} else {
			p.results[i].Reason = "not applied: others of its stage were refused, and the app is atomic"
		}
	}
	return err
}

// rehearse tries one object. It looks at what is there only where the answer to the
// dry run does not say that nothing is.
func (e *Engine) rehearse(ctx context.Context, a App, past *past, s street, t *target, live *unstructured.Unstructured) (glance, error) {
	was, known := past.get(t.key)
	g := glance{live: live}
	if live == nil && t.looksFirst(was) {
		if err := e.lookAt(ctx, t, &g); err != nil {
			return g, err
		}
	}
	if g.live != nil && (t.ssa == ssaIfNotPresent || asksToBeLeft(g.live) != "") {
		return g, nil // will not be written
	}
	tried, err := e.patch(ctx, t, e.lent(t, g.live), e.manager, dryRun)
	if err == nil && !known && g.live == nil && tried.GetResourceVersion() == "" {
		g.looked = true // it would be created
	}
	if !g.looked && g.live == nil && (err != nil || !known) {
		if err := e.lookAt(ctx, t, &g); err != nil {
			return g, err
		}
	}
	if g.live != nil {
		if err := s.yields(t, g.live, a, known); err != nil {
			return g, err
		}
		if asksToBeLeft(g.live) != "" {
			return g, nil
		}
	}
	if stuck := e.immutableOf(ctx, a, t, g.live, err); stuck != nil {
		if err = stuck; stuck.replaceable {
			err = e.rehearseReplacement(ctx, t, stuck)
		}
	}
	if err != nil && !undryable(err) {
		return g, t.refused("apply", err)
	}
	g.tried = tried
	return g, nil
}

func (e *Engine) lookAt(ctx context.Context, t *target, g *glance) (err error) {
	g.live, err = e.read(ctx, t)
	g.looked = err == nil
	return err
}

// orphan marks the objects whose kind was to come with a definition that failed:
// they need not wait for it.
func (p *pass) orphan(batch []int) {
	for _, i := range batch {
		d := p.targets[i]
		if p.results[i].Action != bump.Failed || d.Object.GroupVersionKind().GroupKind() != crdKind {
			continue
		}
		for gvk := range defined([]Manifest{d.Manifest}) {
			for _, t := range p.targets {
				t.young = t.young && t.Object.GroupVersionKind() != gvk
			}
		}
	}
}
