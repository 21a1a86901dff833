package config

import (
	"bytes"
	"encoding"
	"fmt"
	"net/url"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"

	"hoist/bump"
	"hoist/scanner"
)

// View returns the configuration as one native document: what was read, with
// every default that the dialects differ in written out, whichever dialect it
// came from. Read again it gives the same configuration. Images that no policy
// chooses from are named in a comment only. It holds no secrets, because a
// configuration holds none.
func (c *Config) View() ([]byte, error) { return c.Annotated(nil) }

// Annotated is View with comments: notes returns the lines that stand above the
// entry of that name in a section such as "images", and for the section "" those
// above the whole document. It may be nil.
func (c *Config) Annotated(notes func(section string, name bump.Name) []string) ([]byte, error) {
	doc := mapping()
	list := func(section string, n bump.Name, parts ...*yaml.Node) {
		e := add(doc, section, append([]*yaml.Node{entry(n)}, parts...)...)
		if notes != nil {
			e.HeadComment = commented(notes(section, n))
		}
	}
	put(doc, "apiVersion", word(APIVersion))
	put(doc, "kind", word(Kind))
	own := make(map[bump.Name]Policy) // policies that bear the name of their image
	used := make(map[bump.Name]bool)
	for _, p := range c.Policies {
		used[p.Image] = true
		if p.Name == p.Image {
			own[p.Name] = p
		}
	}
	var unused []string
	for _, r := range c.Repositories {
		list("repositories", r.Name, fields(r))
	}
	for _, i := range c.Images {
		if !used[i.Name] {
			unused = append(unused, fmt.Sprintf("# No policy chooses from image %s (%s).", spell(i.Name), i.Image))
			continue
		}
		parts := []*yaml.Node{fields(i)}
		if p, ok := own[i.Name]; ok {
			parts = append(parts, fields(p.Spec))
		}
		list("images", i.Name, parts...)
	}
	for _, p := range c.Policies {
		if p.Name != p.Image {
			list("policies", p.Name, fields(imageRef{relative(p.Image, p.Name)}), fields(p.Spec))
		}
	}
	for _, u := range c.Updates {
		n := nativeUpdate{Repository: relative(u.Repository, u.Name), Spec: u.Spec, Interval: u.Interval, Commit: u.Commit, Suspend: u.Suspend}
		if u.Push.Branch != "" {
			n.Push = &u.Push
		}
		list("updates", u.Name, fields(n), fields(u.Rules))
	}
	for _, a := range c.Apply {
		a.Repository = relative(a.RepositoryName, a.Name)
		list("apply", a.Name, fields(a.App))
	}
	for _, w := range c.Webhooks {
		list("webhooks", w.Name, fields(w))
	}
	registries(doc, c.Registries)
	if notes != nil {
		unused = append(strings.Split(commented(notes("", bump.Name{})), "\n"), unused...)
	}
	doc.HeadComment = strings.Trim(strings.Join(unused, "\n"), "\n")
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(doc); err != nil {
		return nil, fmt.Errorf("view configuration: %w", err)
	}
	return out.Bytes(), enc.Close()
}

// registries adds entries that are known by their host and have no name.
func registries(doc *yaml.Node, all []scanner.Registry) {
	for _, r := range all {
		add(doc, "registries", fields(r))
	}
}

// commented makes a comment of lines.
func commented(lines []string) string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = strings.TrimRight("# "+l, " ")
	}
	return strings.Join(out, "\n")
}

// relative spells a name as an entry in the namespace of from refers to it.
func relative(n, from bump.Name) string {
	if n.Namespace == from.Namespace {
		return n.Name
	}
	return n.String()
}

func entry(n bump.Name) *yaml.Node {
	e := entryName{Name: n.Name, Namespace: n.Namespace}
	if e.Namespace == bump.DefaultNamespace {
		e.Namespace = ""
	}
	return fields(e)
}

// add appends an entry of all parts to a list of the document and returns it.
func add(doc *yaml.Node, key string, parts ...*yaml.Node) *yaml.Node {
	var list *yaml.Node
	for k, v := range pairs(doc) {
		if k.Value == key {
			list = v
		}
	}
	if list == nil {
		list = &yaml.Node{Kind: yaml.SequenceNode}
		put(doc, key, list)
	}
	whole := mapping()
	for _, p := range parts {
		whole.Content = append(whole.Content, p.Content...)
	}
	list.Content = append(list.Content, whole)
	return whole
}

func mapping() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode} }

func word(s string) *yaml.Node {
	var n yaml.Node
	n.SetString(s)
	return &n
}

func put(m *yaml.Node, key string, v *yaml.Node) { m.Content = append(m.Content, word(key), v) }

// fields returns the set fields of a struct, by their json tags.
func fields(v any) *yaml.Node { return node(reflect.ValueOf(v)) }

// node writes a value. It returns nil for what is not set.
func node(v reflect.Value) *yaml.Node {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		if n := node(v.Elem()); n != nil {
			return n
		}
		return zero(v.Elem()) // it was written, and so it means something
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		if v.IsZero() {
			return nil
		}
		text, err := m.MarshalText()
		if err != nil {
			return nil
		}
		return word(short(string(text)))
	}
	switch v.Kind() {
	case reflect.Struct:
		return structNode(v)
	case reflect.Slice:
		if v.IsNil() {
			return nil
		}
		n := &yaml.Node{Kind: yaml.SequenceNode}
		if v.Len() == 0 {
			n.Style = yaml.FlowStyle
		}
		for i := range v.Len() {
			e := node(v.Index(i))
			if e == nil {
				e = word("") // empty, but there
			}
			n.Content = append(n.Content, e)
		}
		return n
	}
	if v.IsZero() {
		return nil
	}
	var n yaml.Node
	value := v.Interface()
	if s, ok := value.(string); ok {
		value = public(s)
	}
	if err := n.Encode(value); err != nil {
		return nil
	}
	return &n
}

// zero writes a value that is the zero of its type.
func zero(v reflect.Value) *yaml.Node {
	var n yaml.Node
	if err := n.Encode(v.Interface()); err != nil {
		return nil
	}
	return &n
}

func structNode(v reflect.Value) *yaml.Node {
	m := mapping()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
			m.Content = append(m.Content, structNode(v.Field(i)).Content...)
			continue
		}
		if name == "" || name == "-" {
			continue
		}
		n := node(v.Field(i))
		if n == nil || n.Kind == yaml.MappingNode && len(n.Content) == 0 && f.Type.Kind() != reflect.Pointer {
			continue
		}
		put(m, name, n)
	}
	if len(m.Content) == 0 {
		m.Style = yaml.FlowStyle
	}
	return m
}

// public returns a value without what might be a secret in a URL. The user of an
// ssh URL is none: without it the URL means another account.
func public(s string) string {
	if u, err := url.Parse(s); err == nil && u.Scheme == "ssh" && u.User != nil {
		u.User = url.User(u.User.Username())
		return u.String()
	}
	return redact(s)
}

// short drops the zero units of a duration: "1h0m0s" is "1h".
func short(d string) string {
	if strings.HasSuffix(d, "m0s") {
		d = strings.TrimSuffix(d, "0s")
	}
	if strings.HasSuffix(d, "h0m") {
		d = strings.TrimSuffix(d, "0m")
	}
	return d
}
