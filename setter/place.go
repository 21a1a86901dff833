package setter

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"hoist/bump"
)

// comment is a comment of the file: src[start:end], "#" included.
type comment struct {
	start, end int
	alone      bool // nothing but space stands before it on its line
}

// commentAt returns the comment that holds offset, or false when offset lies
// within a scalar or in no comment.
func (f *file) commentAt(offset int) (comment, bool) {
	start := f.lines.start(offset)
	low := start
	if prev := f.before(offset); prev >= 0 {
		switch p := f.leafs[prev]; {
		case offset >= p.end:
			low = max(low, p.end)
		case p.header > start:
			low = p.header // behind the "|-" of a block
		default:
			return comment{}, false
		}
	}
	i := bytes.IndexByte(f.src[low:offset], '#')
	if i < 0 {
		return comment{}, false
	}
	c := comment{start: low + i, end: f.lines.end(offset)}
	c.alone = len(bytes.TrimLeft(f.src[start:c.start], " \t\ufeff")) == 0
	return c, true
}

// before returns the index of the last leaf that begins before offset and has
// bytes, or -1.
func (f *file) before(offset int) int {
	i, _ := slices.BinarySearchFunc(f.leafs, offset, func(l leaf, at int) int { return l.start - at })
	if i == 0 {
		return -1
	}
	return f.leafs[i-1].solid
}

// target returns the index of the leaf that a marker in comment c marks, or why
// there is none. These are the places in which Flux honours a marker,
//
//	image: a:1 # marker          behind the value, its anchor, its block header
//	- a:1 # marker               or the comma that follows it
//	# marker                     above an item of a list, or a value that has a
//	- a:1                        line of its own
//
// and these are the ones which it ignores although their meaning is plain:
//
//	image: # marker              behind the key of a value on a later line
//	  a:1
//	# marker                     above the key of the value
//	image: a:1
//	{image: a:1} # marker        behind a flow map with one field that it can mean
func (f *file) target(c comment, m marker) (int, string) {
	if c.alone {
		return f.below(c, m)
	}
	prev := f.before(c.start)
	if prev < 0 {
		return f.below(c, m)
	}
	p := f.leafs[prev]
	if c.start < p.end {
		return prev, "" // behind the header of a block
	}
	if p.end > f.lines.start(c.start) || onlyCloses(f.src[p.end:c.start]) {
		gap := strings.TrimSpace(string(f.src[p.end:c.start]))
		switch {
		case (gap == "" || gap == ",") && p.step.role != name:
			return prev, ""
		case p.step.role == name && p.val != nil && strings.HasPrefix(gap, ":"):
			return f.valueBehind(prev, gap)
		case onlyCloses([]byte(gap)):
			return f.inFlow(prev, strings.Count(gap, "}")+strings.Count(gap, "]"), m)
		case gap == "" || gap == ",":
			return 0, "marker stands behind a key: write it behind the value"
		}
	}
	return f.below(c, m)
}

// onlyCloses reports whether gap holds nothing but the ends of flow collections.
func onlyCloses(gap []byte) bool {
	return bytes.ContainsAny(gap, "}]") && len(bytes.Trim(gap, " \t\r\n,]}")) == 0
}

// valueBehind returns the scalar that begins on a line after its key, which is
// leaf k and has the marker behind its colon.
func (f *file) valueBehind(k int, gap string) (int, string) {
	if i := k + 1; i < len(f.leafs) && f.leafs[i].node == f.leafs[k].val {
		if f.leafs[i].empty() {
			return 0, fmt.Sprintf("marker stands behind %q, which has no value: write a value before it", f.leafs[k].node.Value)
		}
		return i, ""
	}
	if strings.ContainsAny(gap, "]}") {
		return 0, "marker stands behind empty brackets, which hold no value"
	}
	if strings.ContainsAny(gap, "[{") {
		return 0, "marker stands behind an opening bracket: write it behind the value"
	}
	return 0, fmt.Sprintf("marker stands behind %q, which holds a map or a list: write it behind the value", f.leafs[k].node.Value)
}

// inFlow returns the field that a marker behind a flow collection means. last is
// the last leaf before the marker, which the given number of brackets follow.
func (f *file) inFlow(last, brackets int, m marker) (int, string) {
	at := f.leafs[last].step.parent
	for ; brackets > 1 && at >= 0; brackets-- {
		at = f.colls[at].step.parent
	}
	if at < 0 || f.colls[at].node.Style&yaml.FlowStyle == 0 {
		return 0, "marker stands behind a bracket: write it behind the value"
	}
	c := f.colls[at]
	var all, named []int
	for i := c.first; i < c.after; i++ {
		switch l := f.leafs[i]; {
		case l.step.role == name:
			continue
		case l.step.role == value && slices.Contains(fieldsFor[m.part], l.step.key.Value):
			named = append(named, i)
			fallthrough
		default:
			all = append(all, i)
		}
	}
	switch {
	case len(named) == 1:
		return named[0], ""
	case len(all) == 1:
		return all[0], ""
	}
	return 0, "marker stands behind a bracket and could mean several fields: write one field a line, each with its marker"
}

