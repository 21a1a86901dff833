package policy

import (
	"fmt"
	"slices"
	"strings"

	"hoist/bump"
)

// everyChannel in preReleases stands for all of them.
const everyChannel = "*"

// channels are the pre-releases that count, by the word they begin with; nil
// leaves that to the range.
type channels []string

// newChannels returns the channels of preReleases.
func newChannels(names []string) (channels, []bump.Fault) {
	const field = "policy.semver.preReleases"
	if names != nil && len(names) == 0 {
		return nil, faultAt(field, "names no channel: remove it, or write such as [rc, beta]")
	}
	var faults []bump.Fault
	for i, name := range names {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case name == everyChannel && len(names) > 1:
			faults = append(faults, faultAt(at, `"*" is every channel: remove the others`)...)
		case name != everyChannel && (name == "" || channelOf(name) != name):
			faults = append(faults, faultAt(at, fmt.Sprintf("%q is not a channel: expected letters such as rc, or *", name))...)
		case slices.Contains(names[:i], name):
			faults = append(faults, faultAt(at, fmt.Sprintf("%q is named twice", name))...)
		}
	}
	return names, faults
}

// hold tells whether a pre-release is of one of the channels.
func (c channels) hold(pre string) bool {
	return c[0] == everyChannel || slices.Contains(c, channelOf(pre))
}

// channelOf returns the letters that a pre-release begins with: "rc" of "rc.1",
// "rc1" and "rc-1".
func channelOf(pre string) string {
	return pre[:len(pre)-len(strings.TrimLeft(pre, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"))]
}

// compareWords compares two identifiers with the digits at their ends as
// numbers, so that rc10 is newer than rc9. To semver.org they are words and rc9
// is the greater; who chooses channels means the tenth candidate.
func compareWords(a, b string) int {
	wordA, digitsA := cutEndDigits(a)
	wordB, digitsB := cutEndDigits(b)
	if c := strings.Compare(wordA, wordB); c != 0 {
		return c
	}
	if digitsA == "" || digitsB == "" {
		return strings.Compare(digitsA, digitsB)
	}
	return compareDigits(digitsA, digitsB)
}

func cutEndDigits(s string) (word, digits string) {
	word = strings.TrimRight(s, "0123456789")
	return word, s[len(word):]
}
