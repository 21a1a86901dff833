package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"hoist/bump"
	"hoist/config"
	"hoist/reconcile"
)

// Planned is the proposal for one repository, or what stopped it.
type Planned struct {
	Repository bump.Name
	Proposal   Proposal
	Err        error
}

// Plan proposes for every repository that has an update. It writes nothing but
// the mirror, which is a cache. Scan comes first.
func (h *House) Plan(ctx context.Context) []Planned {
	var all []Planned
	for _, r := range h.awake() {
		w, _, err := h.walker(r)
		if err == nil && len(w.updates) == 0 {
			continue
		}
		p := Planned{Repository: r.Name, Err: err}
		if err == nil {
			w.lookUp = h.electAll
			p.Proposal, p.Err = w.propose(ctx, h.board.current)
		}
		all = append(all, p)
	}
	return all
}

// PassOf is a pass over one repository, or what stopped it.
type PassOf struct {
	Repository bump.Name
	Pass       Pass
	Err        error
}

// Push walks every repository once: proposes, commits and pushes. Scan comes first.
func (h *House) Push(ctx context.Context) []PassOf {
	var all []PassOf
	for _, r := range h.awake() {
		p := PassOf{Repository: r.Name}
		w, m, err := h.walker(r)
		if err == nil {
			w.lookUp = h.electAll
			p.Pass, err = w.pass(ctx, h.board.current, m.Push)
		}
		p.Err = err
		all = append(all, p)
	}
	return all
}

// Carry pushes exactly what was planned. Where the remote has moved since, the
// error is gitpush.ErrMoved and nothing was pushed there.
func (h *House) Carry(ctx context.Context, planned []Planned) []PassOf {
	var all []PassOf
	for _, p := range planned {
		done := PassOf{Repository: p.Repository, Pass: Pass{Proposal: p.Proposal}, Err: p.Err}
		if p.Err == nil && len(p.Proposal.Drafts) > 0 {
			done.Pass.Commits, done.Err = h.push(ctx, p)
		}
		all = append(all, done)
	}
	return all
}

func (h *House) push(ctx context.Context, p Planned) ([]bump.Commit, error) {
	r, _ := h.Config.Repository(p.Repository)
	m, err := h.Mirror(r)
	if err != nil {
		return nil, err
	}
	return m.Push(ctx, p.Proposal.Head, p.Proposal.Drafts)
}

// AppOf is the outcome of one app, or what stopped it.
type AppOf struct {
	App     bump.Name
	Cluster string // "" for the one where we run
	Result  bump.Result
	Err     error
}

// Apply applies every app at the given heads and waits for the health that it
// asks for, an app after those it depends on. A failing app stops its
// dependents and nobody else.
func (h *House) Apply(ctx context.Context, heads map[bump.Name]bump.Head) []AppOf {
	var all []AppOf
	before := make(map[bump.Name]passed)
	asked, err := h.Controls(ctx)
	for _, app := range inOrder(h.Config.Apply) {
		if err != nil { // it could be suspended
			all = append(all, AppOf{App: app.Name, Cluster: app.ClusterName(), Err: fmt.Errorf("apply %s: %w", app.Name.Name, err)})
			continue
		}
		if h.rests(app) || asked[appSubject(app.Name)].Suspended.At(h.opt.Now()) {
			continue // who depends on it does not wait for it
		}
		result, err := h.applyOnce(ctx, app, heads, before)
		before[app.Name] = passedBy(app, result, err)
		all = append(all, AppOf{App: app.Name, Cluster: app.ClusterName(), Result: result, Err: err})
	}
	return all
}

func (h *House) applyOnce(ctx context.Context, app config.App, heads map[bump.Name]bump.Head, before map[bump.Name]passed) (bump.Result, error) {
	for i, dep := range dependencies(app) {
		if p, was := before[dep]; was {
			if why := p.keeps(app, app.DependsOn[i].ReadyExpr, heads[app.RepositoryName]); why != "" {
				return bump.Result{App: app.Name}, fmt.Errorf("apply %s: %s", app.Name.Name, why)
			}
		}
	}
	revision, err := h.revision(app, heads)
	if err != nil {
		return bump.Result{App: app.Name}, fmt.Errorf("apply %s: %w", app.Name.Name, err)
	}
	engine, err := h.clusters.ready(ctx, app)
	if err != nil {
		return bump.Result{App: app.Name}, fmt.Errorf("apply %s: %w", app.Name.Name, err)
	}
	h.census.arrived(revision)
	result, err := engine.Apply(ctx, app.App, revision.tree, revision.head)
	if err != nil || !asksForHealth(app.App) {
		return result, err
	}
	return engine.Health(ctx, app.App, result)
}

