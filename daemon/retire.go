package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"hoist/bump"
	"hoist/config"
	"hoist/reconcile"
)

// Leftover is an app with an inventory in a cluster and no entry in the
// configuration.
type Leftover struct {
	App     bump.Name
	Cluster string // "" for the one where we run
	Objects int    // in its inventory, before anything was deleted
	Stay    string // why they stay; empty when they are deleted
	Result  bump.Result
	Err     error

	at      *site
	account string // under which they were applied
}

// String is for people: "left the configuration, its 3 objects stay: …".
func (l Leftover) String() string {
	switch {
	case l.Err != nil:
		return "left the configuration: " + l.Err.Error()
	case l.Stay != "":
		return fmt.Sprintf("left the configuration, its %d objects stay: %s", l.Objects, l.Stay)
	case l.Result.Reason != "":
		return l.Result.Reason
	case l.Result.Finished.IsZero():
		return "left the configuration, to be deleted by its deletionPolicy"
	}
	return fmt.Sprintf("left the configuration, %d objects deleted", l.Result.Counts()[bump.Deleted])
}

// Orphaned tells whether they stay because nobody asked for anything else.
func (l Leftover) Orphaned() bool { return l.Err == nil && l.Stay == reconcile.Orphaned }

// Leftovers looks at the inventories that have no entry, and changes nothing.
func (h *House) Leftovers(ctx context.Context) ([]Leftover, error) {
	return h.leftovers(ctx, nil)
}

// leftovers finds the inventories without an entry and why their objects stay, in
// all clusters that the configuration names. Those of entries are handed to known.
func (h *House) leftovers(ctx context.Context, known func(*reconcile.Engine, config.App, reconcile.Listed) error) ([]Leftover, error) {
	var all []Leftover
	var failed []error
	for _, s := range h.clusters.all() {
		if s.secret == nil && !h.Controlled() {
			continue
		}
		left, err := h.leftoversOn(ctx, s, known)
		all, failed = append(all, left...), append(failed, s.about(err))
	}
	return all, errors.Join(failed...)
}

// all returns the clusters, the one where we run first.
func (c *clusters) all() []*site {
	var all []*site
	for _, s := range c.sites {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *site) int { return strings.Compare(a.name, b.name) })
	return all
}

func (h *House) leftoversOn(ctx context.Context, s *site, known func(*reconcile.Engine, config.App, reconcile.Listed) error) ([]Leftover, error) {
	if s.secret != nil {
		if err := s.answers(ctx, reachTimeout, neighbourRest); err != nil {
			return nil, err
		}
	}
	e, err := s.engine(ctx, "")
	if err != nil {
		return nil, err
	}
	listed, err := e.Inventories(ctx)
	if err != nil {
		return nil, err
	}
	entries := make(map[bump.Name]config.App, len(h.Config.Apply))
	for _, a := range h.Config.Apply {
		entries[a.Name] = a
	}
	var all []Leftover
	var failed []error
	for _, l := range listed {
		a, ok := entries[l.App]
		switch {
		case !ok:
			all = append(all, h.leftover(ctx, s, e, l.App))
		case known != nil && h.clusters.of(a) == s:
			as, err := s.engine(ctx, a.Account())
			if err == nil {
				err = known(as, a, l)
			}
			failed = append(failed, err)
		}
	}
	return all, errors.Join(failed...)
}

func (h *House) leftover(ctx context.Context, s *site, e *reconcile.Engine, app bump.Name) Leftover {
	l := Leftover{App: app, Cluster: s.name, at: s}
	inv, err := e.Inventory(ctx, app)
	if err == nil {
		l.Objects, l.account = len(inv.Objects), inv.Account
		l.Stay, err = e.Stays(ctx, inv)
	}
	switch l.Err = err; {
	case err != nil || l.Stay != "":
	case len(h.Config.Apply) == 0:
		l.Stay = "the configuration has no entries of apply at all, which may be a mistake"
	}
	return l
}

// wanted returns the apps of the configuration that go to the cluster of l.
func (h *House) wanted(ctx context.Context, l Leftover) func() ([]reconcile.Neighbour, error) {
	return func() ([]reconcile.Neighbour, error) {
		same := h.clusters.sameAs(ctx, l.at, h.Config.Apply)
		here := slices.DeleteFunc(slices.Clone(h.Config.Apply), func(a config.App) bool { return !same[siteOf(a)] })
		return h.census.all(ctx, here)
	}
}

// Retire deletes what entries applied that are not in the configuration any more,
// where they said so, and tells of all that have an inventory. heads are those
// that the apps were applied from.
func (h *House) Retire(ctx context.Context, heads map[bump.Name]bump.Head) ([]Leftover, error) {
	h.arrive(heads)
	asked, err := h.Controls(ctx)
	if err != nil {
		return nil, err
	}
	return h.retire(ctx, func(n bump.Name) *reconcile.Suspension {
		if s := asked[appSubject(n)].Suspended; s.At(h.opt.Now()) {
			return s
		}
		return nil
	})
}

