package config

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"hoist/bump"
)

// fluxDomain is in the API group of every Flux kind.
const fluxDomain = "toolkit.fluxcd.io/"

// fluxNamespace is the namespace of a Flux document that names none, which is
// where kubectl would put it.
const fluxNamespace = "default"

// fluxKind is a kind of Flux documents that Hoist reads.
type fluxKind struct {
	name, group string
	add         func(b *builder, o fluxObject)
}

// fluxVersions are the versions of every kind's group, oldest first.
var fluxVersions = []string{"v1beta1", "v1beta2", "v1"}

func fluxKinds() []fluxKind {
	return []fluxKind{
		{"GitRepository", "source.toolkit.fluxcd.io", addGitRepository},
		{"ImageRepository", "image.toolkit.fluxcd.io", addImageRepository},
		{"ImagePolicy", "image.toolkit.fluxcd.io", addImagePolicy},
		{"ImageUpdateAutomation", "image.toolkit.fluxcd.io", addAutomation},
		{"Kustomization", "kustomize.toolkit.fluxcd.io", addKustomization},
	}
}

// fluxOthers are the kinds of Flux that Hoist does not read, with what to do instead.
var fluxOthers = map[string]string{
	"Receiver":          "write an entry of webhooks in a native document",
	"Provider":          "remove it",
	"Alert":             "remove it",
	"HelmRelease":       "Helm is not what Hoist is for",
	"HelmRepository":    "Helm is not what Hoist is for",
	"HelmChart":         "Helm is not what Hoist is for",
	"Bucket":            "use a GitRepository",
	"OCIRepository":     "use a GitRepository",
	"ExternalArtifact":  "use a GitRepository",
	"ArtifactGenerator": "use a GitRepository",
}

// fluxObject is a Flux document while it is read.
type fluxObject struct {
	origin
	name   bump.Name
	labels map[string]string
	spec   *yaml.Node
	dec    *decoder
}

// flux reads a Flux document.
func (b *builder) flux(d *document, apiVersion, kind string) {
	group, version, _ := strings.Cut(apiVersion, "/")
	kinds := fluxKinds()
	i := slices.IndexFunc(kinds, func(k fluxKind) bool { return k.name == kind })
	if i < 0 {
		b.unknownKind(d, kind)
		return
	}
	k := kinds[i]
	if group != k.group || !slices.Contains(fluxVersions, version) {
		all := make([]string, len(fluxVersions))
		for i, v := range fluxVersions {
			all[i] = k.group + "/" + v
		}
		hint := didYouMean(suggest(apiVersion, all))
		if group == k.group || hint == "" {
			hint = "known: " + strings.Join(all, ", ")
		}
		b.broken = true
		b.report(d.fault(d.at("apiVersion"), "apiVersion", fmt.Sprintf("%q is not a known version of %s", apiVersion, kind), hint))
		return
	}
	o := fluxObject{origin: origin{doc: d}}
	o.dec = &decoder{doc: d, report: b.report, said: b.said, judged: true}
	o.dec.label = kind
	b.envelope(&o)
	o.label = kind
	if o.name.Name != "" {
		o.label += "/" + o.name.Namespace + "/" + o.name.Name
	}
	o.dec.label = o.label
	if o.spec == nil {
		o.dec.fault(d.root, "spec", "is missing", "")
		b.broken = true
		return
	}
	j := judge{b: b, o: o, version: version, fields: fluxFields(kind)}
	j.mapping(o.spec, "")
	k.add(b, o)
}

func (b *builder) unknownKind(d *document, kind string) {
	b.broken = true
	at := d.at("kind")
	if instead, known := fluxElsewhere[kind]; known && b.imports != nil {
		label := kind + "/" + d.textAt("metadata.namespace") + "/" + d.textAt("metadata.name")
		b.report(d.fault(at, label, kind+" has no counterpart yet", instead))
		return
	}
	if instead, known := fluxOthers[kind]; known {
		b.report(d.fault(at, "kind", kind+" of Flux is not supported yet", instead))
		return
	}
	var names []string
	for _, k := range fluxKinds() {
		names = append(names, k.name)
	}
	hint := didYouMean(suggest(kind, names))
	if hint == "" {
		hint = "known: " + strings.Join(names, ", ")
	}
	b.report(d.fault(at, "kind", fmt.Sprintf("Flux has no %s", quote(kind, "")), hint))
}

// metadataKeys are those of Kubernetes. Name and namespace count here.
var metadataKeys = []string{
	"annotations", "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers", "generateName",
	"generation", "labels", "managedFields", "name", "namespace", "ownerReferences", "resourceVersion", "selfLink", "uid",
}

