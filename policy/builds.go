package policy

import (
	"cmp"
	"time"

	"hoist/bump"
)

// NewestBuild orders images by the time at which they were built, as their
// configuration says. It has no fields.
type NewestBuild struct{}

// ordering returns the order of p with what it needs to know of the tags.
func (p *Policy) ordering(artifact func(tag string) (bump.Artifact, bool), now time.Time) order {
	if _, yes := p.order.(builds); yes {
		return builds{p, artifact, now}
	}
	return p.order
}

// builds orders by time of build. The zero value knows of no tag.
type builds struct {
	policy   *Policy
	artifact func(tag string) (bump.Artifact, bool)
	now      time.Time
}

const nothingKnown = "nothing is known of this image yet"

func (o builds) know(tag string) (bump.Artifact, bool) {
	if o.artifact == nil {
		return bump.Artifact{}, false
	}
	return o.artifact(tag)
}

func (o builds) place(tag, _ string) (place, string) {
	a, known := o.know(tag)
	if !known {
		return place{}, nothingKnown
	}
	if why := disbelief(a, o.now); why != "" {
		return place{}, why
	}
	return place{built: a.Created.UnixMicro()}, ""
}

func (o builds) compare(a, b place) int { return cmp.Compare(a.built, b.built) }

// Of several tags of one image, the first in byte order goes first: "1.2.3"
// before "latest".
func (o builds) tie(a, b string) int          { return 0 }
func (o builds) refuses(string, place) string { return "" }
func (o builds) field() string                { return "policy.newestBuild" }

// compareTags is [Order.Compare].
func (o builds) compareTags(a, b string) (c int, ok bool) {
	for _, tag := range []string{a, b} {
		if _, at := o.policy.value(tag); at != ordered {
			return 0, false
		}
	}
	_, knownA := o.know(a)
	_, knownB := o.know(b)
	if a == b {
		return 0, true
	}
	if !knownA || !knownB {
		return -1, true
	}
	atA, whyA := o.place(a, "")
	atB, whyB := o.place(b, "")
	switch {
	case whyA == "" && whyB == "":
		return o.compare(atA, atB), true
	case whyA == "":
		return 1, true
	case whyB == "":
		return -1, true
	}
	return 0, true
}

// The bounds of a time of build that is believed. Reproducible builds say 1970
// or 1980; a clock may go ten minutes wrong.
var earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

const ahead = 10 * time.Minute

// disbelief says why the time of a build is not believed, "" when it is. An
// image that was built after we first saw it lies, and a lie does not become
// true by waiting. A zero now sets no bound.
func disbelief(a bump.Artifact, now time.Time) string {
	limit := now
	if !a.Seen.IsZero() && (now.IsZero() || a.Seen.Before(now)) {
		limit = a.Seen
	}
	switch {
	case a.Created.IsZero():
		return "does not say when it was built"
	case a.Created.Before(earliest), !limit.IsZero() && a.Created.After(limit.Add(ahead)):
		return "built at an unbelievable time " + a.Created.UTC().Format(time.DateOnly)
	}
	return ""
}

// Born returns the time from which the age of an image counts: when it was built,
// if that is believable and not after now, otherwise when it was first seen.
func Born(a bump.Artifact, now time.Time) time.Time {
	if disbelief(a, now) == "" && !a.Created.After(now) {
		return a.Created
	}
	return a.Seen
}
