package policy

import (
	"time"

	"hoist/bump"
)

// Compare returns +1 when tag a is newer than tag b, -1 when it is older, and 0
// when neither is: the same tag, two spellings of one version or number, or two
// tags of the same extracted value. (Of those [Policy.Select] prefers one, but
// that makes none of them newer.) It returns false when a tag has no place in
// the order: "latest" under semver, or a tag that fails the filter. Neither the
// range nor the exclusions matter here: a version that was taken out of them
// still is newer than its predecessor. Where versions are ordered, a b that is no
// strict version but has higher numbers than a ("1.27" and 1.25.5) is the newer
// one, so that it is not taken for something without a place and replaced.
//
// Under newestBuild nothing is known here of any tag; see [Policy.Order].
func (p *Policy) Compare(a, b string) (c int, ok bool) { return p.Order(nil).Compare(a, b) }

// Order compares tags as its policy does.
type Order struct {
	policy *Policy
	order  order
}

// Order returns how p compares two tags. Artifact gives what is known of a tag;
// only newestBuild asks it.
func (p *Policy) Order(artifact func(tag string) (bump.Artifact, bool)) Order {
	return Order{p, p.ordering(artifact, time.Time{})}
}

// Compare is [Policy.Compare] with what is known of the tags. Under newestBuild
// a tag that is no candidate has no place, and one of which nothing is known is
// never taken for the older: it is not replaced as long as that is so.
func (o Order) Compare(a, b string) (c int, ok bool) {
	if o, yes := o.order.(builds); yes {
		return o.compareTags(a, b)
	}
	atA, okA := o.placeOf(a)
	atB, okB := o.placeOf(b)
	if okA && !okB && looselyNewer(b, o.order, atA) {
		return -1, true
	}
	if !okA || !okB {
		return 0, false
	}
	return o.order.compare(atA, atB), true
}

// Unknown tells whether the order depends on what a tag is, and that is not known.
func (o Order) Unknown(tag string) bool {
	b, yes := o.order.(builds)
	if !yes {
		return false
	}
	_, known := b.know(tag)
	return !known
}

func (o Order) placeOf(tag string) (place, bool) {
	value, at := o.policy.valueOf(tag)
	if at != ordered {
		return place{}, false
	}
	there, why := o.order.place(tag, value)
	return there, why == ""
}
