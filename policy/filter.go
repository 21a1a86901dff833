package policy

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"

	"hoist/bump"
)

// maxPattern is the longest pattern or template, in bytes. RE2 runs in time
// linear in the tag, but its program grows with the pattern.
const maxPattern = 1024

// filter is the compiled form of [FilterTags]. The zero filter lets every tag
// through and orders the whole of it.
type filter struct {
	pattern *regexp.Regexp
	extract string
	group   int // the one group that extract stands for; -1 when it is more than that
}

func (f *FilterTags) compile() (filter, []bump.Fault) {
	if f == nil {
		return filter{}, nil
	}
	var faults []bump.Fault
	re, message := compilePattern(f.Pattern)
	faults = append(faults, faultAt("filterTags.pattern", message)...)
	if len(f.Extract) > maxPattern {
		faults = append(faults, bump.Fault{Field: "filterTags.extract", Message: fmt.Sprintf("longer than %d bytes", maxPattern)})
	}
	if len(faults) > 0 {
		return filter{}, faults
	}
	return filter{pattern: re, extract: f.Extract, group: singleGroup(re, f.Extract)}, nil
}

// compilePattern compiles RE2, or says in a message what is wrong with it.
func compilePattern(pattern string) (*regexp.Regexp, string) {
	if len(pattern) > maxPattern {
		return nil, fmt.Sprintf("longer than %d bytes", maxPattern)
	}
	re, err := regexp.Compile(pattern)
	if err == nil {
		return re, ""
	}
	var e *syntax.Error
	if !errors.As(err, &e) {
		return nil, fmt.Sprintf("%q: %v", pattern, err)
	}
	if e.Expr == "" || e.Expr == pattern {
		return nil, fmt.Sprintf("%q: %s", pattern, e.Code)
	}
	return nil, fmt.Sprintf("%q: %s: %q", pattern, e.Code, e.Expr)
}

// value returns the part of the tag that is ordered; false when the tag does
// not match.
func (f filter) value(tag string) (string, bool) {
	if f.pattern == nil {
		return tag, true
	}
	if f.extract == "" {
		return tag, f.pattern.MatchString(tag)
	}
	at := f.pattern.FindStringSubmatchIndex(tag)
	if at == nil {
		return "", false
	}
	if f.group < 0 {
		return string(f.pattern.ExpandString(nil, f.extract, tag, at)), true
	}
	if start := at[2*f.group]; start >= 0 {
		return tag[start:at[2*f.group+1]], true
	}
	return "", true // the group took no part in the match
}

// wholeGroup matches a template that is one group and nothing else.
var wholeGroup = regexp.MustCompile(`^\$(?:(\w+)|\{(\w+)\})$`)

// singleGroup returns the number of the group that the template stands for, or
// -1 when the template is anything else. By far the most templates are one
// group, and then a value is a piece of its tag that needs no memory of its own.
func singleGroup(re *regexp.Regexp, template string) int {
	m := wholeGroup.FindStringSubmatch(template)
	if m == nil {
		return -1
	}
	group, known := groupOf(re, m[1]+m[2])
	if !known {
		return -1
	}
	return group
}

// groupOf finds a group by number or name, as [regexp.Regexp.Expand] does.
func groupOf(re *regexp.Regexp, name string) (group int, known bool) {
	if n, err := strconv.Atoi(name); err == nil && strconv.Itoa(n) == name {
		return n, n <= re.NumSubexp()
	}
	group = re.SubexpIndex(name)
	return group, group >= 0
}
