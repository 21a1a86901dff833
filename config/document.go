package config

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document is one YAML document of a file, parsed into nodes.
type document struct {
	file  string
	dir   string // that relative paths start from, see file
	given int    // rank of the file among the files as they were given
	lines int    // of the whole file
	root  *yaml.Node
}

// fault returns a fault at n.
func (d *document) fault(n *yaml.Node, path, message, hint string) Fault {
	f := Fault{File: d.file, Path: path, Message: message, Hint: hint, given: d.given, doc: d}
	if n != nil {
		f.Line, f.Column = min(n.Line, d.lines), n.Column
	}
	return f
}

// text returns the string at a top-level key, "" where there is none.
func (d *document) text(key string) string {
	for k, v := range pairs(d.root) {
		if k.Value == key && resolve(v).Kind == yaml.ScalarNode {
			return resolve(v).Value
		}
	}
	return ""
}

// textAt returns the string that a path leads to, "" where there is none.
func (d *document) textAt(path string) string {
	if n := resolve(d.at(path)); d.has(path) && n.Kind == yaml.ScalarNode {
		return n.Value
	}
	return ""
}

// at returns the node that best marks a dotted path such as
// "images[1].policy.semver.range": the scalar itself; the key of a mapping or
// list; and where the path leads to nothing, the nearest thing above it.
func (d *document) at(path string) *yaml.Node {
	mark, value := d.root, resolve(d.root)
	for _, step := range splitPath(path) {
		var key, next *yaml.Node
		if i, ok := index(step); ok {
			if value.Kind == yaml.SequenceNode && i < len(value.Content) {
				key, next = value.Content[i], value.Content[i]
			}
		} else {
			for k, v := range pairs(value) {
				if k.Value == step {
					key, next = k, v
					break
				}
			}
		}
		if next == nil {
			return mark
		}
		mark, value = key, resolve(next)
		if value.Kind == yaml.ScalarNode {
			mark = next
		}
	}
	return mark
}

// has says whether the path leads to a value in the document.
func (d *document) has(path string) bool {
	value := resolve(d.root)
steps:
	for _, step := range splitPath(path) {
		if i, ok := index(step); ok {
			if value.Kind != yaml.SequenceNode || i >= len(value.Content) {
				return false
			}
			value = resolve(value.Content[i])
			continue
		}
		for k, v := range pairs(value) {
			if k.Value == step {
				value = resolve(v)
				continue steps
			}
		}
		return false
	}
	return true
}

// splitPath cuts "images[1].policy" into "images", "[1]", "policy".
func splitPath(path string) []string {
	var steps []string
	for part := range strings.SplitSeq(path, ".") {
		for part != "" {
			cut := strings.IndexByte(part[1:], '[') + 1
			if cut == 0 {
				cut = len(part)
			}
			steps = append(steps, part[:cut])
			part = part[cut:]
		}
	}
	return steps
}

func index(step string) (int, bool) {
	if len(step) < 3 || step[0] != '[' || step[len(step)-1] != ']' {
		return 0, false
	}
	i, err := strconv.Atoi(step[1 : len(step)-1])
	return i, err == nil && i >= 0
}

// join puts a key behind a path.
func join(path, key string) string {
	switch {
	case path == "":
		return key
	case key == "" || key[0] == '[':
		return path + key
	}
	return path + "." + key
}

// resolve follows an alias to what it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// pairs yields the keys and values of a mapping, first its own, then those that
// merge keys ("<<") bring in and that it does not have itself. Anything but a
// mapping has none. A document has to have passed [bounded] before.
func pairs(n *yaml.Node) func(yield func(k, v *yaml.Node) bool) {
	return func(yield func(k, v *yaml.Node) bool) {
		eachPair(n, make(map[string]bool), yield)
	}
}

func eachPair(n *yaml.Node, seen map[string]bool, yield func(k, v *yaml.Node) bool) bool {
	n = resolve(n)
	if n.Kind != yaml.MappingNode {
		return true
	}
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := resolve(n.Content[i]), n.Content[i+1]
		if isMerge(k) {
			merges = append(merges, v)
			continue
		}
		if k.Kind != yaml.ScalarNode || seen[k.Value] {
			continue
		}
		seen[k.Value] = true
		if !yield(n.Content[i], v) {
			return false
		}
	}
	for _, m := range merges {
		m = resolve(m)
		if m.Kind != yaml.SequenceNode {
			if !eachPair(m, seen, yield) {
				return false
			}
			continue
		}
		for _, part := range m.Content {
			if !eachPair(part, seen, yield) {
				return false
			}
		}
	}
	return true
}

func isMerge(k *yaml.Node) bool {
	return k.Kind == yaml.ScalarNode && k.Value == "<<" && (k.Tag == "!!merge" || k.ShortTag() == "!!merge")
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}
