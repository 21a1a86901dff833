package policy_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"hoist/bump"
	"hoist/policy"
)

// with returns s after a change.
func with(s policy.Spec, change func(*policy.Spec)) policy.Spec {
	change(&s)
	return s
}

func reflecting(digests string, every time.Duration) policy.Spec {
	return with(semVer("*"), func(s *policy.Spec) {
		s.DigestReflectionPolicy, s.DigestInterval = digests, bump.Duration(every)
	})
}

func TestCheck(t *testing.T) {
	long := strings.Repeat("a", 1025)
	both := semVer("*")
	both.Policy.Numerical = &policy.Numerical{}
	for _, row := range []struct {
		spec policy.Spec
		want string // "field: message", several joined by " | "
	}{
		{semVer(">=1.0.0"), ""},
		{semVer(" >= 1.0.0 , < 2 "), ""},
		{policy.Spec{}, "policy: no order chosen: set one of semver, alphabetical, numerical, calver, newestBuild"},
		{both, "policy: more than one order chosen: set one of semver, alphabetical, numerical, calver, newestBuild"},
		{semVer(""), `policy.semver.range: the range is empty: "*" allows every release`},
		{semVer("  "), `policy.semver.range: the range is empty: "*" allows every release`},
		{semVer(">=1.x <"), `policy.semver.range: ">=1.x <": expected a version after "<"`},
		{semVer("< >1.0.0"), `policy.semver.range: "< >1.0.0": expected a version after "<"`},
		{semVer(">=1.0.0,"), `policy.semver.range: ">=1.0.0,": expected a version after ","`},
		{semVer("^1 ||"), `policy.semver.range: "^1 ||": expected a version after "||"`},
		{semVer("|| ^1"), `policy.semver.range: "|| ^1": expected a version before "||"`},
		{semVer("==1.0.0"), `policy.semver.range: "==1.0.0": unknown operator "=="`},
		{semVer(">=1.0.0<2.0.0"), `policy.semver.range: ">=1.0.0<2.0.0": expected a space or a comma before "<2.0.0"`},
		{semVer(">=1.0.0 && <2"), `policy.semver.range: ">=1.0.0 && <2": expected a version such as 1.2.3, got "&&"`},
		{semVer("latest"), `policy.semver.range: "latest": expected a version such as 1.2.3, got "latest"`},
		{semVer("1.2.3.4"), `policy.semver.range: "1.2.3.4": expected a version such as 1.2.3, got "1.2.3.4"`},
		{semVer("1.0.0 - "), `policy.semver.range: "1.0.0 - ": expected a version on both sides of "-"`},
		{semVer(strings.Repeat("1", 513)), `policy.semver.range: longer than 512 bytes`},
		{semVer(strings.Repeat("1 ||", 33) + "1"), `policy.semver.range: more than 32 alternatives`},
		{semVer("99999999999999999999.0.0"), `policy.semver.range: "99999999999999999999.0.0" is not a range such as ">=1.0.0 <2.0.0"`},
		{alphabetical("desc"), ""},
		{alphabetical("ASC"), `policy.alphabetical.order: "ASC" is not an order: expected asc or desc`},
		{numerical("up"), `policy.numerical.order: "up" is not an order: expected asc or desc`},
		{filtered(semVer("*"), "^v(", ""), `filterTags.pattern: "^v(": missing closing )`},
		{filtered(semVer("*"), "a**", ""), `filterTags.pattern: "a**": invalid nested repetition operator: "**"`},
		{filtered(semVer("*"), `(?=a)`, ""), `filterTags.pattern: "(?=a)": invalid or unsupported Perl syntax: "(?="`},
		{filtered(semVer("*"), long, long), `filterTags.pattern: longer than 1024 bytes | filterTags.extract: longer than 1024 bytes`},
		{loose("^1"), ""},
		{channels("*", "rc", "beta"), ""},
		{channels("*", "*"), ""},
		{with(channels("*"), func(s *policy.Spec) { s.Policy.SemVer.PreReleases = []string{} }), "policy.semver.preReleases: names no channel: remove it, or write such as [rc, beta]"},
		{channels("*", "rc", "*"), `policy.semver.preReleases[1]: "*" is every channel: remove the others`},
		{channels("<", "rc.1", "", "rc", "rc"), `policy.semver.range: "<": expected a version after "<" | policy.semver.preReleases[0]: "rc.1" is not a channel: expected letters such as rc, or * | policy.semver.preReleases[1]: "" is not a channel: expected letters such as rc, or * | policy.semver.preReleases[3]: "rc" is named twice`},
		{calendar("YYYY.0M.0D"), ""},
		{calendar("YY.MM.MAJOR-MINOR_MICRO"), ""},
		{calendar(""), "policy.calver.layout: the layout is empty: write such as YYYY.0M.0D"},
		{calendar("yyyy.mm"), `policy.calver.layout: "yyyy.mm": expected one of YYYY, YY, 0Y, MM, 0M, WW, 0W, DD, 0D, MAJOR, MINOR, MICRO, got "yyyy.mm"`},
		{calendar("YYYY..0M"), `policy.calver.layout: "YYYY..0M": expected one of YYYY, YY, 0Y, MM, 0M, WW, 0W, DD, 0D, MAJOR, MINOR, MICRO, got ".0M"`},
		{calendar("YYYY.0M."), `policy.calver.layout: "YYYY.0M.": expected a part behind the last '.'`},
		{calendar("YYYY.MM0D"), `policy.calver.layout: "YYYY.MM0D": expected a separator (. - _) behind MM, which has no fixed width`},
		{calendar("YYYY.YY"), `policy.calver.layout: "YYYY.YY" has two parts for what YY counts`},
		{calendar("MAJOR.MINOR"), `policy.calver.layout: "MAJOR.MINOR" has no year: MAJOR.MINOR.MICRO is for semver`},
		{calendar("YYYY.MM.WW"), `policy.calver.layout: "YYYY.MM.WW" has a week and a month or day: use one or the other`},
		{calendar("YYYY.DD"), `policy.calver.layout: "YYYY.DD" has a day and no month`},
		{calendar("DD.MM.YYYY"), `policy.calver.layout: "DD.MM.YYYY" is ordered from left to right: the year has to stand before the month, and that before the day`},
		{calendar(strings.Repeat("YYYY.", 30)), "policy.calver.layout: longer than a tag, which has at most 128 bytes"},
		{newestBuild(), ""},
		{filtered(newestBuild(), "^n", ""), ""},
		{filtered(newestBuild(), "^(n)", "$1"), "filterTags.extract: has no use with newestBuild, which orders by time"},
		{ending(semVer("*"), "-alpine3.20"), ""},
		{ending(semVer("*"), "-al pine"), `suffix: "-al pine": no tag ends in that: expected letters, digits, _, . and -`},
		{with(semVer("*"), func(s *policy.Spec) { s.MinimumAge = -bump.Duration(time.Minute) }), `minimumAge: "-1m0s" is negative`},
		{with(semVer("*"), func(s *policy.Spec) { s.Platforms = []string{} }), "platforms: names no platform: remove it, or write such as [linux/amd64]"},
		{with(semVer("*"), func(s *policy.Spec) { s.Platforms = []string{"linux/amd64", "linux/arm/v7", "windows/amd64"} }), ""},
		{with(semVer("*"), func(s *policy.Spec) { s.Platforms = []string{"amd64", "linux/amd64", "Linux/amd64", "linux/amd64"} }), `platforms[0]: "amd64" is not a platform: expected os/architecture, such as linux/amd64 or linux/arm/v7 | platforms[2]: "Linux/amd64" is not a platform: expected os/architecture, such as linux/amd64 or linux/arm/v7 | platforms[3]: "linux/amd64" is named twice`},
		{with(semVer("*"), func(s *policy.Spec) { s.DigestReflectionPolicy = "always" }), `digestReflectionPolicy: "always" is not known: expected Never, IfNotPresent or Always`},
		{reflecting("Always", 0), ""},
		{reflecting("Always", time.Hour), ""},
		{reflecting("Always", time.Millisecond), `digestInterval: "1ms" is too short: the least is 1s`},
		{reflecting("IfNotPresent", time.Hour), "digestInterval: has no use unless digestReflectionPolicy is Always"},
		{reflecting("", time.Hour), "digestInterval: has no use unless digestReflectionPolicy is Always"},
		{excluding(semVer("*"), "ok", "[", ""), `excludeTags[1]: "[": missing closing ] | excludeTags[2]: an empty pattern excludes every tag`},
		{excluding(filtered(numerical("x"), "(", ""), ")"), `policy.numerical.order: "x" is not an order: expected asc or desc | filterTags.pattern: "(": missing closing ) | excludeTags[0]: ")": unexpected )`},
	} {
		var got []string
		for _, f := range row.spec.Check() {
			got = append(got, f.Field+": "+f.Message)
		}
		if joined := strings.Join(got, " | "); joined != row.want {
			t.Errorf("Check(%+v):\ngot  %s\nwant %s", row.spec, joined, row.want)
		}
		p, err := policy.New(stable, row.spec)
		if (err == nil) != (row.want == "") || (p == nil) != (err != nil) {
			t.Errorf("New(%+v) = %v, %v", row.spec, p, err)
		}
		if err != nil && err.Error() != strings.Join(got, "\n") {
			t.Errorf("New: %q, want the faults of Check", err)
		}
	}
}

