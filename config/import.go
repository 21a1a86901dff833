package config

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"hoist/bump"
	"hoist/gitpush"
	"hoist/scanner"
	"hoist/webhook"
)

// Source is what [Import] reads: the content of a file, or of something like one.
type Source struct {
	Name    string
	Data    []byte
	Objects bool // made of a cluster's objects, so that lines mean nothing to people
}

// Imported is what Flux documents came to.
type Imported struct {
	Text    []byte         // a native document, with the notes as comments; it passes [Parse]
	Config  *Config        // the same
	Notes   []Fault        // what has no counterpart, was changed or was left out, and what to do
	Skipped map[string]int // documents of other kinds, by kind
}

// Import makes a native document of Flux documents, and of the items of Lists.
// Unlike [Load] it does not refuse what Hoist lacks: it converts what it can and
// notes the rest. An entry that would do something else than in Flux without what
// was lost is suspended, so that the document is safe to run. A document that
// cannot be converted at all is left out, with a note. The error is non-nil when
// nothing is left, and then Imported holds the notes and no text.
func Import(sources []Source) (*Imported, error) {
	b := newBuilder(nil, nil, nil)
	b.imports = &imports{skipped: make(map[string]int), notes: make(map[*document][]Fault), holds: make(map[*document]bool)}
	var receivers []*document
	for i, s := range sources {
		for _, d := range b.importable(s, i) {
			if d.text("kind") == "Receiver" && strings.Contains(d.text("apiVersion"), fluxDomain) {
				receivers = append(receivers, d) // they refer to what the others hold
				continue
			}
			b.importOne(d, func() { b.flux(d, d.text("apiVersion"), d.text("kind")) })
		}
	}
	for _, d := range receivers {
		b.importOne(d, func() { addReceiver(b, d) })
	}
	b.importWhole()
	return b.imported()
}

// imports is what a builder keeps while it imports.
type imports struct {
	skipped map[string]int
	notes   map[*document][]Fault // of the documents that were converted
	left    []Fault               // why documents or whole files were left out
	holds   map[*document]bool    // the entry of the document is suspended
	blamed  []blamed
}

// blamed is a place that a fault was found at.
type blamed struct {
	from  origin
	field string
}

func (m *imports) blame(o origin, field string) {
	if m != nil {
		m.blamed = append(m.blamed, blamed{o, field})
	}
}

// harmless are the fields without which an entry does what it did or nothing. An
// entry that loses any other is suspended.
var harmless = map[string][]string{
	"GitRepository":         {"provider", "serviceAccountName", "proxySecretRef"},
	"ImageUpdateAutomation": {"git.commit.signingKey", "git.push.options"},
}

// lose notes that a field of spec has no counterpart.
func (m *imports) lose(o fluxObject, at *yaml.Node, path, what, instead string) {
	kind := o.doc.text("kind")
	field := pattern(path)
	for _, h := range harmless[kind] {
		if field == h || below(field, h) {
			m.note(o.origin, at, path, what, instead)
			return
		}
	}
	m.holds[o.doc] = true
	m.note(o.origin, at, path, what+": suspended here", instead)
}

func (m *imports) note(o origin, at *yaml.Node, path, what, instead string) {
	f := o.doc.fault(at, strings.TrimSpace(o.label+" "+join("spec", path)), what, instead)
	m.notes[o.doc] = append(m.notes[o.doc], f)
}

// fluxElsewhere says what becomes of the kinds that have no counterpart.
var fluxElsewhere = map[string]string{
	"Provider":       "watch the metrics and the status",
	"Alert":          "watch the metrics and the status",
	"HelmRelease":    "it stays with Flux",
	"HelmRepository": "it stays with Flux",
	"HelmChart":      "it stays with Flux",
	"Bucket":         "it stays with Flux, or use a GitRepository",
	"OCIRepository":  "it stays with Flux, or use a GitRepository",
}

// ReadSource reads a file for [Import], which is no larger than a configuration may be.
func ReadSource(name string, open func() (io.ReadCloser, error)) (Source, error) {
	data, err := readBounded(open)
	if err != nil {
		return Source{}, fmt.Errorf("%s: %s", name, reason(err))
	}
	return Source{Name: name, Data: data}, nil
}

// importable returns the Flux documents of a source; it counts the others.
func (b *builder) importable(s Source, given int) []*document {
	if len(bytes.TrimSpace(s.Data)) == 0 {
		return nil
	}
	docs, faults, broken := split(file{name: s.Name, data: s.Data, given: given})
	flux := bytes.Contains(s.Data, []byte(fluxDomain))
	if broken && !flux {
		b.imports.skipped["unreadable file"]++
	}
	for _, f := range faults {
		if !flux {
			continue
		}
		f.Message = "not read: " + f.Message
		b.imports.left = append(b.imports.left, f)
	}
	var found []*document
	for _, d := range docs {
		for _, d := range items(d) {
			switch kind := d.text("kind"); {
			case strings.Contains(d.text("apiVersion"), fluxDomain) && kind != "":
				if s.Objects {
					d.lines = 0
				}
				found = append(found, d)
			case kind == "":
				b.imports.skipped["no kind"]++
			default:
				b.imports.skipped[kind]++
			}
		}
	}
	return found
}

