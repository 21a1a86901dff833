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

	mu         sync.RWMutex
	tags       map[bump.Name]bump.Tags      // by image
	selections map[bump.Name]bump.Selection // by policy
}

func newBoard(policies []config.Policy) *board {
	b := &board{
		policies:   make(map[bump.Name][]config.Policy),
		tags:       make(map[bump.Name]bump.Tags),
		selections: make(map[bump.Name]bump.Selection),
	}
	for _, p := range policies {
		b.policies[p.Image] = append(b.policies[p.Image], p)
	}
	return b
}

// update takes a tag list in and returns the selections that it changed.
func (b *board) update(image bump.Name, tags bump.Tags) []bump.Selection {
	var changed []bump.Selection
	for _, p := range b.policies[image] {
		s := p.Policy.Select(tags)
		b.mu.Lock()
		if old, ok := b.selections[p.Name]; !ok || !sameChoice(old, s) {
			changed = append(changed, s)
		}
		b.selections[p.Name] = s
		b.mu.Unlock()
	}
	b.mu.Lock()
	b.tags[image] = tags
	b.mu.Unlock()
	return changed
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
	return a.Tag == b.Tag && a.Digest == b.Digest && text(a.Err) == text(b.Err)
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
