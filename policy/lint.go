package policy

import (
	"fmt"
	"regexp"
	"regexp/syntax"

	"hoist/bump"
)

// Lints returns what is allowed but seldom meant, with fields as [Spec.Check]
// names them. None of it keeps the policy from working.
func (p *Policy) Lints() []bump.Fault {
	var found []bump.Fault
	lint := func(field, format string, args ...any) {
		found = append(found, bump.Fault{Field: field, Message: fmt.Sprintf(format, args...)})
	}
	if p.filter.pattern != nil {
		if tree, err := syntax.Parse(p.filter.pattern.String(), syntax.Perl); err == nil {
			begin, end := anchored(tree, syntax.OpBeginText), anchored(tree, syntax.OpEndText)
			if !begin || !end {
				lint("filterTags.pattern", "%q matches anywhere in a tag: write ^ before and $ behind it to match whole tags", p.filter.pattern)
			}
		}
	}
	if p.filter.extract != "" {
		groups := 0
		for _, name := range references(p.filter.extract) {
			groups++
			if _, known := groupOf(p.filter.pattern, name); !known {
				lint("filterTags.extract", "the pattern has no group %q: nothing stands in its place (${1}x is group 1 and an x, $1x is a group called 1x)", name)
			}
		}
		if groups == 0 {
			lint("filterTags.extract", "%q names no group of the pattern: every tag gets the same value", p.filter.extract)
		}
	}
	if _, bytes := p.order.(alphabet); bytes {
		if p.takes("9") && p.takes("10") {
			lint("policy.alphabetical", "numbers are ordered by their bytes, 9 behind 10: use numerical, or a filter that leaves no numbers")
		}
		if p.takes("3f2a9c1") && p.takes("e81c0d7") {
			lint("policy.alphabetical", "hashes such as 3f2a9c1 have no order in time: use a filter that leaves none")
		}
	}
	return found
}

// takes tells whether a tag would be ordered by itself.
func (p *Policy) takes(tag string) bool {
	value, ok := p.filter.value(tag)
	return ok && value == tag && p.excludes(tag) == nil
}

// anchored tells whether every match of the pattern begins (or ends) with op.
func anchored(tree *syntax.Regexp, op syntax.Op) bool {
	switch tree.Op {
	case op:
		return true
	case syntax.OpCapture:
		return anchored(tree.Sub[0], op)
	case syntax.OpConcat:
		if op == syntax.OpBeginText {
			return anchored(tree.Sub[0], op)
		}
		return anchored(tree.Sub[len(tree.Sub)-1], op)
	case syntax.OpAlternate:
		for _, sub := range tree.Sub {
			if !anchored(sub, op) {
				return false
			}
		}
		return true
	}
	return false
}

// reference matches what [regexp.Regexp.Expand] takes for a group, or "$$".
var reference = regexp.MustCompile(`\$(?:\$|([\pL\p{Nd}_]+)|\{([\pL\p{Nd}_]+)\})`)

// references returns the names and numbers of the groups in a template.
func references(template string) []string {
	var names []string
	for _, m := range reference.FindAllStringSubmatch(template, -1) {
		if name := m[1] + m[2]; name != "" {
			names = append(names, name)
		}
	}
	return names
}
