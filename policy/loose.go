package policy

import (
	"cmp"
	"regexp"
	"strings"
)

// looseVersion is what people read as a version although it has not three
// parts: "1.27", "v2", "1.27.0.1", "01.27.0", "20260101", with anything behind
// a separator.
var looseVersion = regexp.MustCompile(`^v?([0-9]+(?:\.[0-9]+)*)(?:[-+_.].*)?$`)

// looselyNewer tells whether the numbers of tag, read as people read them, are
// higher than those of v. It serves one purpose: what looks newer is not
// replaced by something older only because it is not spelt as a strict version.
func looselyNewer(tag string, v version) bool {
	m := looseVersion.FindStringSubmatch(tag)
	if m == nil {
		return false
	}
	parts := strings.Split(m[1], ".")
	for i, ours := range []uint64{v.major, v.minor, v.patch} {
		theirs := "0"
		if i < len(parts) {
			theirs = strings.TrimLeft(parts[i], "0")
		}
		n, rest, ok := cutNumber(cmp.Or(theirs, "0"))
		if !ok || rest != "" {
			return true // a number beyond 64 bits
		}
		if n != ours {
			return n > ours
		}
	}
	return false
}
