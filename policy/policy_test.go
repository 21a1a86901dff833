package policy_test

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hoist/bump"
	"hoist/policy"
)

var stable = bump.Name{Namespace: "hoist", Name: "stable"}

func semVer(r string) policy.Spec {
	return policy.Spec{Policy: policy.Choice{SemVer: &policy.SemVer{Range: r}}}
}

func loose(r string, channels ...string) policy.Spec {
	s := semVer(r)
	s.Policy.SemVer.Loose, s.Policy.SemVer.PreReleases = true, channels
	return s
}

func channels(r string, names ...string) policy.Spec {
	s := semVer(r)
	s.Policy.SemVer.PreReleases = names
	return s
}

func calendar(layout string) policy.Spec {
	return policy.Spec{Policy: policy.Choice{CalVer: &policy.CalVer{Layout: layout}}}
}

func ending(s policy.Spec, suffix string) policy.Spec {
	s.Suffix = suffix
	return s
}

func alphabetical(order string) policy.Spec {
	return policy.Spec{Policy: policy.Choice{Alphabetical: &policy.Alphabetical{Order: order}}}
}

func numerical(order string) policy.Spec {
	return policy.Spec{Policy: policy.Choice{Numerical: &policy.Numerical{Order: order}}}
}

func filtered(s policy.Spec, pattern, extract string) policy.Spec {
	s.FilterTags = &policy.FilterTags{Pattern: pattern, Extract: extract}
	return s
}

func excluding(s policy.Spec, patterns ...string) policy.Spec {
	s.ExcludeTags = patterns
	return s
}

func compiled(t testing.TB, s policy.Spec) *policy.Policy {
	t.Helper()
	p, err := policy.New(stable, s)
	if err != nil {
		t.Fatalf("New(%+v): %v", s, err)
	}
	return p
}

