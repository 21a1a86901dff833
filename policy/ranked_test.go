package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hoist/bump"
	"hoist/policy"
)

func newestBuild() policy.Spec {
	return policy.Spec{Policy: policy.Choice{NewestBuild: &policy.NewestBuild{}}}
}

// known makes artifacts of "tag=age" or "tag=2006-01-02", before noon.
func known(t *testing.T, words string) (tags bump.Tags, artifact func(string) (bump.Artifact, bool)) {
	t.Helper()
	all := make(map[string]bump.Artifact)
	for _, word := range strings.Fields(words) {
		tag, age, told := strings.Cut(word, "=")
		tags.List = append(tags.List, tag)
		if !told {
			continue
		}
		a := bump.Artifact{Tag: tag, Image: true, Seen: noon}
		if d, err := time.ParseDuration(age); err == nil {
			a.Created = ago(d)
		} else if age != "never" {
			if a.Created, err = time.Parse(time.DateOnly, age); err != nil {
				t.Fatal(err)
			}
		}
		all[tag] = a
	}
	slices.Sort(tags.List)
	return tags, func(tag string) (bump.Artifact, bool) { a, ok := all[tag]; return a, ok }
}

func TestRanked(t *testing.T) {
	suffixed := semVer("*")
	suffixed.Suffix = "-alpine"
	for _, row := range []struct {
		name string
		spec policy.Spec
		tags string
		want string
	}{
		{"newest first", semVer("*"), "1.0.0 1.10.0 1.9.0 latest", "1.10.0 1.9.0 1.0.0"},
		{"in the range only", semVer("^1"), "1.0.0 2.0.0 1.2.0 1.1.0-rc.1 0.1.0", "1.2.0 1.0.0"},
		{"equals too", semVer("*"), "1.0.0 v1.0.0 0.9.0", "v1.0.0 1.0.0 0.9.0"},
		{"each once", semVer("*"), "1.0.0 1.0.0 1.1.0 1.1.0 1.0.0", "1.1.0 1.0.0"},
		{"extracted", filtered(numerical("asc"), `^main-(\d+)$`, "$1"), "main-9 main-10 dev-11", "main-10 main-9"},
		{"excluded", excluding(alphabetical("desc"), "b"), "c b a", "a c"},
		{"suffix", suffixed, "1.0.0 2.0.0-alpine 1.9.0-alpine 2.1.0-slim -alpine", "2.0.0-alpine 1.9.0-alpine"},
		{"none", semVer("^3"), "1.0.0 x", ""},
		{"empty", semVer("^3"), "", ""},
		{"by build", newestBuild(), "a=3h b=1h c=2h", "b c a"},
		{"builds of one time, first in byte order", newestBuild(), "latest=1h 1.2.3=1h 1.2.2=2h", "1.2.3 latest 1.2.2"},
		{"builds unknown or unbelievable", newestBuild(), "a=3h b c=1970-01-01 d=1980-01-01 e=never f=2031-01-01 g=-9m h=-11m", "g a"},
		{"builds filtered", filtered(newestBuild(), "^nightly-", ""), "nightly-1=3h nightly-2=4h release=1h", "nightly-1 nightly-2"},
	} {
		t.Run(row.name, func(t *testing.T) {
			tags, artifact := known(t, row.tags)
			got := slices.Collect(compiled(t, row.spec).Ranked(tags, artifact, noon))
			if joined := strings.Join(got, " "); joined != row.want {
				t.Errorf("Ranked(%q) = %q, want %q", row.tags, joined, row.want)
			}
		})
	}
}

