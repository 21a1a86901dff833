package config

import (
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"hoist/bump"
)

// builder makes a Config of documents and gathers what is wrong on the way.
type builder struct {
	cfg    *Config
	files  []file
	faults []Fault
	lints  []Fault
	fields func(path string) field // of the native dialect
	broken bool                    // documents or names are missing for reasons already reported: references to nothing prove nothing

	// where entries came from, by what they are and their name
	repositories, images, policies, updates, apps, webhooks map[bump.Name]origin

	registries map[string]origin // by their host

	refs      []reference
	checkouts []checkout
	said      *said
	imports   *imports // nil but for [Import]
	entries   int      // of all documents, also those that are wrong
}

// origin is where an entry stands, and how the names of its room's fields
// become paths there.
type origin struct {
	doc    *document
	base   string // path of the entry: "images[1]", "" for a Flux document
	label  string // "ImagePolicy/apps/web" for a Flux document
	rename func(field string) string
}

// path returns the place of a room's field in the document.
func (o origin) path(field string) string {
	if o.rename != nil {
		field = o.rename(field)
	}
	return join(o.base, field)
}

// fault returns a fault of a field of the entry.
func (o origin) fault(field, message, hint string) Fault {
	path := o.path(field)
	return o.doc.fault(o.doc.at(path), strings.TrimSpace(o.label+" "+path), message, hint)
}

// position returns "file:line" of the entry.
func (o origin) position() string {
	n := o.doc.at(o.path(""))
	return fmt.Sprintf("%s:%d", o.doc.file, n.Line)
}

// newBuilder returns a builder of files that were opened, with what went wrong
// and what is odd about that.
func newBuilder(files []file, faults, lints []Fault) *builder {
	return &builder{
		cfg: &Config{}, files: files, faults: faults, lints: lints, broken: len(faults) > 0,
		repositories: make(map[bump.Name]origin), images: make(map[bump.Name]origin),
		policies: make(map[bump.Name]origin), updates: make(map[bump.Name]origin),
		apps: make(map[bump.Name]origin), webhooks: make(map[bump.Name]origin),
		registries: make(map[string]origin),
		said:       newSaid(), fields: lookUp(),
	}
}

// build reads the files' documents, each for itself, and then checks what
// crosses them.
func (b *builder) build() (*Config, error) {
	for _, f := range b.files {
		docs, faults, broken := split(f)
		b.faults = append(b.faults, faults...)
		b.broken = b.broken || broken
		for _, d := range docs {
			b.document(d)
		}
	}
	b.resolve()
	b.cycles()
	if len(b.faults) == 0 && b.entries == 0 {
		b.faults = append(b.faults, Fault{File: b.files[0].name, Message: "the configuration has no entries"})
	}
	if len(b.faults) > 0 {
		return nil, sorted(b.faults)
	}
	b.lint()
	b.cfg.lints = sorted(b.lints)
	return b.cfg, nil
}

// document reads one document by its apiVersion and kind.
func (b *builder) document(d *document) {
	if d.root.Kind != yaml.MappingNode {
		b.report(d.fault(d.root, "", "expected a document with apiVersion and kind, got "+describe(d.root, true), ""))
		b.broken = true
		return
	}
	apiVersion, kind := d.text("apiVersion"), d.text("kind")
	switch {
	case apiVersion == "" || kind == "":
		b.nameless(d, apiVersion, kind)
	case apiVersion == APIVersion && kind == Kind:
		b.native(d)
	case strings.Contains(apiVersion, fluxDomain):
		b.flux(d, apiVersion, kind)
	default:
		b.foreign(d, apiVersion, kind)
	}
}

// nameless refuses a document that does not say what it is.
func (b *builder) nameless(d *document, apiVersion, kind string) {
	b.broken = true
	for _, missing := range []struct{ key, value string }{{"apiVersion", apiVersion}, {"kind", kind}} {
		if missing.value != "" {
			continue
		}
		hint := fmt.Sprintf("a native document starts with apiVersion: %s and kind: %s", APIVersion, Kind)
		for k := range pairs(d.root) {
			if k.Value != missing.key && suggest(k.Value, []string{missing.key}) != "" {
				hint = fmt.Sprintf("did you mean %q instead of %q?", missing.key, k.Value)
			}
		}
		b.report(d.fault(d.root, missing.key, "is missing", hint))
	}
}

