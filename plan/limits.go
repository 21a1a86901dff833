package plan

import (
	"fmt"
	"regexp"
	"strconv"

	"hoist/bump"
)

// restrain holds back the bumps that the rules do not let through now. It comes
// before anything is looked up: what may not move needs no question.
func (in Input) restrain(verdicts []bump.Verdict) {
	closed := in.Calendar.Closed(in.Now)
	moving := make(map[bump.Name]bool)
	for i, v := range verdicts {
		if v.Outcome != bump.Bump && !v.LookUp {
			continue
		}
		switch {
		case closed != "":
			verdicts[i] = held(v, closed)
		case in.leaps(v):
			verdicts[i] = held(v, fmt.Sprintf("%s is more than %s away, and maxMajors of the update allows no more", v.Selection.Tag, majors(*in.Rules.MaxMajors)))
		case !moving[v.Site.Policy]:
			if reason := in.full(len(moving)); reason != "" {
				verdicts[i] = held(v, reason)
				continue
			}
			moving[v.Site.Policy] = true
		}
	}
}

// full says why no further policy may move; "" when one may.
func (in Input) full(moving int) string {
	m := in.Rules.MaxBumps
	switch {
	case m == nil:
	case m.PerPass > 0 && moving >= m.PerPass:
		return fmt.Sprintf("waits its turn: maxBumps.perPass is %d", m.PerPass)
	case m.PerHour > 0 && in.Recent+moving >= m.PerHour:
		return fmt.Sprintf("waits its turn: maxBumps.perHour is %d", m.PerHour)
	}
	return ""
}

// leaps tells whether a bump skips more majors than the rules allow.
func (in Input) leaps(v bump.Verdict) bool {
	if in.Rules.MaxMajors == nil {
		return false
	}
	tag, _ := tagOf(v.Site)
	now, ok := majorOf(tag)
	next, okNext := majorOf(v.Selection.Tag)
	return ok && okNext && next-now > *in.Rules.MaxMajors
}

var leading = regexp.MustCompile(`^v?([0-9]{1,9})(?:\.|$)`)

// majorOf returns the first number of what looks like a version.
func majorOf(tag string) (int, bool) {
	m := leading.FindStringSubmatch(tag)
	if m == nil {
		return 0, false
	}
	n, err := strconv.Atoi(m[1])
	return n, err == nil
}

func majors(n int) string {
	if n == 1 {
		return "1 major version"
	}
	return fmt.Sprintf("%d major versions", n)
}
