package daemon

import (
	"context"
	"fmt"
	"io/fs"
	"sync"

	"hoist/bump"
	"hoist/config"
	"hoist/reconcile"
)

// census knows which objects each app of a repository has at its newest revision,
// also of apps that are suspended. An app is built for it only when somebody asks,
// and again only when its files changed.
type census struct {
	apps  []config.App
	near  nearFunc
	build reconcile.BuildFunc

	mu      sync.Mutex
	newest  map[bump.Name]revision // by repository
	counted map[bump.Name]countedApp

	counting sync.Mutex // one count at a time, so that nothing is built twice
}

// nearFunc picks those of others that are applied to the cluster of an app.
type nearFunc func(ctx context.Context, app bump.Name, others []config.App) []config.App

type countedApp struct {
	reconcile.Neighbour
	inputs *reconcile.Set // what was read; the objects are left out
	from   fs.FS
}

func newCensus(apps []config.App, near nearFunc, build reconcile.BuildFunc) *census {
	return &census{apps: apps, near: near, build: build, newest: map[bump.Name]revision{}, counted: map[bump.Name]countedApp{}}
}

// arrived tells of a new revision, before any app is offered it.
func (c *census) arrived(r revision) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.newest[r.head.Repository] = r
}

// neighbours returns the other apps on the repository and the cluster of app, as they are at h.
// Of a revision that is not the newest nothing is said: others may be further.
func (c *census) neighbours(ctx context.Context, app bump.Name, h bump.Head) ([]reconcile.Neighbour, error) {
	c.mu.Lock()
	r, ok := c.newest[h.Repository]
	c.mu.Unlock()
	if !ok || r.head != h {
		return nil, fmt.Errorf("commit %s is not the newest any more, the newer one decides", bump.Short(h.Hash))
	}
	var others []config.App
	for _, a := range c.apps {
		if a.RepositoryName == h.Repository && a.Name != app {
			others = append(others, a)
		}
	}
	others = c.near(ctx, app, others)
	c.counting.Lock()
	defer c.counting.Unlock()
	var all []reconcile.Neighbour
	for _, a := range others {
		all = append(all, c.count(ctx, a, r))
	}
	return all, ctx.Err()
}

// count builds an app at a revision, unless nothing of it changed.
func (c *census) count(ctx context.Context, a config.App, r revision) reconcile.Neighbour {
	c.mu.Lock()
	n, ok := c.counted[a.Name]
	c.mu.Unlock()
	if ok && sameInputs(n.inputs, n.from, r.tree) {
		return n.Neighbour
	}
	set, err := c.build(ctx, r.tree, a.App)
	if err != nil {
		return reconcile.NeighbourOf(a.App, nil, err)
	}
	return c.built(a, set, r.tree)
}

// built takes in what an app was built to, by whomever.
func (c *census) built(a config.App, set *reconcile.Set, tree fs.FS) reconcile.Neighbour {
	n := countedApp{reconcile.NeighbourOf(a.App, set, nil), &reconcile.Set{Files: set.Files, Dirs: set.Dirs}, tree}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counted[a.Name] = n
	return n.Neighbour
}

// all returns apps as they are at the newest revisions, or an error while one of
// these is not known.
func (c *census) all(ctx context.Context, apps []config.App) ([]reconcile.Neighbour, error) {
	c.counting.Lock()
	defer c.counting.Unlock()
	var all []reconcile.Neighbour
	for _, a := range apps {
		c.mu.Lock()
		r, ok := c.newest[a.RepositoryName]
		c.mu.Unlock()
		if !ok {
			return nil, fmt.Errorf("repository %s of app %s has not been read yet", a.RepositoryName.Name, a.Name)
		}
		all = append(all, c.count(ctx, a, r))
	}
	return all, ctx.Err()
}
