// Package policy chooses the newest allowed tag of an image:
//
//	bump.Tags --exclude--filter--extract--order--range--> bump.Selection
//
// The three orders (semver, alphabetical, numerical) and the filter give what
// Flux's image-reflector-controller gives wherever its answer does not depend on
// chance. Where it does, or where one bad tag spoils its whole policy, this is
// the rule, whatever the order of the list:
//
//   - A value that has no place in the order ("latest" under semver, "rc" under
//     numerical) is passed over; the others go on.
//   - Numbers are decimals of any length; nothing is rounded.
//   - Among equal versions ("v1.2.3" and "1.2.3", builds of one version) the last
//     value in byte order wins; among equal numbers ("1", "1.0", "01") the first.
//   - When several tags give the same extracted value, the first tag in byte
//     order wins.
//
// The last two are what Flux does without a filter since it keeps lists in
// descending byte order; with a filter it leaves the first of them to chance.
//
// Nothing here touches the world. The trap that bites first: a filter pattern
// is not anchored unless it says so ("^…$").
package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"hoist/bump"
)

// Policy is a compiled [Spec]. It never changes and may be used from several
// goroutines.
type Policy struct {
	name    bump.Name
	exclude []*regexp.Regexp
	filter  filter
	order   order
}

// New compiles s. The error names every fault that [Spec.Check] finds.
func New(name bump.Name, s Spec) (*Policy, error) {
	p, faults := compile(s)
	if len(faults) > 0 {
		errs := make([]error, len(faults))
		for i, f := range faults {
			errs[i] = fmt.Errorf("%s: %s", f.Field, f.Message)
		}
		return nil, errors.Join(errs...)
	}
	p.name = name
	return p, nil
}

// Name returns the name that the policy was made with.
func (p *Policy) Name() bump.Name { return p.name }

// candidate is a tag with the value that stands for it and its place in the order.
type candidate struct {
	tag, value string
	at         place
}

// Select returns the newest of the tags that p allows. The order of the list
// does not matter. If none qualifies, Err is a [*NoMatchError], which tells how
// many tags were looked at and where they dropped out.
func (p *Policy) Select(t bump.Tags) bump.Selection {
	best, lost := p.newest(t.List)
	s := bump.Selection{Policy: p.name, Tags: t, Tag: best.tag}
	if lost != nil {
		s.Err = lost
	}
	return s
}

// newest compares each tag with the best so far and asks the range only about
// those that would replace it: to ask it costs more than all the rest. Lists
// come in byte order, in which newer tags tend to stand last, so it goes
// backwards and meets few that are newer than the best.
func (p *Policy) newest(tags []string) (best candidate, lost *NoMatchError) {
	found := false
	lost = &NoMatchError{Seen: len(tags)}
	for _, tag := range slices.Backward(tags) {
		if p.excludes(tag) != nil {
			lost.Excluded++
			continue
		}
		value, ok := p.filter.value(tag)
		if !ok {
			lost.Filtered++
			continue
		}
		at, why := p.order.place(value)
		if why != "" {
			lost.Malformed++
			continue
		}
		c := candidate{tag, value, at}
		if found && p.newer(c, best) <= 0 {
			continue
		}
		if p.order.refuses(value, at) != "" {
			lost.Outside++
			continue
		}
		best, found = c, true
	}
	if found {
		return best, nil
	}
	return candidate{}, lost
}

// newer is the total order of the candidates: +1 when a goes before b, 0 only
// for the same tag.
func (p *Policy) newer(a, b candidate) int {
	if c := p.order.compare(a.at, b.at); c != 0 {
		return c
	}
	if c := p.order.tie(a.value, b.value); c != 0 {
		return c
	}
	return strings.Compare(b.tag, a.tag)
}

// excludes returns the first exclusion that matches the tag, or nil.
func (p *Policy) excludes(tag string) *regexp.Regexp {
	for _, re := range p.exclude {
		if re.MatchString(tag) {
			return re
		}
	}
	return nil
}

// Compare returns +1 when tag a is newer than tag b, -1 when it is older, and 0
// when neither is: the same tag, two spellings of one version or number, or two
// tags of the same extracted value. (Of those [Policy.Select] prefers one, but
// that makes none of them newer.) It returns false when a tag has no place in
// the order: "latest" under semver, or a tag that fails the filter. Neither the
// range nor the exclusions matter here: a version that was taken out of them
// still is newer than its predecessor. Under semver a b that is no strict version
// but has higher numbers than a ("1.27" and 1.25.5) is the newer one, so that it
// is not taken for something without a place and replaced.
func (p *Policy) Compare(a, b string) (c int, ok bool) {
	atA, okA := p.placeOf(a)
	atB, okB := p.placeOf(b)
	if _, byVersion := p.order.(versions); okA && !okB && byVersion && looselyNewer(b, atA.version) {
		return -1, true
	}
	if !okA || !okB {
		return 0, false
	}
	return p.order.compare(atA, atB), true
}

func (p *Policy) placeOf(tag string) (place, bool) {
	value, ok := p.filter.value(tag)
	if !ok {
		return place{}, false
	}
	at, why := p.order.place(value)
	return at, why == ""
}

// NoMatchError says that no tag qualifies, and what became of those on the list.
// The counts after Seen add up to it.
type NoMatchError struct {
	Seen      int // on the list
	Excluded  int // taken out by excludeTags
	Filtered  int // not matched by the filter pattern
	Malformed int // without a place in the order: no version, no number
	Outside   int // outside the range
}

func (e *NoMatchError) Error() string {
	if e.Seen == 0 {
		return "no tag qualifies: the list is empty"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "no tag qualifies: of %d", e.Seen)
	for _, part := range []struct {
		n    int
		what string
	}{
		{e.Excluded, "excluded"},
		{e.Filtered, "not matched by the filter"},
		{e.Malformed, "without a place in the order"},
		{e.Outside, "outside the range"},
	} {
		if part.n > 0 {
			fmt.Fprintf(&b, ", %d %s", part.n, part.what)
		}
	}
	return b.String()
}