// foreign refuses a document that is neither native nor Flux's, and says what it is.
func (b *builder) foreign(d *document, apiVersion, kind string) {
	b.broken = true
	at := d.at("apiVersion")
	switch {
	case strings.HasPrefix(apiVersion, "hoist") || kind == Kind && !strings.Contains(apiVersion, "/"):
		if apiVersion != APIVersion {
			b.report(d.fault(at, "apiVersion", fmt.Sprintf("%q is not known", apiVersion), fmt.Sprintf("write %q", APIVersion)))
		}
		if kind != Kind {
			b.report(d.fault(d.at("kind"), "kind", fmt.Sprintf("%q is not known", kind), fmt.Sprintf("write %q", Kind)))
		}
	case strings.HasPrefix(apiVersion, "kustomize.config.k8s.io/"):
		b.report(d.fault(at, "", fmt.Sprintf("this is a kustomize file (%s, %s), not configuration", kind, apiVersion),
			"it belongs into the repository that an entry of apply names; Flux's Kustomization is of kustomize.toolkit.fluxcd.io"))
	case kind == "List" && apiVersion == "v1":
		b.report(d.fault(at, "", "this is a List", "write each of its items as a document of its own, between lines of ---"))
	default:
		b.report(d.fault(at, "", fmt.Sprintf("this is a Kubernetes object (%s, %s), not configuration", kind, apiVersion),
			"objects belong into the repository that an entry of apply names"))
	}
}

func (b *builder) report(f Fault) { b.faults = append(b.faults, f) }

func (b *builder) warn(f Fault) { b.lints = append(b.lints, f) }

// decoder returns a decoder of the native dialect for a document.
func (b *builder) decoder(d *document) *decoder {
	return &decoder{doc: d, report: b.report, said: b.said, schema: b.fields}
}

// say reports a fault of an entry and remembers its place.
func (b *builder) say(o origin, field, message, hint string) {
	b.said.mark(o.doc, o.path(field))
	b.imports.blame(o, field)
	b.report(o.fault(field, message, hint))
}

// check reports what a room finds wrong with its section, unless the decoder
// has already said so of the same value or of what holds it.
func (b *builder) check(o origin, prefix string, faults []bump.Fault) {
	for _, f := range faults {
		field := join(prefix, f.Field)
		if !b.known(o.doc, o.path(field)) {
			b.say(o, field, redact(f.Message), "")
		}
	}
}

// known says whether a fault was reported at the path, above it or below it.
func (b *builder) known(d *document, path string) bool { return b.said.around(d, path) }

var validName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

// named checks both halves of an entry's name, in the words of Kubernetes,
// because markers, inventories and trailers carry it.
func (b *builder) named(o origin, n bump.Name) bool {
	good := true
	for _, part := range []struct{ field, value string }{{"namespace", n.Namespace}, {"name", n.Name}} {
		if validName.MatchString(part.value) && len(part.value) <= 63 {
			continue
		}
		good = false
		switch {
		case b.known(o.doc, o.path(part.field)):
		case part.value == "":
			b.say(o, part.field, "is empty", "")
		default:
			b.say(o, part.field, fmt.Sprintf("%s is not a name", quote(part.value, "")),
				`use at most 63 lower-case letters, digits, "-" and ".", a letter or digit first and last`)
		}
	}
	if !good {
		b.broken = true
	}
	return good
}

// add remembers an entry. A name that is taken already is a fault.
func (b *builder) add(known map[bump.Name]origin, what string, n bump.Name, o origin) bool {
	b.entries++
	if !b.named(o, n) {
		return false
	}
	if first, twice := known[n]; twice {
		b.say(o, "name", fmt.Sprintf("duplicate name: %s %q is already at %s", what, spell(n), first.position()), "")
		return false
	}
	known[n] = o
	return true
}

// spell returns a name as people write it in a native document: without the
// namespace where that is the default.
func spell(n bump.Name) string {
	if n.Namespace == bump.DefaultNamespace {
		return n.Name
	}
	return n.String()
}