// envelope reads what every Kubernetes object has around its spec.
func (b *builder) envelope(o *fluxObject) {
	var meta struct {
		Name      string            `json:"name"`
		Namespace string            `json:"namespace"`
		Labels    map[string]string `json:"labels"`
	}
	hasMeta := false
	for k, v := range pairs(o.doc.root) {
		switch k.Value {
		case "apiVersion", "kind", "status":
		case "metadata":
			hasMeta = true
			if resolve(v).Kind != yaml.MappingNode {
				o.dec.mismatch(resolve(v), "metadata", "a mapping")
				b.broken = true
				continue
			}
			for k := range pairs(v) {
				if !slices.Contains(metadataKeys, k.Value) && b.imports == nil {
					o.dec.unknown(k, "metadata", metadataKeys)
				}
			}
			o.dec.decode(v, "metadata", &meta)
		case "spec":
			o.spec = v
		default:
			o.dec.unknown(k, "", []string{"apiVersion", "kind", "metadata", "spec", "status"})
		}
	}
	o.name, o.labels = bump.Name{Namespace: meta.Namespace, Name: meta.Name}, meta.Labels
	if o.name.Namespace == "" {
		o.name.Namespace = fluxNamespace
	}
	if o.name.Name == "" && !b.known(o.doc, "metadata.name") && (hasMeta || !b.said.exactly(o.doc, "metadata")) {
		o.dec.fault(o.doc.at("metadata"), "metadata.name", "is missing", "")
	}
}

// judge walks the spec of a Flux document and says what becomes of each field.
type judge struct {
	b       *builder
	o       fluxObject
	version string
	fields  []fluxField
}

func (j judge) mapping(n *yaml.Node, path string) {
	n = resolve(n)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		j.o.dec.mismatch(n, join("spec", path), "a mapping")
		return
	}
	present := make(map[string]bool)
	for k, v := range pairs(n) {
		if !isNull(resolve(v)) {
			present[k.Value] = true
		}
		j.key(k, v, path)
	}
	for _, f := range j.fields {
		parent, key, _ := cutLast(f.path)
		full := join(join("spec", path), key)
		if f.required && j.exists(f) && parent == pattern(path) && !present[key] && !j.b.said.exactly(j.o.doc, full) {
			j.o.dec.fault(j.o.doc.at(join("spec", path)), full, "is missing", "")
		}
	}
}

// key judges one key of the mapping at path.
func (j judge) key(k, v *yaml.Node, path string) {
	full := join(path, k.Value)
	at := pattern(full)
	elsewhere := ""
	for _, f := range j.fields {
		switch {
		case f.path == at && j.exists(f):
			j.field(f, k, v, full)
			return
		case f.path == at:
			elsewhere = f.versions
		case strings.HasPrefix(f.path, at+"[]"):
			j.list(v, full)
			return
		case strings.HasPrefix(f.path, at+"."):
			j.mapping(v, full)
			return
		}
	}
	if j.b.imports != nil {
		j.b.imports.lose(j.o, k, full, "is not known", "")
		return
	}
	if elsewhere != "" {
		j.o.dec.fault(k, join("spec", full), "is not a field of "+j.version, "it is of "+strings.ReplaceAll(elsewhere, " ", " and "))
		return
	}
	j.o.dec.unknown(k, join("spec", path), j.candidates(pattern(path)))
}

// candidates returns the keys that a mapping may have in this version.
func (j judge) candidates(path string) []string {
	var keys []string
	for _, f := range j.fields {
		rest := f.path
		if path != "" {
			var ok bool
			if rest, ok = strings.CutPrefix(f.path, path+"."); !ok {
				continue
			}
		}
		if !j.exists(f) {
			continue
		}
		if cut := strings.IndexAny(rest, ".["); cut >= 0 {
			rest = rest[:cut]
		}
		if !slices.Contains(keys, rest) {
			keys = append(keys, rest)
		}
	}
	return keys
}

func (j judge) exists(f fluxField) bool {
	return f.versions == "" || slices.Contains(strings.Fields(f.versions), j.version)
}

func (j judge) list(v *yaml.Node, path string) {
	v = resolve(v)
	if v.Kind != yaml.SequenceNode {
		return // the decoder says so
	}
	for i, n := range v.Content {
		j.mapping(n, fmt.Sprintf("%s[%d]", path, i))
	}
}

func (j judge) field(f fluxField, k, v *yaml.Node, full string) {
	path := join("spec", full)
	switch f.fate {
	case meaningless:
		j.b.warn(j.o.doc.fault(k, j.o.label+" "+path, "has no effect", f.note))
	case refused:
		v = resolve(v)
		if empty(v) || v.Kind == yaml.ScalarNode && slices.Contains(strings.Fields(f.harmless), v.Value) {
			return
		}
		what := "is not supported yet"
		if f.harmless != "" && v.Kind == yaml.ScalarNode {
			what = describe(v, secretPath(path)) + " " + what
		}
		if j.b.imports != nil {
			j.b.imports.lose(j.o, k, full, what, f.note)
			return
		}
		j.o.dec.fault(k, path, what, f.note)
	}
}

// empty says whether a value is as good as none.
func empty(n *yaml.Node) bool {
	switch n.Kind {
	case yaml.ScalarNode:
		return isNull(n) || n.Value == ""
	default:
		return len(n.Content) == 0
	}
}
