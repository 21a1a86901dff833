package policy_test

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"hoist/bump"
)

// The rows P of the list of faults that concern policies. More of each is in the
// table of TestSelect.

// Two spellings of one version have one winner, and neither is newer: no field
// goes to and fro between them.
func TestP1EqualVersionsHaveOneWinner(t *testing.T) {
	p := compiled(t, semVer("*"))
	list := []string{"1.2.3", "v1.2.3", "1.2.3+build.7", "1.2.2"}
	for range 20 {
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		if got := p.Select(bump.Tags{List: list}).Tag; got != "v1.2.3" {
			t.Fatalf("Select(%q) = %q, want v1.2.3", list, got)
		}
	}
	for _, now := range []string{"1.2.3", "1.2.3+build.7"} {
		if c, ok := p.Compare("v1.2.3", now); c != 0 || !ok {
			t.Errorf("Compare(v1.2.3, %s) = %d, %t: one is taken for newer", now, c, ok)
		}
	}
}

func TestP3NumbersAreNotRounded(t *testing.T) {
	const big = "20240102030405060708"
	for _, row := range []struct{ older, newer string }{
		{"9007199254740992", "9007199254740993"},
		{big + "8", big + "9"},
		{strings.Repeat("9", 300) + "8", strings.Repeat("9", 301)},
	} {
		if got := compiled(t, numerical("asc")).Select(bump.Tags{List: []string{row.newer, row.older}}).Tag; got != row.newer {
			t.Errorf("of %s and %s the first is the greater, got %s", row.newer, row.older, got)
		}
		micro := compiled(t, calendar("YYYY-MICRO"))
		if got := micro.Select(bump.Tags{List: []string{"2024-" + row.newer, "2024-" + row.older}}).Tag; got != "2024-"+row.newer && len(got) < 120 {
			t.Errorf("under calver of %s and %s the first is the greater, got %s", row.newer, row.older, got)
		}
	}
}

// A pattern that a backtracking engine would never finish (nor this test with
// one), and those that cannot be compiled or are too long.
func TestP5PatternsCostLinearTimeOrAreRefused(t *testing.T) {
	p := compiled(t, filtered(alphabetical("asc"), `^(a+)+(a|aa)+(.*a){20}$`, ""))
	if got := p.Select(bump.Tags{List: []string{strings.Repeat("a", 127) + "!", strings.Repeat("b", 128)}}); got.Tag != "" {
		t.Errorf("selected %q, which does not match", got.Tag)
	}
	for pattern, says := range map[string]string{
		"(": "missing closing )", `(?=a)`: "invalid or unsupported Perl syntax", strings.Repeat("a", 1025): "longer than 1024 bytes", `a{1001}`: "invalid repeat count",
	} {
		for _, s := range []string{"filterTags.pattern", "excludeTags[0]"} {
			spec := filtered(semVer("*"), pattern, "")
			if s == "excludeTags[0]" {
				spec = excluding(semVer("*"), pattern)
			}
			faults := spec.Check()
			if len(faults) != 1 || faults[0].Field != s || !strings.Contains(faults[0].Message, says) {
				t.Errorf("%s %.20q: %v, want %q", s, pattern, faults, says)
			}
		}
	}
}

// Where nothing qualifies nothing is selected, and the error tells where the
// tags dropped out.
func TestP6NoMatchSelectsNothingAndSaysWhy(t *testing.T) {
	for _, row := range []struct{ tags, want string }{
		{"", "no tag qualifies: the list is empty"},
		{"latest main", "no tag qualifies: of 2, 2 without a place in the order"},
		{"1.0.0 latest 9.0.0", "no tag qualifies: of 3, 1 without a place in the order, 2 outside the range"},
	} {
		s := compiled(t, semVer("^2")).Select(bump.Tags{List: strings.Fields(row.tags)})
		if s.Tag != "" || s.Err == nil || s.Err.Error() != row.want {
			t.Errorf("Select(%q) = %q, %v, want %s", row.tags, s.Tag, s.Err, row.want)
		}
	}
}

func TestP7WhatIsNoReleaseIsOutUnlessAsked(t *testing.T) {
	tags := bump.Tags{List: strings.Fields("1.0.0 1.1.0-rc.1 latest 20240101 2024-01-01 1.2")}
	for want, spec := range map[string]func() string{
		"1.0.0":      func() string { return compiled(t, semVer(">=1.0.0")).Select(tags).Tag },
		"1.1.0-rc.1": func() string { return compiled(t, channels(">=1.0.0", "rc")).Select(tags).Tag },
		"1.2":        func() string { return compiled(t, loose(">=1.0.0 <100")).Select(tags).Tag },
		"2024-01-01": func() string { return compiled(t, calendar("YYYY-0M-0D")).Select(tags).Tag },
	} {
		if got := spec(); got != want {
			t.Errorf("selected %q, want %q", got, want)
		}
	}
}

func TestP8HashesUnderAlphabeticalAreWarnedOf(t *testing.T) {
	hash := regexp.MustCompile("hashes such as 3f2a9c1 have no order in time")
	for _, row := range []struct {
		pattern string
		warned  bool
	}{{`^[0-9a-f]{7}$`, true}, {`^.*$`, true}, {`^\d{8}$`, false}, {`^\d{4}-\d\d-\d\d$`, false}} {
		warned := false
		for _, l := range compiled(t, filtered(alphabetical("asc"), row.pattern, "")).Lints() {
			warned = warned || hash.MatchString(l.Message)
		}
		if warned != row.warned {
			t.Errorf("%s: warned is %t, want %t", row.pattern, warned, row.warned)
		}
	}
}
