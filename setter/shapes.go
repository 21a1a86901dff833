package setter

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"hoist/bump"
)

// search looks for images in the documents of one file, by their shapes:
//
//	containers: [{image: NAME:TAG}]            pod templates of every kind, also of custom ones
//	images: [{name: NAME, newTag: TAG}]        kustomize, and Flux's Kustomization
//	image: {repository: NAME, tag: TAG}        Helm values, in files and in HelmReleases
//	image: NAME:TAG                            the same, and custom kinds
type search struct {
	*file
	name    string // of the file
	leafOf  map[*yaml.Node]int
	sites   map[int]bump.Name // policies of marked values, by their offsets
	trouble map[int]string    // lines with a marker that cannot be followed
	found   []Image
}

// document looks at an object, a list of objects, or a file of Helm values.
func (s *search) document(n *yaml.Node) {
	if n.Kind == yaml.SequenceNode {
		for _, c := range n.Content {
			if c.Kind == yaml.MappingNode && identity(c).Kind != "" {
				s.document(c)
			}
		}
		return
	}
	if n.Kind != yaml.MappingNode {
		return
	}
	o := identity(n)
	group, _, _ := strings.Cut(o.APIVersion, "/")
	switch {
	case group == "kustomize.config.k8s.io" || o.APIVersion == "" && isKustomization(path.Base(s.name)):
		s.kustomize(own(n, "images"))
	case group == "kustomize.toolkit.fluxcd.io":
		s.kustomize(own(own(n, "spec"), "images"))
	case o.Kind == "HelmRelease":
		s.values(own(own(n, "spec"), "values"), "")
	case group == "argoproj.io" && o.Kind == "Application":
		s.argo(own(n, "spec"))
	case o.Kind == "" && o.APIVersion == "":
		s.values(n, "")
	case strings.HasSuffix(o.Kind, "List") && own(n, "items") != nil:
		s.document(own(n, "items"))
	case o.APIVersion == "hoist/v1" || strings.HasSuffix(group, ".toolkit.fluxcd.io"), slices.Contains([]string{"ConfigMap", "Secret", "CustomResourceDefinition"}, o.Kind):
	default:
		s.workload(n, custom(group))
	}
}

// custom tells whether an API group is not one of Kubernetes itself.
func custom(group string) bool {
	return strings.Contains(group, ".") && !strings.HasSuffix(group, ".k8s.io")
}

// workload looks for pod templates, however deep they stand.
func (s *search) workload(n *yaml.Node, custom bool) {
	if n.Kind == yaml.SequenceNode {
		for _, c := range n.Content {
			s.workload(c, custom)
		}
	}
	if n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i].Value, n.Content[i+1]
		switch {
		case slices.Contains([]string{"containers", "initContainers", "ephemeralContainers"}, key) && v.Kind == yaml.SequenceNode:
			for _, c := range v.Content {
				if image := own(c, "image"); image != nil {
					s.reference(image)
				}
			}
		case key == "image" && own(v, "reference") != nil: // a volume
			s.reference(own(v, "reference"))
		case key == "image" && custom && tagged(v):
			s.reference(v)
		default:
			s.workload(v, custom)
		}
	}
}

// kustomize looks at the images of a kustomization.
func (s *search) kustomize(list *yaml.Node) {
	if list == nil || list.Kind != yaml.SequenceNode {
		return
	}
	for _, entry := range list.Content {
		name, newName, newTag := text(own(entry, "name")), text(own(entry, "newName")), own(entry, "newTag")
		if name == "" {
			continue
		}
		i := Image{Name: name, Replaces: name, Digest: text(own(entry, "digest")), Part: bump.Tag}
		if newName != "" {
			i.Name = newName
		}
		at := newTag
		if at == nil {
			if at = own(entry, "digest"); at == nil {
				at = own(entry, "name")
			}
			i.Problem = "the entry has no newTag"
		}
		s.add(i, at)
	}
}

