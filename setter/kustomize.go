package setter

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"hoist/bump"
)

// images returns the sites of a kustomization's images that a policy chooses: the
// newTag and the digest of each entry whose image, newName or else name, is that
// of a policy. An entry with a marker or of another image is left alone.
func (f *file) images(m *images, taken claims) []bump.Site {
	var sites []bump.Site
	for _, doc := range f.docs {
		for _, root := range doc.Content {
			list := field(root, "images")
			if list == nil || list.Kind != yaml.SequenceNode {
				continue
			}
			for _, entry := range list.Content {
				sites = append(sites, f.image(entry, m, taken)...)
			}
		}
	}
	return sites
}

// image returns the sites of one entry.
func (f *file) image(entry *yaml.Node, m *images, taken claims) []bump.Site {
	image := text(field(entry, "newName"))
	if image == "" {
		image = text(field(entry, "name"))
	}
	policies := m.policies[fullName(image)]
	if image == "" || len(policies) == 0 {
		return nil
	}
	var sites []bump.Site
	parts := 0
	for _, p := range []struct {
		key  string
		part bump.Part
	}{{"newTag", bump.Tag}, {"digest", bump.Digest}} {
		n := own(entry, p.key)
		if n == nil {
			continue
		}
		parts++
		s := bump.Site{Line: f.lineOf(n), Policy: policies[0], Part: p.part}
		i, ok := f.leafOf(n)
		if _, claimed := taken[i]; ok && claimed {
			continue
		}
		switch {
		case !ok:
			s.Problem = fmt.Sprintf("%s of image %s is not a text", p.key, image)
		case len(policies) > 1:
			s.Policy = bump.Name{}
			s.Problem = fmt.Sprintf("image %s could be meant by the policies %s: write a marker behind %s that names one", image, names(policies), p.key)
		default:
			taken[i] = claim{by: "the kustomize strategy", policy: s.Policy, part: s.Part}
			s.Problem = f.fill(&s, i, nil)
		}
		sites = append(sites, s)
	}
	if parts == 0 {
		sites = append(sites, bump.Site{Line: f.lineOf(entry), Problem: fmt.Sprintf("image %s has no newTag to set: write one", image)})
	}
	return sites
}

func names(policies []bump.Name) string {
	var out []string
	for _, p := range policies {
		out = append(out, p.String())
	}
	return strings.Join(out, ", ")
}