// TestFluxFields reads the section as a Flux document spells it.
func TestFluxFields(t *testing.T) {
	const section = `{"policy":{"semver":{"range":"^1"}},"filterTags":{"pattern":"^v","extract":"$0"},"excludeTags":["x"]}`
	var s policy.Spec
	if err := json.Unmarshal([]byte(section), &s); err != nil {
		t.Fatal(err)
	}
	if want := excluding(filtered(semVer("^1"), "^v", "$0"), "x"); !reflect.DeepEqual(s, want) {
		t.Errorf("read %+v, want %+v", s, want)
	}
	b, err := json.Marshal(s)
	if err != nil || string(b) != section {
		t.Errorf("written as %s (%v), want %s", b, err, section)
	}
}

func TestLints(t *testing.T) {
	for _, row := range []struct {
		spec policy.Spec
		want []string // fields
	}{
		{semVer("*"), nil},
		{filtered(semVer("*"), `^v.*$`, ""), nil},
		{filtered(semVer("*"), `^(?:v.*$|\d+$)`, ""), nil},
		{filtered(semVer("*"), `\Av.*\z`, ""), nil},
		{filtered(semVer("*"), `^(v|w).*$`, "$1"), nil},
		{filtered(semVer("*"), `^v`, ""), []string{"filterTags.pattern"}},
		{filtered(semVer("*"), `^a$|b`, ""), []string{"filterTags.pattern"}},
		{filtered(semVer("*"), `^(.*)$`, "$ts"), []string{"filterTags.extract"}},
		{filtered(semVer("*"), `^(.*)$`, "$1x"), []string{"filterTags.extract"}},
		{filtered(semVer("*"), `^(.*)$`, "$2"), []string{"filterTags.extract"}},
		{filtered(semVer("*"), `^(.*)$`, "1.0.0"), []string{"filterTags.extract"}},
		{filtered(semVer("*"), `^(.*)$`, "$$1"), []string{"filterTags.extract"}},
		{numerical("asc"), nil},
		{alphabetical("asc"), []string{"policy.alphabetical"}}, // P8
		{filtered(alphabetical("asc"), `^[0-9a-f]{7}$`, ""), []string{"policy.alphabetical"}},
		{filtered(alphabetical("asc"), `^[0-9]+$`, ""), []string{"policy.alphabetical"}},
		{filtered(alphabetical("asc"), `^v\d+$`, ""), []string{"policy.alphabetical"}},
		{filtered(alphabetical("asc"), `^\d+\.\d+\.\d+$`, ""), []string{"policy.alphabetical"}},
		{filtered(alphabetical("asc"), `^\d{4}-\d\d-\d\d$`, ""), nil},
		{filtered(alphabetical("asc"), `^[0-9]{14}$`, ""), nil},
		{filtered(alphabetical("asc"), `^RELEASE\.(\d{4}-\d\d-\d\d)T`, "$1"), []string{"filterTags.pattern"}}, // for its end alone
		{filtered(alphabetical("asc"), `^latest$`, ""), []string{"filterTags.pattern"}},
		{filtered(semVer("*"), `^(latest)$`, ""), []string{"filterTags.pattern"}},
		{filtered(semVer("*"), `^(?i:latest)$`, ""), nil},
		{filtered(reflecting("Always", 0), `^latest$`, ""), nil},
		{filtered(reflecting("IfNotPresent", 0), `^latest$`, ""), nil},
	} {
		var got []string
		for _, f := range compiled(t, row.spec).Lints() {
			got = append(got, f.Field)
		}
		if !reflect.DeepEqual(got, row.want) {
			t.Errorf("Lints(%+v, %+v) are of %q, want %q", row.spec.Policy, row.spec.FilterTags, got, row.want)
		}
	}
}

