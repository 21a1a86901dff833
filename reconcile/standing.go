package reconcile

import (
	"strings"

	"hoist/bump"
)

// standing is the revision that an app is at, in the words of its inventory and
// of Git: a revision that touches no file of the app is reached without a write.
type standing struct {
	recorded string    // what the inventory says was attempted
	also     bump.Head // a later revision with the same objects
	settled  bool      // all of it was applied, and nothing that left is still there
	going    bool      // something that left may be gone at the next look
}

// Reached makes h a revision that the app is at, where that takes no request:
// the same objects were applied before, nothing is left of earlier ones, and the
// watches see that all is as it was left. The caller knows that the build reads
// the same files at h. The inventory keeps naming the revision that changed
// something.
func (e *Engine) Reached(app bump.Name, h bump.Head) bool {
	past := e.past(app)
	if !e.Quiet(app) {
		return false
	}
	past.mu.Lock()
	defer past.mu.Unlock()
	if past.at.settled {
		past.at.also = h
	}
	return past.at.settled
}

// stands notes how a pass ended.
func (p *past) stands(inv *Inventory, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = standing{recorded: inv.Attempted, settled: err == nil}
	for _, en := range inv.Objects {
		p.at.settled = p.at.settled && en.Left == ""
		p.at.going = p.at.going || en.Left == deleting || strings.HasPrefix(en.Left, undeleted) || strings.HasPrefix(en.Left, movedTo)
	}
}

// recordedAs is how the inventory calls the revision h.
func (p *past) recordedAs(h bump.Head) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at.also == h && p.at.recorded != "" {
		return p.at.recorded
	}
	return h.String()
}
