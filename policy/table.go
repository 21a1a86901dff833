package policy

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"

	"github.com/Masterminds/semver/v3"
)

// releases is a range as far as it concerns releases (versions that are not
// pre-releases), turned into a table: whether a version is allowed changes only
// at the versions in edges. The library is asked once about each edge, when the
// policy is compiled, and never again.
type releases struct {
	edges   []version // ascending; the first is 0.0.0
	allowed []bool    // from the edge of the same index up to the next
}

// boundWord finds the versions in a range, wildcards included. What it finds
// beyond them (in a pre-release) makes needless edges and no harm.
var boundWord = regexp.MustCompile(`(\d+|[xX*])(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?`)

// newReleases asks the library at every version at which one of its operators
// can change its mind: each bound, the next patch, minor and major after it, and
// where its minor and its major begin.
func newReleases(spelling string, c *semver.Constraints) releases {
	edges := []version{{}}
	for _, m := range boundWord.FindAllStringSubmatch(spelling, -1) {
		var n [3]uint64
		for i := range n {
			var err error
			if n[i], err = strconv.ParseUint(m[i+1], 10, 64); err != nil {
				break // a wildcard, or nothing: zeros from here on, whatever follows
			}
		}
		edges = append(edges,
			version{major: n[0]}, version{major: next(n[0])},
			version{major: n[0], minor: n[1]}, version{major: n[0], minor: next(n[1])},
			version{major: n[0], minor: n[1], patch: n[2]}, version{major: n[0], minor: n[1], patch: next(n[2])},
		)
	}
	slices.SortFunc(edges, version.compare)
	edges = slices.Compact(edges)
	r := releases{edges: edges, allowed: make([]bool, len(edges))}
	for i, e := range edges {
		v, err := semver.StrictNewVersion(fmt.Sprintf("%d.%d.%d", e.major, e.minor, e.patch))
		r.allowed[i] = err == nil && c.Check(v)
	}
	return r
}

// next returns n+1, or n where there is no next.
func next(n uint64) uint64 {
	if n == math.MaxUint64 {
		return n
	}
	return n + 1
}

// allows tells whether the range holds v, which is not a pre-release, by its
// first three parts: ranges know no fourth.
func (r releases) allows(v version) bool {
	v.fourth = 0
	i, exact := slices.BinarySearchFunc(r.edges, v, version.compare)
	if !exact {
		i--
	}
	return r.allowed[i]
}
