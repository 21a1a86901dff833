package setter

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"hoist/bump"
)

// Edit returns before with the new values of the verdicts whose outcome is Bump
// in place of the old ones. The sites must have been found in these very bytes.
//
// A quoted value keeps its quotes; a plain one gets double quotes where a YAML
// reader would take the new value for something else than a string. The result
// is parsed again and compared with before: it has the same documents, comments,
// anchors and values in the same places except the marked ones, and every byte
// outside of them is the same. If not, or if a site is not in before, Edit
// returns an error that names the line, and nothing.
//
// Several verdicts for one field must agree. A new value that the field already
// holds is not an edit: with no edit at all Edit returns before itself.
func Edit(before []byte, vs []bump.Verdict) (after []byte, err error) {
	edits, err := collect(before, vs)
	if err != nil {
		return nil, err
	}
	if len(edits) == 0 {
		return before, nil
	}
	f, err := parse(before)
	if err != nil {
		return nil, fmt.Errorf("%s: file is %w", edits[0].site.File, err)
	}
	for i := range edits {
		if err := edits[i].resolve(f); err != nil {
			return nil, fmt.Errorf("%s: %w", edits[i].site.Position(), err)
		}
	}
	after = splice(before, edits)
	err = prove(f, after, edits)
	if err == nil && json.Valid(before) && !json.Valid(after) {
		err = errors.New("the file would no longer be JSON")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: edit refused, it would change more than the marked fields: %w", edits[0].site.File, err)
	}
	return after, nil
}

// edit is one field that changes.
type edit struct {
	site bump.Site
	new  string // what takes the place of the site's value
	full string // the scalar's new value, which is new but for a site with "match"
	raw  string // the bytes that stand for it
	leaf int    // in the parsed file
}

// collect returns the edits that vs ask for, in the order of the file.
func collect(before []byte, vs []bump.Verdict) ([]edit, error) {
	var edits []edit
	for _, v := range vs {
		if v.Outcome != bump.Bump {
			continue
		}
		s := v.Site
		switch {
		case s.Problem != "":
			return nil, fmt.Errorf("%s: %s", s.Position(), s.Problem)
		case s.Start < 0 || s.End <= s.Start || s.End > len(before):
			return nil, fmt.Errorf("%s: field is not where it was found: the file has changed", s.Position())
		case !reference.MatchString(v.New):
			return nil, fmt.Errorf("%s: %q is not an image reference or a part of one", s.Position(), v.New)
		}
		edits = append(edits, edit{site: s, new: v.New, full: s.Before + v.New + s.After})
	}
	slices.SortStableFunc(edits, func(a, b edit) int { return cmp.Compare(a.site.Start, b.site.Start) })
	for i := 1; i < len(edits); i++ {
		a, b := edits[i-1], edits[i]
		if a.site.End > b.site.Start && (a.site.Start != b.site.Start || a.site.End != b.site.End || a.new != b.new) {
			return nil, fmt.Errorf("%s: two policies set this field, to %q and to %q", b.site.Position(), a.new, b.new)
		}
	}
	edits = slices.CompactFunc(edits, func(a, b edit) bool { return a.site.Start == b.site.Start })
	return slices.DeleteFunc(edits, func(e edit) bool { return e.new == e.site.Value }), nil
}

// resolve finds the scalar of the edit and how its new value is written.
func (e *edit) resolve(f *file) error {
	stale := errors.New("field is not where it was found: the file has changed")
	e.leaf = f.before(e.site.Start + 1)
	if e.leaf < 0 {
		return stale
	}
	l := f.leafs[e.leaf]
	s := e.site
	old := s.Before + s.Value + s.After
	start, end, problem := f.editable(l, s.Match != "")
	if problem != "" {
		return errors.New(problem)
	}
	if start != e.site.Start || end != e.site.End {
		return stale
	}
	raw := f.src[start:end]
	inJSON := strings.HasSuffix(s.File, ".json") // where a plain value is a number, and single quotes are none
	if now := l.node.Value; now != old && !(block(l.node) && string(raw) == old) || s.Match != "" && !f.verbatim(l) {
		return fmt.Errorf("field holds %q and not %q: the file has changed", shorten(now), shorten(old))
	}
	switch {
	case block(l.node):
		e.raw = e.full
	case raw[0] == '"' || raw[0] == '\'':
		e.raw = string(raw[0]) + e.full + string(raw[0])
	case !inJSON && plainSafe(s.Before, e.new, s.After):
		e.raw = e.full
	case !strings.ContainsAny(s.Before+s.After, `"\\`):
		e.raw = `"` + e.full + `"`
	case !inJSON && !strings.Contains(s.Before+s.After, `'`):
		e.raw = `'` + e.full + `'`
	default:
		return fmt.Errorf("field would become %q, which needs quotes and holds both kinds: put it into quotes yourself", shorten(e.full))
	}
	return nil
}

