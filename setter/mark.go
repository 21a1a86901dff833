package setter

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"hoist/bump"
)

// Mark asks for a marker behind the value of an image.
type Mark struct {
	Image  Image
	Policy bump.Name
}

// Comment returns the marker as it is written.
func (m Mark) Comment() string { return markerFor(m.Policy, m.Image.Part) }

func markerFor(policy bump.Name, part bump.Part) string {
	text := policy.String()
	if part != bump.Whole {
		text += ":" + string(part)
	}
	return fmt.Sprintf(`# {"%s": "%s"}`, key, text)
}

// AddMarkers returns src with markers appended to the lines of the images, which
// were found in these very bytes. Nothing but these comments is added and no
// other byte changes; the result is parsed again: it holds the same documents,
// and [Sites] finds the sites that it found before and the new ones, with no new
// problem. byHand says, by the index in marks, where that cannot be had and what
// a person may write instead.
func AddMarkers(src []byte, marks []Mark) (after []byte, byHand map[int]string, err error) {
	f, err := parse(src)
	if err != nil {
		return nil, nil, err
	}
	byHand = make(map[int]string)
	var adds []addition
	for i, m := range marks {
		at := f.before(m.Image.start + 1)
		if at < 0 || !f.holds(at, m.Image) {
			return nil, nil, fmt.Errorf("%s: the image is not where it was found: the file has changed", m.Image.Position())
		}
		a := addition{mark: i, leaf: at, policy: m.Policy, part: m.Image.Part}
		if why := a.place(f); why != "" {
			byHand[i] = why
			continue
		}
		adds = append(adds, a)
	}
	slices.SortStableFunc(adds, func(a, b addition) int { return cmp.Compare(a.at, b.at) })
	p := marking{file: f, sites: find(src)}
	p.accept(adds)
	for _, a := range p.refused {
		byHand[a.mark] = "the line has no safe place for a comment: give the value a line of its own, with " + a.comment() + " behind it"
	}
	return p.insert(p.accepted), byHand, nil
}

// holds tells whether leaf at still is the value of the image.
func (f *file) holds(at int, i Image) bool {
	l := f.leafs[at]
	start, _, problem := f.editable(l, false)
	return (problem != "" || start == i.start) && strings.Contains(text(l.node), i.Tag)
}

// addition is a comment at the end of a line.
type addition struct {
	mark   int // index of what was asked for
	leaf   int // of the parsed file
	at     int // byte offset, the end of a line
	policy bump.Name
	part   bump.Part
}

func (a addition) comment() string { return markerFor(a.policy, a.part) }

// place finds the end of the line, or says what a person has to do there.
func (a *addition) place(f *file) (byHand string) {
	l := f.leafs[a.leaf]
	if _, _, problem := f.editable(l, false); problem != "" {
		return problem
	}
	end := l.end
	if block(l.node) {
		end = l.header
	}
	a.at = f.lines.end(end)
	if c, ok := f.commentAt(a.at); ok || block(l.node) && bytes.IndexByte(f.src[end:a.at], '#') >= 0 {
		there := strings.TrimSpace(string(f.src[max(c.start, end):a.at]))
		return fmt.Sprintf("the line ends in a comment already: move %s above it and write %s", shorten(there), a.line(f))
	}
	return ""
}

// line is the line that a person writes: up to the end of the value, and the marker.
func (a addition) line(f *file) string {
	l := f.leafs[a.leaf]
	end := l.end
	if block(l.node) {
		end = l.header
	}
	start := f.lines.start(end)
	return strings.TrimSpace(string(f.src[start:end])) + " " + a.comment()
}

// marking gathers the additions that prove to be safe together.
type marking struct {
	*file
	sites    []bump.Site // before
	accepted []addition
	refused  []addition
}

// accept takes as many of adds as can be had. A file in which all can costs one
// proof; each that cannot costs a few more.
func (m *marking) accept(adds []addition) {
	if len(adds) == 0 {
		return
	}
	if together := slices.Concat(m.accepted, adds); m.prove(together) == nil {
		m.accepted = together
		return
	}
	if len(adds) == 1 {
		m.refused = append(m.refused, adds[0])
		return
	}
	m.accept(adds[:len(adds)/2])
	m.accept(adds[len(adds)/2:])
}

// insert returns the file with the additions, which are in the order of the file.
func (m *marking) insert(adds []addition) []byte {
	out := make([]byte, 0, len(m.src)+64*len(adds))
	done := 0
	for _, a := range adds {
		out = append(out, m.src[done:a.at]...)
		done = a.at
		if last := out[len(out)-1]; last != ' ' && last != '\t' {
			out = append(out, ' ')
		}
		out = append(out, a.comment()...)
	}
	return append(out, m.src[done:]...)
}

// prove compares what the file holds with and without the additions.
func (m *marking) prove(adds []addition) error {
	for i := 1; i < len(adds); i++ {
		if adds[i].at == adds[i-1].at {
			return errors.New("two markers on one line")
		}
	}
	after := m.insert(adds)
	g, err := parse(after)
	if err != nil {
		return err
	}
	if err := sameContent(m.file, g); err != nil {
		return err
	}
	shift := func(offset int) int {
		grown := 0
		for _, a := range adds {
			if a.at > offset {
				break
			}
			grown += len(a.comment())
			if last := m.src[a.at-1]; last != ' ' && last != '\t' {
				grown++
			}
		}
		return offset + grown
	}
	var want []bump.Site
	for _, s := range m.sites {
		if s.Problem == "" || s.End > 0 {
			s.Start, s.End = shift(s.Start), shift(s.End-1)+1
		}
		want = append(want, s)
	}
	for _, a := range adds {
		want = append(want, m.siteOf(a, shift))
	}
	sortSites(want)
	if !slices.Equal(want, find(after)) {
		return errors.New("the markers would not be read as they are meant")
	}
	return nil
}

// siteOf is the site that an addition makes.
func (m *marking) siteOf(a addition, shift func(int) int) bump.Site {
	s := bump.Site{Policy: a.policy, Part: a.part}
	_ = m.fill(&s, a.leaf, nil) // place has asked whether it can be changed
	s.Start, s.End = shift(s.Start), shift(s.End-1)+1
	return s
}

// sameContent compares everything of two files but their comments and places.
func sameContent(f, g *file) error {
	if len(f.docs) != len(g.docs) || len(f.colls) != len(g.colls) || len(f.leafs) != len(g.leafs) {
		return errors.New("documents or fields appear or vanish")
	}
	same := func(a, b *yaml.Node) bool {
		return a.Kind == b.Kind && a.Tag == b.Tag && a.Value == b.Value && a.Style == b.Style && a.Anchor == b.Anchor && len(a.Content) == len(b.Content)
	}
	for i := range f.docs {
		if !same(f.docs[i], g.docs[i]) {
			return fmt.Errorf("line %d: a document differs", f.docs[i].Line)
		}
	}
	for i, a := range f.colls {
		if b := g.colls[i]; !same(a.node, b.node) || a.first != b.first || a.after != b.after || a.step.parent != b.step.parent {
			return fmt.Errorf("line %d: structure differs", a.node.Line)
		}
	}
	for i, a := range f.leafs {
		b := g.leafs[i]
		if !same(a.node, b.node) || a.step.role != b.step.role || a.step.parent != b.step.parent || a.step.index != b.step.index {
			return fmt.Errorf("line %d: %q differs", a.node.Line, shorten(a.node.Value))
		}
	}
	return nil
}
