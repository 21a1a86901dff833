package policy

import (
	"fmt"
	"strings"
	"testing"

	"hoist/bump"
)

func TestPropose(t *testing.T) {
	for _, row := range []struct{ tags, want string }{
		{"1.4.2", "1.4.2: semver >=1.4.2 <2.0.0"},
		{"v1.4.2 1.3.0", "1.3.0 v1.4.2: semver >=1.3.0 <2.0.0"},
		{"1.4.2 2.0.1", "2.0.1: semver >=2.0.1 <3.0.0\n1.4.2: semver >=1.4.2 <2.0.0"},
		{"0.3.1", "0.3.1: semver >=0.3.1 <0.4.0"},
		{"2024.11.3", "2024.11.3: semver >=2024.11.3"},
		{"1.4.0-rc.2", "1.4.0-rc.2: semver >=1.4.0-rc.2 <2.0.0-0 with rc"},
		{"v1.25.3-alpine3.19", "v1.25.3-alpine3.19: semver >=1.25.3 <2.0.0 with -alpine3.19"},
		{"1.25.3-debian-12-r7", "1.25.3-debian-12-r7: semver >=1.25.3 <2.0.0 of ^(?P<version>[0-9]+\\.[0-9]+\\.[0-9]+)-debian-12-r[0-9]+$"},
		{"1.25.3-3f2a9c1", "1.25.3-3f2a9c1: semver >=1.25.3 <2.0.0 of ^(?P<version>[0-9]+\\.[0-9]+\\.[0-9]+)-[0-9a-f]{7,40}$"},
		{"main-3f2a9c1-1700000100", "main-3f2a9c1-1700000100: numerical of ^main-[0-9a-f]{7,40}-(?P<n>[0-9]{10})$"},
		{"1700000100-3f2a9c1", "1700000100-3f2a9c1: numerical of ^(?P<n>[0-9]{10})-[0-9a-f]{7,40}$"},
		{"dev-17", "dev-17: numerical of ^dev-(?P<n>[0-9]+)$"},
		{"1234", "1234: numerical of ^(?P<n>[0-9]+)$"},
		{"20240105", "20240105: numerical of ^(?P<n>[0-9]{8})$"},
		{"24.04", "24.04: numerical of ^(?P<y>[0-9]{2})\\.(?P<m>[0-9]{2})$"},
		{"2024.01.05", "2024.01.05: numerical of ^(?P<y>[0-9]{4})\\.(?P<m>[0-9]{2})\\.(?P<d>[0-9]{2})$"},
		{"RELEASE.2024-01-05T12-34-56Z", "RELEASE.2024-01-05T12-34-56Z: alphabetical of ^RELEASE\\.(?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}-[0-9]{2}-[0-9]{2}Z)$"},
		{"nightly-20240105123456", "nightly-20240105123456: alphabetical of ^nightly-(?P<time>[0-9]{14})$"},
		{"latest", "latest is left: moves without changing its name: write a version, then run init again"},
		{"main", "main is left: a name that moves, not a version: write a version, then run init again"},
		{"16-alpine", `16-alpine is left: "16-alpine" moves within a series: write a version of three parts, then run init again`},
		{"1.27", `1.27 is left: "1.27" moves within a series: write a version of three parts, then run init again`},
		{"3f2a9c1", "3f2a9c1 is left: a commit hash has no order: let CI add a number or a time, main-<sha>-<timestamp>"},
		{"sha-3f2a9c1e", "sha-3f2a9c1e is left: a commit hash has no order: let CI add a number or a time, main-<sha>-<timestamp>"},
		{"main-1234567", "main-1234567 is left: the digits may be a commit hash: write a policy with filterTags by hand"},
		{"1.2.3-14-g3f2a9c1", "1.2.3-14-g3f2a9c1 is left: git describe counts commits in a text, which no order reads: let CI write a version or a timestamp"},
		{"1.2.3.4", "1.2.3.4 is left: its order is not known: write a policy with filterTags by hand"},
	} {
		proposals, left := Propose(strings.Fields(row.tags))
		var got []string
		for _, p := range proposals {
			got = append(got, strings.Join(p.Tags, " ")+": "+p.Short)
			checkProposal(t, p)
		}
		for tag, why := range left {
			got = append(got, fmt.Sprintf("%s is left: %s", tag, why))
		}
		if s := strings.Join(got, "\n"); s != row.want {
			t.Errorf("Propose(%q):\n%s\nwant:\n%s", row.tags, s, row.want)
		}
	}
}

// checkProposal holds a proposal to its promise: it is a good policy without
// warnings that knows the place of each tag it is for, and selects one of them
// where nothing is newer.
func checkProposal(t *testing.T, p Proposal) {
	t.Helper()
	made, err := New(bump.Name{}, p.Spec)
	if err != nil {
		t.Errorf("proposal for %q: %v", p.Tags, err)
		return
	}
	for _, l := range made.Lints() {
		t.Errorf("proposal for %q: %s: %s", p.Tags, l.Field, l.Message)
	}
	if s := made.Select(bump.Tags{List: p.Tags}); s.Err != nil {
		t.Errorf("proposal for %q selects nothing: %v", p.Tags, s.Err)
	}
	for _, tag := range p.Tags {
		if _, ok := made.Compare(tag, tag); !ok {
			t.Errorf("proposal %q has no place for %q", p.Short, tag)
		}
		if s := made.Select(bump.Tags{List: []string{tag}}); s.Tag != tag {
			t.Errorf("proposal %q does not allow %q: %v", p.Short, tag, s.Err)
		}
	}
}

// FuzzPropose promises that whatever tags are in use, each is left alone with a
// reason or followed by a policy that allows it.
func FuzzPropose(f *testing.F) {
	for _, s := range []string{"1.2.3 1.2.3-alpine v2.0.0-rc.1", "main-3f2a9c1-1700000100 latest", "2024.01.05 24.04 1.27", "a-2024-01-05 00000001-1 1.0.0-0a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tags := strings.Fields(text)
		for _, tag := range tags {
			if len(tag) > 128 || strings.Trim(tag, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") != "" {
				return
			}
		}
		proposals, left := Propose(tags)
		seen := map[string]bool{}
		for _, p := range proposals {
			checkProposal(t, p)
			for _, tag := range p.Tags {
				seen[tag] = true
			}
		}
		for _, tag := range tags {
			if !seen[tag] && left[tag] == "" {
				t.Fatalf("Propose(%q) says nothing of %q", tags, tag)
			}
		}
	})
}
