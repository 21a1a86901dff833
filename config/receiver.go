package config

import (
	"fmt"
	"slices"
	"strings"

	"hoist/bump"
	"hoist/webhook"
)

// addReceiver makes a webhook of a Receiver of Flux. Addresses change with that,
// so it is done for [Import] only, where somebody reads the notes.
func addReceiver(b *builder, d *document) {
	o := fluxObject{origin: origin{doc: d, label: "Receiver"}}
	o.dec = &decoder{doc: d, label: "Receiver", report: b.report, said: b.said, judged: true}
	b.envelope(&o)
	o.label += "/" + o.name.Namespace + "/" + o.name.Name
	o.dec.label = o.label
	o.rename = renamed(map[string]string{"images": "resources", "repositories": "resources"})
	if o.spec == nil {
		o.dec.fault(d.root, "spec", "is missing", "")
		return
	}
	var spec struct {
		Type      string         `json:"type"`
		SecretRef *bump.LocalRef `json:"secretRef"`
		Suspend   bool           `json:"suspend"`
		Resources []sourceRef    `json:"resources"`
	}
	o.dec.decode(o.spec, "spec", &spec)
	for k := range pairs(o.spec) {
		if !slices.Contains([]string{"type", "secretRef", "suspend", "resources", "interval", "events"}, k.Value) {
			b.imports.note(o.origin, k, k.Value, "is not supported yet", "")
		}
	}
	if spec.Suspend {
		o.dec.fault(d.at("spec.suspend"), "spec.suspend", "a webhook cannot be suspended", "import it when it is resumed")
		return
	}
	w := webhook.Receiver{Name: o.name, Type: spec.Type, SecretRef: spec.SecretRef}
	for i, r := range spec.Resources {
		b.hinted(o, &w, i, r)
	}
	if len(spec.Resources) > 0 && len(w.Images)+len(w.Repositories) == 0 {
		o.dec.fault(d.at("spec.resources"), "spec.resources", "none of them is here", "import them with it")
		return
	}
	b.imports.note(o.origin, d.at("spec.type"), "type", "the address changes to "+w.URLPath()+", and the body has to say what is new", "tell those who call")
	b.addWebhook(o.origin, w)
}

// hinted adds a resource of a Receiver to what a webhook may hint at.
func (b *builder) hinted(o fluxObject, w *webhook.Receiver, i int, r sourceRef) {
	to := o.to(r.Namespace, r.Name)
	switch {
	case r.Kind == "ImageRepository" && has(b.images, to):
		for _, m := range b.cfg.Images {
			if m.Name == to && !slices.Contains(w.Images, m.Image) {
				w.Images = append(w.Images, m.Image)
			}
		}
	case r.Kind == "GitRepository" && has(b.repositories, to):
		w.Repositories = append(w.Repositories, to.String())
	default:
		b.imports.note(o.origin, o.doc.at(resourcePath(i)), strings.TrimPrefix(resourcePath(i), "spec."), strings.TrimSpace(r.Kind+" "+quote(r.Name, ""))+" is not here", "it is not hinted at")
	}
}

func resourcePath(i int) string { return fmt.Sprintf("spec.resources[%d]", i) }

func has(known map[bump.Name]origin, n bump.Name) bool { _, ok := known[n]; return ok }
