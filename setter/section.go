package setter

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"hoist/bump"
)

// Spec is what an entry of updates says about files: which ones count, and which
// fields of them are set besides the marked ones.
type Spec struct {
	Path     string   `json:"path,omitempty"`
	Paths    []string `json:"paths,omitempty"`
	Ignore   string   `json:"ignore,omitempty"`
	Strategy string   `json:"strategy,omitempty"`
	Fields   []Field  `json:"fields,omitempty"`
}

// The strategies. Markers count under each.
const (
	Setters   = "Setters"   // Flux's word for markers alone; the same as none
	Kustomize = "kustomize" // the images of kustomizations, too
)

// Field names a field that is set without a marker.
type Field struct {
	File   string    `json:"file"`   // a pattern of paths from the root of the repository; ** is any number of folders
	Path   string    `json:"path"`   // spec.values.image.tag, or a JSON pointer
	Policy string    `json:"policy"` // namespace:name
	Part   bump.Part `json:"part,omitempty"`
	Match  string    `json:"match,omitempty"` // the part of the value that is set, as in a marker
}

// Check returns every fault of s but those of its policies' names, which only the
// configuration can judge.
func (s Spec) Check() []bump.Fault {
	var faults []bump.Fault
	say := func(field, message string) { faults = append(faults, bump.Fault{Field: field, Message: message}) }
	if s.Path != "" && len(s.Paths) > 0 {
		say("paths", "stands beside path: write all of them here, or one there")
	}
	if _, ok := inside(s.Path); !ok {
		say("path", fmt.Sprintf("%q leaves the repository", s.Path))
	}
	for i, p := range s.Paths {
		if _, ok := inside(p); !ok {
			say(fmt.Sprintf("paths[%d]", i), fmt.Sprintf("%q leaves the repository", p))
		}
	}
	if s.Strategy != "" && s.Strategy != Setters && s.Strategy != Kustomize {
		say("strategy", fmt.Sprintf("%q is not one of %s, %s", s.Strategy, Setters, Kustomize))
	}
	for i, f := range s.Fields {
		_, wrong := f.rule(i)
		faults = append(faults, wrong...)
	}
	return faults
}

// Cleaned returns s with its paths as io/fs spells them, "." where there is none.
func (s Spec) Cleaned() Spec {
	if s.Path != "" || len(s.Paths) == 0 {
		s.Path, _ = inside(s.Path)
	}
	s.Paths = slices.Clone(s.Paths)
	for i, p := range s.Paths {
		s.Paths[i], _ = inside(p)
	}
	return s
}

// Roots returns the folders below which files count, cleaned and sorted, without
// those below another; "." for the whole repository.
func (s Spec) Roots() []string {
	roots, err := clean(s.all())
	if err != nil {
		return []string{"."} // Check has said so
	}
	return roots
}

func (s Spec) all() []string {
	if s.Path != "" {
		return append([]string{s.Path}, s.Paths...)
	}
	return s.Paths
}

// Options returns what s asks for. images are those that the policies choose from.
func (s Spec) Options(images map[bump.Name]string) Options {
	opt := Options{Paths: s.Roots(), Ignore: s.Ignore, Fields: s.Fields}
	if s.Strategy == Kustomize {
		opt.Kustomize = images
	}
	return opt
}

// inside returns a path as io/fs spells it, and false where it leaves the
// repository. A leading slash means the root of the repository, as in Flux.
func inside(p string) (string, bool) {
	q := path.Clean(strings.TrimLeft(p, "/"))
	return q, q != ".." && !strings.HasPrefix(q, "../")
}

// clean returns paths as io/fs spells them, without those below another.
func clean(paths []string) ([]string, error) {
	if len(paths) == 0 {
		return []string{"."}, nil
	}
	var out []string
	var faults []error
	for _, p := range paths {
		q, ok := inside(p)
		if !ok {
			faults = append(faults, fmt.Errorf("path %q leaves the repository", p))
		}
		out = append(out, q)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	slices.Sort(out)
	out = slices.Compact(out)
	all := slices.Clone(out)
	return slices.DeleteFunc(out, func(p string) bool {
		return slices.ContainsFunc(all, func(q string) bool { return q != p && below(p, q) })
	}), nil
}

// below reports whether name is top or in it.
func below(name, top string) bool {
	return top == "." || name == top || strings.HasPrefix(name, top+"/")
}
