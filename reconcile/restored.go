package reconcile

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"go.uber.org/zap"

	"hoist/bump"
)

// An API server whose storage is restored from a backup goes back in time (C26):
// objects of then are there again, those made since are gone, and the inventories
// are of then as well. What is remembered is wrong at once. It shows in versions
// that are lower than those seen before: of an inventory, or of a list.

// trusted reads the inventory for whoever is about to write, and notices when it
// is older than this process left it.
func (e *Engine) trusted(ctx context.Context, past *past, app bump.Name) (*Inventory, error) {
	before := past.lastVersion()
	inv, err := e.inventory(ctx, app)
	if err != nil || before == 0 {
		return inv, err
	}
	now := uint64(0) // it is gone
	if inv.live != nil {
		now = versionOf(inv.live.GetResourceVersion())
	}
	if now < before && (now > 0 || inv.live == nil) {
		e.doubt("inventory of " + app.String())
	}
	return inv, nil
}

// doubt forgets what is remembered of all apps, and has them looked at.
func (e *Engine) doubt(what string) {
	e.mu.Lock()
	all := slices.Collect(maps.Values(e.apps))
	e.mu.Unlock()
	for _, p := range all {
		p.doubt()
	}
	e.watches.mu.Lock()
	clear(e.watches.versions)
	var wakes []func()
	for _, f := range e.watches.followers {
		wakes = append(wakes, f.wake)
	}
	e.watches.mu.Unlock()
	e.log.Error("the api server went back to an older state, as after a restore from a backup: everything is compared and applied again, and what left Git is deleted at the look after that",
		zap.String("seen", what))
	for _, wake := range wakes {
		wake()
	}
}

func (p *past) doubt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.objects)
	clear(p.fights)
	clear(p.told)
	p.at, p.version, p.doubted = standing{}, 0, true
}

// Doubts tells whether what is remembered of an app is from before the API server
// went back to an older state: only a look at all of it helps.
func (e *Engine) Doubts(app bump.Name) bool {
	p := e.past(app)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.doubted
}

// believes ends the doubt, after a pass over all of the app that deleted nothing.
func (p *past) believes() (postponed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	postponed, p.doubted = p.doubted, false
	return postponed
}

// owes notes whether something is to be deleted at the next look.
func (p *past) owes(deletions bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owing = deletions
}

// restless tells whether another look is due although no watch saw anything.
func (p *past) restless() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.doubted || p.owing || p.at.going
}

// postponed is why nothing is deleted in the first pass after the API server went back.
const postponed = "the api server went back to an older state: it is deleted at the next look"

func (p *past) lastVersion() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.version
}

// wrote notes the version of the inventory that was written.
func (p *past) wrote(version string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.version = max(p.version, versionOf(version))
}

// versionOf returns a resource version as a number to compare, 0 for one that is
// not: those of an aggregated API may be anything.
func versionOf(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// wentBack takes in the version of a list, or of an event, of a place and tells
// whether an older one was seen before a newer.
func (w *watches) wentBack(p place, version string, list bool) bool {
	now := versionOf(version)
	w.mu.Lock()
	defer w.mu.Unlock()
	if now == 0 {
		return false
	}
	before := w.versions[p]
	if now > before || list {
		w.versions[p] = now
	}
	return list && now < before
}
