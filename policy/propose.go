package policy

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Proposal is a policy that goes on from tags which are in use, as far as their
// shapes tell how the tags of an image are ordered.
type Proposal struct {
	Tags  []string // in use, in byte order; the policy selects each of them or something newer
	Spec  Spec
	Short string // for people: "semver >=1.4.2 <2.0.0"
	Word  string // what tells this policy from others for the image: "1", "alpine", "rc"
}

// Propose returns policies for the tags of one image that are in use somewhere.
// Tags that one policy can follow without a jump over a major version share it;
// the newest versions come first. Left says, for each tag that no policy should
// follow, why, and what to do.
func Propose(tags []string) (proposals []Proposal, left map[string]string) {
	left = make(map[string]string)
	groups := make(map[string][]shape)
	for _, tag := range slices.Compact(slices.Sorted(slices.Values(tags))) {
		s, why := shapeOf(tag)
		if why != "" {
			left[tag] = why
			continue
		}
		s.tag = tag
		groups[s.key] = append(groups[s.key], s)
	}
	all := slices.Collect(maps.Values(groups))
	for _, g := range all {
		slices.SortStableFunc(g, func(a, b shape) int { return a.version.compare(b.version) })
	}
	slices.SortFunc(all, func(a, b []shape) int {
		return cmp.Or(b[0].version.compare(a[0].version), strings.Compare(a[0].key, b[0].key))
	})
	for _, g := range all {
		p := Proposal{Spec: g[0].spec(), Word: g[0].word}
		for _, s := range g {
			p.Tags = append(p.Tags, s.tag)
		}
		slices.Sort(p.Tags)
		p.Short = short(p.Spec)
		proposals = append(proposals, p)
	}
	return proposals, left
}

// shape is what a tag looks like.
type shape struct {
	tag     string
	key     string // tags of one key follow one policy
	word    string
	version version // zero where the tag holds none
	spec    func() Spec
}

