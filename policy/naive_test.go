package policy_test

import (
	"cmp"
	"math/big"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Masterminds/semver/v3"

	"hoist/bump"
	"hoist/policy"
)

// What follows is the long way round to the same answers: a list in descending
// byte order, as Flux keeps it, every tag parsed by the library and every
// version asked about. Slow, and short enough to be seen to be right.

func naiveVersion(s string) *semver.Version {
	if _, err := semver.StrictNewVersion(strings.TrimPrefix(s, "v")); err != nil {
		return nil
	}
	v, err := semver.NewVersion(s)
	if err != nil {
		return nil
	}
	return v
}

func descending(values []string) []string {
	values = slices.Clone(values)
	slices.SortFunc(values, func(a, b string) int { return cmp.Compare(b, a) })
	return slices.Compact(values)
}

func naiveSemVer(rng string) func([]string) string {
	c, err := semver.NewConstraint(rng)
	if err != nil {
		return nil
	}
	return func(values []string) (newest string) {
		var best *semver.Version
		for _, value := range values {
			if v := naiveVersion(value); v != nil && c.Check(v) && (best == nil || v.GreaterThan(best)) {
				best, newest = v, value
			}
		}
		return newest
	}
}

func naiveAlphabetical(desc bool) func([]string) string {
	return func(values []string) string {
		if len(values) == 0 {
			return ""
		}
		if desc {
			return slices.Min(values)
		}
		return slices.Max(values)
	}
}

// naiveNumerical is for numbers that float64 holds exactly.
func naiveNumerical(desc bool) func([]string) string {
	return func(values []string) (newest string) {
		var best float64
		for i, value := range values {
			f, err := strconv.ParseFloat(value, 64)
			if err != nil {
				panic(err)
			}
			if i == 0 || (!desc && f >= best) || (desc && f <= best) {
				best, newest = f, value
			}
		}
		return newest
	}
}

// naive is the whole policy. Extracted values go through a map in which the
// last tag written wins; equal versions among them are left to chance by Flux,
// so they are put in descending order again.
func naive(newest func([]string) string, pattern, extract string, tags []string) string {
	tags = descending(tags)
	if pattern == "" {
		return newest(tags)
	}
	re := regexp.MustCompile(pattern)
	tagOf := make(map[string]string)
	var values []string
	for _, tag := range tags {
		m := re.FindStringSubmatchIndex(tag)
		if m == nil {
			continue
		}
		value := tag
		if extract != "" {
			value = string(re.ExpandString(nil, extract, tag, m))
		}
		tagOf[value] = tag
		values = append(values, value)
	}
	return tagOf[newest(descending(values))]
}

var ranges = []string{
	"*", ">=1.0.0", ">=1.0.0-0", "^1", "~1.2", "1.2.x", ">=1.0.0 <2.0.0", "1.0.0 - 2.0.0", "^1 || ^3", "!=2.1.0",
	"<2.0.0-rc.1", ">=1.2.3-rc.2 <2", "=1.2.3", "^0.2", "^0.0.3", "~0", ">1.1", "<=1.x", "=>1.1.1, =<2.2.2", "x", "~>1",
	"<1.0.0 || >=2.0.0-0", "!=1.x", "^1.0.0-alpha", ">3", "<0.0.1",
}

// randomTags makes lists that are full of ties, pre-releases and near misses.
func randomTags(r *rand.Rand) []string {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	tags := make([]string, r.IntN(40))
	for i := range tags {
		var b strings.Builder
		b.WriteString(pick("", "", "", "v", "v", "vv", "app-"))
		b.WriteString(pick("0", "1", "1", "2", "3", "10", "01", ""))
		for range r.IntN(3) + 1 {
			b.WriteString("." + pick("0", "1", "2", "3", "10", "00", "18446744073709551616"))
		}
		b.WriteString(pick("", "", "", "-rc.1", "-rc.2", "-rc.10", "-0", "-a.b", "-a.1", "-01", "-", "-99999999999999999999", "-99999999999999999998.1", "-x-1"))
		b.WriteString(pick("", "", "", "+b1", "+b2", "+b.1", "+", "+01"))
		tags[i] = b.String()
	}
	return tags
}

