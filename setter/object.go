package setter

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"hoist/bump"
)

// objectOf returns the Kubernetes object that holds what at leads to: the
// document, an item of a document that is a list, or an item of a List's items.
// It is empty where the file does not say.
func (f *file) objectOf(at step) bump.Object {
	var chain []int // collections from the outermost to the innermost
	for i := at.parent; i >= 0; i = f.colls[i].step.parent {
		chain = append(chain, i)
	}
	slices.Reverse(chain)
	best := bump.Object{}
	for depth, i := range chain {
		c := f.colls[i]
		outermost := depth == 0
		inItems := depth > 0 && c.step.role == item && (f.colls[c.step.parent].step.role == root || isItems(f.colls[c.step.parent].step))
		if !outermost && !inItems && !isItems(c.step) {
			break
		}
		o, known := f.names[i]
		if !known {
			o = identity(c.node)
			f.names[i] = o
		}
		if o.Kind != "" {
			best = o
		}
	}
	return best
}

func isItems(s step) bool { return s.role == value && s.key.Value == "items" }

// identity reads apiVersion, kind and the name of a mapping.
func identity(n *yaml.Node) bump.Object {
	if n.Kind != yaml.MappingNode {
		return bump.Object{}
	}
	o := bump.Object{APIVersion: text(field(n, "apiVersion")), Kind: text(field(n, "kind"))}
	if meta := field(n, "metadata"); meta != nil {
		o.Namespace, o.Name = text(field(meta, "namespace")), text(field(meta, "name"))
	}
	return o
}

// own returns the value of a mapping's key, an alias as it is, or nil.
func own(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// field is own with an alias resolved once.
func field(n *yaml.Node, key string) *yaml.Node {
	v := own(n, key)
	if v != nil && v.Kind == yaml.AliasNode {
		return v.Alias
	}
	return v
}

func text(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

// path returns the way to what at leads to from the root of its document:
// spec.containers[0].image. A key that is not plain is written ["in quotes"].
// In named the items of lists that have a name go by it, spec.containers[web].image,
// so that it stays when the list is put into another order.
func (f *file) path(at step) (path, named string) {
	var steps []step
	for {
		steps = append(steps, at)
		if at.parent < 0 {
			break
		}
		at = f.colls[at.parent].step
	}
	slices.Reverse(steps)
	for _, s := range steps {
		switch s.role {
		case item:
			index := strconv.Itoa(s.index)
			path += "[" + index + "]"
			named += "[" + cmp.Or(nameOf(f.colls[s.parent].node.Content[s.index]), index) + "]"
		case value:
			k := s.key.Value
			if k == "" || strings.ContainsFunc(k, notPlain) {
				k = "[" + strconv.Quote(k) + "]"
			} else if path != "" {
				k = "." + k
			}
			path, named = path+k, named+k
		}
	}
	return path, named
}

// nameOf returns what an item of a list is called: a container's name, an object's.
func nameOf(n *yaml.Node) string {
	if meta := field(n, "metadata"); meta != nil {
		return text(field(meta, "name"))
	}
	return text(field(n, "name"))
}

func notPlain(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '$'
}
