package setter

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"hoist/bump"
	"hoist/sops"
)

// find returns the sites of a file in which markers alone count.
func find(src []byte) []bump.Site {
	sites, _ := look{markers: true}.find(src)
	return sites
}

// find returns what is looked for in a file, in the order of the file and without
// the file's name. found are the fields of the configuration that are there.
func (l look) find(src []byte) (sites []bump.Site, found []int) {
	first := -1
	if l.markers && l.json {
		sites = everywhere(src, "marker in a JSON file, which has no comments: write the file in YAML, or name the field in the configuration (fields of the update)")
	} else if l.markers {
		first = next(src, 0)
	}
	if wide := encoding(src); wide != "" {
		return l.trouble(narrow(src), "is "+wide+": convert it to UTF-8")
	}
	if first < 0 && !l.more() {
		return sites, nil
	}
	if !utf8.Valid(src) || bytes.IndexByte(src, 0) >= 0 {
		return l.trouble(src, "is not UTF-8 text: convert it")
	}
	if bytes.HasPrefix(src, []byte("version https://git-lfs")) {
		return l.trouble(src, "is a Git LFS pointer, its content is not in the repository: take the file out of LFS")
	}
	if sops.Covers(src) {
		return l.trouble(src, "is encrypted by SOPS, and a changed value would break its MAC: encrypt it with mac_only_encrypted, or put what is marked into a file of its own")
	}
	f, err := parse(src)
	if err != nil {
		return l.trouble(src, fmt.Sprintf("is %s", err))
	}
	claims := claims{}
	for at := first; at >= 0; {
		s, end, ok := f.site(at, claims)
		if ok {
			sites = append(sites, s)
		}
		at = next(src, end)
	}
	f.clashing(sites, claims)
	for _, r := range l.fields {
		named := f.named(r, claims)
		if len(named) > 0 {
			found = append(found, r.index)
		}
		sites = append(sites, slices.DeleteFunc(named, func(s bump.Site) bool { return s == bump.Site{} })...)
	}
	if l.images != nil {
		sites = append(sites, f.images(l.images, claims)...)
	}
	sortSites(sites)
	return sites, found
}

// trouble returns the sites of a file that cannot be understood.
func (l look) trouble(src []byte, why string) (sites []bump.Site, found []int) {
	if l.markers {
		sites = everywhere(src, "file has a marker but "+why)
	}
	for _, r := range l.fields {
		found = append(found, r.index)
	}
	return append(sites, l.unread(why)...), found
}

// unread says of all but markers that the file they are in cannot be understood.
func (l look) unread(why string) (sites []bump.Site) {
	for _, r := range l.fields {
		sites = append(sites, bump.Site{Policy: r.name, Part: r.Part, Problem: fmt.Sprintf("fields[%d] names this file, but it %s", r.index, why)})
	}
	if l.images != nil {
		sites = append(sites, bump.Site{Problem: "images of this kustomization cannot be set: it " + why})
	}
	return sites
}

// claims tells which leafs are set already, and what said so.
type claims map[int]claim

type claim struct {
	line   int    // of the marker, 0 for a field of the configuration
	by     string // for a message
	policy bump.Name
	part   bump.Part
	match  string
	clash  int // line of a later marker that says something else, 0 for none
}

// same reports whether two claims would set the same.
func (c claim) same(d claim) bool {
	return c.policy == d.policy && c.part == d.part && c.match == d.match
}

// clashing turns the sites whose field another marker gives to another policy into
// problems: which of the two is meant, nobody can tell.
func (f *file) clashing(sites []bump.Site, taken claims) {
	for i, s := range sites {
		if s.Problem != "" {
			continue
		}
		if c := taken[f.before(s.Start+1)]; c.clash > 0 {
			sites[i] = bump.Site{Line: c.line, Object: s.Object, Field: s.Field, Policy: s.Policy, Part: s.Part, Value: s.Value,
				Problem: fmt.Sprintf("field is marked twice, and otherwise in line %d: delete one of the markers", c.clash)}
		}
	}
}

// site returns what the marker key at offset asks for, and where to go on.
func (f *file) site(offset int, taken claims) (s bump.Site, end int, ok bool) {
	line := f.lines.number(offset)
	problem := func(text string) (bump.Site, int, bool) {
		s.Line, s.Problem = line, text
		return s, end, true
	}
	c, ok := f.commentAt(offset)
	if !ok {
		trouble := ""
		if trouble, end = f.outside(offset); trouble != "" {
			return problem(trouble)
		}
		return s, end, false
	}
	end = c.end
	m, trouble, ok := parseMarker(string(f.src[c.start:c.end]))
	if !ok {
		return s, end, false
	}
	s.Policy, s.Part = m.policy, m.part
	if trouble != "" {
		return problem(trouble)
	}
	i, trouble := f.target(c, m)
	if trouble != "" {
		return problem(trouble)
	}
	mine := claim{line: line, by: fmt.Sprintf("the marker in line %d", line), policy: m.policy, part: m.part, match: m.match.String()}
	if other, twice := taken[i]; twice {
		if !other.same(mine) {
			other.clash = line
			taken[i] = other
		}
		return problem(fmt.Sprintf("field is marked twice, first in line %d: delete one of the markers", other.line))
	}
	taken[i] = mine
	if trouble = f.fill(&s, i, m.match); trouble != "" {
		return problem(trouble)
	}
	return s, end, true
}

