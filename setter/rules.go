package setter

import (
	"fmt"
	"path"
	"slices"
	"strings"

	registry "github.com/google/go-containerregistry/pkg/name"

	"hoist/bump"
)

// rules is Options made ready for use.
type rules struct {
	limit  int64
	ignore *ignores
	fields []fieldRule
	images *images // nil when the entries of kustomizations are not asked for
	// print tells two sets of rules apart; empty when markers alone count.
	print string
}

// fieldRule is a Field made ready.
type fieldRule struct {
	Field
	index int // in Options.Fields
	files glob
	path  fieldPath
	match *match // nil for the whole value
	name  bump.Name
}

// images is the policies that choose from an image, by its full name.
type images struct {
	policies map[string][]bump.Name
	print    string
}

// look says what is looked for in one file.
type look struct {
	markers bool
	json    bool
	fields  []*fieldRule
	images  *images
}

func newRules(opt Options) (r *rules, err error) {
	r = &rules{limit: opt.MaxFileSize, ignore: newIgnores(opt.Ignore)}
	if r.limit <= 0 {
		r.limit = DefaultMaxFileSize
	}
	for i, f := range opt.Fields {
		rule, faults := f.rule(i)
		for _, fault := range faults {
			return nil, fmt.Errorf("%s: %s", fault.Field, fault.Message)
		}
		if rule.name, err = bump.ParseName(f.Policy); err != nil {
			return nil, fmt.Errorf("fields[%d].policy: %w", i, err)
		}
		r.fields = append(r.fields, rule)
		r.print += rule.print()
	}
	if opt.Kustomize != nil {
		r.images = newImages(opt.Kustomize)
		r.print += r.images.print
	}
	return r, nil
}

// rule makes f ready but for its policy, and returns every fault of it.
func (f Field) rule(index int) (r fieldRule, faults []bump.Fault) {
	say := func(key string, err error) {
		if err != nil {
			faults = append(faults, bump.Fault{Field: fmt.Sprintf("fields[%d].%s", index, key), Message: err.Error()})
		}
	}
	r = fieldRule{Field: f, index: index}
	var err error
	r.files, err = newGlob(f.File)
	say("file", err)
	r.path, err = newFieldPath(f.Path)
	say("path", err)
	switch f.Part {
	case bump.Whole, bump.Repo, bump.Tag, bump.Digest:
	default:
		say("part", fmt.Errorf("%q is not one of tag, name, digest", f.Part))
	}
	if f.Match != "" {
		r.match, err = newMatch(f.Match)
		say("match", err)
	}
	return r, faults
}

func (r fieldRule) print() string {
	return fmt.Sprintf("field %d %q %q %q %q %q\n", r.index, r.File, r.Path, r.Policy, r.Part, r.Match)
}

func newImages(byPolicy map[bump.Name]string) *images {
	m := &images{policies: map[string][]bump.Name{}}
	for policy, image := range byPolicy {
		m.policies[fullName(image)] = append(m.policies[fullName(image)], policy)
	}
	var lines []string
	for image, policies := range m.policies {
		slices.SortFunc(policies, func(a, b bump.Name) int { return strings.Compare(a.String(), b.String()) })
		lines = append(lines, fmt.Sprintf("image %s %q\n", image, policies))
	}
	slices.Sort(lines)
	m.print = "kustomize\n" + strings.Join(lines, "")
	return m
}

// fullName is the same for all spellings of an image: nginx, docker.io/library/nginx.
func fullName(image string) string {
	repository, err := registry.NewRepository(image)
	if err != nil {
		return image
	}
	return repository.Name()
}

// lookAt returns what is looked for in the file called file.
func (r *rules) lookAt(file string, k kind) look {
	l := look{markers: k != ignored, json: strings.HasSuffix(file, ".json")}
	for i := range r.fields {
		if r.fields[i].files.match(file) {
			l.fields = append(l.fields, &r.fields[i])
		}
	}
	if r.images != nil && isKustomization(path.Base(file)) {
		l.images = r.images
	}
	return l
}

// isKustomization reports whether kustomize builds from a file of that name.
func isKustomization(name string) bool {
	return name == "kustomization.yaml" || name == "kustomization.yml" || name == "Kustomization"
}

// any reports whether there is anything to look for.
func (l look) any() bool { return l.markers || l.more() }

// more reports whether more than markers is looked for.
func (l look) more() bool { return len(l.fields) > 0 || l.images != nil }

// print is what a file's sites depend on besides its bytes.
func (l look) print() string {
	if !l.more() {
		return ""
	}
	var b strings.Builder
	fmt.Fprintln(&b, l.markers, l.json)
	for _, r := range l.fields {
		b.WriteString(r.print())
	}
	if l.images != nil {
		b.WriteString(l.images.print)
	}
	return b.String()
}
