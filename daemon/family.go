package daemon

import (
	"context"
	"fmt"
	"strings"

	"hoist/bump"
	"hoist/reconcile"
)

// Family is an app with the objects of its inventory as they stand in the cluster.
type Family struct {
	App       bump.Name
	Cluster   string
	Inventory reconcile.Inventory
	Left      string // what becomes of an app that has no entry
	Members   []reconcile.Member
}

// Family reads an app's objects and what they own, also of an app that has left
// the configuration. It changes nothing.
func (h *House) Family(ctx context.Context, name bump.Name) (Family, error) {
	f := Family{App: name}
	var app reconcile.App
	var e *reconcile.Engine
	left, err := h.left(ctx, name)
	if err != nil {
		return f, err
	}
	if left != nil {
		f.Cluster, f.Left = left.Cluster, left.String()
		e, err = left.at.engine(ctx, left.account)
	}
	for _, a := range h.Config.Apply {
		if a.Name == name {
			f.Cluster, app = a.ClusterName(), a.App
			e, err = h.clusters.ready(ctx, a)
		}
	}
	if err != nil {
		return f, err
	}
	if f.Inventory, err = e.Inventory(ctx, name); err != nil {
		return f, err
	}
	f.Members, err = e.Family(ctx, app, f.Inventory)
	return f, err
}

// left returns an app that has no entry, nil where it has one.
func (h *House) left(ctx context.Context, name bump.Name) (*Leftover, error) {
	for _, a := range h.Config.Apply {
		if a.Name == name {
			return nil, nil
		}
	}
	all, err := h.Leftovers(ctx)
	for i := range all {
		if all[i].App == name {
			return &all[i], nil
		}
	}
	if err == nil {
		err = fmt.Errorf("there is no app %s", name)
	}
	return nil, err
}

// AppNamed finds the app that people mean by NAME or NAMESPACE:NAME, in the
// configuration or among those that have left it.
func (h *House) AppNamed(ctx context.Context, name string) (bump.Name, error) {
	var found []bump.Name
	var there []string
	look := func(n bump.Name) {
		there = append(there, reconcile.Subject{Kind: "apply", Name: n}.String())
		if n.Name == name || n.String() == name {
			found = append(found, n)
		}
	}
	for _, a := range h.Config.Apply {
		look(a.Name)
	}
	if len(found) == 0 {
		left, err := h.Leftovers(ctx)
		if err != nil {
			return bump.Name{}, err
		}
		for _, l := range left {
			look(l.App)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return bump.Name{}, fmt.Errorf("%q means several apps: say NAMESPACE:NAME", name)
	case len(there) == 0:
		return bump.Name{}, fmt.Errorf("there is no apply/%s: the configuration has no such entries", name)
	}
	return bump.Name{}, fmt.Errorf("there is no apply/%s; there are %s", name, strings.Join(there, ", "))
}