// TestSelect tells what the policies choose. Rows marked F are what Flux
// chooses (image-reflector-controller, with its list in descending byte order,
// as it keeps it); the others are ours to define (P1, P3, P6, P7).
func TestSelect(t *testing.T) {
	for _, row := range []struct {
		name string
		spec policy.Spec
		tags string
		want string // empty: none qualifies
	}{
		{"F newest release", semVer(">=1.0.0"), "1.0.0 1.0.1 1.2.0 0.9.9", "1.2.0"},
		{"F by value, not by bytes", semVer(">=1.0.0"), "1.9.0 1.10.0 1.2.0", "1.10.0"},
		{"F v is kept", semVer(">=1.0.0"), "v1.0.0 v1.1.0", "v1.1.0"},
		{"F capital V is no version", semVer("*"), "V2.0.0 1.0.0", "1.0.0"},
		{"F two v are no version", semVer("*"), "vv2.0.0 1.0.0", "1.0.0"},
		{"F three parts only", semVer("*"), "3 2.1 1.0.0 4.0.0.0", "1.0.0"},
		{"F no leading zeros", semVer("*"), "02.0.0 1.02.0 1.0.02 1.0.0", "1.0.0"},
		{"F no pre-release unless asked", semVer(">=1.0.0"), "1.0.0 1.1.0-rc.1", "1.0.0"},
		{"F pre-release when asked", semVer(">=1.0.0-0"), "1.0.0 1.1.0-rc.1", "1.1.0-rc.1"},
		{"F release over its pre-release", semVer(">=1.0.0-0"), "1.1.0-rc.1 1.1.0", "1.1.0"},
		{"F pre-releases by number", semVer(">=1.0.0-0"), "1.1.0-rc.9 1.1.0-rc.10 1.1.0-rc", "1.1.0-rc.10"},
		{"F a number is below a word", semVer(">=1.0.0-0"), "1.1.0-1 1.1.0-a", "1.1.0-a"},
		{"F pre-release without dots by bytes", semVer(">=1.0.0-0"), "1.1.0-rc9 1.1.0-rc10", "1.1.0-rc9"},
		{"F pre-release in one alternative", semVer("<1.0.0 || >=2.0.0-0"), "0.9.0-a 2.0.0-a 0.9.0", "2.0.0-a"},
		{"F pre-release in the other", semVer("<1.0.0 || >=2.0.0-0"), "0.9.0-a 0.8.0", "0.8.0"},
		{"F upper bound", semVer(">=1.0.0 <2.0.0"), "1.9.9 2.0.0 2.0.1", "1.9.9"},
		{"F comma", semVer(">=1.0.0, <2.0.0"), "1.9.9 2.0.0", "1.9.9"},
		{"F hyphen", semVer("1.0.0 - 1.5.0"), "1.4.0 1.5.0 1.5.1", "1.5.0"},
		{"F wildcard", semVer("1.4.x"), "1.4.0 1.4.9 1.5.0", "1.4.9"},
		{"F tilde", semVer("~1.4"), "1.3.0 1.4.7 1.5.0", "1.4.7"},
		{"F caret", semVer("^1.4"), "1.3.0 1.4.7 1.5.0 2.0.0", "1.5.0"},
		{"F caret of zero", semVer("^0.4"), "0.4.1 0.5.0", "0.4.1"},
		{"F alternatives", semVer("^1 || ^3"), "1.0.0 2.0.0 3.0.0 4.0.0", "3.0.0"},
		{"F exception", semVer(">=1.0.0 != 1.5.0"), "1.4.0 1.5.0", "1.4.0"},
		{"F a range with v", semVer(">=v1.0.0"), "1.4.0 0.5.0", "1.4.0"},
		{"F latest and dates are no versions", semVer("*"), "latest 20240101 2024-01-01 sha256-abc.sig 1.0.0", "1.0.0"},
		{"F calendar versions without zeros", semVer("*"), "2024.1.15 2024.12.1 2024.01.30", "2024.12.1"},
		{"F 64 bits", semVer("*"), "18446744073709551615.0.0 18446744073709551616.0.0", "18446744073709551615.0.0"},
		{"F v last among equals", semVer("*"), "1.2.3 v1.2.3", "v1.2.3"},
		{"F builds last among equals", semVer("*"), "1.2.3+b2 1.2.3+b10 1.2.3", "1.2.3+b2"},
		{"F nothing in range", semVer(">=9.0.0"), "1.0.0 2.0.0", ""},
		{"F nothing parsed", semVer("*"), "latest main", ""},
		{"F empty list", semVer("*"), "", ""},

		{"F default order", alphabetical(""), "a c b", "c"},
		{"F ascending", alphabetical("asc"), "a c b", "c"},
		{"F descending", alphabetical("desc"), "b a c", "a"},
		{"F bytes", alphabetical("asc"), "10 9 Z a", "a"},
		{"F bytes, upper case below lower", alphabetical("desc"), "a Z _", "Z"},
		{"F dates", alphabetical("asc"), "2024-01-01 2023-12-31", "2024-01-01"},
		{"F one tag", alphabetical("desc"), "only", "only"},

		{"F numbers", numerical("asc"), "1 10 9", "10"},
		{"F numbers, default", numerical(""), "1 10 9", "10"},
		{"F numbers, descending", numerical("desc"), "2 10 9", "2"},
		{"F fractions", numerical("asc"), "1.5 1.25 0.9", "1.5"},
		{"F negative", numerical("desc"), "1 -2 -1.5", "-2"},
		{"F exponent", numerical("asc"), "1e3 999 1000.5", "1000.5"},
		{"F first among equal numbers", numerical("asc"), "1.0 1 01", "01"},
		{"F first among equal numbers, descending", numerical("desc"), "1.0 1 01", "01"},
		{"beyond 2^53", numerical("asc"), "9007199254740993 9007199254740992", "9007199254740993"},
		{"twenty digits", numerical("asc"), "20240102030405060708 20240102030405060709 20240102030405060707", "20240102030405060709"},
		{"a word does not spoil the rest", numerical("asc"), "1 2 latest v3", "2"},
		{"words of ParseFloat are no numbers", numerical("asc"), "1 inf Infinity NaN 0x1p4 1_0", "1"},
		{"beyond float64", numerical("asc"), "1 1e309 1e99999999999999999999", "1"},
		{"no number at all", numerical("asc"), "latest v3", ""},

		{"F filter", filtered(semVer("*"), `^v`, ""), "1.5.0 v1.4.0", "v1.4.0"},
		{"F filter anywhere", filtered(alphabetical("asc"), `rc`, ""), "a-rc b z", "a-rc"},
		{"F empty filter", filtered(alphabetical("asc"), ``, ""), "a b", "b"},
		{"F extract name", filtered(numerical("asc"), `^main-[0-9a-f]+-(?P<ts>\d+)$`, "$ts"), "main-ff-9 main-aa-10 dev-1-99", "main-aa-10"},
		{"F extract name in braces", filtered(numerical("asc"), `^main-[0-9a-f]+-(?P<ts>\d+)$`, "${ts}"), "main-ff-9 main-aa-10", "main-aa-10"},
		{"F extract number", filtered(semVer("*"), `^(.*)-alpine$`, "$1"), "1.0.0-alpine 1.2.0-alpine 2.0.0", "1.2.0-alpine"},
		{"F extract all", filtered(alphabetical("asc"), `^[ab]$`, "$0"), "a b c", "b"},
		{"F extract composed", filtered(semVer("*"), `^(\d+)_(\d+)_(\d+)$`, "$1.$2.${3}"), "1_9_0 1_10_0", "1_10_0"},
		{"F extract text", filtered(semVer("*"), `^r(?P<n>\d+)$`, "0.0.${n}"), "r9 r10", "r10"},
		{"F extract makes pre-releases", filtered(semVer(">=1.0.0-0"), `^(\d+\.\d+\.\d+)_(\w+)$`, "$1-$2"), "1.0.0_a 1.0.0_b", "1.0.0_b"},
		{"F empty extract is the tag", filtered(numerical("asc"), `^\d+$`, ""), "9 10 x", "10"},
		{"F dollar dollar", filtered(alphabetical("asc"), `^(.)$`, "$$$1"), "a b", "b"},
		{"F group without part in the match", filtered(alphabetical("asc"), `^a(b)?$|^c$`, "$1"), "ab c", "ab"},
		{"F $1x is a group called 1x", filtered(alphabetical("asc"), `^(.)$`, "$1x"), "a b", "a"},
		{"F same value, first tag", filtered(numerical("asc"), `-(\d+)$`, "$1"), "c-7 a-7 b-7", "a-7"},
		{"same version, other spelling", filtered(semVer("*"), `^\w-(.*)$`, "$1"), "a-v1.0.0 b-1.0.0", "a-v1.0.0"},
		{"an empty value does not spoil the rest", filtered(numerical("asc"), `^x(\d*)$`, "$1"), "x x1", "x1"},
		{"F nothing passes the filter", filtered(alphabetical("asc"), `^z`, ""), "a b", ""},

		{"loose: one to four parts", loose("*"), "1.26.9 1.27 v1.28 1.27.0.5", "v1.28"},
		{"loose: the fourth part", loose("*"), "1.2.3.9 1.2.3.10 1.2.3", "1.2.3.10"},
		{"loose: one part", loose("*"), "v2 v10 v9", "v10"},
		{"loose: leading zeros", loose("*"), "2024.01.05 2024.1.4 2023.12.31", "2024.01.05"},
		{"loose: missing parts are zero", loose("*"), "1.27 1.27.0 1.27.0.0 1.26", "1.27.0.0"},
		{"loose: five parts are none", loose("*"), "1.2.3.4.5 1.2", "1.2"},
		{"loose: numbers beyond 64 bits are none", loose("*"), "18446744073709551616 18446744073709551615", "18446744073709551615"},
		{"loose: words are none", loose("*"), "latest v 1. 1..2 .1 1.x 1.2-", ""},
		{"loose: range of the first three parts", loose("=1.2.3"), "1.2.3 1.2.3.7 1.2.4", "1.2.3.7"},
		{"loose: below a bound by three parts", loose("<1.2.3"), "1.2.2.9 1.2.3 1.2.3.0", "1.2.2.9"},
		{"loose: above a bound by three parts", loose(">1.2.3"), "1.2.3.9 1.2.3", ""},
		{"loose: range of two parts", loose("~1.27"), "1.27 1.28 1.27.1.1", "1.27.1.1"},
		{"loose: no pre-release unless asked", loose("*"), "1.27-rc1 1.26 1.27-alpine", "1.26"},
		{"loose: pre-release when asked", loose("*-0"), "1.27-rc1 1.26", "1.27-rc1"},
		{"loose: pre-release by channel", loose("*", "rc"), "1.27-rc1 1.27.0.0-rc2 1.28-beta1 1.26", "1.27.0.0-rc2"},

		{"channel", channels(">=1.0.0", "rc"), "1.1.0 1.2.0-rc.1 1.3.0-beta.1", "1.2.0-rc.1"},
		{"channel without a dot", channels(">=1.0.0", "rc"), "1.1.0 1.2.0-rc1", "1.2.0-rc1"},
		{"channel with a hyphen", channels(">=1.0.0", "rc"), "1.1.0 1.2.0-rc-1", "1.2.0-rc-1"},
		{"channels", channels(">=1.0.0", "rc", "beta"), "1.3.0-alpha 1.3.0-beta.1 1.2.0-rc.1", "1.3.0-beta.1"},
		{"channel is all the letters", channels(">=1.0.0", "rc"), "1.1.0 1.2.0-rca.1", "1.1.0"},
		{"channel as it is spelt", channels(">=1.0.0", "rc"), "1.1.0 1.2.0-RC1", "1.1.0"},
		{"every channel", channels(">=1.0.0", "*"), "1.1.0 1.2.0-x.1 1.2.0-0", "1.2.0-x.1"},
		{"channel, release wins", channels(">=1.0.0", "rc"), "1.2.0 1.2.0-rc.9", "1.2.0"},
		{"channel in the range", channels(">=1.2.0 <2.0.0-0", "rc"), "1.2.0-rc.1 2.0.0-rc.1 1.2.0", "1.2.0"},
		{"channel before the bound", channels(">=1.2.0 <2.0.0", "rc"), "1.2.0 2.0.0-rc.1 2.0.0", "2.0.0-rc.1"},
		{"channel narrows what the range names", channels(">=1.0.0-0", "rc"), "1.2.0-alpha 1.1.0-rc.1", "1.1.0-rc.1"},
		{"the tenth candidate", channels("*", "rc"), "1.2.0-rc9 1.2.0-rc10", "1.2.0-rc10"},
		{"the tenth candidate of 64 bits and more", channels("*", "rc"), "1.2.0-rc9 1.2.0-rc99999999999999999999 1.2.0-rc99999999999999999998", "1.2.0-rc99999999999999999999"},

		{"calendar", calendar("YYYY.0M.0D"), "2024.01.05 2024.01.04 2023.12.31 latest", "2024.01.05"},
		{"calendar with v", calendar("YYYY.0M.0D"), "v2024.01.06 2024.01.05", "v2024.01.06"},
		{"calendar, equal with v", calendar("YYYY.0M"), "v2024.01 2024.01", "v2024.01"},
		{"calendar, short months by number", calendar("YYYY.MM"), "2024.9 2024.10 2024.2", "2024.10"},
		{"calendar, short years by number", calendar("YY.MM"), "24.4 106.1 6.10 99.12", "106.1"},
		{"calendar, padded years", calendar("0Y.0M"), "06.10 24.04 106.01 099.01", "106.01"},
		{"calendar with micro", calendar("YY.MM.MICRO"), "24.4.9 24.4.10 24.3.99", "24.4.10"},
		{"calendar, micro of any length", calendar("YYYY.MICRO"), "2024.99999999999999999999999999999999999999 2024.99999999999999999999999999999999999998 2024.7", "2024.99999999999999999999999999999999999999"},
		{"calendar, micro with zeros", calendar("YYYY.0M.0D-MICRO"), "2024.01.05-09 2024.01.05-10 2024.01.05-8", "2024.01.05-10"},
		{"calendar, major first", calendar("MAJOR.YYYY"), "2.2023 1.2024", "2.2023"},
		{"calendar, weeks", calendar("YYYY-0W"), "2024-09 2024-53 2024-54 2024-00", "2024-53"},
		{"calendar, other separators", calendar("YYYY_0M-DD"), "2024_01-9 2024_01-10 2024-01-11", "2024_01-10"},
		{"calendar without separators", calendar("YYYY0M0D"), "20240105 20231231 2024010 202401055 2024.01.06", "20240105"},
		{"calendar without separators, padded year", calendar("0Y0M0D.MICRO"), "240105.2 240105.10 1240105.1", "240105.10"},
		{"calendar, padding is not left out", calendar("YYYY.0M.0D"), "2024.1.6 2024.01.05", "2024.01.05"},
		{"calendar, padding is not added", calendar("YYYY.MM"), "2024.02 2024.1", "2024.1"},
		{"calendar, months and days that exist", calendar("YYYY.0M.0D"), "2024.13.01 2024.00.10 2024.04.31 2023.02.29 2024.02.30 2024.02.29 2024.01.00", "2024.02.29"},
		{"calendar, nothing more and nothing less", calendar("YYYY.0M.0D"), "2024.01 2024.01. 2024.01.05. 2024.01.05.1 2024.01.05-rc .2024.01.05 24.01.05", ""},
		{"calendar extracted", filtered(calendar("YYYY0M0D"), `^main-(\d+)-`, "$1"), "main-20240105-ff main-20231231-aa", "main-20240105-ff"},
		{"calendar with suffix", ending(calendar("YYYY.0M"), "-slim"), "2024.01-slim 2024.02 2023.12-slim", "2024.01-slim"},

		{"suffix", ending(semVer("*"), "-alpine"), "1.2.0 1.1.0-alpine 1.0.0-alpine 1.3.0-slim", "1.1.0-alpine"},
		{"suffix and pre-release", ending(semVer(">=1.0.0-0"), "-alpine"), "1.1.0-rc.1-alpine 1.1.0-rc.2 1.0.0-alpine", "1.1.0-rc.1-alpine"},
		{"suffix, then filter", filtered(ending(numerical(""), "-alpine"), `^r(\d+)$`, "$1"), "r1-alpine r2-alpine r3", "r2-alpine"},
		{"suffix and exclusion see the same tag", excluding(ending(semVer("*"), "-alpine"), `^1\.2.*alpine$`), "1.2.0-alpine 1.1.0-alpine", "1.1.0-alpine"},
		{"nothing but the suffix", ending(alphabetical("asc"), "-alpine"), "-alpine", ""},

		{"excluded", excluding(semVer("*"), `^1\.5\.`), "1.4.0 1.5.0 1.5.1", "1.4.0"},
		{"excluded anywhere", excluding(alphabetical("asc"), `sha256-`, `\.sig$`), "a sha256-ff.sig z.sig", "a"},
		{"all excluded", excluding(alphabetical("asc"), `.`), "a b", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := compiled(t, row.spec)
			list := strings.Fields(row.tags)
			for range 4 {
				got := p.Select(bump.Tags{Image: "r.example/app", List: list})
				if got.Tag != row.want {
					t.Errorf("Select(%q) = %q, want %q", list, got.Tag, row.want)
				}
				if lost := errors.As(got.Err, new(*policy.NoMatchError)); lost != (row.want == "") {
					t.Errorf("Select(%q) = %q with error %v", list, got.Tag, got.Err)
				}
				if got.Policy != stable || got.Image() != "r.example/app" {
					t.Errorf("Select forgot where it came from: %+v", got)
				}
				rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			}
		})
	}
}

