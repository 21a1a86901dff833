package daemon

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"hoist/bump"
	"hoist/config"
)

// board holds what every policy selected from the newest complete tag list of
// its image. Scans write it, passes read it.
type board struct {
	policies map[bump.Name][]config.Policy // by the image they choose from
	byName   map[bump.Name]config.Policy

	mu         sync.RWMutex
	tags       map[bump.Name]bump.Tags      // by image
	selections map[bump.Name]bump.Selection // by policy
}

func newBoard(policies []config.Policy) *board {
	b := &board{
		policies:   make(map[bump.Name][]config.Policy),
		byName:     make(map[bump.Name]config.Policy),
		tags:       make(map[bump.Name]bump.Tags),
		selections: make(map[bump.Name]bump.Selection),
	}
	for _, p := range policies {
		b.policies[p.Image] = append(b.policies[p.Image], p)
		b.byName[p.Name] = p
	}
	return b
}

// update takes a tag list in. It returns the selections that it changed, and
// the policies whose choice may be another one now and has to be looked up
// first: until then their selection stays as it is.
func (b *board) update(image bump.Name, tags bump.Tags) (changed []bump.Selection, open []bump.Name) {
	for _, p := range b.policies[image] {
		first := provisional(p, tags)
		asks := p.Policy.Asks() // what these two ask for is part of the choice itself
		b.mu.Lock()
		before, known := b.selections[p.Name]
		switch {
		case known && before.Tag == first.Tag && before.Err == nil && len(before.PassedOver) == 0 && !asks.Every:
			before.Tags = tags
			b.selections[p.Name] = before
		case known && before.Err == nil && first.Err == nil, asks.Every, asks.Digest:
			open = append(open, p.Name)
		case !known || !sameChoice(before, first):
			changed = append(changed, first)
			b.selections[p.Name] = first
		}
		b.mu.Unlock()
	}
	b.mu.Lock()
	b.tags[image] = tags
	b.mu.Unlock()
	return changed, open
}

// list returns the newest complete tag list of an image, and false where there is none yet.
func (b *board) list(image bump.Name) (bump.Tags, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	tags, ok := b.tags[image]
	return tags, ok
}

// elected takes the result of an election in and tells whether it changed
// anything, and whether another tag, digest or error is selected now.
func (b *board) elected(s bump.Selection) (changed, news bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before, known := b.selections[s.Policy]
	b.selections[s.Policy] = s
	news = !known || before.Tag != s.Tag || before.Digest != s.Digest && before.Proven || text(before.Err) != text(s.Err)
	return !known || !sameChoice(before, s), news
}

// ballot returns a policy and the newest complete list that it chooses from,
// and false where there is no such list yet.
func (b *board) ballot(policy bump.Name) (config.Policy, bump.Tags, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	p, known := b.byName[policy]
	tags, read := b.tags[p.Image]
	return p, tags, known && read
}

// failed keeps why an image could not be read, for policies that have never had
// a tag list. Those that had one keep their selection.
func (b *board) failed(image bump.Name, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.tags[image]; ok {
		return
	}
	for _, p := range b.policies[image] {
		b.selections[p.Name] = bump.Selection{Policy: p.Name, Err: fmt.Errorf("its tags are not known: %w", err)}
	}
}

// inUse returns the tags that the policies of an image select; ok is false
// before its first tag list.
func (b *board) inUse(image bump.Name) (tags []string, ok bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, p := range b.policies[image] {
		if s := b.selections[p.Name]; s.Tag != "" {
			tags = append(tags, s.Tag)
		}
	}
	_, ok = b.tags[image]
	return tags, ok
}

// current returns the selections so far; the map is the caller's own.
func (b *board) current() map[bump.Name]bump.Selection {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return maps.Clone(b.selections)
}

// sameChoice tells whether two selections lead to the same plan.
func sameChoice(a, b bump.Selection) bool {
	return a.Tag == b.Tag && a.Digest == b.Digest && a.Proven == b.Proven && text(a.Err) == text(b.Err) &&
		slices.EqualFunc(a.PassedOver, b.PassedOver, func(x, y bump.PassedOver) bool { return x.Tag == y.Tag && x.Reason == y.Reason })
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// sortedNames returns the keys of m in the order of their spelling.
func sortedNames[V any](m map[bump.Name]V) []bump.Name {
	return slices.SortedFunc(maps.Keys(m), func(a, b bump.Name) int {
		return strings.Compare(a.String(), b.String())
	})
}