// fieldsFor are the fields that hold a part of an image, as kustomize and Helm
// charts call them.
var fieldsFor = map[bump.Part][]string{
	bump.Whole:  {"image"},
	bump.Repo:   {"newName", "repository", "image"},
	bump.Tag:    {"newTag", "tag"},
	bump.Digest: {"digest"},
}

// farthest is how many bytes may stand between a marker above a field and the field.
const farthest = 16 << 10

// below returns the scalar that follows the comment c.
func (f *file) below(c comment, m marker) (int, string) {
	next, _ := slices.BinarySearchFunc(f.leafs, c.end, func(l leaf, at int) int { return l.from - at })
	for next < len(f.leafs) && f.leafs[next].empty() && f.leafs[next].from <= c.end {
		next++
	}
	if c.alone && f.barren(c, next) {
		return 0, "marker stands in a document that holds nothing but comments: write it behind the value"
	}
	if next == len(f.leafs) {
		return 0, "marker marks nothing, no field follows it: write it behind the value"
	}
	l := f.leafs[next]
	gap := f.src[c.end:l.from]
	if len(gap) > farthest {
		return 0, "marker stands alone: write it behind the value"
	}
	text := strings.TrimRight(string(f.src[c.start:c.end]), " \t")
	if l.step.role != name && strings.Contains(l.node.HeadComment, text) && !l.empty() {
		return next, ""
	}
	if c.alone && f.lines.indent(c.start) != f.lines.indent(l.from) || !adjacent(gap) {
		return 0, "marker stands alone: write it behind the value"
	}
	if l.step.role != name || l.val == nil || l.val.Kind != yaml.ScalarNode {
		return 0, "marker does not stand above a single field: write it behind the value"
	}
	k := l.node.Value
	i := next + 1
	if v := f.leafs[i]; v.node != l.val || v.empty() || !plausible(k, v.node.Value, m.part) {
		return 0, fmt.Sprintf("marker stands above %q, which does not look like what it asks for: write it behind the value", k)
	}
	return i, ""
}

// barren reports whether no field is in the document that the comment c stands in.
// next is the index of the leaf that follows it.
func (f *file) barren(c comment, next int) bool {
	from, to := 0, len(f.src)
	if prev := f.before(c.start); prev >= 0 {
		from = f.leafs[prev].end
	}
	for next < len(f.leafs) && f.leafs[next].empty() {
		next++ // the nothing that a document of comments holds
	}
	if next < len(f.leafs) {
		to = f.leafs[next].from
	}
	return (from == 0 || f.parted(from, c.start)) && (to == len(f.src) || f.parted(c.end, to))
}

// parted reports whether a line of "---" or "..." stands between two offsets.
func (f *file) parted(from, to int) bool {
	if f.parts == nil {
		f.parts = []int{}
		for _, start := range f.lines.starts {
			if documentEnd(f.src[start:f.lines.end(start)]) {
				f.parts = append(f.parts, start)
			}
		}
	}
	i, _ := slices.BinarySearch(f.parts, from)
	return i < len(f.parts) && f.parts[i] < to
}

// adjacent reports whether gap, which follows a comment, leads to the next line
// that is not a comment, with nothing before it on that line but list dashes.
func adjacent(gap []byte) bool {
	rest := gap
	for {
		n := breakLen(rest)
		if n == 0 {
			return false
		}
		rest = rest[n:]
		end := 0
		for end < len(rest) && breakLen(rest[end:]) == 0 {
			end++
		}
		text := bytes.TrimLeft(rest[:end], " \t")
		if end == len(rest) {
			return len(bytes.Trim(text, "- \t")) == 0
		}
		if len(text) == 0 || text[0] != '#' {
			return false
		}
		rest = rest[end:]
	}
}

// plausible keeps a marker that stands on the wrong side of its field from
// changing the next one. Flux ignores markers above a key, so nothing that worked
// there is refused here.
func plausible(key, val string, part bump.Part) bool {
	k := strings.ToLower(key)
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(k, w) })
	}
	switch part {
	case bump.Whole:
		return strings.HasSuffix(k, "image") || strings.ContainsAny(val, ":/") && !strings.Contains(val, " ")
	case bump.Repo:
		return has("name", "image", "repo")
	case bump.Tag:
		return has("tag", "version") || k == "value"
	default:
		return has("digest", "sha") || strings.HasPrefix(val, "sha256:")
	}
}