func randomNumbers(r *rand.Rand) []string {
	tags := make([]string, r.IntN(30))
	for i := range tags {
		n := r.Int64N(1<<40) - 1<<39
		if r.IntN(2) == 0 {
			n = r.Int64N(5) - 2
		}
		tag := strconv.FormatInt(n, 10)
		switch r.IntN(6) {
		case 0:
			tag = strconv.FormatFloat(float64(n)/8, 'f', -1, 64)
		case 1:
			tag = strconv.FormatFloat(float64(n), 'e', -1, 64)
		case 2:
			tag += "." + strings.Repeat("0", r.IntN(3))
		case 3:
			if n >= 0 {
				tag = "00" + tag
			}
		}
		tags[i] = tag
	}
	return tags
}

func TestSameAsTheLongWay(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	filters := [][2]string{{"", ""}, {"", ""}, {`^v`, ""}, {`^(?:app-)?(.*)$`, "$1"}, {`^(?P<v>[^-]*)-?(.*)$`, "${v}"}, {`(\d+)\.(\d+)`, "v$1.$2.0"}}
	orders := map[string]func([]string) string{"asc": naiveAlphabetical(false), "desc": naiveAlphabetical(true)}
	for range 1000 {
		tags := randomTags(r)
		f := filters[r.IntN(len(filters))]
		rng := ranges[r.IntN(len(ranges))]
		check(t, semVer(rng), naiveSemVer(rng), f, tags)
		for order, newest := range orders {
			check(t, alphabetical(order), newest, f, tags)
		}
		numbers := randomNumbers(r)
		check(t, numerical("asc"), naiveNumerical(false), filters[0], numbers)
		check(t, numerical("desc"), naiveNumerical(true), filters[0], numbers)
	}
}

// TestEveryRangeAtEveryEdge compares which versions a range allows with what the
// library says, around all the edges that ranges can have.
func TestEveryRangeAtEveryEdge(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	bound := func() string {
		b := pick("", "", "v") + pick("0", "1", "2", "x", "18446744073709551615")
		if r.IntN(3) > 0 {
			b += "." + pick("0", "1", "2", "X", "*")
			if r.IntN(3) > 0 {
				b += "." + pick("0", "1", "2", "03", "x")
				b += pick("", "", "", "", "-rc.1", "-0", "+b.7")
			}
		}
		return b
	}
	var versions []string
	for _, major := range []string{"0", "1", "2", "3", "18446744073709551615"} {
		for _, minor := range []string{"0", "1", "2", "3"} {
			for _, patch := range []string{"0", "1", "2", "3", "4", "18446744073709551615"} {
				versions = append(versions, major+"."+minor+"."+patch)
			}
			versions = append(versions, major+"."+minor+".2-rc.1", major+"."+minor+".0-a")
		}
	}
	tried := 0
	for range 1000 {
		rng := ""
		for i := range r.IntN(3) + 1 {
			if i > 0 {
				rng += pick(" ", ",", " || ", " - ")
			}
			rng += pick("", "=", "!=", ">", "<", ">=", "=>", "<=", "=<", "~", "~>", "^") + bound()
		}
		c, err := semver.NewConstraint(rng)
		if err != nil {
			continue
		}
		tried++
		p := compiled(t, semVer(rng))
		for _, v := range versions {
			got := p.Select(bump.Tags{List: []string{v}}).Tag == v
			if want := c.Check(naiveVersion(v)); got != want {
				t.Fatalf("range %q allows %s: %t, want %t", rng, v, got, want)
			}
		}
	}
	if tried < 400 {
		t.Errorf("only %d ranges were valid", tried)
	}
}

func check(t *testing.T, s policy.Spec, newest func([]string) string, f [2]string, tags []string) {
	t.Helper()
	if f[0] != "" {
		s = filtered(s, f[0], f[1])
	}
	p := compiled(t, s)
	want := naive(newest, f[0], f[1], tags)
	got := p.Select(bump.Tags{List: tags})
	if got.Tag != want {
		t.Errorf("%+v filter %q: Select(%q) = %q, want %q", s.Policy, f, tags, got.Tag, want)
	}
	if told := p.Explain(p.Select(bump.Tags{List: tags}), nil, time.Time{}); told.Selected != want {
		t.Errorf("%+v filter %q: Explain(%q) selects %q, want %q", s.Policy, f, tags, told.Selected, want)
	}
}

