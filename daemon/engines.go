package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"k8s.io/client-go/rest"

	"hoist/bump"
	"hoist/config"
	"hoist/reconcile"
)

// connect opens the way to a cluster.
func (h *House) connect(rc *rest.Config) (*reconcile.Cluster, error) {
	return reconcile.Connect(rc, h.log.Named("reconcile"))
}

// openEngine returns a new engine for an account of a cluster.
func (h *House) openEngine(c *reconcile.Cluster, account string) (*reconcile.Engine, error) {
	return c.Engine(reconcile.Options{
		Log: h.log.Named("reconcile"), Namespace: cmp.Or(h.opt.Namespace, defaultSystemNamespace), Now: h.opt.Now, Build: h.build,
		Account: account, Home: h.home,
		Drifted: h.status.drifted, Neighbours: h.census.neighbours, Lineage: h.lineage, Owner: h.opt.Instance, Pod: ownPod(h.opt),
	})
}

// home leads to the cluster where we run, in which people ask for things.
func (h *House) home() (*reconcile.Cluster, error) {
	if !h.Controlled() {
		return nil, errors.New("no cluster is known in which hoist runs: name one with --kubeconfig FILE")
	}
	return h.clusters.home.reach(context.Background())
}

// Engine returns the reconciler of the cluster where we run, under our own account.
func (h *House) Engine() (*reconcile.Engine, error) {
	return h.clusters.home.engine(context.Background(), "")
}

// EngineOf returns the reconciler of an app: of its cluster, under its account.
func (h *House) EngineOf(ctx context.Context, name bump.Name) (*reconcile.Engine, error) {
	for _, app := range h.Config.Apply {
		if app.Name == name {
			return h.engineOf(ctx, app)
		}
	}
	return nil, fmt.Errorf("there is no app %s", name)
}

func (h *House) engineOf(ctx context.Context, app config.App) (*reconcile.Engine, error) {
	return h.clusters.of(app).engine(ctx, app.Account())
}

// near picks those of others that are applied to the same cluster as an app.
func (h *House) near(ctx context.Context, app bump.Name, others []config.App) []config.App {
	var at *site
	for _, a := range h.Config.Apply {
		if a.Name == app {
			at = h.clusters.of(a)
		}
	}
	same := h.clusters.sameAs(ctx, at, others)
	return slices.DeleteFunc(slices.Clone(others), func(a config.App) bool { return !same[siteOf(a)] })
}

// Controls reads what people asked of the entries at run time.
func (h *House) Controls(ctx context.Context) (map[reconcile.Subject]reconcile.Control, error) {
	if !h.Controlled() {
		return nil, nil
	}
	e, err := h.Engine()
	if err != nil {
		return nil, err
	}
	return e.Controls(ctx)
}

// Recorded is what its cluster remembers of an app, or why that is not known.
type Recorded struct {
	App       config.App
	Inventory reconcile.Inventory
	Err       error
}

// Recorded reads the inventory of every app, in the order of the configuration.
// The clusters are asked at the same time: one that does not answer keeps its own
// apps waiting.
func (h *House) Recorded(ctx context.Context) ([]Recorded, error) {
	all := make([]Recorded, len(h.Config.Apply))
	apps := map[siteKey][]int{}
	for i, app := range h.Config.Apply {
		all[i].App = app
		apps[siteOf(app)] = append(apps[siteOf(app)], i)
	}
	var asked sync.WaitGroup
	for _, here := range apps {
		asked.Go(func() {
			for _, i := range here {
				all[i].Inventory, all[i].Err = h.recorded(ctx, all[i].App)
			}
		})
	}
	asked.Wait()
	var failed []error
	for _, r := range all {
		if r.Err != nil {
			failed = append(failed, fmt.Errorf("app %s: %w", r.App.Name.Name, r.Err))
		}
	}
	return all, errors.Join(failed...)
}

func (h *House) recorded(ctx context.Context, app config.App) (reconcile.Inventory, error) {
	e, err := h.clusters.ready(ctx, app)
	if err != nil {
		return reconcile.Inventory{}, err
	}
	return e.Inventory(ctx, app.Name)
}

// On is "app on cluster", or the app alone where it is applied where we run.
func On(app, cluster string) string {
	if cluster == "" {
		return app
	}
	return app + " on " + cluster
}
