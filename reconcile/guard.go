package reconcile

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hoist/bump"
)

// Lineage is what Git knows of the way from one revision to another.
type Lineage struct {
	Source  string // repository and branch, as something to compare
	Follows bool   // the older one is in the history of the newer
}

// guard refuses what must not be applied, unless a person confirmed it.
func (p *pass) guard(ctx context.Context) error {
	cluster, err := p.whereabouts(ctx)
	if err != nil {
		return err
	}
	if p.inv.Cluster != "" && p.inv.Cluster != cluster {
		return fmt.Errorf("inventory %s/%s was written for another cluster (%s, this is %s): delete it if it was restored from there by mistake",
			p.e.namespace, inventoryName(p.app.Name), p.inv.Cluster, cluster)
	}
	p.inv.Cluster = cluster
	rewind, err := p.rewinds()
	if err != nil {
		return err
	}
	for _, r := range []*Refusal{rewind, p.prunesTooMuch()} {
		if r == nil {
			continue
		}
		if err := p.confirmed(ctx, r); err != nil {
			p.inv.Ready, p.inv.Reason = false, r.Error()
			return errors.Join(err, p.store(ctx))
		}
	}
	return nil
}

// confirmed returns nil where a person confirmed what r refuses.
func (p *pass) confirmed(ctx context.Context, r *Refusal) error {
	c, err := p.e.confirmation(ctx, p.app.Name)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", err, r)
	case !c.covers(r, p.inv.Revision):
		return r
	}
	p.confirmedAt = c
	p.log.Info("refused revision was confirmed", zap.String("reason", r.Why))
	return nil
}

// confirmation reads what a person confirmed of an app; nil for nothing.
func (e *Engine) confirmation(ctx context.Context, app bump.Name) (*Confirmation, error) {
	s := Subject{"apply", app}
	asked, err := e.asked()
	if err != nil {
		return nil, fmt.Errorf("read what was confirmed: %w", err)
	}
	cm, err := asked.Get(ctx, controlName(s), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what was confirmed: %w", err)
	}
	_, c, err := readControl(cm)
	if err != nil {
		return nil, fmt.Errorf("read config map %s/%s: %w", e.namespace, cm.GetName(), err)
	}
	return c.Confirmed, nil
}

// spent ends the confirmation that a revision needed, once it is in the cluster.
func (p *pass) spent(ctx context.Context) {
	if p.confirmedAt == nil {
		return
	}
	if err := p.e.control(ctx, Subject{"apply", p.app.Name}, "confirmed", nil); err != nil {
		p.log.Warn("confirmation not taken away; it counts for this revision only", zap.Error(err))
	}
}

// rewinds refuses a revision that does not follow the one in the cluster: the
// branch was rewritten. An entry that was pointed elsewhere is another matter.
func (p *pass) rewinds() (*Refusal, error) {
	if p.e.lineage == nil {
		return nil, nil
	}
	before, hash := cutRevision(p.inv.Revision)
	l, err := p.e.lineage(hash, p.head)
	if err != nil {
		return nil, fmt.Errorf("compare %s with %s, which was applied: %w", bump.Short(p.head.Hash), bump.Short(hash), err)
	}
	elsewhere := p.inv.Repository != p.app.Repository || before != p.head.Branch || p.inv.Path != dirOf(p.app.Path) ||
		p.inv.Source != "" && p.inv.Source != l.Source
	p.source = l.Source
	if hash == "" || elsewhere || l.Follows || p.app.AllowRewind {
		return nil, nil
	}
	return p.refuse(GuardRewind, "commit %s does not follow %s, which was applied: the branch was rewritten", bump.Short(p.head.Hash), bump.Short(hash)), nil
}

// cutRevision takes apart what [bump.Head] spells.
func cutRevision(s string) (branch, hash string) {
	i := strings.LastIndex(s, "@sha1:")
	if i < 0 {
		return "", ""
	}
	return s[:i], s[i+len("@sha1:"):]
}

func (p *pass) refuse(guard, why string, args ...any) *Refusal {
	return &Refusal{App: p.app.Name, Head: p.head, Guard: guard, Why: fmt.Sprintf(why, args...)}
}

// prunesTooMuch refuses a revision that leaves out more than the app allows.
func (p *pass) prunesTooMuch() *Refusal {
	if why := p.street.tooMuch(p.app, p.inv, p.targets); why != "" {
		return p.refuse(GuardPrune, "%s", why)
	}
	return nil
}

// tooMuch asks the neighbours only where it would be too much without them. What
// may have moved, as far as a neighbour that does not build can tell, did not.
func (s street) tooMuch(a App, inv *Inventory, targets []*target) string {
	why := tooMuch(a, inv, targets, nil)
	if why != "" {
		why = tooMuch(a, inv, targets, s.moved)
	}
	return why
}

// A revision may leave out so many objects, or so much of what was applied.
const (
	fewPruned       = 4
	defaultMaxPrune = 30 // percent
)

// tooMuch says why a revision must not be applied for what it leaves out: all, as
// a wrong overlay does, or more than the app allows, as a bad merge or a wrong
// path does. Entries that stay for a reason of their own do not count, nor those
// that stays, if given, knows of.
func tooMuch(a App, inv *Inventory, targets []*target, stays func(key) bool) string {
	counted, leaving := 0, 0
	for _, en := range inv.Objects {
		if en.Left == "" {
			counted++
		}
	}
	for _, en := range inv.without(targets) {
		if en.Left == "" && (stays == nil || !stays(keyOf(en.Object))) {
			leaving++
		}
	}
	if len(targets) == 0 {
		if leaving == 0 || a.AllowEmpty {
			return ""
		}
		return fmt.Sprintf("the build has no objects, and %d were applied before (allowEmpty is not set)", counted)
	}
	most := defaultMaxPrune
	if a.MaxPrune != nil {
		most = *a.MaxPrune
	}
	if !a.Prune || leaving <= fewPruned || leaving*100 <= most*counted {
		return ""
	}
	return fmt.Sprintf("%d of %d objects left the build, more than maxPrune allows (%d %%)", leaving, counted, most)
}
