package setter

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// fieldPath is the way from the root of a document to a field.
type fieldPath []pathStep

// pathStep goes to the value of a key, or to one or all items of a list.
type pathStep struct {
	key   string
	index int  // of an item; everyItem for all; noItem for a key
	both  bool // a number in a JSON pointer, which is a key or an index
}

const (
	noItem    = -1
	everyItem = -2
)

// newFieldPath reads a path as [bump.Site] spells it, spec.containers[0].image,
// with [*] for every item and ["a.b/c"] for a key that is not plain; or, when it
// begins with a slash, a JSON pointer (RFC 6901).
func newFieldPath(text string) (fieldPath, error) {
	if strings.HasPrefix(text, "/") {
		return pointer(text)
	}
	var p fieldPath
	rest := text
	for rest != "" {
		step, after, ok := cutStep(rest, len(p) == 0)
		if !ok {
			return nil, fmt.Errorf("%q is not the path of a field: cannot read %q; write it as spec.containers[0].image", text, shorten(rest))
		}
		p, rest = append(p, step), after
	}
	if len(p) == 0 {
		return nil, fmt.Errorf("%q is not the path of a field", text)
	}
	return p, nil
}

// cutStep reads the first step of a path.
func cutStep(s string, first bool) (step pathStep, rest string, ok bool) {
	if strings.HasPrefix(s, "[") {
		return cutBracket(s[1:])
	}
	if !first {
		if s, ok = strings.CutPrefix(s, "."); !ok {
			return step, "", false
		}
	}
	end := strings.IndexFunc(s, notPlain)
	if end < 0 {
		end = len(s)
	}
	return pathStep{key: s[:end], index: noItem}, s[end:], end > 0
}

// cutBracket reads a step behind its opening bracket.
func cutBracket(s string) (step pathStep, rest string, ok bool) {
	if strings.HasPrefix(s, `"`) {
		quoted, err := strconv.QuotedPrefix(s)
		if err != nil {
			return step, "", false
		}
		if step.key, err = strconv.Unquote(quoted); err != nil {
			return step, "", false
		}
		step.index = noItem
		rest, ok = strings.CutPrefix(s[len(quoted):], "]")
		return step, rest, ok
	}
	inner, rest, ok := strings.Cut(s, "]")
	if inner == "*" {
		return pathStep{index: everyItem}, rest, ok
	}
	n, err := strconv.ParseUint(inner, 10, 16)
	return pathStep{index: int(n)}, rest, ok && err == nil
}

// pointer reads a JSON pointer.
func pointer(text string) (fieldPath, error) {
	var p fieldPath
	for element := range strings.SplitSeq(text[1:], "/") {
		step := pathStep{key: strings.NewReplacer("~1", "/", "~0", "~").Replace(element), index: noItem}
		if n, err := strconv.ParseUint(element, 10, 16); err == nil {
			step.index, step.both = int(n), true
		}
		p = append(p, step)
	}
	return p, nil
}

// reach returns the nodes that p leads to from n. Aliases are not followed: where
// one stands on the way it is what is returned.
func (p fieldPath) reach(n *yaml.Node) []*yaml.Node {
	if len(p) == 0 || n.Kind == yaml.AliasNode {
		return []*yaml.Node{n}
	}
	step := p[0]
	var out []*yaml.Node
	switch {
	case n.Kind == yaml.MappingNode && (step.index == noItem || step.both):
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == step.key {
				out = append(out, p[1:].reach(n.Content[i+1])...)
			}
		}
	case n.Kind == yaml.SequenceNode && step.index != noItem:
		for i, c := range n.Content {
			if step.index == i || step.index == everyItem {
				out = append(out, p[1:].reach(c)...)
			}
		}
	}
	return out
}