// fill writes into s what leaf i holds and where, or says why it cannot be changed.
func (f *file) fill(s *bump.Site, i int, m *match) (problem string) {
	l := f.leafs[i]
	s.Object = f.objectOf(l.step)
	s.Field, s.Named = f.path(l.step)
	if l.node.Kind == yaml.ScalarNode {
		s.Value = l.node.Value
	}
	if s.Start, s.End, problem = f.editable(l, m != nil); problem != "" {
		return problem
	}
	if block(l.node) {
		s.Value = string(f.src[s.Start:s.End])
	}
	s.Line = f.lines.number(s.Start)
	s.Note = f.note(l)
	if m == nil {
		return ""
	}
	s.Match = m.text
	if !f.verbatim(l) {
		return "value of which a part is set has escapes or several lines: write it on one line and without escapes"
	}
	var ok bool
	if s.Before, s.Value, s.After, ok = m.cut(s.Value); !ok {
		s.Value = l.node.Value
		return fmt.Sprintf("value %q does not match %q, which says what part of it is set", shorten(l.node.Value), m.text)
	}
	return ""
}

// verbatim reports whether the value of l stands in the file as it is read.
func (f *file) verbatim(l leaf) bool {
	raw := string(f.src[l.start:l.end])
	switch {
	case block(l.node):
		return true
	case l.node.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		raw = raw[1 : len(raw)-1]
	}
	return raw == l.node.Value
}

// note says how often a value is used that is, or is a part of, what an anchor names.
func (f *file) note(l leaf) string {
	if f.uses == nil {
		f.uses = map[*yaml.Node]int{}
		for _, l := range f.leafs {
			if l.node.Kind == yaml.AliasNode {
				f.uses[l.node.Alias]++
			}
		}
	}
	if len(f.uses) == 0 {
		return ""
	}
	n := l.node
	for at := l.step.parent; ; at = f.colls[at].step.parent {
		switch uses := f.uses[n]; {
		case uses == 1:
			return fmt.Sprintf("the anchor &%s is used in 1 more place, which changes with it", n.Anchor)
		case uses > 1:
			return fmt.Sprintf("the anchor &%s is used in %d more places, which change with it", n.Anchor, uses)
		case at < 0:
			return ""
		}
		n = f.colls[at].node
	}
}

// editable returns the bytes to replace when the value of l changes, or why it
// cannot be changed. A block may hold words only where a part of it is set.
func (f *file) editable(l leaf, part bool) (start, end int, problem string) {
	switch {
	case l.node.Kind == yaml.AliasNode:
		return 0, 0, fmt.Sprintf("value is the alias *%s: mark the value at its anchor instead", l.node.Value)
	case f.inKey(l.step):
		return 0, 0, "marker stands behind a key: write it behind the value"
	case l.empty():
		return 0, 0, "field has no value: write one, which is then replaced"
	case l.node.Style&yaml.TaggedStyle != 0 && l.node.ShortTag() != "!!str":
		return 0, 0, fmt.Sprintf("value has the tag %s, so it is not a text: take the tag away", l.node.ShortTag())
	case !block(l.node):
		return l.start, l.end, ""
	}
	text := f.src[l.body.start:l.body.end]
	if len(text) == 0 || !part && bytes.ContainsAny(text, " \t") || strings.TrimRight(l.node.Value, "\n\r\u0085\u2028\u2029") != string(text) {
		return 0, 0, "value is a block of several lines or words: write it on one line"
	}
	return l.body.start, l.body.end, ""
}

// inKey reports whether what at leads to is a key, or is within one.
func (f *file) inKey(at step) bool {
	for at.role != name && at.parent >= 0 {
		at = f.colls[at.parent].step
	}
	return at.role == name
}

// outside says why a marker that is in no comment cannot be followed, and where
// to go on. It says nothing where the key stands in a text that is not a marker's.
func (f *file) outside(offset int) (problem string, end int) {
	end = offset + len(key)
	i := f.before(offset + 1)
	if i < 0 || offset >= f.leafs[i].end {
		return "", end
	}
	l := f.leafs[i]
	if l.step.role == name && strings.EqualFold(l.node.Value, key) {
		return fmt.Sprintf(`marker is a field and not a comment: write # {"%s": "namespace:name"} behind the value`, key), end
	}
	line, at := lineOf(f.src[l.start:l.end], offset-l.start)
	if _, comment, ok := bytes.Cut(line, []byte("#")); ok && markerLike.Match(comment) {
		problem = "marker stands inside a text, where # begins no comment: write it behind a field of its own"
	}
	return problem, max(end, l.start+at+len(line))
}

// everywhere returns a site with a problem for every line with a marker.
func everywhere(src []byte, problem string) []bump.Site {
	var sites []bump.Site
	done, count := 0, 1
	for at := next(src, 0); at >= 0; {
		line, start := lineOf(src, at)
		count += number(src[done:], at-done) - 1
		done = at
		if markerLike.Match(line) {
			s := bump.Site{Line: count, Problem: problem}
			if i := bytes.LastIndexByte(line, '#'); i >= 0 {
				if m, trouble, ok := parseMarker(string(line[i:])); ok && trouble == "" {
					s.Policy, s.Part = m.policy, m.part
				}
			}
			sites = append(sites, s)
		}
		at = next(src, max(start+len(line), at+len(key)))
	}
	return sites
}

// encoding returns the name of another encoding than UTF-8 that the byte order mark
// says, or nothing.
func encoding(src []byte) string {
	if bytes.HasPrefix(src, []byte("\xff\xfe")) || bytes.HasPrefix(src, []byte("\xfe\xff")) {
		return "UTF-16"
	}
	return ""
}

// narrow returns the ASCII characters of UTF-16, and a question mark for others.
func narrow(src []byte) []byte {
	out := make([]byte, 0, len(src)/2)
	for i := 2; i+1 < len(src); i += 2 {
		low, high := src[i], src[i+1]
		if src[0] == 0xfe {
			low, high = high, low
		}
		if high != 0 {
			low = '?'
		}
		out = append(out, low)
	}
	return out
}
