package policy

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// rangeFault says what is wrong with a range that Masterminds refused. The
// library says only that it is improper; people want to know where.
func rangeFault(spelling string) string {
	switch {
	case strings.TrimSpace(spelling) == "":
		return `the range is empty: "*" allows every release`
	case len(spelling) > semver.MaxConstraintLen:
		return fmt.Sprintf("longer than %d bytes", semver.MaxConstraintLen)
	case strings.Count(spelling, "||") >= semver.MaxConstraintGroups:
		return fmt.Sprintf("more than %d alternatives", semver.MaxConstraintGroups)
	}
	before := ""
	for i, group := range strings.Split(spelling, "||") {
		if i > 0 {
			before = "||"
		}
		if where := groupFault(group, before); where != "" {
			return fmt.Sprintf("%q: %s", spelling, where)
		}
	}
	return fmt.Sprintf(`%q is not a range such as ">=1.0.0 <2.0.0"`, spelling)
}

var (
	operators = regexp.MustCompile(`^(?:=|!=|>|<|>=|=>|<=|=<|~|~>|\^)?$`)
	bound     = regexp.MustCompile(`^v?(?:\d+|[xX*])(?:\.(?:\d+|[xX*])){0,2}(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?$`)
)

// groupFault finds the first thing in a group of bounds that is not one; "" when
// it finds none. Before is what stands in front of the group.
func groupFault(group, before string) string {
	rest, apart := group, true
	for {
		trimmed := strings.TrimLeft(rest, " \t\n\r\f\v")
		apart = apart || trimmed != rest
		if rest = trimmed; rest == "" {
			break
		}
		if rest[0] == ',' {
			before, rest, apart = ",", rest[1:], true
			if strings.TrimSpace(rest) == "" {
				break
			}
			continue
		}
		if !apart {
			return fmt.Sprintf("expected a space or a comma before %q", rest)
		}
		operator, word := "", ""
		operator, rest = cutAny(rest, "=!<>~^")
		if !operators.MatchString(operator) {
			return fmt.Sprintf("unknown operator %q", operator)
		}
		word, rest = cutUntil(strings.TrimLeft(rest, " \t\n\r\f\v"), " \t\n\r\f\v,=!<>~^")
		switch {
		case word == "":
			return fmt.Sprintf("expected a version after %q", operator)
		case word == "-" && operator == "":
			return `expected a version on both sides of "-"`
		case !bound.MatchString(word):
			return fmt.Sprintf("expected a version such as 1.2.3, got %q", word)
		}
		before, apart = "", false
	}
	switch {
	case before != "":
		return fmt.Sprintf("expected a version after %q", before)
	case strings.TrimSpace(group) == "":
		return `expected a version before "||"`
	}
	return ""
}

// cutAny cuts the leading bytes of s that are among chars.
func cutAny(s, chars string) (run, rest string) {
	rest = strings.TrimLeft(s, chars)
	return s[:len(s)-len(rest)], rest
}

// cutUntil cuts s before the first byte that is among chars.
func cutUntil(s, chars string) (run, rest string) {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}
