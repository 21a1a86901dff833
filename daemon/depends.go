package daemon

import (
	"encoding/json"
	"fmt"

	"hoist/bump"
	"hoist/config"
	"hoist/reconcile"
)

// need is an app that another one waits for, and its own word for when it is ready.
type need struct {
	on    *applier
	ready reconcile.ReadyExpr
}

// standing is how far an app is, as others may see it. The words are Flux's.
type standing struct {
	attempted bump.Head // the last revision that was tried
	ready     string    // True, False, or Unknown while nobody can tell
	reason    string
	message   string
}

const (
	standsReady      = "ReconciliationSucceeded"
	standsFailed     = "ReconciliationFailed"
	standsUnhealthy  = "HealthCheckFailed"
	standsOnItsWay   = "Progressing"
	standsDependency = "DependencyNotReady"
)

// standingOf is where an app stands after an apply.
func standingOf(r bump.Result, err error) standing {
	switch {
	case err != nil:
		return standing{r.Head, "False", standsFailed, err.Error()}
	case !r.Ready:
		return standing{r.Head, "False", standsUnhealthy, r.Reason}
	}
	return standing{r.Head, "True", standsReady, "Applied revision: " + r.Head.String()}
}

// stand lets others see where the app stands now, and wakes who waits for it if
// that is news.
func (a *applier) stand(s standing) {
	a.mu.Lock()
	if s.attempted == (bump.Head{}) {
		s.attempted = a.stands.attempted
	}
	news := a.stands != s
	a.stands = s
	a.mu.Unlock()
	if news {
		for _, f := range a.feeds {
			f.wake()
		}
	}
}

// blocked returns what the app waits for before head: a dependency on the same
// repository has to be ready at the same revision, another one at any, unless an
// expression says otherwise.
func (a *applier) blocked(head bump.Head) string {
	for _, n := range a.needs {
		n.on.mu.Lock()
		ready, stands := n.on.ready, n.on.stands
		n.on.mu.Unlock()
		if !n.ready.IsZero() {
			a.mu.Lock()
			own, was := a.stands, a.ready
			a.mu.Unlock()
			own.attempted = head
			if why := waitsFor(n.ready, asFlux(a.app, own, was), n.on.app, stands, ready); why != "" {
				return why
			}
			continue
		}
		if ready.Hash == "" || (ready.Repository == head.Repository && ready != head) {
			return fmt.Sprintf("waits for %s", n.on.app.Name.Name)
		}
	}
	return ""
}

// waitsFor says why an expression does not let an app pass; empty when it does.
func waitsFor(ready reconcile.ReadyExpr, self map[string]any, app config.App, stands standing, applied bump.Head) string {
	holds, err := ready.Holds(self, asFlux(app, stands, applied))
	switch {
	case err != nil:
		return fmt.Sprintf("waits for %s: readyExpr %v", app.Name.Name, err)
	case !holds:
		return fmt.Sprintf("waits for %s: its readyExpr is not true", app.Name.Name)
	}
	return ""
}

// passed is an app that was applied once.
type passed struct {
	app     config.App
	stands  standing
	applied bump.Head // no hash where it is not ready
}

func passedBy(app config.App, r bump.Result, err error) passed {
	p := passed{app: app, stands: standingOf(r, err)}
	if p.stands.ready == "True" {
		p.applied = r.Head
	}
	return p
}

// keeps says why the app keeps another one from being applied at head.
func (p passed) keeps(other config.App, ready reconcile.ReadyExpr, head bump.Head) string {
	switch {
	case !ready.IsZero():
		return waitsFor(ready, asFlux(other, standing{attempted: head}, bump.Head{}), p.app, p.stands, p.applied)
	case p.applied.Hash == "":
		return fmt.Sprintf("waits for %s, which is not ready", p.app.Name.Name)
	}
	return ""
}

// asFlux is an app in the form that a Kustomization of Flux has, for expressions.
// What is in it is documented in docs/apply.md.
func asFlux(app config.App, s standing, applied bump.Head) map[string]any {
	spec := map[string]any{}
	if text, err := json.Marshal(app.App); err == nil {
		_ = json.Unmarshal(text, &spec)
	}
	spec["sourceRef"] = map[string]any{"kind": "GitRepository", "name": app.RepositoryName.Name, "namespace": app.RepositoryName.Namespace}
	labels := map[string]any{}
	for k, v := range app.Labels {
		labels[k] = v
	}
	if s.ready == "" {
		s.ready, s.reason, s.message = "Unknown", standsOnItsWay, "not applied yet"
	}
	// The configuration has no generations: what is in use is what is observed.
	const generation = int64(1)
	status := map[string]any{
		"observedGeneration": generation,
		"conditions": []any{map[string]any{
			"type": "Ready", "status": s.ready, "reason": s.reason, "message": s.message, "observedGeneration": generation,
		}},
	}
	for name, h := range map[string]bump.Head{"lastAppliedRevision": applied, "lastAttemptedRevision": s.attempted} {
		if h.Hash != "" {
			status[name] = h.String()
		}
	}
	return map[string]any{
		"metadata": map[string]any{"name": app.Name.Name, "namespace": app.Name.Namespace, "labels": labels, "generation": generation},
		"spec":     spec,
		"status":   status,
	}
}
