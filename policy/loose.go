package policy

import (
	"regexp"
	"strconv"
	"strings"
)

// The reasons why a value is no loose version.
const (
	notALooseVersion = "not a version of one to four parts"
	versionTooBig    = "a version with a number beyond 64 bits"
)

// parseLoose reads one to four numbers with or without leading zeros, then what
// a strict version may have behind its numbers. Parts that are missing are zero.
func parseLoose(s string) (v version, why string) {
	if len(s) > maxVersion {
		return version{}, notALooseVersion
	}
	rest := strings.TrimPrefix(s, "v")
	for i, part := range []*uint64{&v.major, &v.minor, &v.patch, &v.fourth} {
		if i > 0 {
			if !strings.HasPrefix(rest, ".") {
				break
			}
			rest = rest[1:]
		}
		var digits string
		if digits, rest = cutDigits(rest); digits == "" {
			return version{}, notALooseVersion
		}
		n, err := strconv.ParseUint(digits, 10, 64)
		if err != nil {
			return version{}, versionTooBig
		}
		*part = n
	}
	if rest == "" {
		return v, ""
	}
	var ok bool
	if v.pre, ok = preRelease(rest); !ok {
		return version{}, notALooseVersion
	}
	return v, ""
}

// looseVersion is what people read as a version although it has not three
// parts: "1.27", "v2", "1.27.0.1", "01.27.0", "20260101", with anything behind
// a separator.
var looseVersion = regexp.MustCompile(`^v?([0-9]+(?:\.[0-9]+)*)(?:[-+_.].*)?$`)

// looselyNewer tells whether the numbers of tag, read as people read them, are
// higher than those of a version at a place. It serves one purpose: what looks
// newer is not replaced by something older only because it is not spelt as its
// policy asks.
func looselyNewer(tag string, o order, at place) bool {
	var ours []string
	switch o.(type) {
	case calendar:
		ours = strings.FieldsFunc(at.text, func(r rune) bool { return strings.ContainsRune(separators, r) })
	case versions:
		for _, n := range []uint64{at.version.major, at.version.minor, at.version.patch} {
			ours = append(ours, strconv.FormatUint(n, 10))
		}
	default:
		return false
	}
	m := looseVersion.FindStringSubmatch(tag)
	if m == nil {
		return false
	}
	parts := strings.Split(m[1], ".")
	for i, n := range ours {
		theirs := "0"
		if i < len(parts) {
			theirs = parts[i]
		}
		if c := compareDigits(theirs, n); c != 0 {
			return c > 0
		}
	}
	return false
}
