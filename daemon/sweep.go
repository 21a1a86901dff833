package daemon

import (
	"context"
	"errors"
	"sync"

	"hoist/bump"
	"hoist/config"
	"hoist/scanner"
)

// inUse returns the tags of an image that its policies select now; before its
// first scan, those that they select from what the last process knew.
func (h *House) inUse(i scanner.Image) []string {
	if tags, ok := h.board.inUse(i.Name); ok {
		return tags
	}
	before := newBoard(h.Config.Policies)
	before.update(i.Name, bump.Tags{Image: i.Image, List: h.scanner.Known(scanner.Source{Image: i})})
	tags, _ := before.inUse(i.Name)
	return tags
}

// Newer returns the tag that a policy chooses of what the last process knew of its
// image, where that is newer than tag; else "". No registry is asked.
func (h *House) Newer(p config.Policy, tag string) string {
	image := h.images[p.Image]
	s := provisional(p, bump.Tags{Image: image.Image, List: h.scanner.Known(scanner.Source{Image: image})})
	if c, ok := h.orders[p.Name].Compare(s.Tag, tag); s.Err == nil && ok && c > 0 {
		return s.Tag
	}
	return ""
}

// Scan reads every image's tags once, all at the same time: the scanner has a
// budget for each registry, and one limit over all would let a registry that
// hangs keep the others waiting. Images that could not be read are in the
// error, joined; the others are on the board.
func (h *House) Scan(ctx context.Context, trigger string) error {
	var all sync.WaitGroup
	failed := make([]error, len(h.Config.Images))
	for i, image := range h.Config.Images {
		if image.Suspend {
			continue
		}
		all.Go(func() {
			o := h.scanner.Once(ctx, h.Source(image), trigger)
			failed[i] = o.Err
			_, open := h.scanned(o)
			h.electAll(ctx, open)
		})
	}
	all.Wait()
	return errors.Join(failed...)
}

// Tags returns the newest complete tag list of an image, and false where none
// was read. Scan comes first.
func (h *House) Tags(image bump.Name) (bump.Tags, bool) { return h.board.list(image) }

// Suspicions returns a line for each image whose newest tag list does not count
// yet, because it lost too much. Scan comes first.
func (h *House) Suspicions() []string { return h.status.suspicions() }

// scanned takes the outcome of a scan in. It tells whether a selection changed,
// and which policies have to hold an election before it is known whether theirs does.
func (h *House) scanned(o scanner.Outcome) (changed bool, open []bump.Name) {
	h.status.scanned(o)
	if o.Err != nil {
		h.board.failed(o.Name, o.Err)
		return false, nil
	}
	selections, open := h.board.update(o.Name, o.Tags)
	for _, s := range selections {
		h.selected(s)
	}
	return len(selections) > 0, open
}

// elect holds an election of one policy on the newest list of its image. It
// returns false where there is no such policy or list.
func (h *House) elect(ctx context.Context, policy bump.Name) (bump.Selection, bool) {
	p, tags, ok := h.board.ballot(policy)
	if !ok {
		return bump.Selection{}, false
	}
	return h.elector.elect(ctx, p, h.Source(h.images[p.Image]), tags), true
}

// elected takes the result of an election in and tells whether it changed anything.
func (h *House) elected(s bump.Selection) bool {
	changed, news := h.board.elected(s)
	h.status.selected(s)
	if news {
		h.opt.Observe(Event{Time: h.opt.Now(), Selection: &s})
	}
	return changed
}

func (h *House) selected(s bump.Selection) {
	h.status.selected(s)
	h.opt.Observe(Event{Time: h.opt.Now(), Selection: &s})
}

// movable returns the policies of an image whose choice may change although no
// list does: those that follow what a tag points to.
func (h *House) movable(image bump.Name) []bump.Name {
	var names []bump.Name
	for _, p := range h.board.policies[image] {
		if reflection, _ := p.Policy.DigestReflection(); reflection == "Always" || p.Policy.Asks().Every {
			names = append(names, p.Name)
		}
	}
	return names
}

// electAll holds the elections of several policies, all at the same time as
// Scan does, and waits for them. What goes wrong is in the selections.
func (h *House) electAll(ctx context.Context, policies []bump.Name) {
	var all sync.WaitGroup
	for _, name := range policies {
		all.Go(func() {
			if s, ok := h.elect(ctx, name); ok {
				h.elected(s)
			}
		})
	}
	all.Wait()
}

// Elect scans the image of a policy and holds its election, for whoever asks
// why. Builds is what is known of the candidates of a policy that goes by build
// time. Nothing is noted anywhere.
func (h *House) Elect(ctx context.Context, p config.Policy) (s bump.Selection, builds func(tag string) (bump.Artifact, bool), err error) {
	src := h.Source(h.images[p.Image])
	tags, err := h.scanner.Scan(ctx, src, "explain")
	if err != nil {
		return bump.Selection{}, nil, err
	}
	s = h.elector.elect(ctx, p, src, tags)
	return s, h.elector.buildsOf(p.Name), nil
}
