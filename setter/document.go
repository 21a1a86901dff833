package setter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"hoist/bump"
)

// file is a parsed YAML file: its scalars and aliases in the order in which they
// stand, each with the bytes that it covers. Aliases are never followed, so a
// file costs what it weighs whatever it would expand to.
type file struct {
	src   []byte
	lines *lines
	docs  []*yaml.Node
	colls []coll
	leafs []leaf
	names map[int]bump.Object // of the collections that were asked for
	parts []int               // where lines of "---" and "..." start; nil until one is asked for
	uses  map[*yaml.Node]int  // aliases of each node; nil until one is asked for
	at    map[*yaml.Node]int  // the index of each leaf; nil until one is asked for
}

type role int

const (
	root  role = iota // the whole document
	item              // of a sequence
	value             // of a mapping
	name              // the key in a mapping
)

// coll is a mapping or a sequence.
type coll struct {
	node  *yaml.Node
	step  step
	first int // index of the first leaf in or behind it
	after int // index of the first leaf behind it
}

// step leads from a collection to something in it.
type step struct {
	parent int // index in file.colls, -1 for the root of a document
	role   role
	key    *yaml.Node // for value
	index  int        // for item
}

// leaf is a scalar or an alias.
type leaf struct {
	node *yaml.Node
	step step
	from int // where it begins, anchor and tag included
	span     // the scalar itself
	// val is, for a key, the node of its value.
	val *yaml.Node
	// solid is the index of the last leaf up to this one that is not empty, or -1.
	solid int
}

// empty reports whether the leaf is a null that has no bytes, as behind "key:".
func (l leaf) empty() bool { return l.start == l.end }

// parse reads all documents of src. The error says why it is not YAML, or which
// scalar the library places where it is not.
func parse(src []byte) (f *file, err error) {
	// The library panics on a few malformed files; a file must not stop a pass.
	defer func() {
		if p := recover(); p != nil {
			f, err = nil, fmt.Errorf("not valid YAML: the parser gave up (%v)", p)
		}
	}()
	f = &file{src: src, lines: newLines(src), names: map[int]bump.Object{}}
	dec := yaml.NewDecoder(bytes.NewReader(asVersion11(src)))
	for {
		doc := new(yaml.Node)
		err := dec.Decode(doc)
		if errors.Is(err, io.EOF) {
			return f, nil
		}
		if err != nil {
			return nil, fmt.Errorf("not valid YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		}
		f.docs = append(f.docs, doc)
		for _, n := range doc.Content {
			if err := f.walk(n, step{parent: -1, role: root}, nil); err != nil {
				return nil, err
			}
		}
	}
}

var version12 = regexp.MustCompile(`(?m)^%YAML[ \t]+1\.2`)

// asVersion11 returns src for the library, which reads no file that says it is YAML
// 1.2 although it would understand it. Every byte keeps its place.
func asVersion11(src []byte) []byte {
	if !bytes.Contains(src, []byte("%YAML")) {
		return src
	}
	return version12.ReplaceAllFunc(src, func(directive []byte) []byte {
		return append(bytes.Clone(directive[:len(directive)-1]), '1')
	})
}

// walk adds what n holds. val is set when n is the key of a mapping.
func (f *file) walk(n *yaml.Node, at step, val *yaml.Node) error {
	switch n.Kind {
	case yaml.MappingNode:
		me := f.enter(n, at)
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			if err := f.walk(k, step{parent: me, role: name}, v); err != nil {
				return err
			}
			if err := f.walk(v, step{parent: me, role: value, key: k}, nil); err != nil {
				return err
			}
		}
		f.colls[me].after = len(f.leafs)
	case yaml.SequenceNode:
		me := f.enter(n, at)
		for i, c := range n.Content {
			if err := f.walk(c, step{parent: me, role: item, index: i}, nil); err != nil {
				return err
			}
		}
		f.colls[me].after = len(f.leafs)
	case yaml.ScalarNode, yaml.AliasNode:
		return f.leaf(n, at, val)
	default:
		return fmt.Errorf("line %d: unknown kind of YAML node", n.Line)
	}
	return nil
}

func (f *file) enter(n *yaml.Node, at step) int {
	f.colls = append(f.colls, coll{node: n, step: at, first: len(f.leafs)})
	return len(f.colls) - 1
}

func (f *file) leaf(n *yaml.Node, at step, val *yaml.Node) error {
	l := leaf{node: n, step: at, val: val, from: f.lines.at(n.Line, n.Column)}
	last := 0
	if len(f.leafs) > 0 {
		last = f.leafs[len(f.leafs)-1].end
	}
	if l.from < 0 && n.Value == "" && n.Style == 0 && n.Anchor == "" {
		l.from = len(f.src) // the library places what a last document of comments holds behind the file
	}
	ok := l.from >= 0
	if ok {
		l.span, ok = locate(f.src, l.from, n)
	}
	if ok && l.empty() && l.from < last {
		l.from, l.start, l.end = last, last, last // an empty value begins where its key ends
	}
	if !ok || l.from < last {
		return fmt.Errorf("line %d: cannot tell where %q begins and ends: write it on one line, plain or in quotes", n.Line, shorten(n.Value))
	}
	switch {
	case !l.empty():
		l.solid = len(f.leafs)
	case len(f.leafs) > 0:
		l.solid = f.leafs[len(f.leafs)-1].solid
	default:
		l.solid = -1
	}
	f.leafs = append(f.leafs, l)
	return nil
}
