package config

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"hoist/bump"
	"hoist/gitpush"
	"hoist/plan"
	"hoist/policy"
	"hoist/reconcile"
	"hoist/scanner"
	"hoist/setter"
	"hoist/webhook"
)

// APIVersion and Kind are what a native document starts with.
const (
	APIVersion = "hoist/v1"
	Kind       = "Config"
)

// entryName is what native entries start with that others refer to, or whose
// secrets have a namespace. Registries are known by their host.
type entryName struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
}

func (e entryName) bump() bump.Name {
	if e.Namespace == "" {
		e.Namespace = bump.DefaultNamespace
	}
	return bump.Name{Namespace: e.Namespace, Name: e.Name}
}

// imageRef is the part of a native policy that says whose tags it chooses from.
type imageRef struct {
	Image string `json:"image"`
}

// nativeUpdate is a native entry of updates.
type nativeUpdate struct {
	Repository string `json:"repository"`
	setter.Spec
	Interval bump.Duration      `json:"interval,omitempty"`
	Commit   gitpush.CommitSpec `json:"commit"`
	Push     *gitpush.PushSpec  `json:"push,omitempty"`
	Suspend  bool               `json:"suspend,omitempty"`
}

// section is a list of a native document. Its entries are the fields of all
// parts together.
type section struct {
	key   string
	parts func() []any
	add   func(b *builder, o origin, parts []any)
}

// sections are the lists of a native document, in the order in which they are
// written. The schema and the normalised form are made from the same list.
func sections() []section {
	return []section{
		{"repositories", func() []any { return []any{&entryName{}, &gitpush.Repository{}} }, addNativeRepository},
		{"images", func() []any { return []any{&entryName{}, &scanner.Image{}, &policy.Spec{}} }, addNativeImage},
		{"policies", func() []any { return []any{&entryName{}, &imageRef{}, &policy.Spec{}} }, addNativePolicy},
		{"updates", func() []any { return []any{&entryName{}, &nativeUpdate{}, &plan.Rules{}} }, addNativeUpdate},
		{"apply", func() []any { return []any{&entryName{}, &reconcile.App{}} }, addNativeApp},
		{"webhooks", func() []any { return []any{&entryName{}, &webhook.Receiver{}} }, addNativeWebhook},
		{"registries", func() []any { return []any{&scanner.Registry{}} }, addNativeRegistry},
	}
}

// native reads a native document.
func (b *builder) native(d *document) {
	dec := b.decoder(d)
	known := make(map[string]section)
	keys := []string{"apiVersion", "kind"}
	for _, s := range sections() {
		known[s.key] = s
		keys = append(keys, s.key)
	}
	lists := 0
	for k, v := range pairs(d.root) {
		if s, ok := known[k.Value]; ok {
			lists++
			b.list(dec, s, v)
		} else if !slices.Contains(keys, k.Value) {
			lists++
			b.broken = true
			dec.unknown(k, "", keys)
		}
	}
	if lists == 0 {
		b.report(d.fault(d.root, "", "the document has no entries", "known here: "+strings.Join(keys[2:], ", ")))
	}
}

// list reads the entries of one section.
func (b *builder) list(dec *decoder, s section, v *yaml.Node) {
	v = resolve(v)
	switch {
	case isNull(v) || v.Kind == yaml.SequenceNode && len(v.Content) == 0:
		dec.fault(dec.doc.at(s.key), s.key, "has no entries", "write some or remove the key")
		b.broken = true
		return
	case v.Kind != yaml.SequenceNode:
		dec.mismatch(v, s.key, "a list")
		b.broken = true
		return
	}
	for i, n := range v.Content {
		o := origin{doc: dec.doc, base: fmt.Sprintf("%s[%d]", s.key, i)}
		if resolve(n).Kind != yaml.MappingNode {
			dec.mismatch(resolve(n), o.base, "a mapping")
			b.broken = true
			continue
		}
		parts := s.parts()
		dec.decode(n, o.base, parts...)
		s.add(b, o, parts)
	}
}