// FuzzVersion holds our parsing, ordering and range check of versions against
// the library's.
func FuzzVersion(f *testing.F) {
	for i, a := range []string{"1.2.3", "v1.2.3-rc.1+b", "1.2.3-01", "1.2", "18446744073709551616.0.0", "1.2.3-99999999999999999999", "1.2.3-a.b", "1.2.3+", "v1.2.3-", "1..2", "1.2-a.3"} {
		f.Add(a, "1.2.3-rc.2", ranges[i])
	}
	f.Fuzz(func(t *testing.T, a, b, rng string) {
		x, y := naiveVersion(a), naiveVersion(b)
		p := compiled(t, semVer("*"))
		got, ok := p.Compare(a, b)
		if ok != (x != nil && y != nil) {
			t.Fatalf("Compare(%q, %q) knows both: %t, the library: %v, %v", a, b, ok, x, y)
		}
		if ok && got != x.Compare(y) {
			t.Errorf("Compare(%q, %q) = %d, want %d", a, b, got, x.Compare(y))
		}
		newest := naiveSemVer(rng)
		p, err := policy.New(stable, semVer(rng))
		if (err == nil) != (newest != nil) {
			t.Fatalf("New(%q): %v", rng, err)
		}
		if err == nil {
			tags := []string{a, b}
			if got, want := p.Select(bump.Tags{List: tags}).Tag, naive(newest, "", "", tags); got != want {
				t.Errorf("range %q: Select(%q) = %q, want %q", rng, tags, got, want)
			}
		}
	})
}

// FuzzNumber holds our numbers against big.Rat, which rounds nothing either.
func FuzzNumber(f *testing.F) {
	for _, a := range []string{"1", "-0", "+1.50", ".5", "5.", "1e3", "1.25E-2", "0e999999999", "1e309", "1e-400", "9007199254740993", "0x1p4", "1_0", "inf", "."} {
		f.Add(a, "1000")
	}
	decimal := regexp.MustCompile(`^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$`)
	p, err := policy.New(stable, numerical("asc"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		got, ok := p.Compare(a, b)
		if !decimal.MatchString(a) || !decimal.MatchString(b) {
			if ok && len(a) < 4 && len(b) < 4 {
				t.Errorf("Compare(%q, %q) takes both for numbers", a, b)
			}
			return
		}
		x, _ := new(big.Rat).SetString(a)
		y, _ := new(big.Rat).SetString(b)
		if !ok {
			if _, err := strconv.ParseFloat(a, 64); err == nil && len(a)+len(b) < 100 && !tiny(x) && !tiny(y) {
				if _, err := strconv.ParseFloat(b, 64); err == nil {
					t.Errorf("Compare(%q, %q) does not know both", a, b)
				}
			}
			return
		}
		if want := x.Cmp(y); got != want {
			t.Errorf("Compare(%q, %q) = %d, want %d", a, b, got, want)
		}
	})
}

// tiny tells whether x is so near to zero that it is refused.
func tiny(x *big.Rat) bool {
	limit, _ := new(big.Rat).SetString("1e-300")
	return x.Sign() != 0 && new(big.Rat).Abs(x).Cmp(limit) < 0
}

// ranks holds Ranked to its promise: what it yields was on the list, each once,
// never a newer one behind an older; the first is that of Select; neither the
// order of the list nor doing it twice matters, nor a tag that is there twice.
func ranks(t *testing.T, p *policy.Policy, tags bump.Tags) {
	t.Helper()
	built := func(tag string) (bump.Artifact, bool) {
		return bump.Artifact{Tag: tag, Image: true, Created: ago(time.Duration(len(tag)%3) * time.Hour), Seen: noon}, len(tag)%4 != 0
	}
	got := slices.Collect(p.Ranked(tags, built, noon))
	for i, tag := range got {
		if !slices.Contains(tags.List, tag) || slices.Contains(got[:i], tag) {
			t.Fatalf("Ranked(%q) = %q: %q was not there, or is twice", tags.List, got, tag)
		}
		if i == 0 {
			continue
		}
		if c, ok := p.Order(built).Compare(got[i-1], tag); !ok || c < 0 {
			t.Fatalf("Ranked(%q) = %q: Compare(%q, %q) = %d, %t", tags.List, got, got[i-1], tag, c, ok)
		}
	}
	if s := p.Select(tags); !p.Asks().Every && (len(got) > 0) != (s.Err == nil) || s.Err == nil && got[0] != s.Tag {
		t.Fatalf("Ranked(%q) = %q, Select chose %q, %v", tags.List, got, s.Tag, s.Err)
	}
	turned := slices.Concat(tags.List, tags.List)
	slices.Reverse(turned)
	if again := slices.Collect(p.Ranked(bump.Tags{List: turned}, built, noon)); !slices.Equal(got, again) {
		t.Fatalf("Ranked(%q) = %q, and of the reverse, twice, %q", tags.List, got, again)
	}
}

