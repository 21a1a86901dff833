package policy

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"hoist/bump"
)

// Asks says what has to be known of a tag before it may win, beyond that it exists.
type Asks struct {
	Platforms bool
	Created   bool
	Digest    bool
	Every     bool // of each candidate, not only of the newest
}

// Asks returns what p has to know. It is always the same.
func (p *Policy) Asks() Asks {
	_, byTime := p.order.(builds)
	return Asks{
		Platforms: len(p.checks.platforms) > 0,
		Created:   byTime || p.checks.minimumAge > 0,
		Digest:    p.digests.policy != DigestNever,
		Every:     byTime,
	}
}

// checks is what an image has to be, besides having the newest tag.
type checks struct {
	platforms  []string
	minimumAge time.Duration
}

// Refuses says why what a tag points to may not win; "" when it may. Until is
// when that passes by itself, zero where it takes a change in the registry.
func (p *Policy) Refuses(a bump.Artifact, now time.Time) (reason string, until time.Time) {
	switch missing := p.checks.missing(a.Platforms); {
	case !a.Image && a.Type == "":
		return "not an image", time.Time{}
	case !a.Image:
		return "not an image but " + a.Type, time.Time{}
	case len(missing) > 0:
		return "no " + strings.Join(missing, ", no "), time.Time{}
	}
	return p.checks.tooYoung(a, now)
}

// missing returns the platforms that are not among those there are.
func (c checks) missing(there []string) []string {
	var missing []string
	for _, wanted := range c.platforms {
		found := false
		for _, p := range there {
			found = found || runsOn(p, wanted)
		}
		if !found {
			missing = append(missing, wanted)
		}
	}
	return missing
}

// runsOn tells whether an image for platform p serves who wants another one
// named so. Without a variant any will do; arm64 has only v8, written or not.
func runsOn(p, wanted string) bool {
	return p == wanted || strings.HasPrefix(p, wanted+"/") || p+"/v8" == wanted && strings.HasSuffix(p, "/arm64")
}

func (c checks) tooYoung(a bump.Artifact, now time.Time) (reason string, until time.Time) {
	if c.minimumAge == 0 {
		return "", time.Time{}
	}
	born := Born(a, now)
	if born.IsZero() {
		return "its age is not known", time.Time{}
	}
	if until = born.Add(c.minimumAge); !until.After(now) {
		return "", time.Time{}
	}
	return fmt.Sprintf("younger than %s, eligible %s", bump.Spell(c.minimumAge), clock(until, now)), until
}

// clock writes a time as the minute at which it has come, with the date unless
// it is today's.
func clock(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	if whole := t.Truncate(time.Minute); whole.Before(t) {
		t = whole.Add(time.Minute)
	}
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format("15:04 UTC")
	}
	return t.Format("2006-01-02 15:04 UTC")
}

// platform is os/architecture, with a variant or without.
var platform = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9.]+)?$`)

// compileChecks returns the checks of s.
func (s Spec) compileChecks() (checks, []bump.Fault) {
	var faults []bump.Fault
	fault := func(field, format string, args ...any) {
		faults = append(faults, bump.Fault{Field: field, Message: fmt.Sprintf(format, args...)})
	}
	if s.MinimumAge < 0 {
		fault("minimumAge", "%q is negative", time.Duration(s.MinimumAge))
	}
	if s.Platforms != nil && len(s.Platforms) == 0 {
		fault("platforms", "names no platform: remove it, or write such as [linux/amd64]")
	}
	seen := make(map[string]bool)
	for i, p := range s.Platforms {
		field := fmt.Sprintf("platforms[%d]", i)
		switch {
		case !platform.MatchString(p):
			fault(field, "%q is not a platform: expected os/architecture, such as linux/amd64 or linux/arm/v7", p)
		case seen[p]:
			fault(field, "%q is named twice", p)
		}
		seen[p] = true
	}
	return checks{s.Platforms, time.Duration(s.MinimumAge)}, faults
}