// revision opens the tree that an app is to be applied from.
func (h *House) revision(app config.App, heads map[bump.Name]bump.Head) (revision, error) {
	head, ok := heads[app.RepositoryName]
	if !ok {
		return revision{}, fmt.Errorf("repository %s could not be read", app.RepositoryName.Name)
	}
	h.mu.Lock()
	m := h.mirrors[app.RepositoryName]
	h.mu.Unlock()
	tree, err := m.Tree(head)
	return revision{head, tree}, err
}

// Heads fetches every repository and returns the heads of those that answered.
func (h *House) Heads(ctx context.Context) (map[bump.Name]bump.Head, error) {
	heads := make(map[bump.Name]bump.Head)
	var failed []error
	for _, r := range h.awake() {
		m, err := h.Mirror(r)
		if err == nil {
			heads[r.Name], err = m.Fetch(ctx)
		}
		if err != nil {
			delete(heads, r.Name)
			failed = append(failed, err)
		}
	}
	return heads, errors.Join(failed...)
}

// Difference is what an apply of an app would change.
type Difference struct {
	App         bump.Name
	Cluster     string // "" for the one where we run
	Head        bump.Head
	Differences []reconcile.Difference
	Left        string // what becomes of an app that is not in the configuration; empty for those that are
	Err         error
}

// Diff compares every app's newest revision with the cluster. Only dry runs
// reach the API server.
func (h *House) Diff(ctx context.Context, heads map[bump.Name]bump.Head) []Difference {
	var all []Difference
	for _, app := range inOrder(h.Config.Apply) {
		if h.rests(app) {
			continue
		}
		d := Difference{App: app.Name, Cluster: app.ClusterName(), Head: heads[app.RepositoryName]}
		engine, err := h.clusters.ready(ctx, app)
		if err == nil {
			var r revision
			if r, err = h.revision(app, heads); err == nil {
				h.census.arrived(r)
				d.Differences, err = engine.Diff(ctx, app.App, r.tree, r.head)
			}
			if refused := refusalOf(err); refused != nil {
				refused.Head = d.Head
			}
		}
		d.Err = err
		all = append(all, d)
	}
	return all
}

// DiffPlanned compares the cluster with what the repositories would hold after
// the pushes of a plan. Only dry runs reach the API server. It is for a house
// that does not run: the census takes the plan for what is there.
func (h *House) DiffPlanned(ctx context.Context, planned []Planned) []Difference {
	var all []Difference
	for _, app := range inOrder(h.Config.Apply) {
		i := slices.IndexFunc(planned, func(p Planned) bool { return p.Repository == app.RepositoryName })
		if i < 0 || planned[i].Err != nil || len(planned[i].Proposal.Drafts) == 0 || h.rests(app) {
			continue
		}
		proposal := planned[i].Proposal
		d := Difference{App: app.Name, Cluster: app.ClusterName(), Head: proposal.Head}
		engine, err := h.clusters.ready(ctx, app)
		if err == nil {
			r := revision{proposal.Head, newOverlay(proposal.Tree, proposal.Drafts)}
			h.census.arrived(r)
			d.Differences, err = engine.Diff(ctx, app.App, r.tree, r.head)
		}
		d.Err = err
		all = append(all, d)
	}
	return all
}

// dependencies returns the apps that app waits for.
func dependencies(app config.App) []bump.Name {
	var names []bump.Name
	for _, d := range app.DependsOn {
		names = append(names, bump.Name{Namespace: cmp.Or(d.Namespace, app.Name.Namespace), Name: d.Name})
	}
	return names
}

// inOrder returns apps so that each stands behind those it depends on; the
// configuration has been checked for cycles.
func inOrder(apps []config.App) []config.App {
	byName := make(map[bump.Name]config.App, len(apps))
	for _, a := range apps {
		byName[a.Name] = a
	}
	var ordered []config.App
	done := make(map[bump.Name]bool)
	var visit func(a config.App)
	visit = func(a config.App) {
		if done[a.Name] {
			return
		}
		done[a.Name] = true
		for _, d := range dependencies(a) {
			visit(byName[d])
		}
		ordered = append(ordered, a)
	}
	for _, a := range apps {
		visit(a)
	}
	return ordered
}