// TestLintTags is asked of the tags that there are (P6, P8).
func TestLintTags(t *testing.T) {
	for _, row := range []struct {
		spec policy.Spec
		tags string
		want string
	}{
		{semVer("^1"), "1.0.0 2.0.0 latest", ""},
		{semVer("*"), "", ": the registry lists no tags"},
		{semVer("^3"), "1.0.0 2.10.0 2.9.0 latest", "policy.semver.range: no tag satisfies it now: the newest, 2.10.0, is outside ^3"},
		{semVer("^1"), "1.0.0-rc.1", "policy.semver.range: no tag satisfies it now: the newest, 1.0.0-rc.1, is a pre-release, and ^1 names none"},
		{semVer("*"), "latest main", "policy.semver.range: of 2 tags left none has a place in this order"},
		{calendar("YYYY.MM"), "1.0.0", "policy.calver.layout: of 1 tag left none has a place in this order"},
		{filtered(semVer("*"), "^v", ""), "1.0.0 2.0.0", "filterTags.pattern: matches none of the 2 tags"},
		{ending(semVer("*"), "-alpine"), "1.0.0 2.0.0", `suffix: none of the 2 tags ends in "-alpine"`},
		{excluding(semVer("*"), "0"), "1.0.0 2.0.0", "excludeTags: excludes all of the 2 tags"},
		{newestBuild(), "a b", ""},
		{filtered(newestBuild(), "^n", ""), "a b", "filterTags.pattern: matches none of the 2 tags"},
		{alphabetical("asc"), "10 9 a", "policy.alphabetical: 10 and 9 are ordered by their bytes: use numerical"},
		{alphabetical("asc"), "20240101 20240102 a", ""},
		{filtered(alphabetical("asc"), `^b(\d+)$`, "$1"), "b10 b9", "policy.alphabetical: 10 and 9 are ordered by their bytes: use numerical"},
	} {
		var got []string
		for _, f := range compiled(t, row.spec).LintTags(bump.Tags{List: strings.Fields(row.tags)}) {
			got = append(got, f.Field+": "+f.Message)
		}
		if joined := strings.Join(got, " | "); joined != row.want {
			t.Errorf("LintTags(%+v, %q):\ngot  %s\nwant %s", row.spec, row.tags, joined, row.want)
		}
	}
}

