// Package policy chooses the newest allowed tag of an image:
//
//	bump.Tags --exclude--suffix--filter--extract--order--range--checks--> bump.Selection
//
// All but the checks need the tags alone: [Policy.Select] and [Policy.Ranked].
// What the checks need to know of a tag ([Policy.Asks]) whoever may ask a
// registry finds out, the newest tag first, until [Policy.Refuses] has nothing
// to say.
//
// The three orders of Flux (semver, alphabetical, numerical) and the filter give
// what Flux's image-reflector-controller gives wherever its answer does not depend
// on chance. Where it does, or where one bad tag spoils its whole policy, this is
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
	suffix  string
	filter  filter
	order   order
	checks  checks
	digests digests
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

// candidate returns a tag with its value and place, as far as it has them.
func (p *Policy) candidate(o order, tag string) candidate {
	c := candidate{tag: tag}
	c.value, _ = p.valueOf(tag)
	c.at, _ = o.place(tag, c.value)
	return c
}

// extracted returns the value where it is not the tag itself.
func (c candidate) extracted() string {
	if c.value == c.tag {
		return ""
	}
	return c.value
}

// errNotAsked is the answer to an order that tags alone do not have.
var errNotAsked = errors.New("not chosen yet: when the images were built has to be looked up first")

// Select returns the newest of the tags that p allows, as far as tags alone can
// tell: the checks are still to come. The order of the list does not matter. If
// none qualifies, Err is a [*NoMatchError], which tells how many tags were looked
// at and where they dropped out. newestBuild chooses nothing here, since its
// order is not in the tags: see [Policy.Ranked].
func (p *Policy) Select(t bump.Tags) bump.Selection {
	s := bump.Selection{Policy: p.name, Tags: t}
	if p.Asks().Every && len(p.Candidates(t)) > 0 {
		s.Err = errNotAsked
		return s
	}
	best, lost := p.newest(p.order, t.List)
	s.Tag = best.tag
	if lost != nil {
		s.Err = lost
	}
	return s
}

// newest compares each tag with the best so far and asks the range only about
// those that would replace it: to ask it costs more than all the rest. Lists
// come in byte order, in which newer tags tend to stand last, so it goes
// backwards and meets few that are newer than the best.
func (p *Policy) newest(o order, tags []string) (best candidate, lost *NoMatchError) {
	found := false
	lost = &NoMatchError{Seen: len(tags)}
	for _, tag := range slices.Backward(tags) {
		value, at := p.value(tag)
		if at != ordered {
			lost.count(at)
			continue
		}
		place, why := o.place(tag, value)
		if why != "" {
			lost.Malformed++
			continue
		}
		c := candidate{tag, value, place}
		if found && newer(o, c, best) <= 0 {
			continue
		}
		if o.refuses(value, place) != "" {
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
func newer(o order, a, b candidate) int {
	if c := o.compare(a.at, b.at); c != 0 {
		return c
	}
	if c := o.tie(a.value, b.value); c != 0 {
		return c
	}
	return strings.Compare(b.tag, a.tag)
}

// step is how far a tag comes on its way to the order.
type step int

const (
	excluded   step = iota // taken out by excludeTags
	suffixless             // without the suffix
	unmatched              // not matched by the filter
	ordered                // goes on to the order
)

// value returns the part of a tag that is ordered, once its step is ordered.
func (p *Policy) value(tag string) (string, step) {
	if p.excludes(tag) != nil {
		return "", excluded
	}
	return p.valueOf(tag)
}

// valueOf is value without the exclusions.
func (p *Policy) valueOf(tag string) (string, step) {
	value := tag
	if p.suffix != "" {
		var ok bool
		if value, ok = strings.CutSuffix(tag, p.suffix); !ok || value == "" {
			return "", suffixless
		}
	}
	if p.filter.pattern == nil {
		return value, ordered
	}
	value, ok := p.filter.value(value)
	if !ok {
		return "", unmatched
	}
	return value, ordered
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

// Candidates returns the tags that go on to the order, in the order of the list.
func (p *Policy) Candidates(t bump.Tags) []string {
	var left []string
	for _, tag := range t.List {
		if _, at := p.value(tag); at == ordered {
			left = append(left, tag)
		}
	}
	return left
}