func splice(before []byte, edits []edit) []byte {
	after := make([]byte, 0, len(before)+64*len(edits))
	done := 0
	for _, e := range edits {
		after = append(after, before[done:e.site.Start]...)
		after = append(after, e.raw...)
		done = e.site.End
	}
	return append(after, before[done:]...)
}

// prove parses after and compares it with f: the same leaves in the same order,
// of which exactly the edited ones have their new values, and the same bytes
// between the edited ones.
func prove(f *file, after []byte, edits []edit) error {
	g, err := parse(after)
	if err != nil {
		return err
	}
	if len(f.docs) != len(g.docs) || len(f.leafs) != len(g.leafs) || len(f.colls) != len(g.colls) {
		return errors.New("documents or fields appear or vanish")
	}
	changed := make(map[int]*edit, len(edits))
	for i := range edits {
		changed[edits[i].leaf] = &edits[i]
	}
	for i := range f.docs {
		if err := sameNode(f.docs[i], g.docs[i]); err != nil {
			return err
		}
	}
	for i := range f.colls {
		if f.colls[i].first != g.colls[i].first || f.colls[i].after != g.colls[i].after || f.colls[i].step.parent != g.colls[i].step.parent {
			return fmt.Errorf("line %d: structure differs", f.colls[i].node.Line)
		}
		if err := sameNode(f.colls[i].node, g.colls[i].node); err != nil {
			return err
		}
	}
	shift := 0
	for i := range f.leafs {
		e := changed[i]
		if err := sameLeaf(f, g, i, shift, e); err != nil {
			return err
		}
		if e != nil {
			shift += len(e.raw) - (e.site.End - e.site.Start)
		}
	}
	return sameRest(f.src, after, edits)
}

// sameLeaf compares leaf i before and after the edits. What precedes it has
// grown by shift bytes; e is the edit of this leaf or nil.
func sameLeaf(f, g *file, i, shift int, e *edit) error {
	a, b := f.leafs[i], g.leafs[i]
	grown := 0
	if e != nil {
		grown = len(e.raw) - (e.site.End - e.site.Start)
	}
	if b.from != a.from+shift || b.start != a.start+shift || b.end != a.end+shift+grown ||
		a.step.role != b.step.role || a.step.parent != b.step.parent || a.step.index != b.step.index {
		return fmt.Errorf("line %d: field moves", a.node.Line)
	}
	if e == nil {
		if a.node.Value != b.node.Value || a.node.Style != b.node.Style {
			return fmt.Errorf("line %d: %q becomes %q", a.node.Line, shorten(a.node.Value), shorten(b.node.Value))
		}
		return sameNode(a.node, b.node)
	}
	got := b.node.Value
	if block(b.node) {
		if block(a.node) && a.body.start+shift == b.body.start {
			got = string(g.src[b.body.start:b.body.end])
		}
	}
	if got != e.full || b.node.ShortTag() != "!!str" {
		return fmt.Errorf("line %d: field would read %s %q and not %q", a.node.Line, b.node.ShortTag(), shorten(got), shorten(e.full))
	}
	return sameAround(a.node, b.node)
}

// sameRest compares the bytes outside of the edits.
func sameRest(before, after []byte, edits []edit) error {
	i, j := 0, 0
	for _, e := range edits {
		n := e.site.Start - i
		if j+n > len(after) || !bytes.Equal(before[i:e.site.Start], after[j:j+n]) {
			return fmt.Errorf("line %d: bytes before the field differ", e.site.Line)
		}
		i, j = e.site.End, j+n+len(e.raw)
	}
	if j > len(after) || !bytes.Equal(before[i:], after[j:]) {
		return errors.New("bytes behind the last field differ")
	}
	return nil
}
