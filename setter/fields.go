package setter

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"hoist/bump"
)

// named returns a site for each field that r names, in all documents. A field
// that is claimed already with the same meaning is an empty site.
func (f *file) named(r *fieldRule, taken claims) []bump.Site {
	var sites []bump.Site
	for _, doc := range f.docs {
		for _, root := range doc.Content {
			for _, n := range r.path.reach(root) {
				sites = append(sites, f.namedAt(n, r, taken))
			}
		}
	}
	return sites
}

func (f *file) namedAt(n *yaml.Node, r *fieldRule, taken claims) bump.Site {
	s := bump.Site{Line: f.lineOf(n), Policy: r.name, Part: r.Part}
	i, ok := f.leafOf(n)
	if !ok {
		s.Problem = fmt.Sprintf("fields[%d] names %s, which holds a map or a list: name a field in it", r.index, r.Path)
		return s
	}
	mine := claim{by: fmt.Sprintf("fields[%d]", r.index), policy: r.name, part: r.Part, match: r.match.String()}
	if other, twice := taken[i]; twice {
		if other.same(mine) {
			return bump.Site{}
		}
		s.Problem = fmt.Sprintf("field is set by %s and by fields[%d], which do not say the same: take one away", other.by, r.index)
		return s
	}
	taken[i] = mine
	s.Problem = f.fill(&s, i, r.match)
	return s
}

// leafOf returns the index of the scalar or alias n, and false for others.
func (f *file) leafOf(n *yaml.Node) (int, bool) {
	if f.at == nil {
		f.at = make(map[*yaml.Node]int, len(f.leafs))
		for i, l := range f.leafs {
			f.at[l.node] = i
		}
	}
	i, ok := f.at[n]
	return i, ok
}

func (f *file) lineOf(n *yaml.Node) int {
	if at := f.lines.at(n.Line, n.Column); at >= 0 {
		return f.lines.number(at)
	}
	return n.Line
}
