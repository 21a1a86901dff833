package gitpush

import (
	"slices"
	"strings"

	"hoist/bump"
)

// Data is what a message template sees. The upper fields are those of Flux's
// ImageUpdateAutomation, the lower ones are ours. Make it with NewData.
type Data struct {
	AutomationObject ObjectName        // the update section
	Changed          Changed           // what changes, by file and object
	Updated          Updated           // the older form of Changed, which Flux has dropped
	Values           map[string]string // messageTemplateValues

	AutomatedResource ObjectName   // the policy; the first one where a commit has several
	NewImage          string       // image:tag[@digest] of that policy
	OldImage          string       // the reference that it replaces
	Policy            string       // "namespace:name" of that policy
	Policies          []ObjectName // all policies of the commit
	Images            []string     // all new references, each once

	verdicts []bump.Verdict
	trigger  string
}

// ObjectName prints as namespace/name.
type ObjectName struct{ Namespace, Name string }

// String returns namespace/name.
func (n ObjectName) String() string { return n.Namespace + "/" + n.Name }

// Changed tells which values change. In a template: .Changed.Changes,
// .Changed.Objects, .Changed.FileChanges.
type Changed struct {
	FileChanges map[string]ObjectChanges // by file
}

// ObjectChanges are changes by object. Templates visit the objects in order.
type ObjectChanges map[bump.Object][]ValueChange

// ValueChange is one field.
type ValueChange struct {
	OldValue string
	NewValue string
	Setter   string // the marker's text: "namespace:name", with ":tag", ":name" or ":digest"
}

// Changes returns each different change once, in the order of files and objects.
func (c Changed) Changes() []ValueChange {
	var list []ValueChange
	for _, file := range sortedKeys(c.FileChanges) {
		objects := c.FileChanges[file]
		for _, o := range sortedObjects(objects) {
			for _, v := range objects[o] {
				if !slices.Contains(list, v) {
					list = append(list, v)
				}
			}
		}
	}
	return list
}

// Objects returns the changes by object, whichever file they are in.
func (c Changed) Objects() ObjectChanges {
	all := ObjectChanges{}
	for _, file := range sortedKeys(c.FileChanges) {
		for o, list := range c.FileChanges[file] {
			all[o] = append(all[o], list...)
		}
	}
	return all
}

// Updated is what templates of Flux's v1beta1 use: .Updated.Images,
// .Updated.Files, .Updated.Objects. Flux refuses them now; they work here.
type Updated struct {
	Files map[string]UpdatedFile
}

// UpdatedFile are the images put into a file, by object.
type UpdatedFile struct {
	Objects map[bump.Object][]ImageRef
}

// Images returns each new image once.
func (u Updated) Images() []ImageRef {
	var list []ImageRef
	for _, file := range sortedKeys(u.Files) {
		objects := u.Files[file].Objects
		for _, o := range sortedObjects(objects) {
			for _, r := range objects[o] {
				if !slices.Contains(list, r) {
					list = append(list, r)
				}
			}
		}
	}
	return list
}

// Objects returns the images by object, whichever file they are in.
func (u Updated) Objects() map[bump.Object][]ImageRef {
	all := map[bump.Object][]ImageRef{}
	for _, file := range sortedKeys(u.Files) {
		for o, list := range u.Files[file].Objects {
			all[o] = append(all[o], list...)
		}
	}
	return all
}

// ImageRef is a new image. It prints as the reference.
type ImageRef struct {
	ref, image, tag string
	policy          ObjectName
}

func (r ImageRef) String() string     { return r.ref }    // image:tag[@digest]
func (r ImageRef) Name() string       { return r.ref }    // the same, since images are spelt as the user does
func (r ImageRef) Identifier() string { return r.tag }    // the tag
func (r ImageRef) Policy() ObjectName { return r.policy } // the policy that selected it

// Registry returns the host of the image, index.docker.io where it names none.
func (r ImageRef) Registry() string {
	host, _, ok := strings.Cut(r.image, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return "index.docker.io"
	}
	return host
}

// Repository returns the image without the host.
func (r ImageRef) Repository() string {
	if rest, ok := strings.CutPrefix(r.image, r.Registry()+"/"); ok {
		return rest
	}
	if !strings.Contains(r.image, "/") {
		return "library/" + r.image
	}
	return r.image
}

// NewData collects what a commit's message can tell. update names the section,
// verdicts are the bumps of the commit in order, trigger is what asked for them.
func NewData(update bump.Name, verdicts []bump.Verdict, values map[string]string, trigger string) Data {
	d := Data{
		AutomationObject: ObjectName(update),
		Values:           values,
		Changed:          Changed{FileChanges: map[string]ObjectChanges{}},
		Updated:          Updated{Files: map[string]UpdatedFile{}},
		verdicts:         verdicts,
		trigger:          trigger,
	}
	for i, v := range verdicts {
		d.add(v)
		if i == 0 {
			d.AutomatedResource = ObjectName(v.Site.Policy)
			d.Policy = v.Site.Policy.String()
			d.NewImage = v.Selection.Reference()
			d.OldImage = oldImage(v)
		}
	}
	return d
}

func (d *Data) add(v bump.Verdict) {
	s := v.Site
	setter := s.Policy.String()
	if s.Part != bump.Whole {
		setter += ":" + string(s.Part)
	}
	if d.Changed.FileChanges[s.File] == nil {
		d.Changed.FileChanges[s.File] = ObjectChanges{}
		d.Updated.Files[s.File] = UpdatedFile{Objects: map[bump.Object][]ImageRef{}}
	}
	byObject := d.Changed.FileChanges[s.File]
	byObject[s.Object] = append(byObject[s.Object], ValueChange{s.Value, v.New, setter})
	policy := ObjectName(s.Policy)
	ref := ImageRef{v.Selection.Reference(), v.Selection.Image(), v.Selection.Tag, policy}
	images := d.Updated.Files[s.File].Objects
	images[s.Object] = append(images[s.Object], ref)
	if !slices.Contains(d.Policies, policy) {
		d.Policies = append(d.Policies, policy)
	}
	if !slices.Contains(d.Images, ref.ref) {
		d.Images = append(d.Images, ref.ref)
	}
}

// oldImage returns the reference that stood where v writes, as far as the field
// knows it.
func oldImage(v bump.Verdict) string {
	if v.Site.Part == bump.Tag {
		return v.Selection.Image() + ":" + v.Site.Value
	}
	return v.Site.Value
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func sortedObjects[V any](m map[bump.Object]V) []bump.Object {
	keys := make([]bump.Object, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b bump.Object) int {
		return slices.Compare([]string{a.Kind, a.Namespace, a.Name, a.APIVersion}, []string{b.Kind, b.Namespace, b.Name, b.APIVersion})
	})
	return keys
}