// items returns the objects of a List, or the document itself.
func items(d *document) (all []*document) {
	if !strings.HasSuffix(d.text("kind"), "List") {
		return []*document{d}
	}
	for k, v := range pairs(d.root) {
		if v = resolve(v); k.Value == "items" && v.Kind == yaml.SequenceNode {
			for _, n := range v.Content {
				item := &document{file: d.file, given: d.given, lines: d.lines, root: resolve(n)}
				all = append(all, items(item)...)
			}
		}
	}
	return all
}

// importOne reads a document. One with a fault is left out.
func (b *builder) importOne(d *document, read func()) {
	b.faults, b.broken = nil, false
	refs, checkouts := len(b.refs), len(b.checkouts)
	read()
	if len(b.faults) > 0 {
		b.refs, b.checkouts = b.refs[:refs], b.checkouts[:checkouts]
		b.leaveOut(d, b.faults)
	}
	b.faults, b.broken = nil, false
}

// leaveOut drops the entry of a document and says why.
func (b *builder) leaveOut(d *document, why []Fault) {
	for _, f := range why {
		f.Message = "left out: " + f.Message
		b.imports.left = append(b.imports.left, f)
	}
	b.remove(d)
}

// remove drops what a document added, and what it refers to.
func (b *builder) remove(d *document) {
	gone := func(known map[bump.Name]origin, n bump.Name) bool {
		if known[n].doc != d {
			return false
		}
		delete(known, n)
		return true
	}
	c := b.cfg
	c.Repositories = slices.DeleteFunc(c.Repositories, func(r gitpush.Repository) bool { return gone(b.repositories, r.Name) })
	c.Images = slices.DeleteFunc(c.Images, func(i scanner.Image) bool { return gone(b.images, i.Name) })
	c.Policies = slices.DeleteFunc(c.Policies, func(p Policy) bool { return gone(b.policies, p.Name) })
	c.Updates = slices.DeleteFunc(c.Updates, func(u Update) bool { return gone(b.updates, u.Name) })
	c.Apply = slices.DeleteFunc(c.Apply, func(a App) bool { return gone(b.apps, a.Name) })
	c.Webhooks = slices.DeleteFunc(c.Webhooks, func(w webhook.Receiver) bool { return gone(b.webhooks, w.Name) })
	b.refs = slices.DeleteFunc(b.refs, func(r reference) bool { return r.from.doc == d })
	b.checkouts = slices.DeleteFunc(b.checkouts, func(c checkout) bool { return c.from.doc == d })
	b.lints = slices.DeleteFunc(b.lints, func(f Fault) bool { return f.doc == d })
	delete(b.imports.notes, d)
}

// importWhole checks what crosses documents until everything that is left stands
// on its own.
func (b *builder) importWhole() {
	b.importBranches()
	b.suspendHeld()
	for {
		b.faults, b.imports.blamed, b.said = nil, nil, newSaid()
		b.dropUnused()
		b.resolve()
		b.cycles()
		if len(b.faults) == 0 {
			break
		}
		mended := make(map[*document]bool) // once a round: places in lists shift
		for i, at := range b.imports.blamed {
			if i < len(b.faults) && !mended[at.from.doc] {
				mended[at.from.doc] = true
				b.mend(at, b.faults[i])
			}
		}
		if len(b.imports.blamed) == 0 { // never for ever
			b.imports.left = append(b.imports.left, b.faults...)
			break
		}
	}
}

// dropUnused leaves out images that no policy chooses from, and what webhooks
// say of them.
func (b *builder) dropUnused() {
	used := make(map[bump.Name]bool)
	for _, p := range b.cfg.Policies {
		used[p.Image] = true
	}
	for _, i := range slices.Clone(b.cfg.Images) {
		if o := b.images[i.Name]; !used[i.Name] {
			b.leaveOut(o.doc, []Fault{o.fault("", "no policy chooses from this image", "")})
		}
	}
	scanned := func(image string) bool {
		return slices.ContainsFunc(b.cfg.Images, func(i scanner.Image) bool { return i.Image == image })
	}
	for _, w := range slices.Clone(b.cfg.Webhooks) {
		kept := slices.DeleteFunc(slices.Clone(w.Images), func(image string) bool { return !scanned(image) })
		at := slices.IndexFunc(b.cfg.Webhooks, func(v webhook.Receiver) bool { return v.Name == w.Name })
		if b.cfg.Webhooks[at].Images = kept; len(w.Images) > 0 && len(kept)+len(w.Repositories) == 0 {
			o := b.webhooks[w.Name]
			b.leaveOut(o.doc, []Fault{o.fault("images", "none of its images is scanned", "")})
		}
	}
}

