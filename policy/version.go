package policy

import (
	"cmp"
	"strings"

	"github.com/Masterminds/semver/v3"

	"hoist/bump"
)

// version is a strict three-part version, or a loose one of up to four parts.
// Build metadata has no place in the order.
type version struct {
	major, minor, patch uint64
	fourth              uint64 // of a loose version
	pre                 string // what follows the "-", without it
}

// maxVersion is the longest version that Masterminds reads, in bytes.
const maxVersion = 256

const notAVersion = "not a version of three parts"

// parseVersion reads what Flux reads: three numbers without leading zeros, then
// optional pre-release and build metadata, all of it behind an optional "v".
// It gives what github.com/fluxcd/pkg/version.ParseVersion gives, without
// regular expressions and without memory; a fuzz test holds the two together.
func parseVersion(s string) (v version, ok bool) {
	if len(s) > maxVersion {
		return version{}, false
	}
	rest := strings.TrimPrefix(s, "v")
	if v.major, rest, ok = cutNumber(rest); !ok || !strings.HasPrefix(rest, ".") {
		return version{}, false
	}
	if v.minor, rest, ok = cutNumber(rest[1:]); !ok || !strings.HasPrefix(rest, ".") {
		return version{}, false
	}
	if v.patch, rest, ok = cutNumber(rest[1:]); !ok {
		return version{}, false
	}
	if rest == "" {
		return v, true
	}
	if v.pre, ok = preRelease(rest); !ok {
		return version{}, false
	}
	return v, true
}

// preRelease reads what follows the numbers of a version.
func preRelease(rest string) (pre string, ok bool) {
	rest, build, hasBuild := strings.Cut(rest, "+")
	if hasBuild && !identifiers(build, false) {
		return "", false
	}
	if rest == "" {
		return "", true
	}
	if rest[0] != '-' || !identifiers(rest[1:], true) {
		return "", false
	}
	return rest[1:], true
}

// cutNumber cuts a number off s; false when there is none, when it has a
// leading zero, or when it does not fit in 64 bits.
func cutNumber(s string) (n uint64, rest string, ok bool) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		d := uint64(s[i] - '0')
		if n > (1<<64-1)/10 || n*10 > 1<<64-1-d {
			return 0, s, false
		}
		n = n*10 + d
		i++
	}
	if i == 0 || (i > 1 && s[0] == '0') {
		return 0, s, false
	}
	return n, s[i:], true
}

// identifiers tells whether s is dot-separated identifiers of letters, digits
// and hyphens, none of them empty. In a pre-release those that are numbers must
// not begin with a zero.
func identifiers(s string, preRelease bool) bool {
	start, numeric := 0, true
	for i := 0; i <= len(s); i++ {
		switch {
		case i == len(s) || s[i] == '.':
			if i == start || (preRelease && numeric && i-start > 1 && s[start] == '0') {
				return false
			}
			start, numeric = i+1, true
		case s[i] >= '0' && s[i] <= '9':
		case s[i] >= 'a' && s[i] <= 'z', s[i] >= 'A' && s[i] <= 'Z', s[i] == '-':
			numeric = false
		default:
			return false
		}
	}
	return true
}

// compare is the precedence of semver.org: +1 when v is newer than w.
func (v version) compare(w version) int { return v.compareBy(w, strings.Compare) }

// compareBy is compare with another order of the words in a pre-release.
func (v version) compareBy(w version, words func(a, b string) int) int {
	if c := cmp.Compare(v.major, w.major); c != 0 {
		return c
	}
	if c := cmp.Compare(v.minor, w.minor); c != 0 {
		return c
	}
	if c := cmp.Compare(v.patch, w.patch); c != 0 {
		return c
	}
	if c := cmp.Compare(v.fourth, w.fourth); c != 0 {
		return c
	}
	switch {
	case v.pre == w.pre:
		return 0
	case v.pre == "":
		return 1
	case w.pre == "":
		return -1
	}
	return comparePre(v.pre, w.pre, words)
}

// comparePre compares two different pre-releases part by part: numbers by value
// and below words, words by bytes or as told, a shorter list below a longer one
// that begins with it.
func comparePre(a, b string, words func(a, b string) int) int {
	for {
		partA, restA, moreA := strings.Cut(a, ".")
		partB, restB, moreB := strings.Cut(b, ".")
		if partA != partB {
			if c := compareIdentifiers(partA, partB, words); c != 0 {
				return c
			}
		}
		switch {
		case !moreA && !moreB:
			return 0
		case !moreA:
			return -1
		case !moreB:
			return 1
		}
		a, b = restA, restB
	}
}

func compareIdentifiers(a, b string, words func(a, b string) int) int {
	numberA, restOfA, isNumberA := cutNumber(a)
	numberB, restOfB, isNumberB := cutNumber(b)
	// A number beyond 64 bits is a word to Masterminds, and so it is here.
	isNumberA = isNumberA && restOfA == ""
	isNumberB = isNumberB && restOfB == ""
	switch {
	case isNumberA && isNumberB:
		return cmp.Compare(numberA, numberB)
	case isNumberA:
		return -1
	case isNumberB:
		return 1
	}
	return words(a, b)
}

// versions orders by semantic version and allows those in a range.
type versions struct {
	loose       bool
	channels    channels
	constraints *semver.Constraints
	releases    releases
	outside     string // the reason of a version outside the range
	noPre       string // the reason of a pre-release that does not count
	// preReleases is false when the range cannot allow any, because nothing in it
	// has a hyphen. Then they are refused without asking.
	preReleases bool
}

func newVersions(s SemVer) (versions, []bump.Fault) {
	channels, faults := newChannels(s.PreReleases)
	c, err := semver.NewConstraint(s.Range)
	if err != nil {
		return versions{}, append(faultAt("policy.semver.range", rangeFault(s.Range)), faults...)
	}
	o := versions{
		loose:       s.Loose,
		channels:    channels,
		constraints: c,
		releases:    newReleases(s.Range, c),
		outside:     "outside " + s.Range,
		noPre:       "a pre-release, and " + s.Range + " names none",
		preReleases: strings.Contains(s.Range, "-"),
	}
	if channels != nil {
		c.IncludePrerelease = true
		o.noPre = "a pre-release that is not of " + strings.Join(channels, ", ")
	}
	return o, faults
}

func (o versions) place(_, value string) (place, string) {
	if o.loose {
		v, why := parseLoose(value)
		return place{version: v}, why
	}
	v, ok := parseVersion(value)
	if !ok {
		return place{}, notAVersion
	}
	return place{version: v}, ""
}

func (o versions) compare(a, b place) int {
	if o.channels != nil {
		return a.version.compareBy(b.version, compareWords)
	}
	return a.version.compare(b.version)
}

// Of "1.2.3" and "v1.2.3", or of two builds of one version, the last in byte
// order goes first. So it is in Flux, which takes the first of equals from a
// list in descending byte order.
func (o versions) tie(a, b string) int { return strings.Compare(a, b) }

func (o versions) field() string { return "policy.semver.range" }

func (o versions) refuses(_ string, at place) string {
	v := at.version
	switch {
	case v.pre == "":
		if o.releases.allows(v) {
			return ""
		}
		return o.outside
	case o.channels != nil:
		if !o.channels.hold(v.pre) {
			return o.noPre
		}
	case !o.preReleases:
		return o.noPre
	}
	if !o.constraints.Check(semver.New(v.major, v.minor, v.patch, v.pre, "")) {
		return o.outside
	}
	return ""
}
