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
		switch {
		case p.takes("3f2a9c1") && p.takes("e81c0d7"):
			lint("policy.alphabetical", "hashes such as 3f2a9c1 have no order in time: use a filter that leaves none")
		case p.takesNumbers():
			lint("policy.alphabetical", "numbers are ordered by their bytes, 9 behind 10: use numerical, or a filter that leaves none of different length")
		}
	}
	if tag, only := p.onlyTag(); only && p.digests.policy == DigestNever {
		lint("filterTags.pattern", "only %q can ever be selected: set digestReflectionPolicy, or nothing ever changes", tag)
	}
	return found
}

// takesNumbers tells whether numbers of different lengths would be ordered by
// themselves. A filter that lets only dates or numbers of one width through
// takes none of these.
func (p *Policy) takesNumbers() bool {
	for _, pair := range [][2]string{{"9", "10"}, {"v9", "v10"}, {"1.9.0", "1.10.0"}, {"v1.9.0", "v1.10.0"}} {
		if p.takes(pair[0]) && p.takes(pair[1]) {
			return true
		}
	}
	return false
}

// onlyTag returns the one tag that the filter can match, if it is a literal
// between anchors.
func (p *Policy) onlyTag() (tag string, only bool) {
	if p.filter.pattern == nil {
		return "", false
	}
	tree, err := syntax.Parse(p.filter.pattern.String(), syntax.Perl)
	if err != nil || tree.Op != syntax.OpConcat || len(tree.Sub) != 3 ||
		!anchored(tree, syntax.OpBeginText) || !anchored(tree, syntax.OpEndText) {
		return "", false
	}
	middle := tree.Sub[1]
	for middle.Op == syntax.OpCapture {
		middle = middle.Sub[0]
	}
	if middle.Op != syntax.OpLiteral || middle.Flags&syntax.FoldCase != 0 {
		return "", false
	}
	return string(middle.Rune) + p.suffix, true
}

// LintTags returns what becomes plain only beside the tags that there are: a
// filter that matches none of them, a range that none satisfies.
func (p *Policy) LintTags(t bump.Tags) []bump.Fault {
	lint := func(field, format string, args ...any) []bump.Fault {
		return []bump.Fault{{Field: field, Message: fmt.Sprintf(format, args...)}}
	}
	if p.Asks().Every {
		// How they were built is not known here: any tag will do.
		q := *p
		q.order = alphabet{}
		p = &q
	}
	_, lost := p.newest(p.order, t.List)
	switch {
	case lost == nil:
		return p.lintNumbers(t)
	case lost.Seen == 0:
		return lint("", "the registry lists no tags")
	case lost.Outside > 0:
		return lint(p.order.field(), "no tag satisfies it now: %s", p.outsider(t.List))
	case lost.Malformed > 0:
		return lint(p.order.field(), "of %s left none has a place in this order", plural(lost.Malformed, "tag"))
	case lost.Filtered > 0:
		return lint("filterTags.pattern", "matches none of the %s", plural(lost.Filtered, "tag"))
	case lost.Suffixless > 0:
		return lint("suffix", "none of the %s ends in %q", plural(lost.Suffixless, "tag"), p.suffix)
	}
	return lint("excludeTags", "excludes all of the %s", plural(lost.Excluded, "tag"))
}

// outsider names the newest of tags that are all outside the range, and why it is.
func (p *Policy) outsider(tags []string) string {
	newest, found := candidate{}, false
	for _, tag := range tags {
		if value, at := p.value(tag); at == ordered {
			place, why := p.order.place(tag, value)
			if c := (candidate{tag, value, place}); why == "" && (!found || newer(p.order, c, newest) > 0) {
				newest, found = c, true
			}
		}
	}
	return fmt.Sprintf("the newest, %s, is %s", newest.tag, p.order.refuses(newest.value, newest.at))
}

// lintNumbers finds numbers of different lengths that are ordered by their bytes.
func (p *Policy) lintNumbers(t bump.Tags) []bump.Fault {
	if _, bytes := p.order.(alphabet); !bytes {
		return nil
	}
	var first string
	for _, tag := range t.List {
		value, at := p.value(tag)
		if digits, rest := cutDigits(value); at != ordered || digits == "" || rest != "" {
			continue
		}
		if first == "" {
			first = value
		}
		if len(value) != len(first) {
			return []bump.Fault{{Field: "policy.alphabetical", Message: fmt.Sprintf("%s and %s are ordered by their bytes: use numerical", first, value)}}
		}
	}
	return nil
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
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
