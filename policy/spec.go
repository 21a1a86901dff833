package policy

import (
	"fmt"
	"regexp"

	"hoist/bump"
)

// Spec is the policy of an image section. The names of its fields are those of
// Flux's ImagePolicy where the meaning is, and its zero values do what Flux does.
type Spec struct {
	// Policy is the order of the tags: exactly one of its fields is set.
	Policy Choice `json:"policy"`
	// FilterTags says which tags count, and which part of them is ordered.
	// Nil means all of them, whole.
	FilterTags *FilterTags `json:"filterTags,omitempty"`
	// ExcludeTags are RE2 patterns of tags that are never selected, besides those
	// that the scan leaves out. A pattern may match anywhere in the tag, as in the
	// exclusionList of Flux.
	ExcludeTags []string `json:"excludeTags,omitempty"`
	// Suffix is the end that a tag must have to count, as "-alpine". It is cut off
	// before the filter and the order see the tag.
	Suffix string `json:"suffix,omitempty"`
	// MinimumAge is how old an image has to be, by [Born].
	MinimumAge bump.Duration `json:"minimumAge,omitempty"`
	// Platforms must all be there: "linux/amd64", "linux/arm/v7". One without a
	// variant is there in any variant.
	Platforms []string `json:"platforms,omitempty"`
	// DigestReflectionPolicy is DigestNever (also when empty), DigestIfNotPresent
	// or DigestAlways.
	DigestReflectionPolicy string `json:"digestReflectionPolicy,omitempty"`
	// DigestInterval is the time between two looks at the digest with DigestAlways;
	// zero means DefaultDigestInterval. It is spec.interval of Flux's ImagePolicy.
	DigestInterval bump.Duration `json:"digestInterval,omitempty"`
}

// Choice holds the one order of a policy.
type Choice struct {
	SemVer       *SemVer       `json:"semver,omitempty"`
	Alphabetical *Alphabetical `json:"alphabetical,omitempty"`
	Numerical    *Numerical    `json:"numerical,omitempty"`
	CalVer       *CalVer       `json:"calver,omitempty"`
	NewestBuild  *NewestBuild  `json:"newestBuild,omitempty"`
}

// SemVer orders three-part versions, with or without a leading "v", by the
// rules of semver.org.
type SemVer struct {
	// Range is what github.com/Masterminds/semver/v3 reads: ">=1.0.0 <2.0.0",
	// "1.x", "~1.4", "^2 || ^3". Pre-releases are out unless the range names one,
	// as ">=1.0.0-0" does, or PreReleases does.
	Range string `json:"range"`
	// Loose lets versions have one to four parts and leading zeros: "1.27", "v2",
	// "1.2.3.4", "2024.01.05". Missing parts are zero. The range judges the first
	// three; the fourth only orders: 1.2.3.4 is newer than 1.2.3 and in "=1.2.3".
	Loose bool `json:"loose,omitempty"`
	// PreReleases are the channels whose pre-releases count: "rc" is that of
	// 1.2.0-rc.1, 1.2.0-rc1 and 1.2.0-rc-1; "*" is every channel. The range judges
	// them by their place in the order, so that 2.0.0-rc.1 is in "<2.0.0".
	PreReleases []string `json:"preReleases,omitempty"`
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
	if s.Policy.NewestBuild != nil && s.FilterTags != nil && s.FilterTags.Extract != "" {
		faults = append(faults, faultAt("filterTags.extract", "has no use with newestBuild, which orders by time")...)
	}
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
	if p.suffix = s.Suffix; !suffix.MatchString(p.suffix) {
		faults = append(faults, faultAt("suffix", fmt.Sprintf("%q: no tag ends in that: expected letters, digits, _, . and -", s.Suffix))...)
	}
	p.checks, f = s.compileChecks()
	faults = append(faults, f...)
	p.digests, f = s.compileDigests()
	faults = append(faults, f...)
	if len(faults) > 0 {
		return nil, faults
	}
	return &p, nil
}

// maxTag is the longest tag, in bytes, by the OCI distribution spec.
const maxTag = 128

// suffix is what a tag may end in, by the same grammar.
var suffix = regexp.MustCompile(`^[A-Za-z0-9_.-]{0,127}$`)

// compile returns the chosen order.
func (c Choice) compile() (order, []bump.Fault) {
	const known = "set one of semver, alphabetical, numerical, calver, newestBuild"
	chosen := 0
	for _, set := range []bool{c.SemVer != nil, c.Alphabetical != nil, c.Numerical != nil, c.CalVer != nil, c.NewestBuild != nil} {
		if set {
			chosen++
		}
	}
	switch {
	case chosen == 0:
		return nil, faultAt("policy", "no order chosen: "+known)
	case chosen > 1:
		return nil, faultAt("policy", "more than one order chosen: "+known)
	case c.SemVer != nil:
		return newVersions(*c.SemVer)
	case c.Alphabetical != nil:
		desc, message := descending(c.Alphabetical.Order)
		return alphabet{desc}, faultAt("policy.alphabetical.order", message)
	case c.Numerical != nil:
		desc, message := descending(c.Numerical.Order)
		return numbers{desc}, faultAt("policy.numerical.order", message)
	case c.CalVer != nil:
		o, message := newCalendar(c.CalVer.Layout)
		return o, faultAt("policy.calver.layout", message)
	default:
		return builds{}, nil
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