func TestNoMatchSaysWhatBecameOfTheTags(t *testing.T) {
	p := compiled(t, excluding(filtered(semVer("^2"), `^v`, ""), `-dirty$`))
	got := p.Select(bump.Tags{List: strings.Fields("1.0.0 v1.0.0 v1.1.0 v2.0.0-dirty v3.0.0-rc1 vx")})
	want := &policy.NoMatchError{Seen: 6, Excluded: 1, Filtered: 1, Malformed: 1, Outside: 3}
	if !reflect.DeepEqual(got.Err, want) {
		t.Errorf("error = %+v, want %+v", got.Err, want)
	}
	for _, row := range []struct {
		err  *policy.NoMatchError
		want string
	}{
		{want, "no tag qualifies: of 6, 1 excluded, 1 not matched by the filter, 1 without a place in the order, 3 outside the range"},
		{&policy.NoMatchError{}, "no tag qualifies: the list is empty"},
	} {
		if got := row.err.Error(); got != row.want {
			t.Errorf("%+v reads %q, want %q", row.err, got, row.want)
		}
	}
}

func TestCompare(t *testing.T) {
	for _, row := range []struct {
		spec policy.Spec
		a, b string
		want int
		ok   bool
	}{
		{semVer("^1"), "1.10.0", "1.9.0", 1, true},
		{semVer("^1"), "1.9.0", "1.10.0", -1, true},
		{semVer("^1"), "1.9.0", "1.9.0", 0, true},
		{semVer("^1"), "3.0.0", "1.9.0", 1, true}, // outside the range still has an order
		{semVer("^1"), "2.0.0-rc1", "1.9.0", 1, true},
		{semVer("^1"), "v1.9.0", "1.9.0", 0, true}, // neither is newer
		{semVer("^1"), "latest", "1.9.0", 0, false},
		{semVer("^1"), "1.9.0", "latest", 0, false},
		{semVer("^1"), "1.9", "1.9.0", 0, false},
		{semVer("^1"), "", "1.9.0", 0, false},
		{alphabetical("asc"), "b", "a", 1, true},
		{alphabetical("desc"), "b", "a", -1, true},
		{numerical("asc"), "10", "9", 1, true},
		{numerical("desc"), "10", "9", -1, true},
		{numerical("asc"), "1.0", "1", 0, true},
		{numerical("asc"), "rc", "1", 0, false},
		{filtered(numerical("asc"), `^main-(\d+)$`, "$1"), "main-10", "main-9", 1, true},
		{filtered(numerical("asc"), `^main-(\d+)$`, "$1"), "10", "main-9", 0, false},
		{calendar("YYYY.0M.0D"), "2024.01.05", "2024.01.04", 1, true},
		{calendar("YYYY.0M.0D"), "2024.01.05", "v2024.01.05", 0, true},
		{calendar("YYYY.0M.0D"), "2024.01.05", "latest", 0, false},
		{calendar("YYYY.0M.0D"), "2024.01.05", "2024.02", -1, true}, // does not fit, and looks newer (N9)
		{calendar("YYYY.0M.0D"), "2024.01.05", "2023.12", 0, false},
		{calendar("YYYY0M0D"), "20240105", "20240106-1", -1, true},
		{calendar("YYYY0M0D"), "20240105", "20240104-1", 0, false},
		{loose("*"), "1.27", "1.27.0", 0, true},
		{loose("*"), "1.27", "1.28.0.1", -1, true},
		{loose("*"), "1.27", "1.28.0.1.9", -1, true}, // no version, and looks newer (N9)
		{loose("*"), "1.27", "latest", 0, false},
		{channels("*", "rc"), "1.2.0-rc10", "1.2.0-rc9", 1, true},
		{channels("*", "rc"), "1.2.0-rc1", "1.2.0-rc01", 0, true},
		{ending(semVer("*"), "-alpine"), "1.2.0-alpine", "1.1.0-alpine", 1, true},
		{ending(semVer("*"), "-alpine"), "1.2.0-alpine", "1.1.0", 0, false},
		{ending(semVer("*"), "-alpine"), "1.2.0-alpine", "1.3.0", -1, true}, // another variant, and looks newer (N9)
		{excluding(semVer("*"), `^2\.0\.0$`), "2.0.0", "1.9.0", 1, true},    // excluded still has an order
	} {
		p := compiled(t, row.spec)
		if got, ok := p.Compare(row.a, row.b); got != row.want || ok != row.ok {
			t.Errorf("%+v: Compare(%q, %q) = %d, %t, want %d, %t", row.spec.Policy, row.a, row.b, got, ok, row.want, row.ok)
		}
	}
}

// TestGoroutines has something to say only under -race.
func TestGoroutines(t *testing.T) {
	p := compiled(t, excluding(filtered(semVer(">=1.0.0"), `^v(?P<v>.*)$`, "$v"), "x"))
	tags := bump.Tags{List: []string{"v1.0.0", "v1.2.0", "vx"}}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 100 {
				if got := p.Select(tags); got.Tag != "v1.2.0" {
					t.Errorf("Select = %q", got.Tag)
				}
				p.Compare("v1.0.0", "v1.2.0")
				p.Explain(p.Select(tags), nil, time.Time{})
				p.Lints()
			}
		})
	}
	all.Wait()
}

func TestListIsLeftAlone(t *testing.T) {
	list := []string{"b", "c", "a"}
	p := compiled(t, alphabetical("asc"))
	p.Select(bump.Tags{List: list})
	p.Explain(p.Select(bump.Tags{List: list}), nil, time.Time{})
	if want := []string{"b", "c", "a"}; !slices.Equal(list, want) {
		t.Errorf("list is %q now, want %q", list, want)
	}
}
