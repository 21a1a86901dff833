package policy

import (
	"cmp"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// version is a strict three-part version. Build metadata has no place in the order.
type version struct {
	major, minor, patch uint64
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
	rest, build, hasBuild := strings.Cut(rest, "+")
	if hasBuild && !identifiers(build, false) {
		return version{}, false
	}
	if rest != "" {
		if rest[0] != '-' || !identifiers(rest[1:], true) {
			return version{}, false
		}
		v.pre = rest[1:]
	}
	return v, true
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
func (v version) compare(w version) int {
	if c := cmp.Compare(v.major, w.major); c != 0 {
		return c
	}
	if c := cmp.Compare(v.minor, w.minor); c != 0 {
		return c
	}
	if c := cmp.Compare(v.patch, w.patch); c != 0 {
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
	return comparePre(v.pre, w.pre)
}

// comparePre compares two different pre-releases part by part: numbers by value
// and below words, words by bytes, a shorter list below a longer one that begins with it.
func comparePre(a, b string) int {
	for {
		partA, restA, moreA := strings.Cut(a, ".")
		partB, restB, moreB := strings.Cut(b, ".")
		if partA != partB {
			numberA, restOfA, isNumberA := cutNumber(partA)
			numberB, restOfB, isNumberB := cutNumber(partB)
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
			return strings.Compare(partA, partB)
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

// versions orders by semantic version and allows those in a range.
type versions struct {
	constraints *semver.Constraints
	releases    releases
	outside     string // the reason of a version outside the range
	noPre       string // the reason of a pre-release where the range names none
	// preReleases is false when the range cannot allow any, because nothing in it
	// has a hyphen. Then they are refused without asking.
	preReleases bool
}

func newVersions(spelling string) (versions, string) {
	c, err := semver.NewConstraint(spelling)
	if err != nil {
		return versions{}, rangeFault(spelling)
	}
	return versions{
		constraints: c,
		releases:    newReleases(spelling, c),
		outside:     "outside " + spelling,
		noPre:       "a pre-release, and " + spelling + " names none",
		preReleases: strings.Contains(spelling, "-"),
	}, ""
}

func (o versions) place(value string) (place, string) {
	v, ok := parseVersion(value)
	if !ok {
		return place{}, notAVersion
	}
	return place{version: v}, ""
}

func (o versions) compare(a, b place) int { return a.version.compare(b.version) }

// Of "1.2.3" and "v1.2.3", or of two builds of one version, the last in byte
// order goes first. So it is in Flux, which takes the first of equals from a
// list in descending byte order.
func (o versions) tie(a, b string) int { return strings.Compare(a, b) }

func (o versions) refuses(value string, at place) string {
	switch {
	case at.version.pre == "":
		if o.releases.allows(at.version) {
			return ""
		}
		return o.outside
	case !o.preReleases:
		return o.noPre
	}
	v, err := semver.StrictNewVersion(strings.TrimPrefix(value, "v"))
	if err != nil || !o.constraints.Check(v) {
		return o.outside
	}
	return ""
}