func addNativeRepository(b *builder, o origin, parts []any) {
	r := parts[1].(*gitpush.Repository)
	r.Name = parts[0].(*entryName).bump()
	b.addRepository(o, *r)
}

func addNativeImage(b *builder, o origin, parts []any) {
	i := parts[1].(*scanner.Image)
	i.Name = parts[0].(*entryName).bump()
	added := b.addImage(o, *i)
	if !o.doc.has(o.path("policy")) {
		for _, key := range []string{"filterTags", "excludeTags", "suffix", "minimumAge", "platforms", "digestReflectionPolicy", "digestInterval"} {
			if o.doc.has(o.path(key)) {
				b.say(o, key, "has no use without a policy", "")
			}
		}
		return
	}
	if p := (Policy{Name: i.Name, Image: i.Name, Spec: *parts[2].(*policy.Spec)}); added {
		b.addPolicy(o, p)
	} else {
		b.check(o, "", p.Spec.Check())
	}
}

func addNativePolicy(b *builder, o origin, parts []any) {
	p := Policy{Name: parts[0].(*entryName).bump(), Spec: *parts[2].(*policy.Spec)}
	ref := parts[1].(*imageRef).Image
	if name, ok := b.refer(o, "image", p.Name.Namespace, ref); ok {
		p.Image = name
		b.refs = append(b.refs, reference{o, "image", "image", name, false, b.images})
	}
	b.addPolicy(o, p)
}

func addNativeUpdate(b *builder, o origin, parts []any) {
	n := parts[1].(*nativeUpdate)
	u := Update{
		Name: parts[0].(*entryName).bump(), Spec: n.Spec, Commit: n.Commit, Rules: *parts[2].(*plan.Rules), Interval: n.Interval, Suspend: n.Suspend,
	}
	if n.Push != nil {
		u.Push = *n.Push
	}
	if name, ok := b.refer(o, "repository", u.Name.Namespace, n.Repository); ok {
		u.Repository = name
		b.refs = append(b.refs, reference{o, "repository", "repository", name, false, b.repositories})
	}
	for i := range u.Fields {
		field := fmt.Sprintf("fields[%d].policy", i)
		if name, ok := b.refer(o, field, u.Name.Namespace, u.Fields[i].Policy); ok {
			u.Fields[i].Policy = name.String()
			b.refs = append(b.refs, reference{o, field, "policy", name, false, b.policies})
		}
	}
	b.addUpdate(o, u)
}

func addNativeApp(b *builder, o origin, parts []any) {
	a := App{App: *parts[1].(*reconcile.App)}
	a.Name = parts[0].(*entryName).bump()
	if name, ok := b.refer(o, "repository", a.Name.Namespace, a.Repository); ok {
		a.RepositoryName = name
		b.refs = append(b.refs, reference{o, "repository", "repository", name, false, b.repositories})
	}
	b.addApp(o, a)
}

func addNativeWebhook(b *builder, o origin, parts []any) {
	w := parts[1].(*webhook.Receiver)
	w.Name = parts[0].(*entryName).bump()
	b.addWebhook(o, *w)
}

func addNativeRegistry(b *builder, o origin, parts []any) {
	b.addRegistry(o, *parts[0].(*scanner.Registry))
}

// refer reads a native reference: "name" of the entry's own namespace, or
// "namespace:name". It is not ok where a fault was reported or nothing stands.
func (b *builder) refer(o origin, field, namespace, ref string) (bump.Name, bool) {
	switch {
	case b.known(o.doc, o.path(field)):
		return bump.Name{}, false
	case ref == "":
		b.say(o, field, "is empty", "")
		return bump.Name{}, false
	case !strings.Contains(ref, ":"):
		return bump.Name{Namespace: namespace, Name: ref}, true
	}
	name, err := bump.ParseName(ref)
	if err != nil {
		b.say(o, field, err.Error(), "write the name alone, or namespace:name")
	}
	return name, err == nil
}