// arrive tells the census of the revisions that were fetched.
func (h *House) arrive(heads map[bump.Name]bump.Head) {
	for _, a := range h.Config.Apply {
		if r, err := h.revision(a, heads); err == nil {
			h.census.arrived(r)
		}
	}
}

func (h *House) retire(ctx context.Context, suspended func(bump.Name) *reconcile.Suspension) ([]Leftover, error) {
	all, err := h.leftovers(ctx, func(e *reconcile.Engine, a config.App, l reconcile.Listed) error {
		a.App.Suspend = h.rests(a)
		return e.Register(ctx, a.App, l)
	})
	for i := range all {
		l := &all[i]
		if s := suspended(l.App); s != nil && l.Stay == "" {
			l.Stay = s.String()
		}
		if l.Err == nil && l.Stay == "" {
			l.Result, l.Err = h.giveUp(ctx, *l)
		}
	}
	return all, err
}

// longestRetirement is how long the objects of one app may take to go; those that
// take longer are looked at again.
const longestRetirement = 5 * time.Minute

func (h *House) giveUp(ctx context.Context, l Leftover) (bump.Result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, longestRetirement, fmt.Errorf("not after %s", longestRetirement))
	defer cancel()
	e, err := l.at.engine(ctx, l.account)
	if err != nil {
		return bump.Result{App: l.App}, err
	}
	return e.Retire(ctx, l.App, h.wanted(ctx, l))
}

// DiffLeftovers tells what [House.Retire] would do. It fetches where something
// would be deleted: other apps may have it now.
func (h *House) DiffLeftovers(ctx context.Context) []Difference {
	left, err := h.Leftovers(ctx)
	var all []Difference
	if err != nil {
		all = append(all, Difference{Err: err})
	}
	if slices.ContainsFunc(left, func(l Leftover) bool { return l.Err == nil && l.Stay == "" }) {
		heads, _ := h.Heads(ctx) // what was not read is an app that may want anything
		h.arrive(heads)
	}
	for _, l := range left {
		d := Difference{App: l.App, Cluster: l.Cluster, Left: l.String(), Err: l.Err}
		if l.Err == nil && l.Stay == "" {
			d.Left = "left the configuration"
			d.Differences, d.Err = h.diffLeftover(ctx, l)
		}
		all = append(all, d)
	}
	return all
}

func (h *House) diffLeftover(ctx context.Context, l Leftover) ([]reconcile.Difference, error) {
	e, err := l.at.engine(ctx, l.account)
	if err != nil {
		return nil, err
	}
	inv, err := e.Inventory(ctx, l.App)
	if err != nil {
		return nil, err
	}
	return e.DiffRetired(ctx, inv, h.wanted(ctx, l))
}

// settle keeps the inventories in step with the configuration until nothing is
// left to do: they learn what becomes of their objects without an entry, and
// those without one are given up.
func (l *live) settle(ctx context.Context) {
	if !l.applies(ctx) {
		return
	}
	const first, longest = 500 * time.Millisecond, 10 * time.Minute
	log, told := l.house.log.Named("daemon"), map[string]string{}
	for pause := first; ; pause = min(2*pause, longest) {
		left, err := l.settleOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			log.Debug("inventories not compared with the configuration", zap.Error(err))
		}
		again := err != nil
		for _, o := range left {
			again = again || o.Stay == "" && (o.Err != nil || o.Result.Reason != "")
			app, reason := On(o.App.String(), o.Cluster), o.String()
			if told[app] != reason {
				told[app] = reason
				log.Warn("app left the configuration", zap.String("app", app), zap.String("reason", reason))
			}
		}
		l.house.status.left(left)
		if !again || Pause(ctx, pause) != nil {
			return
		}
	}
}

// applies tells whether the doors lead to clusters at all.
func (l *live) applies(ctx context.Context) bool {
	if l.engine == nil || len(l.appliers) == 0 && !l.house.Controlled() {
		return false
	}
	app := config.App{}
	if len(l.appliers) > 0 {
		app = l.appliers[0].app
	}
	e, err := l.engine(ctx, app)
	_, real := e.(*reconcile.Engine)
	return err != nil || real
}

func (l *live) settleOnce(ctx context.Context) (left []Leftover, err error) {
	defer recovered("compare inventories with the configuration", l.house.metrics.panics, &err)
	if why := l.house.controls.unknown(); why != "" {
		return nil, fmt.Errorf("what is suspended is not known: %s", why)
	}
	return l.house.retire(ctx, func(n bump.Name) *reconcile.Suspension { return l.house.controls.suspension(appSubject(n)) })
}
