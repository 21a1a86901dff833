package policy

import (
	"fmt"
	"slices"

	"hoist/bump"
)

// Report tells how a policy came to its answer: how many tags were left after
// each step, and why every other tag lost.
type Report struct {
	Policy         string  `json:"policy,omitempty"` // namespace:name
	Image          string  `json:"image,omitempty"`
	Listed         int     `json:"listed"`         // on the list, each tag once
	AfterExclusion int     `json:"afterExclusion"` // left by excludeTags
	AfterFilter    int     `json:"afterFilter"`    // matched by the filter
	Parsed         int     `json:"parsed"`         // with a place in the order
	InRange        int     `json:"inRange"`        // allowed
	Selected       string  `json:"selected,omitempty"`
	Value          string  `json:"value,omitempty"` // the extracted value, where it is not the tag
	Error          string  `json:"error,omitempty"` // why no tag was selected
	Losers         []Loser `json:"losers"`          // never null
}

// Loser is a tag that was not selected.
type Loser struct {
	Tag    string `json:"tag"`
	Value  string `json:"value,omitempty"` // the extracted value, where it is not the tag
	Reason string `json:"reason"`
}

// Explain does what [Policy.Select] does and keeps the reasons. The losers that
// have a place in the order come first, the newest first; the others follow in
// byte order.
func (p *Policy) Explain(t bump.Tags) Report {
	tags := slices.Clone(t.List)
	slices.Sort(tags)
	tags = slices.Compact(tags)
	r := Report{Image: t.Image, Listed: len(tags), Losers: []Loser{}}
	if p.name != (bump.Name{}) {
		r.Policy = p.name.String()
	}
	ordered, strangers := p.sift(tags, &r)
	winner, lost := p.newest(tags)
	if lost != nil {
		r.Error = lost.Error()
	} else {
		r.Selected, r.Value = winner.tag, winner.extracted()
	}
	slices.SortFunc(ordered, func(a, b candidate) int { return p.newer(b, a) })
	older := "older than " + winner.tag
	for _, c := range ordered {
		reason := p.order.refuses(c.value, c.at)
		if reason == "" {
			r.InRange++
			if reason = older; p.order.compare(c.at, winner.at) == 0 {
				reason = equalled(c, winner)
			}
		}
		if lost != nil || c.tag != winner.tag {
			r.Losers = append(r.Losers, Loser{c.tag, c.extracted(), reason})
		}
	}
	r.Losers = append(r.Losers, strangers...)
	return r
}

// sift parts the tags that have a place in the order from those that do not,
// and counts who is left after each step.
func (p *Policy) sift(tags []string, r *Report) (ordered []candidate, strangers []Loser) {
	unmatched := ""
	if p.filter.pattern != nil {
		unmatched = fmt.Sprintf("not matched by %q", p.filter.pattern)
	}
	for _, tag := range tags {
		if re := p.excludes(tag); re != nil {
			strangers = append(strangers, Loser{Tag: tag, Reason: fmt.Sprintf("excluded by %q", re)})
			continue
		}
		r.AfterExclusion++
		value, ok := p.filter.value(tag)
		if !ok {
			strangers = append(strangers, Loser{Tag: tag, Reason: unmatched})
			continue
		}
		r.AfterFilter++
		at, why := p.order.place(value)
		if why != "" {
			strangers = append(strangers, Loser{tag, candidate{tag: tag, value: value}.extracted(), why})
			continue
		}
		r.Parsed++
		ordered = append(ordered, candidate{tag, value, at})
	}
	return ordered, strangers
}

// equalled says why a tag at the same place in the order as the winner lost.
func equalled(c, winner candidate) string {
	if c.value == winner.value {
		return "the same value as " + winner.tag + ", which comes first in byte order"
	}
	return "equal to " + winner.tag + ", which is preferred among equals"
}

// extracted returns the value where it is not the tag itself.
func (c candidate) extracted() string {
	if c.value == c.tag {
		return ""
	}
	return c.value
}