// FuzzLayout feeds any layout any two values. It is refused or it orders: two
// values that fit are equal, or one is the newer whichever is asked first; and
// what fits a layout of numbers alone is digits and separators.
func FuzzLayout(f *testing.F) {
	f.Add("YYYY.0M.0D", "2024.01.05", "v2024.02.30")
	f.Add("YY0M", "2401", "24.01")
	f.Add("0Y0M0D-MICRO", "240105-99999999999999999999", "1240105-1")
	f.Fuzz(func(t *testing.T, layout, a, b string) {
		s := calendar(layout)
		p, err := policy.New(stable, s)
		if (err == nil) != (len(s.Check()) == 0) {
			t.Fatalf("Check(%q): %v, New: %v", layout, s.Check(), err)
		}
		if err != nil {
			return
		}
		for _, value := range []string{a, b} {
			if p.Select(bump.Tags{List: []string{value}}).Err == nil && strings.Trim(strings.TrimPrefix(value, "v"), "0123456789.-_") != "" {
				t.Errorf("%q fits %q", value, layout)
			}
		}
		if p.Select(bump.Tags{List: []string{a}}).Err == nil && p.Select(bump.Tags{List: []string{b}}).Err == nil {
			c, ok := p.Compare(a, b)
			d, okToo := p.Compare(b, a)
			if !ok || !okToo || c != -d {
				t.Errorf("layout %q: Compare(%q, %q) = %d, %t, and the other way %d, %t", layout, a, b, c, ok, d, okToo)
			}
		}
		ranks(t, p, bump.Tags{List: []string{a, b}})
	})
}

// FuzzSelect feeds any policy any list. The chosen tag was on the list, the
// order of the list does not matter, what beats it is not allowed, and nothing
// panics. A policy is refused or it runs.
func FuzzSelect(f *testing.F) {
	f.Add("semver", ">=1.0.0", `^v(.*)$`, "$1", `-dirty$`, "v1.0.0 v1.2.0 latest v2.0.0-rc.1")
	f.Add("alphabetical", "desc", ``, "", ``, "a b c")
	f.Add("numerical", "asc", `(\d+)`, "$1", ``, "main-12 main-012 x 1e5")
	f.Add("semver", "1.x || ^2 <", `(`, "${", `[`, "")
	f.Add("loose", ">=1", ``, "", ``, "1.27 v2 1.2.3.4 1.2-rc10 1.2-rc9 01.2")
	f.Add("calver", "YYYY.0M.MICRO", `^v?(.*)$`, "$1", `x`, "2024.01.9 v2024.01.10 2024.1.1 2024.01")
	f.Add("newestBuild", "", `^n`, "", ``, "n1 n2 x n333 n4444")
	f.Fuzz(func(t *testing.T, kind, order, pattern, extract, exclude, list string) {
		var s policy.Spec
		switch kind {
		case "semver":
			s = semVer(order)
		case "alphabetical":
			s = alphabetical(order)
		case "numerical":
			s = numerical(order)
		case "loose":
			s = loose(order, "rc")
		case "calver":
			s = calendar(order)
		case "newestBuild":
			s = newestBuild()
		}
		s = filtered(s, pattern, extract)
		if exclude != "" {
			s = excluding(s, exclude)
		}
		faults := s.Check()
		p, err := policy.New(stable, s)
		if (err == nil) != (len(faults) == 0) {
			t.Fatalf("Check: %v, New: %v", faults, err)
		}
		if err != nil {
			return
		}
		p.Lints()
		tags := bump.Tags{List: strings.Fields(list)}
		p.LintTags(tags)
		ranks(t, p, tags)
		if p.Asks().Every {
			return // tags alone choose nothing there
		}
		got := p.Select(tags)
		if (got.Err == nil) != slices.Contains(tags.List, got.Tag) {
			t.Fatalf("Select(%q) = %q, %v", tags.List, got.Tag, got.Err)
		}
		slices.Reverse(tags.List)
		if again := p.Select(tags); again.Tag != got.Tag {
			t.Fatalf("Select(%q) = %q, and of the reverse %q", tags.List, again.Tag, got.Tag)
		}
		r := p.Explain(p.Select(tags), nil, time.Time{})
		if r.Selected != got.Tag || r.Listed < r.Parsed || r.Parsed < r.InRange || (r.InRange > 0) != (got.Err == nil) {
			t.Fatalf("Explain(%q) = %+v, Select chose %q", tags.List, r, got.Tag)
		}
	})
}