// mend takes out what was at fault: a dependency, or the whole entry.
func (b *builder) mend(at blamed, f Fault) {
	o := at.from
	if !strings.HasPrefix(at.field, "dependsOn[") {
		b.leaveOut(o.doc, []Fault{f})
		return
	}
	var n int
	_, err := fmt.Sscanf(at.field, "dependsOn[%d]", &n)
	for i := range b.cfg.Apply {
		a := &b.cfg.Apply[i]
		if b.apps[a.Name].doc != o.doc || err != nil || n >= len(a.DependsOn) {
			continue
		}
		a.DependsOn = slices.Delete(slices.Clone(a.DependsOn), n, n+1)
		if len(a.DependsOn) == 0 {
			a.DependsOn = nil
		}
		f.Path = strings.TrimSpace(o.label + " spec.dependsOn") // places in the list shift
		f.Message += ": it is not waited for"
		b.imports.notes[o.doc] = append(b.imports.notes[o.doc], f)
		b.refs = slices.DeleteFunc(b.refs, func(r reference) bool {
			return r.from.doc == o.doc && strings.HasPrefix(r.field, "dependsOn[")
		})
		b.dependencies(o, *a)
		return
	}
	b.leaveOut(o.doc, []Fault{f}) // so that every round has an end
}

// importBranches suspends the updates that Flux pushes elsewhere than it reads.
func (b *builder) importBranches() {
	checkouts := b.checkouts
	for i := range b.cfg.Updates {
		u := &b.cfg.Updates[i]
		o := b.updates[u.Name]
		b.faults = nil
		b.branch(u)
		b.checkouts = slices.DeleteFunc(slices.Clone(checkouts), func(c checkout) bool { return c.from.doc != o.doc })
		b.checkoutBranches()
		for _, f := range b.faults {
			f.Message += ": suspended here"
			b.imports.notes[o.doc] = append(b.imports.notes[o.doc], f)
			b.imports.holds[o.doc] = true
			u.Push.Branch = ""
		}
	}
	b.checkouts = nil
}

// suspendHeld suspends the entries of documents that lost something which
// matters. A policy cannot be suspended, but its image can.
func (b *builder) suspendHeld() {
	held := func(o origin) bool { return b.imports.holds[o.doc] }
	for i := range b.cfg.Repositories {
		r := &b.cfg.Repositories[i]
		r.Suspend = r.Suspend || held(b.repositories[r.Name])
	}
	for i := range b.cfg.Updates {
		u := &b.cfg.Updates[i]
		u.Suspend = u.Suspend || held(b.updates[u.Name])
	}
	for i := range b.cfg.Apply {
		a := &b.cfg.Apply[i]
		a.Suspend = a.Suspend || held(b.apps[a.Name])
	}
	paused := make(map[bump.Name]bool)
	for _, p := range b.cfg.Policies {
		paused[p.Image] = paused[p.Image] || held(b.policies[p.Name])
	}
	for i := range b.cfg.Images {
		m := &b.cfg.Images[i]
		m.Suspend = m.Suspend || paused[m.Name] || held(b.images[m.Name])
	}
}

// imported writes what is left, with its notes.
func (b *builder) imported() (*Imported, error) {
	m := b.imports
	for _, l := range b.lints {
		m.notes[l.doc] = append(m.notes[l.doc], l)
	}
	all := slices.Clone(m.left)
	for _, notes := range m.notes {
		all = append(all, notes...)
	}
	out := &Imported{Notes: sorted(all), Skipped: m.skipped}
	c := b.cfg
	if len(c.Repositories)+len(c.Images)+len(c.Policies)+len(c.Updates)+len(c.Apply)+len(c.Webhooks) == 0 {
		return out, fmt.Errorf("there is nothing to import: no document of Flux that has a counterpart was found")
	}
	var err error
	out.Text, err = c.Annotated(func(section string, n bump.Name) []string {
		if section == "" {
			return lines(sorted(slices.Clone(m.left)))
		}
		known := map[string]map[bump.Name]origin{
			"repositories": b.repositories, "images": b.images, "policies": b.policies,
			"updates": b.updates, "apply": b.apps, "webhooks": b.webhooks,
		}[section]
		notes := slices.Clone(m.notes[known[n].doc])
		if p, ok := b.policies[n]; ok && section == "images" {
			notes = append(notes, m.notes[p.doc]...)
		}
		return lines(sorted(notes))
	})
	if err != nil {
		return out, err
	}
	if out.Config, err = Parse("the imported configuration", out.Text); err != nil {
		return out, fmt.Errorf("what was imported is refused, which is a mistake of ours: %w", err)
	}
	return out, nil
}

// lines returns the notes, one line each.
func lines(notes []Fault) (out []string) {
	for _, f := range notes {
		out = append(out, strings.Join(strings.Fields(f.String()), " "))
	}
	return out
}
