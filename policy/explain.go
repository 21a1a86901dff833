package policy

import (
	"fmt"
	"slices"
	"time"

	"hoist/bump"
)

// Report tells how a policy came to its answer: how many tags were left after
// each step, and why every other tag lost.
type Report struct {
	Policy         string  `json:"policy,omitempty"` // namespace:name
	Image          string  `json:"image,omitempty"`
	Listed         int     `json:"listed"`         // on the list, each tag once
	AfterExclusion int     `json:"afterExclusion"` // left by excludeTags
	AfterSuffix    int     `json:"afterSuffix"`    // with the suffix
	AfterFilter    int     `json:"afterFilter"`    // matched by the filter
	Parsed         int     `json:"parsed"`         // with a place in the order
	InRange        int     `json:"inRange"`        // allowed by the range
	AfterChecks    int     `json:"afterChecks"`    // less those that were looked up and failed a check
	Selected       string  `json:"selected,omitempty"`
	Value          string  `json:"value,omitempty"`  // the extracted value, where it is not the tag
	Digest         string  `json:"digest,omitempty"` // of the selected tag, where it is known
	Proven         bool    `json:"proven,omitempty"` // it was looked up and passed the checks
	Error          string  `json:"error,omitempty"`  // why no tag was selected
	Losers         []Loser `json:"losers"`           // never null
}

// Loser is a tag that was not selected.
type Loser struct {
	Tag    string    `json:"tag"`
	Value  string    `json:"value,omitempty"` // the extracted value, where it is not the tag
	Reason string    `json:"reason"`
	Until  time.Time `json:"until,omitzero"` // when the reason passes by itself
}

// Explain tells how s came about. A selection with neither tag nor error is made
// first, without checks. The losers that have a place in the order come first,
// the newest first; the others follow in byte order. Artifact gives what is known
// of a tag; only newestBuild asks it.
func (p *Policy) Explain(s bump.Selection, artifact func(tag string) (bump.Artifact, bool), now time.Time) Report {
	o := p.ordering(artifact, now)
	tags := slices.Clone(s.Tags.List)
	slices.Sort(tags)
	tags = slices.Compact(tags)
	if s.Tag == "" && s.Err == nil {
		best, lost := p.newest(o, tags)
		if s.Tag = best.tag; lost != nil {
			s.Err = lost
		}
	}
	r := Report{Image: s.Tags.Image, Listed: len(tags), Losers: []Loser{}}
	if p.name != (bump.Name{}) {
		r.Policy = p.name.String()
	}
	placed, strangers := p.sift(o, tags, &r)
	slices.SortFunc(placed, func(a, b candidate) int { return newer(o, b, a) })
	v := verdict{order: o, passedOver: make(map[string]bump.PassedOver)}
	for _, over := range s.PassedOver {
		v.passedOver[over.Tag] = over
	}
	if s.Err != nil {
		r.Error = s.Err.Error()
	} else {
		v.winner, v.older = p.candidate(o, s.Tag), "older than "+s.Tag
		r.Selected, r.Value, r.Digest, r.Proven = s.Tag, v.winner.extracted(), s.Digest, s.Proven
	}
	for _, c := range placed {
		reason := o.refuses(c.value, c.at)
		if reason == "" {
			r.InRange++
		}
		if _, failed := v.passedOver[c.tag]; reason == "" && !failed {
			r.AfterChecks++
		}
		if c.tag != v.winner.tag {
			r.Losers = append(r.Losers, v.loser(c, reason))
		}
	}
	r.Losers = append(r.Losers, strangers...)
	return r
}

// sift parts the tags that have a place in the order from those that do not,
// and counts who is left after each step.
func (p *Policy) sift(o order, tags []string, r *Report) (placed []candidate, strangers []Loser) {
	because := map[step]string{suffixless: fmt.Sprintf("without the suffix %q", p.suffix)}
	if p.filter.pattern != nil {
		because[unmatched] = fmt.Sprintf("not matched by %q", p.filter.pattern)
	}
	for _, tag := range tags {
		value, at := p.value(tag)
		if at > excluded {
			r.AfterExclusion++
		}
		if at > suffixless {
			r.AfterSuffix++
		}
		switch at {
		case excluded:
			strangers = append(strangers, Loser{Tag: tag, Reason: fmt.Sprintf("excluded by %q", p.excludes(tag))})
			continue
		case suffixless, unmatched:
			strangers = append(strangers, Loser{Tag: tag, Reason: because[at]})
			continue
		}
		r.AfterFilter++
		place, why := o.place(tag, value)
		if why != "" {
			strangers = append(strangers, Loser{tag, candidate{tag: tag, value: value}.extracted(), why, time.Time{}})
			continue
		}
		r.Parsed++
		placed = append(placed, candidate{tag, value, place})
	}
	return placed, strangers
}

// verdict says why candidates lost.
type verdict struct {
	order      order
	winner     candidate // without tag where there is none
	older      string    // the reason of most
	passedOver map[string]bump.PassedOver
}

// loser gives a candidate its reason: that of the range, or what a look at it
// found, or where it stands.
func (v verdict) loser(c candidate, outside string) Loser {
	l := Loser{Tag: c.tag, Value: c.extracted(), Reason: outside}
	if l.Reason != "" {
		return l
	}
	if over, found := v.passedOver[c.tag]; found {
		l.Reason, l.Until = over.Reason, over.Until
		return l
	}
	if v.winner.tag == "" {
		l.Reason = "allowed, but not chosen"
		return l
	}
	switch c, winner := c, v.winner; v.order.compare(c.at, winner.at) {
	case 0:
		l.Reason = equalled(c, winner)
	case 1:
		l.Reason = "newer than " + winner.tag + ", but not looked up yet"
	default:
		l.Reason = v.older
	}
	return l
}

// equalled says why a tag at the same place in the order as the winner lost.
func equalled(c, winner candidate) string {
	if c.value == winner.value {
		return "the same value as " + winner.tag + ", which comes first in byte order"
	}
	return "equal to " + winner.tag + ", which is preferred among equals"
}
