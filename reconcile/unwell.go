package reconcile

import (
	"context"
	"fmt"
	"slices"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"

	"hoist/bump"
)

// checked are the keys that the app's health checks may mean: whether a kind
// lives in namespaces is not known here.
func (a App) checked() []key {
	var all []key
	for _, h := range a.HealthChecks {
		k := keyOf(h.object())
		if k.namespace == "" {
			all = append(all, k)
			k.namespace = a.home()
		}
		all = append(all, k)
	}
	return all
}

// changesHealth takes in the health that a watch saw and tells whether it is news.
func (w *watches) changesHealth(k key, o observation, marked bump.Name) bool {
	f := w.followers[marked]
	if f == nil || !o.whole {
		return false
	}
	f.past.mu.Lock()
	defer f.past.mu.Unlock()
	was, ok := f.past.objects[k]
	if !ok || was.uid != o.uid || o.generation < was.generation || was.health == o.health {
		return false
	}
	news := was.health.status != o.health.status || o.health.status != current
	was.generation, was.health = o.generation, o.health
	f.past.objects[k] = was
	return news
}

// healthOf returns the health of an object that some app applied.
func (w *watches) healthOf(k key) (health, bool) {
	for _, f := range w.followers {
		if was, ok := f.past.get(k); ok {
			return was.health, true
		}
	}
	return health{}, false
}

// Unwell lists the objects that the app asks to be healthy and that are not, as
// the watches saw them last: failed are those that do not come back by
// themselves, pending may be on their way. It sends no request. Objects that no
// app applied are not watched, and not in it.
func (e *Engine) Unwell(a App) (failed, pending []string) {
	w := e.watches
	w.mu.Lock()
	defer w.mu.Unlock()
	asked := map[key]health{}
	if f := w.followers[a.Name]; f != nil && a.Wait {
		f.past.mu.Lock()
		for k, was := range f.past.objects {
			asked[k] = was.health
		}
		f.past.mu.Unlock()
	}
	if f := w.followers[a.Name]; f != nil {
		for k := range f.checks {
			if h, ok := w.checkOf(f, k); ok {
				asked[k] = h
			}
		}
	}
	for k, h := range asked {
		line := fmt.Sprintf("%s: %s", bump.Object{Kind: k.kind, Namespace: k.namespace, Name: k.name}, h)
		switch h.status {
		case current:
		case status.FailedStatus, status.NotFoundStatus:
			failed = append(failed, line)
		default:
			pending = append(pending, line)
		}
	}
	slices.Sort(failed)
	slices.Sort(pending)
	return failed, pending
}

// RecordHealth writes what became of an app's health into its inventory, unless
// another revision has been applied since.
func (e *Engine) RecordHealth(ctx context.Context, r bump.Result) error {
	done, err := e.past(r.App).turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	return e.recordHealth(ctx, r)
}
