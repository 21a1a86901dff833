package sops

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// documents are the documents of a YAML file.
type documents []*yaml.Node

// yamlOf takes YAML apart; nil where no document is encrypted.
func yamlOf(b []byte) (file, error) {
	var all documents
	encrypted := false
	for dec := yaml.NewDecoder(bytes.NewReader(b)); ; {
		n := &yaml.Node{}
		err := dec.Decode(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil // not YAML, or broken, of which whoever reads it speaks
		}
		all = append(all, n)
		encrypted = encrypted || metadataIn(n) != nil
	}
	if !encrypted {
		return nil, nil
	}
	return all, nil
}

// metadataIn returns the block that makes a document one that SOPS encrypted.
func metadataIn(doc *yaml.Node) *yaml.Node {
	if doc.Kind == yaml.DocumentNode && len(doc.Content) > 0 {
		doc = doc.Content[0]
	}
	if n := field(doc, "sops"); n != nil && field(n, "mac") != nil {
		return n
	}
	return nil
}

// open opens documents that were encrypted together, which is told by their MAC,
// and leaves others as they are: a file may be put together of several.
func (d documents) open(ctx context.Context, o Options) (*Plain, error) {
	p := &Plain{}
	opened := false
	for i := 0; i < len(d); {
		n := 1
		meta := metadataIn(d[i])
		for meta != nil && i+n < len(d) && sameMAC(meta, metadataIn(d[i+n])) {
			n++
		}
		if meta != nil {
			values, err := openTogether(ctx, d[i:i+n], meta, o)
			if err != nil {
				return nil, err
			}
			opened = opened || values != nil
			p.Values = append(p.Values, values...)
		}
		i += n
	}
	if !opened {
		return nil, nil
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	for _, doc := range d {
		if err := enc.Encode(doc); err != nil {
			return nil, errors.New("holds a value that is no text, which YAML cannot have: encrypt it as a file of its own")
		}
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	p.Bytes = b.Bytes()
	return p, nil
}

func sameMAC(a, b *yaml.Node) bool {
	return b != nil && field(a, "mac").Value == field(b, "mac").Value
}

// openTogether opens documents with one MAC. The values are nil where all of them
// are to be skipped.
func openTogether(ctx context.Context, docs []*yaml.Node, meta *yaml.Node, o Options) ([]Value, error) {
	skipped := 0
	for _, doc := range docs {
		if o.Skip != nil && o.Skip(doc.Content[0]) {
			skipped++
		}
	}
	switch {
	case skipped == len(docs):
		return nil, nil
	case skipped > 0:
		return nil, errors.New("some of its documents are marked to stay encrypted and others are not, which share one MAC: put them into files of their own")
	}
	m, err := metadataOf(meta)
	if err != nil {
		return nil, err
	}
	u, err := m.unsealer(ctx, o.Keys)
	if err != nil {
		return nil, err
	}
	u.values = []Value{}
	for _, doc := range docs {
		remove(doc.Content[0], "sops")
		if err := u.node(doc, ""); err != nil {
			return nil, err
		}
	}
	return u.values, m.verify(u)
}

func remove(n *yaml.Node, key string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content = append(n.Content[:i], n.Content[i+2:]...)
			return
		}
	}
}

// object is a JSON file. The tree has the same nodes as YAML.
type object struct {
	root   *yaml.Node
	binary bool // the one value is a file of any kind
}

// jsonOf takes JSON apart; nil where it is not encrypted. SOPS wraps files of any
// other kind in JSON.
func jsonOf(b []byte, named bool) (file, error) {
	if !json.Valid(b) { // which bounds the depth as well
		return yamlOf(b)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	root, err := jsonNode(dec)
	if err != nil || metadataIn(root) == nil {
		return nil, err
	}
	binary := !named && len(root.Content) == 4 && field(root, "data") != nil && field(root, "data").Kind == yaml.ScalarNode
	return object{root, binary}, nil
}

func jsonNode(dec *json.Decoder) (*yaml.Node, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	n := &yaml.Node{Kind: yaml.ScalarNode}
	switch t := token.(type) {
	case json.Delim:
		n.Kind = yaml.SequenceNode
		if t == '{' {
			n.Kind = yaml.MappingNode
		}
		for dec.More() {
			c, err := jsonNode(dec)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, c)
		}
		_, err = dec.Token() // its end
		return n, err
	case string:
		n.Tag, n.Value = "!!str", t
	case json.Number:
		n.Tag, n.Value = "!!float", t.String()
		if _, err := t.Int64(); err == nil {
			n.Tag = "!!int"
		}
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(t)
	case nil:
		n.Tag, n.Value = "!!null", "null"
	}
	return n, nil
}

func (f object) open(ctx context.Context, o Options) (*Plain, error) {
	meta := metadataIn(f.root)
	if f.binary {
		o.Skip = nil
	}
	values, err := openTogether(ctx, []*yaml.Node{{Kind: yaml.DocumentNode, Content: []*yaml.Node{f.root}}}, meta, o)
	if err != nil || values == nil {
		return nil, err
	}
	p := &Plain{Values: values}
	if f.binary {
		p.Bytes = []byte(field(f.root, "data").Value)
		return p, nil
	}
	var b bytes.Buffer
	writeJSON(&b, f.root)
	b.WriteByte('\n')
	p.Bytes = b.Bytes()
	return p, nil
}

func writeJSON(b *bytes.Buffer, n *yaml.Node) {
	switch {
	case n.Kind == yaml.MappingNode:
		b.WriteByte('{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				b.WriteByte(',')
			}
			writeJSON(b, n.Content[i])
			b.WriteByte(':')
			writeJSON(b, n.Content[i+1])
		}
		b.WriteByte('}')
	case n.Kind == yaml.SequenceNode:
		b.WriteByte('[')
		for i, c := range n.Content {
			if i > 0 {
				b.WriteByte(',')
			}
			writeJSON(b, c)
		}
		b.WriteByte(']')
	case n.Tag == "!!str" || n.Tag == "!!timestamp":
		enc := json.NewEncoder(b)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(n.Value) // words can always be written
		b.Truncate(b.Len() - 1) // the line break
	case n.Tag == "!!null":
		b.WriteString("null")
	default:
		b.WriteString(n.Value)
	}
}
