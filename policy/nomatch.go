package policy

import (
	"fmt"
	"strings"
)

// NoMatchError says that no tag qualifies, and what became of those on the list.
// The counts after Seen add up to it.
type NoMatchError struct {
	Seen       int // on the list
	Excluded   int // taken out by excludeTags
	Suffixless int // without the suffix
	Filtered   int // not matched by the filter pattern
	Malformed  int // without a place in the order: no version, no number
	Outside    int // outside the range
}

// count notes a tag that did not come as far as the order.
func (e *NoMatchError) count(at step) {
	switch at {
	case excluded:
		e.Excluded++
	case suffixless:
		e.Suffixless++
	default:
		e.Filtered++
	}
}

func (e *NoMatchError) Error() string {
	if e.Seen == 0 {
		return "no tag qualifies: the list is empty"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "no tag qualifies: of %d", e.Seen)
	for _, part := range []struct {
		n    int
		what string
	}{
		{e.Excluded, "excluded"},
		{e.Suffixless, "without the suffix"},
		{e.Filtered, "not matched by the filter"},
		{e.Malformed, "without a place in the order"},
		{e.Outside, "outside the range"},
	} {
		if part.n > 0 {
			fmt.Fprintf(&b, ", %d %s", part.n, part.what)
		}
	}
	return b.String()
}