// argo looks at the Helm values in an Argo CD Application.
func (s *search) argo(spec *yaml.Node) {
	sources := []*yaml.Node{own(spec, "source")}
	if list := own(spec, "sources"); list != nil && list.Kind == yaml.SequenceNode {
		sources = append(sources, list.Content...)
	}
	for _, source := range sources {
		s.values(own(own(source, "helm"), "valuesObject"), "")
	}
}

// values looks at Helm values. above is the key of the mapping n.
func (s *search) values(n *yaml.Node, above string) {
	if n == nil {
		return
	}
	if n.Kind == yaml.SequenceNode {
		for _, c := range n.Content {
			s.values(c, above)
		}
	}
	if n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i].Value, n.Content[i+1]
		lower := strings.ToLower(key)
		named := strings.HasSuffix(lower, "image")
		switch {
		case (named || strings.HasSuffix(strings.ToLower(above), "images")) && text(own(v, "repository")) != "" && own(v, "tag") != nil:
			s.chart(v)
		case named && tagged(v):
			s.reference(v)
		default:
			s.values(v, key)
		}
	}
}

// chart adds an image whose repository and tag stand apart.
func (s *search) chart(n *yaml.Node) {
	i := Image{Name: text(own(n, "repository")), Digest: text(own(n, "digest")), Part: bump.Tag}
	if registry := text(own(n, "registry")); registry != "" {
		i.Name = registry + "/" + i.Name
	}
	if grammar.MatchString(i.Name) || variable(i.Name) {
		s.add(i, own(n, "tag"))
	}
}

// tagged tells whether n holds an image with a tag or a digest, where other
// texts may stand as well.
func tagged(n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode || variable(n.Value) {
		return false
	}
	name, tag, digest := cutReference(n.Value)
	return grammar.MatchString(name) && (tag != "" || digest != "")
}

// reference adds an image that is one value.
func (s *search) reference(n *yaml.Node) {
	i := Image{}
	value := n
	if n.Kind == yaml.AliasNode {
		value = n.Alias
	}
	i.Name, i.Tag, i.Digest = cutReference(text(value))
	s.add(i, n)
}

var (
	// grammar is what names of images look like: registry and repository.
	grammar = regexp.MustCompile(`^(?:(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*$`)
	// tagGrammar is that of the OCI distribution spec.
	tagGrammar = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
)

// variable tells whether something is put into the text later.
func variable(text string) bool {
	return strings.ContainsAny(text, "${}<>%")
}

// cutReference cuts NAME:TAG@DIGEST. The registry may have a port.
func cutReference(text string) (name, tag, digest string) {
	name, digest, _ = strings.Cut(text, "@")
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		name, tag = name[:colon], name[colon+1:]
	}
	return name, tag, digest
}

// add completes what n, the value that a marker would mark, tells of the image.
func (s *search) add(i Image, n *yaml.Node) {
	at, known := s.leafOf[n]
	if !known {
		return // a map or a list where a word is expected
	}
	l := s.leafs[at]
	i.File, i.Object = s.name, s.objectOf(l.step)
	i.Field, _ = s.path(l.step)
	i.Line, i.start = s.lines.number(l.from), l.from
	start, _, problem := s.editable(l, false)
	if problem == "" {
		i.Line, i.start = s.lines.number(start), start
		i.Policy, i.Marked = s.sites[start]
	}
	if i.Part == bump.Tag && i.Problem == "" {
		i.Tag = text(n)
	}
	whole := i.Name + i.Tag + text(n)
	switch {
	case i.Problem != "" || i.Marked:
	case s.trouble[i.Line] != "":
		i.Problem = s.trouble[i.Line]
	case problem != "":
		i.Problem = problem
	case variable(whole):
		i.Problem = "a variable stands in it"
	case !grammar.MatchString(i.Name):
		i.Problem = "not the name of an image"
	case i.Tag != "" && !tagGrammar.MatchString(i.Tag):
		i.Problem = "not a tag"
	}
	s.found = append(s.found, i)
}