var (
	threeParts = regexp.MustCompile(`^(v?)([0-9]+\.[0-9]+\.[0-9]+)(?:-(.+))?$`)
	describes  = regexp.MustCompile(`^[0-9]+-g[0-9a-f]{7,40}$`)
	channel    = regexp.MustCompile(`^(?i)(alpha|beta|rc|cr|pre|preview|dev|snapshot|nightly|canary|next|ea|m|a|b)(?:[.-]?[0-9]+)*$`)
	revision   = regexp.MustCompile(`^((?:[A-Za-z][A-Za-z0-9._-]*-)?(?:r|ls|build|b)?)[0-9]+$`)
	variant    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]*$`)
	floating   = regexp.MustCompile(`^v?[0-9]{1,3}(?:\.[0-9]{1,3})?(?:-[A-Za-z][A-Za-z0-9._-]*)?$`)
	dotted     = regexp.MustCompile(`^(v?)([0-9]{4}|[0-9]{2})([.-])(0[1-9]|1[0-2])(?:([.-])([0-2][0-9]|3[01]))?$`)
	moment     = regexp.MustCompile(`^(.*?)([0-9]{4}-?[0-9]{2}-?[0-9]{2}[T.-]?[0-9]{2}[-:]?[0-9]{2}[-:]?[0-9]{2}Z?|[0-9]{4}-[0-9]{2}-[0-9]{2})$`)
	built      = regexp.MustCompile(`^((?:[A-Za-z][A-Za-z0-9._-]*?[._-])?)(?:([0-9a-f]{7,40})([._-]))?([0-9]+)(?:([._-])([0-9a-f]{7,40}))?$`)
	hashLike   = regexp.MustCompile(`^(?:[A-Za-z][A-Za-z0-9._/-]*[._-])?(?:sha-?|g|git-)?[0-9a-f]{7,64}$`)
)

const (
	digits = "[0-9]"
	hashes = "[0-9a-f]{7,40}"
)

// shapeOf reads the shape of a tag, or says why no policy should follow it.
func shapeOf(tag string) (s shape, left string) {
	if tag == "" || tag == "latest" {
		return s, "moves without changing its name: write a version, then run init again"
	}
	if m := threeParts.FindStringSubmatch(tag); m != nil {
		if v, ok := parseVersion(m[2]); ok {
			return versionShape(tag, m[1], v, m[3])
		}
	}
	if m := dotted.FindStringSubmatch(tag); m != nil && (len(m[2]) == 4 || m[4][0] == '0') {
		return datedShape(tag, m), ""
	}
	if floating.MatchString(tag) {
		return s, fmt.Sprintf("%q moves within a series: write a version of three parts, then run init again", tag)
	}
	if m := moment.FindStringSubmatch(tag); m != nil && strings.Trim(m[1], "0123456789") == m[1] {
		return momentShape(m[1], m[2]), ""
	}
	if m := built.FindStringSubmatch(tag); m != nil {
		return buildShape(tag, m)
	}
	if hashLike.MatchString(tag) && strings.ContainsAny(tag, "0123456789") {
		return s, "a commit hash has no order: let CI add a number or a time, main-<sha>-<timestamp>"
	}
	if !strings.ContainsAny(tag, "0123456789") {
		return s, "a name that moves, not a version: write a version, then run init again"
	}
	return s, "its order is not known: write a policy with filterTags by hand"
}

// versionShape is that of 1.2.3, v1.2.3 and of either with something behind it.
func versionShape(tag, v string, low version, rest string) (s shape, left string) {
	s.version, s.word = low, series(low)
	upper := nextMajor(low)
	if rest == "" {
		s.key = "release " + upper
		s.spec = func() Spec { return inRange(bounds(low.String(), upper)) }
		return s, ""
	}
	number := digits + `+\.` + digits + `+\.` + digits + "+"
	filtered := func(behind, key string) {
		s.word = key
		s.key = "build " + v + key + " " + upper
		s.spec = func() Spec {
			spec := inRange(bounds(low.String(), upper))
			spec.FilterTags = &FilterTags{Pattern: "^" + v + "(?P<version>" + number + ")-" + behind + "$", Extract: "$version"}
			return spec
		}
	}
	switch {
	case describes.MatchString(rest):
		return s, "git describe counts commits in a text, which no order reads: let CI write a version or a timestamp"
	case channel.MatchString(rest):
		full, ok := parseVersion(strings.TrimPrefix(tag, "v"))
		if !ok {
			return s, "its order is not known: write a policy with filterTags by hand"
		}
		word := channelOf(full.pre)
		s.version, s.word, s.key = full, strings.ToLower(word), "channel "+word+" "+upper
		s.spec = func() Spec {
			below := ""
			if upper != "" {
				below = upper + "-0" // 2.0.0-rc.1 is below 2.0.0
			}
			spec := inRange(bounds(full.String(), below))
			spec.Policy.SemVer.PreReleases = []string{word}
			return spec
		}
	case revision.MatchString(rest):
		before := revision.FindStringSubmatch(rest)[1]
		filtered(regexp.QuoteMeta(before)+digits+"+", before+"N")
	case hashLike.MatchString(rest) && strings.ContainsAny(rest, "0123456789"):
		filtered(hashes, "hash")
	case variant.MatchString(rest):
		s.word, s.key = rest, "variant "+v+rest+" "+upper
		s.spec = func() Spec {
			spec := inRange(bounds(low.String(), upper))
			spec.Suffix = "-" + rest
			return spec
		}
	default:
		return s, "its order is not known: write a policy with filterTags by hand"
	}
	return s, ""
}

// datedShape is that of 2024.01, 2024.01.05, 2024-01-05 and 24.04: fields of
// fixed width, which numbers or bytes order alike.
func datedShape(tag string, m []string) shape {
	v, year, first, second, day := m[1], m[2], m[3], m[5], m[6]
	pattern := "^" + regexp.QuoteMeta(v) + fmt.Sprintf("(?P<y>%s{%d})", digits, len(year)) + regexp.QuoteMeta(first) + "(?P<m>" + digits + "{2})"
	extract := "${y}${m}"
	if day != "" {
		pattern += regexp.QuoteMeta(second) + "(?P<d>" + digits + "{2})"
		extract += "${d}"
	}
	return numbered(pattern+"$", extract)
}

// momentShape is that of a date or a time behind anything that stays: minio's
// RELEASE.2024-01-05T12-34-56Z, nightly-20240105123456. Of fixed width, the
// bytes have the order of time.
func momentShape(before, when string) shape {
	var b strings.Builder
	for _, r := range when {
		if r >= '0' && r <= '9' {
			b.WriteByte('9')
		} else {
			b.WriteRune(r)
		}
	}
	pattern := regexp.QuoteMeta(b.String())
	pattern = regexp.MustCompile("9+").ReplaceAllStringFunc(pattern, func(run string) string {
		return fmt.Sprintf("%s{%d}", digits, len(run))
	})
	pattern = "^" + regexp.QuoteMeta(before) + "(?P<time>" + pattern + ")$"
	return shape{key: "time " + pattern, spec: func() Spec {
		return Spec{Policy: Choice{Alphabetical: &Alphabetical{Order: "asc"}}, FilterTags: &FilterTags{Pattern: pattern, Extract: "$time"}}
	}}
}

// buildShape is that of a number of a build or a second, with what stays before
// it and a commit hash on either side: main-3f2a9c1-1700000100, 1234, dev-17.
func buildShape(tag string, m []string) (s shape, left string) {
	before, hash, number, behind := m[1], m[2], m[4], m[6]
	alone := hash == "" && behind == ""
	switch {
	case alone && before != "" && len(number) == 7:
		return s, "the digits may be a commit hash: write a policy with filterTags by hand"
	case len(number) > 20:
		return s, "a commit hash has no order: let CI add a number or a time, main-<sha>-<timestamp>"
	}
	pattern := "^" + regexp.QuoteMeta(before)
	if hash != "" {
		pattern += hashes + regexp.QuoteMeta(m[3])
	}
	pattern += "(?P<n>" + widthOf(number) + ")"
	if behind != "" {
		pattern += regexp.QuoteMeta(m[5]) + hashes
	}
	return numbered(pattern+"$", "$n"), ""
}

// widthOf keeps dates from being compared with the counts that an image used
// before or beside them.
func widthOf(number string) string {
	if _, err := time.Parse("20060102", number); err == nil && len(number) == 8 {
		return digits + "{8}"
	}
	if len(number) == 10 || len(number) == 13 || len(number) == 14 { // seconds, milliseconds, a written time
		return fmt.Sprintf("%s{%d}", digits, len(number))
	}
	return digits + "+"
}

func numbered(pattern, extract string) shape {
	return shape{key: "number " + pattern, spec: func() Spec {
		return Spec{Policy: Choice{Numerical: &Numerical{Order: "asc"}}, FilterTags: &FilterTags{Pattern: pattern, Extract: extract}}
	}}
}

func inRange(spelling string) Spec { return Spec{Policy: Choice{SemVer: &SemVer{Range: spelling}}} }

func bounds(from, below string) string {
	if below == "" {
		return ">=" + from
	}
	return ">=" + from + " <" + below
}

// series names the versions below nextMajor.
func series(v version) string {
	if v.major > 0 {
		return fmt.Sprint(v.major)
	}
	return fmt.Sprintf("0.%d", v.minor)
}

// nextMajor returns the version in which things may break: the next major one;
// before 1.0.0 the next minor one. A version that begins with a year never
// promised anything about its first number, so there it is "".
func nextMajor(v version) string {
	switch {
	case v.major >= 1990 && v.major < 2200:
		return ""
	case v.major > 0:
		return fmt.Sprintf("%d.0.0", v.major+1)
	}
	return fmt.Sprintf("0.%d.0", v.minor+1)
}

// String returns the version without a leading "v".
func (v version) String() string {
	s := fmt.Sprintf("%d.%d.%d", v.major, v.minor, v.patch)
	if v.pre != "" {
		s += "-" + v.pre
	}
	return s
}

// short tells a person what a policy does.
func short(s Spec) string {
	text := ""
	switch {
	case s.Policy.SemVer != nil:
		text = strings.Join(append([]string{"semver " + s.Policy.SemVer.Range}, s.Policy.SemVer.PreReleases...), " with ")
	case s.Policy.Numerical != nil:
		text = "numerical"
	case s.Policy.Alphabetical != nil:
		text = "alphabetical"
	}
	if s.Suffix != "" {
		text += " with " + s.Suffix
	}
	if s.FilterTags != nil {
		text += " of " + s.FilterTags.Pattern
	}
	return text
}
