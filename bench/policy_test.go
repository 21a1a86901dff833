package bench

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"hoist/bump"
	"hoist/policy"
)

// manyTags returns n tags in byte order, as the scanner hands them on.
func manyTags(n int, tag func(i int) string) bump.Tags {
	list := make([]string, n)
	for i := range list {
		list[i] = tag(i)
	}
	slices.Sort(list)
	return bump.Tags{Image: "registry.example.com/org/app", List: list}
}

// BenchmarkPolicy selects from 100,000 tags of one image.
func BenchmarkPolicy(b *testing.B) {
	versions := manyTags(100_000, func(i int) string {
		tag := fmt.Sprintf("v%d.%d.%d", i/2500, i/50%50, i%50)
		if i%10 == 0 {
			tag += fmt.Sprintf("-rc.%d", i%7)
		}
		return tag
	})
	builds := manyTags(100_000, func(i int) string { return fmt.Sprintf("main-%07x-%d", i*2654435761%(1<<28), 1_700_000_000+i*60) })
	numbers := manyTags(100_000, func(i int) string { return fmt.Sprint(20240101000000 + i*37) })
	dates := manyTags(100_000, func(i int) string {
		return fmt.Sprintf("%d-%02d-%02d.%06d", 2020+i/33600, i/2800%12+1, i/100%28+1, i%100)
	})
	const timestamp = `^main-[0-9a-f]+-(?P<ts>[0-9]+)$`
	semver := func(r string) policy.Choice { return policy.Choice{SemVer: &policy.SemVer{Range: r}} }
	numerical := policy.Choice{Numerical: &policy.Numerical{}}
	for _, bench := range []struct {
		name string
		tags bump.Tags
		spec policy.Spec
	}{
		{"semver", versions, policy.Spec{Policy: semver(">=1.0.0")}},
		{"semver/half-below-bound", versions, policy.Spec{Policy: semver(">=1.0.0 <20.0.0")}},
		{"semver/none-in-range", versions, policy.Spec{Policy: semver(">=100.0.0")}},
		{"semver/pre-releases", versions, policy.Spec{Policy: semver(">=1.0.0-0")}},
		{"alphabetical", dates, policy.Spec{Policy: policy.Choice{Alphabetical: &policy.Alphabetical{}}}},
		{"numerical", numbers, policy.Spec{Policy: numerical}},
		{"semver/filter+extract", versions, policy.Spec{Policy: semver(">=1.0.0"), FilterTags: &policy.FilterTags{Pattern: `^v(.*)$`, Extract: "$1"}}},
		{"numerical/filter+extract", builds, policy.Spec{Policy: numerical, FilterTags: &policy.FilterTags{Pattern: timestamp, Extract: "$ts"}}},
		{"numerical/filter+template", builds, policy.Spec{Policy: numerical, FilterTags: &policy.FilterTags{Pattern: timestamp, Extract: "1${ts}"}}},
		{"semver/loose", versions, policy.Spec{Policy: policy.Choice{SemVer: &policy.SemVer{Range: ">=1.0.0", Loose: true}}}},
		{"calver", dates, policy.Spec{Policy: policy.Choice{CalVer: &policy.CalVer{Layout: "YYYY-0M-0D.MICRO"}}}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			p, err := policy.New(bump.Name{Namespace: "hoist", Name: "app"}, bench.spec)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if s := p.Select(bench.tags); s.Err != nil && bench.name != "semver/none-in-range" {
					b.Fatal(s.Err)
				}
			}
		})
	}
}

// BenchmarkRanked asks for the ten newest of 100,000 tags: by version, and by
// when each was built.
func BenchmarkRanked(b *testing.B) {
	tags := manyTags(100_000, func(i int) string { return fmt.Sprintf("v%d.%d.%d", i/2500, i/50%50, i%50) })
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	built := make(map[string]bump.Artifact, len(tags.List))
	for i, tag := range tags.List {
		built[tag] = bump.Artifact{Tag: tag, Image: true, Created: now.Add(-time.Duration(i*7919%100_000) * time.Minute)}
	}
	artifact := func(tag string) (bump.Artifact, bool) { a, ok := built[tag]; return a, ok }
	for name, choice := range map[string]policy.Choice{
		"semver": {SemVer: &policy.SemVer{Range: ">=1.0.0"}}, "newestBuild": {NewestBuild: &policy.NewestBuild{}},
	} {
		b.Run(name, func(b *testing.B) {
			p, err := policy.New(bump.Name{Namespace: "hoist", Name: "app"}, policy.Spec{Policy: choice})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				n := 0
				for range p.Ranked(tags, artifact, now) {
					if n++; n == 10 {
						break
					}
				}
				if n != 10 {
					b.Fatalf("%d tags, want 10", n)
				}
			}
		})
	}
}

// BenchmarkExplain gives 100,000 tags each a reason.
func BenchmarkExplain(b *testing.B) {
	tags := manyTags(100_000, func(i int) string { return fmt.Sprintf("v%d.%d.%d", i/2500, i/50%50, i%50) })
	p, err := policy.New(bump.Name{Namespace: "hoist", Name: "app"}, policy.Spec{Policy: policy.Choice{SemVer: &policy.SemVer{Range: "^7"}}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if r := p.Explain(p.Select(tags), nil, time.Time{}); r.Selected == "" {
			b.Fatal(r.Error)
		}
	}
}
