package reconcile

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"
	"sigs.k8s.io/yaml"

	"hoist/bump"
)

// Overlay is what an app adds to the kustomization of its directory, as if it
// had been written there.
type Overlay struct {
	// NamePrefix and NameSuffix go around the names of all objects, instead of those in the directory's file.
	NamePrefix string `json:"namePrefix,omitempty"`
	NameSuffix string `json:"nameSuffix,omitempty"`
	// Patches are applied after those of the directory's file.
	Patches []Patch `json:"patches,omitempty"`
	// Images replace names, tags and digests of images; the entry for a name goes before that of the directory's file.
	Images []ImageOverride `json:"images,omitempty"`
	// Components are directories, from Path, that are added behind those of the directory's file.
	Components []string `json:"components,omitempty"`
	// IgnoreMissingComponents passes over components whose directory does not exist.
	IgnoreMissingComponents bool `json:"ignoreMissingComponents,omitempty"`
	// CommonMetadata is set on every object, whatever the files say.
	CommonMetadata *CommonMetadata `json:"commonMetadata,omitempty"`
}

// Patch is a strategic merge patch or a JSON 6902 patch, as YAML, and the
// objects that it is for. A strategic merge patch may name its object itself.
type Patch struct {
	Patch  string    `json:"patch"`
	Target *Selector `json:"target,omitempty"`
}

// Selector picks objects. Group, version, kind, namespace and name are regular
// expressions that have to match whole; what is empty matches everything.
type Selector struct {
	Group              string `json:"group,omitempty"`
	Version            string `json:"version,omitempty"`
	Kind               string `json:"kind,omitempty"`
	Namespace          string `json:"namespace,omitempty"`
	Name               string `json:"name,omitempty"`
	AnnotationSelector string `json:"annotationSelector,omitempty"`
	LabelSelector      string `json:"labelSelector,omitempty"`
}

// ImageOverride says what becomes of the image of a name.
type ImageOverride struct {
	Name    string `json:"name"`
	NewName string `json:"newName,omitempty"`
	NewTag  string `json:"newTag,omitempty"`
	Digest  string `json:"digest,omitempty"`
}

// CommonMetadata are labels and annotations for every object, not for the pods in it.
type CommonMetadata struct {
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// check returns what is wrong with the fields themselves. Whether components are
// there is for the build to say.
func (o Overlay) check(dir string) []bump.Fault {
	var faults []bump.Fault
	fault := func(field, format string, args ...any) {
		faults = append(faults, bump.Fault{Field: field, Message: fmt.Sprintf(format, args...)})
	}
	for i, p := range o.Patches {
		field := fmt.Sprintf("patches[%d].patch", i)
		var v any
		switch err := yaml.Unmarshal([]byte(p.Patch), &v); {
		case strings.TrimSpace(p.Patch) == "":
			fault(field, "is empty")
		case err != nil:
			fault(field, "is not YAML: %v", err)
		}
	}
	for i, image := range o.Images {
		if image.Name == "" {
			fault(fmt.Sprintf("images[%d].name", i), "is empty")
		}
	}
	for i, c := range o.Components {
		field := fmt.Sprintf("components[%d]", i)
		if why := improper(c); why != "" {
			fault(field, "%q: %s", c, why)
		} else if dir != "" && leaves(path.Join(dir, c)) {
			fault(field, "%q leaves the repository", c)
		}
	}
	if m := o.CommonMetadata; m != nil {
		for _, k := range slices.Sorted(maps.Keys(m.Labels)) {
			for _, why := range append(validation.IsQualifiedName(k), validation.IsValidLabelValue(m.Labels[k])...) {
				fault("commonMetadata.labels."+k, "%s", why)
			}
		}
		for _, k := range slices.Sorted(maps.Keys(m.Annotations)) {
			for _, why := range validation.IsQualifiedName(strings.ToLower(k)) {
				fault("commonMetadata.annotations."+k, "%s", why)
			}
		}
	}
	return faults
}

func leaves(p string) bool { return p == ".." || strings.HasPrefix(p, "../") }

// adopt writes what the app adds into the kustomization of its directory.
func (t *treeFS) adopt(k *types.Kustomization) error {
	o := t.overlay
	if o.NamePrefix != "" {
		k.NamePrefix = o.NamePrefix
	}
	if o.NameSuffix != "" {
		k.NameSuffix = o.NameSuffix
	}
	for _, p := range o.Patches {
		added := types.Patch{Patch: p.Patch}
		if s := p.Target; s != nil {
			added.Target = &types.Selector{
				ResId:              resid.ResId{Gvk: resid.Gvk{Group: s.Group, Version: s.Version, Kind: s.Kind}, Name: s.Name, Namespace: s.Namespace},
				AnnotationSelector: s.AnnotationSelector, LabelSelector: s.LabelSelector,
			}
		}
		k.Patches = append(k.Patches, added)
	}
	for _, image := range o.Images {
		ours := types.Image{Name: image.Name, NewName: image.NewName, NewTag: image.NewTag, Digest: image.Digest}
		if i := slices.IndexFunc(k.Images, func(i types.Image) bool { return i.Name == image.Name }); i >= 0 {
			k.Images[i] = ours
		} else {
			k.Images = append(k.Images, ours)
		}
	}
	return t.addComponents(k)
}

func (t *treeFS) addComponents(k *types.Kustomization) error {
	for i, c := range t.overlay.Components {
		target := path.Join(t.app, c)
		if improper(c) != "" || leaves(target) {
			return fmt.Errorf("components[%d] of the app: %q leaves the repository", i, c)
		}
		info, err := t.stat(target)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			t.note(target, false)
			if t.overlay.IgnoreMissingComponents {
				continue
			}
			return fmt.Errorf("components[%d] of the app: %q: no such directory in the repository", i, c)
		case err != nil:
			return fmt.Errorf("components[%d] of the app: %q: %w", i, c, err)
		case !info.IsDir():
			return fmt.Errorf("components[%d] of the app: %q is not a directory", i, c)
		}
		if c = path.Clean(c); !strings.HasPrefix(c, "..") {
			c = "./" + c // kustomize takes no such path for a URL
		}
		k.Components = append(k.Components, c)
	}
	return nil
}

// set puts the common labels and annotations on an object.
func (m *CommonMetadata) set(o *unstructured.Unstructured) {
	if m == nil {
		return
	}
	if len(m.Labels) > 0 {
		o.SetLabels(joined(o.GetLabels(), m.Labels))
	}
	if len(m.Annotations) > 0 {
		o.SetAnnotations(joined(o.GetAnnotations(), m.Annotations))
	}
}

func joined(below, above map[string]string) map[string]string {
	all := maps.Clone(above)
	for k, v := range below {
		if _, ok := all[k]; !ok {
			all[k] = v
		}
	}
	return all
}