func TestExplain(t *testing.T) {
	p := compiled(t, excluding(filtered(semVer("^1"), `^app-(.*)$`, "$1"), `dirty`))
	tags := bump.Tags{Image: "r.example/app", List: strings.Fields(
		"app-1.0.0 app-1.2.0 app-v1.2.0 app-2.0.0 app-1.3.0-rc.1 app-main app-1.0.0 latest app-1.9.0-dirty")}
	r := p.Explain(p.Select(tags), nil, time.Time{})
	var losers []string
	for _, l := range r.Losers {
		losers = append(losers, fmt.Sprintf("%s (%s) %s", l.Tag, l.Value, l.Reason))
	}
	want := []string{
		"app-2.0.0 (2.0.0) outside ^1",
		"app-1.3.0-rc.1 (1.3.0-rc.1) a pre-release, and ^1 names none",
		"app-1.2.0 (1.2.0) equal to app-v1.2.0, which is preferred among equals",
		"app-1.0.0 (1.0.0) older than app-v1.2.0",
		`app-1.9.0-dirty () excluded by "dirty"`,
		"app-main (main) not a version of three parts",
		`latest () not matched by "^app-(.*)$"`,
	}
	if !reflect.DeepEqual(losers, want) {
		t.Errorf("losers:\n%s\nwant:\n%s", strings.Join(losers, "\n"), strings.Join(want, "\n"))
	}
	r.Losers = nil
	if want := (policy.Report{Policy: "hoist:stable", Image: "r.example/app", Listed: 8, AfterExclusion: 7, AfterSuffix: 7,
		AfterFilter: 6, Parsed: 5, InRange: 3, AfterChecks: 3, Selected: "app-v1.2.0", Value: "v1.2.0"}); !reflect.DeepEqual(r, want) {
		t.Errorf("report:\n%+v\nwant:\n%+v", r, want)
	}

	same := compiled(t, filtered(numerical("asc"), `-(\d+)$`, "$1")).Explain(bump.Selection{Tags: bump.Tags{List: []string{"a-1", "b-1"}}}, nil, time.Time{})
	if got, want := same.Losers[0].Reason, "the same value as a-1, which comes first in byte order"; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}

	none, err := json.Marshal(compiled(t, semVer("*")).Explain(bump.Selection{}, nil, time.Time{}))
	if want := `{"policy":"hoist:stable","listed":0,"afterExclusion":0,"afterSuffix":0,"afterFilter":0,"parsed":0,"inRange":0,"afterChecks":0,"error":"no tag qualifies: the list is empty","losers":[]}`; err != nil || string(none) != want {
		t.Errorf("empty list: %s (%v), want %s", none, err, want)
	}
}
