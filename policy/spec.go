package policy

import (
	"fmt"

	"hoist/bump"
)

// Spec is the policy of an image section. The names of its fields are those of
// Flux's ImagePolicy.
type Spec struct {
	// Policy is the order of the tags: exactly one of its three fields is set.
	Policy Choice `json:"policy"`
	// FilterTags says which tags count, and which part of them is ordered.
	// Nil means all of them, whole.
	FilterTags *FilterTags `json:"filterTags,omitempty"`
	// ExcludeTags are RE2 patterns of tags that are never selected, besides those
	// that the scan leaves out. A pattern may match anywhere in the tag, as in the
	// exclusionList of Flux.
	ExcludeTags []string `json:"excludeTags,omitempty"`
}

// Choice holds the one order of a policy.
type Choice struct {
	SemVer       *SemVer       `json:"semver,omitempty"`
	Alphabetical *Alphabetical `json:"alphabetical,omitempty"`
	Numerical    *Numerical    `json:"numerical,omitempty"`
}

// SemVer orders three-part versions, with or without a leading "v", by the
// rules of semver.org.
type SemVer struct {
	// Range is what github.com/Masterminds/semver/v3 reads: ">=1.0.0 <2.0.0",
	// "1.x", "~1.4", "^2 || ^3". Pre-releases are out unless the range names one,
	// as ">=1.0.0-0" does.
	Range string `json:"range"`
}

// Alphabetical orders values by their bytes.
type Alphabetical struct {
	// Order is "asc" (the default: the last in byte order is the newest) or "desc".
	Order string `json:"order,omitempty"`
}

// Numerical orders values that are decimal numbers.
type Numerical struct {
	// Order is "asc" (the default: the greatest is the newest) or "desc".
	Order string `json:"order,omitempty"`
}

// FilterTags says which tags count.
type FilterTags struct {
	// Pattern is an RE2 pattern. It may match anywhere in the tag: anchor it with ^ and $.
	Pattern string `json:"pattern"`
	// Extract is the value that is ordered instead of the whole tag, with $1,
	// $name or ${name} for the groups of Pattern, as [regexp.Regexp.Expand] reads it.
	// Empty means the whole tag.
	Extract string `json:"extract,omitempty"`
}

// Check returns what is wrong with s, all at once; nothing when [New] accepts it.
// Fields are counted from the section that holds the Spec: "policy.semver.range".
func (s Spec) Check() []bump.Fault {
	_, faults := compile(s)
	return faults
}

// compile makes the working parts of a policy, and says what is wrong with it.
func compile(s Spec) (*Policy, []bump.Fault) {
	var p Policy
	var faults, f []bump.Fault
	p.order, f = s.Policy.compile()
	faults = append(faults, f...)
	p.filter, f = s.FilterTags.compile()
	faults = append(faults, f...)
	for i, pattern := range s.ExcludeTags {
		re, message := compilePattern(pattern)
		if message == "" && pattern == "" {
			message = "an empty pattern excludes every tag"
		}
		if message != "" {
			faults = append(faults, bump.Fault{Field: fmt.Sprintf("excludeTags[%d]", i), Message: message})
			continue
		}
		p.exclude = append(p.exclude, re)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return &p, nil
}

// compile returns the chosen order.
func (c Choice) compile() (order, []bump.Fault) {
	chosen := 0
	for _, set := range []bool{c.SemVer != nil, c.Alphabetical != nil, c.Numerical != nil} {
		if set {
			chosen++
		}
	}
	switch {
	case chosen == 0:
		return nil, []bump.Fault{{Field: "policy", Message: "no order chosen: set one of semver, alphabetical, numerical"}}
	case chosen > 1:
		return nil, []bump.Fault{{Field: "policy", Message: "more than one order chosen: set one of semver, alphabetical, numerical"}}
	case c.SemVer != nil:
		o, message := newVersions(c.SemVer.Range)
		return o, faultAt("policy.semver.range", message)
	case c.Alphabetical != nil:
		desc, message := descending(c.Alphabetical.Order)
		return alphabet{desc}, faultAt("policy.alphabetical.order", message)
	default:
		desc, message := descending(c.Numerical.Order)
		return numbers{desc}, faultAt("policy.numerical.order", message)
	}
}

// descending reads "asc", "desc" or the empty default.
func descending(order string) (desc bool, message string) {
	switch order {
	case "", "asc":
		return false, ""
	case "desc":
		return true, ""
	}
	return false, fmt.Sprintf("%q is not an order: expected asc or desc", order)
}

// faultAt returns a fault unless the message is empty.
func faultAt(field, message string) []bump.Fault {
	if message == "" {
		return nil
	}
	return []bump.Fault{{Field: field, Message: message}}
}
