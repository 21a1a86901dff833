package daemon

import (
	"context"

	"hoist/bump"
	"hoist/reconcile"
)

func (p *pretend) Trial(bump.Name) reconcile.Trial {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.trial
}

func (p *pretend) Prove(_ context.Context, _ reconcile.App, h bump.Head) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trial = reconcile.Trial{Proven: h.String()}
	return nil
}

func (p *pretend) Sick(context.Context, reconcile.App, bump.Result) ([]reconcile.Sick, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sickNow, nil
}