// TestAFastReleaseTrainDoesNotStarve: with a release every ten minutes and a
// minimum age of an hour, a tag is chosen at every moment, and it is the newest
// of those that are old enough.
func TestAFastReleaseTrainDoesNotStarve(t *testing.T) {
	s := semVer("*")
	s.MinimumAge = bump.Duration(time.Hour)
	p := compiled(t, s)
	elect := func(now time.Time, tags bump.Tags, artifact func(string) (bump.Artifact, bool)) (tag string, passedOver int) {
		for tag := range p.Ranked(tags, artifact, now) {
			a, _ := artifact(tag)
			if reason, until := p.Refuses(a, now); reason == "" {
				return tag, passedOver
			} else if until.Sub(now) > time.Hour || until.Before(now) {
				t.Fatalf("%s is to wait until %s at %s", tag, until, now)
			}
			passedOver++
		}
		return "", passedOver
	}
	built := make(map[string]time.Time)
	artifact := func(tag string) (bump.Artifact, bool) {
		return bump.Artifact{Tag: tag, Image: true, Created: built[tag], Seen: built[tag]}, true
	}
	var tags bump.Tags
	for i := range 100 {
		now := noon.Add(time.Duration(i) * 10 * time.Minute)
		tag := fmt.Sprintf("1.0.%d", i)
		built[tag] = now
		tags.List = append(tags.List, tag)
		if i < 6 {
			continue
		}
		if got, young := elect(now, tags, artifact); got != fmt.Sprintf("1.0.%d", i-6) || young != 6 {
			t.Fatalf("at %s, with %s just built: elected %s over %d younger", now, tag, got, young)
		}
	}
}

// TestSelectOfBuilds: tags alone tell nothing about builds, and Select says so.
func TestSelectOfBuilds(t *testing.T) {
	p := compiled(t, filtered(newestBuild(), "^n", ""))
	tags := bump.Tags{List: []string{"n1", "n2", "x"}}
	if s := p.Select(tags); s.Tag != "" || s.Err == nil || s.Err.Error() != "not chosen yet: when the images were built has to be looked up first" {
		t.Errorf("Select = %+v", s)
	}
	if got := p.Candidates(tags); !slices.Equal(got, []string{"n1", "n2"}) {
		t.Errorf("Candidates = %q", got)
	}
	s := p.Select(bump.Tags{List: []string{"x"}})
	if s.Err == nil || s.Err.Error() != "no tag qualifies: of 1, 1 not matched by the filter" {
		t.Errorf("Select without candidates: %v", s.Err)
	}
}

// TestOrderOfBuilds: what nothing is known of is not replaced, what is no
// candidate is.
func TestOrderOfBuilds(t *testing.T) {
	p := compiled(t, excluding(filtered(newestBuild(), "^n", ""), "dirty"))
	_, artifact := known(t, "n-old=3h n-new=1h n-same=1h n-epoch=1970-01-01 n-ahead=-1h n-void=never n-dirty=1m")
	o := p.Order(artifact)
	for _, row := range []struct {
		a, b string
		c    int
		ok   bool
	}{
		{"n-new", "n-old", 1, true},
		{"n-old", "n-new", -1, true},
		{"n-new", "n-same", 0, true},
		{"n-new", "n-unknown", -1, true},
		{"n-unknown", "n-unknown", 0, true},
		{"n-new", "n-epoch", 1, true},
		{"n-epoch", "n-new", -1, true},
		{"n-new", "n-ahead", 1, true},
		{"n-void", "n-epoch", 0, true},
		{"n-new", "latest", 0, false},
		{"n-new", "n-dirty", 0, false},
		{"n-new", "", 0, false},
	} {
		if c, ok := o.Compare(row.a, row.b); c != row.c || ok != row.ok {
			t.Errorf("Compare(%q, %q) = %d, %t, want %d, %t", row.a, row.b, c, ok, row.c, row.ok)
		}
	}
	if c, ok := p.Compare("n-new", "n-old"); c != -1 || !ok {
		t.Errorf("Policy.Compare knows of builds: %d, %t", c, ok)
	}
}

// TestALieDoesNotBecomeTrue: a build that was in the future when we first saw it
// is not believed later either, so that an election does not change by waiting.
func TestALieDoesNotBecomeTrue(t *testing.T) {
	p := compiled(t, newestBuild())
	tags := bump.Tags{List: []string{"honest", "lying"}}
	artifact := func(tag string) (bump.Artifact, bool) {
		a := bump.Artifact{Tag: tag, Image: true, Created: ago(time.Hour), Seen: noon}
		if tag == "lying" {
			a.Created = noon.Add(time.Hour)
		}
		return a, true
	}
	for _, later := range []time.Duration{0, 30 * time.Minute, 2 * time.Hour, 1000 * time.Hour} {
		got := slices.Collect(p.Ranked(tags, artifact, noon.Add(later)))
		if !slices.Equal(got, []string{"honest"}) {
			t.Errorf("after %s: %q", later, got)
		}
	}
}
