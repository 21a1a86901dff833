//lint:file-ignore SA1019 the deprecated spellings are what this file is about: they still have to build

package reconcile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
)

func isKustomization(base string) bool {
	return slices.Contains(konfig.RecognizedKustomizationFileNames(), base)
}

// clean checks a kustomization file and returns it as kustomize shall read it:
// every path relative and inside the tree, and the deprecated spellings whose
// replacement means the same written anew, because kustomize prints a line on
// standard error for each of them at every build.
func (t *treeFS) clean(name string, b []byte) ([]byte, error) {
	var k types.Kustomization
	if err := k.Unmarshal(b); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c := &checker{t: t, file: name, dir: path.Dir(name), doc: b}
	c.kustomization(&k)
	if len(c.faults) > 0 {
		return nil, errors.Join(c.faults...)
	}
	t.custom = t.custom || len(k.OpenAPI) > 0
	t.modernize(name, &k)
	if name == t.top {
		if err := t.adopt(&k); err != nil {
			return nil, err
		}
	}
	return json.Marshal(k)
}

// modernize replaces deprecated fields and remembers that they were there.
func (t *treeFS) modernize(name string, k *types.Kustomization) {
	old := func(there bool, field, instead string) {
		if there {
			t.warnings = append(t.warnings, fmt.Sprintf("%s: %q is deprecated, use %q", name, field, instead))
		}
	}
	old(k.Bases != nil, "bases", "resources")
	old(k.ImageTags != nil, "imageTags", "images")
	old(k.PatchesStrategicMerge != nil, "patchesStrategicMerge", "patches")
	old(k.CommonLabels != nil, "commonLabels", "labels")
	old(k.PatchesJson6902 != nil, "patchesJson6902", "patches")
	old(k.Vars != nil, "vars", "replacements")
	k.FixKustomization() // bases and imageTags

	// Strategic merge patches run before the others, so they go in front.
	var first []types.Patch
	for _, p := range k.PatchesStrategicMerge {
		if inline(string(p)) {
			first = append(first, types.Patch{Patch: string(p)})
		} else {
			first = append(first, types.Patch{Path: string(p)})
		}
	}
	k.Patches, k.PatchesStrategicMerge = append(first, k.Patches...), nil

	if len(k.CommonLabels) > 0 {
		k.Labels = append(k.Labels, types.Label{Pairs: k.CommonLabels, IncludeSelectors: true})
		k.CommonLabels = nil
	}
	// patchesJson6902 and vars run later than what replaces them: they stay.
}

// inline says whether an entry that may be a path or YAML is YAML.
func inline(s string) bool { return strings.Contains(s, "\n") || strings.Contains(s, ": ") }

// checker looks at every field of one file that names another file.
type checker struct {
	t         *treeFS
	file, dir string
	doc       []byte
	faults    []error
}

func (c *checker) kustomization(k *types.Kustomization) {
	c.each("resources", k.Resources, fileOrDir)
	c.each("bases", k.Bases, dirOnly)
	c.each("components", k.Components, dirOnly)
	c.each("crds", k.Crds, fileOnly)
	c.each("configurations", k.Configurations, fileOnly)
	c.plugins("generators", k.Generators)
	c.plugins("transformers", k.Transformers)
	c.plugins("validators", k.Validators)
	for i, p := range k.PatchesStrategicMerge {
		if !inline(string(p)) {
			s := string(p)
			c.path(fmt.Sprintf("patchesStrategicMerge[%d]", i), &s, fileOnly)
			k.PatchesStrategicMerge[i] = types.PatchStrategicMerge(s)
		}
	}
	c.patches("patches", k.Patches)
	c.patches("patchesJson6902", k.PatchesJson6902)
	for i := range k.Replacements {
		c.optional(fmt.Sprintf("replacements[%d].path", i), &k.Replacements[i].Path)
	}
	for i := range k.ConfigMapGenerator {
		c.sources(fmt.Sprintf("configMapGenerator[%d]", i), &k.ConfigMapGenerator[i].KvPairSources)
	}
	for i := range k.SecretGenerator {
		c.sources(fmt.Sprintf("secretGenerator[%d]", i), &k.SecretGenerator[i].KvPairSources)
	}
	if p, ok := k.OpenAPI["path"]; ok {
		c.path("openapi.path", &p, fileOnly)
		k.OpenAPI["path"] = p
	}
	c.noHelm("helmGlobals", k.HelmGlobals != nil)
	c.noHelm("helmCharts", len(k.HelmCharts) > 0)
	c.noHelm("helmChartInflationGenerator", len(k.HelmChartInflationGenerator) > 0)
}

func (c *checker) noHelm(field string, there bool) {
	if there {
		c.fault(field, "helm charts are not inflated")
	}
}

func (c *checker) each(field string, paths []string, want kind) {
	for i := range paths {
		c.path(fmt.Sprintf("%s[%d]", field, i), &paths[i], want)
	}
}

func (c *checker) patches(field string, patches []types.Patch) {
	for i := range patches {
		c.optional(fmt.Sprintf("%s[%d].path", field, i), &patches[i].Path)
	}
}

// sources checks the files of a generator, which may be spelt "key=path".
func (c *checker) sources(field string, s *types.KvPairSources) {
	for i, f := range s.FileSources {
		key, p, ok := strings.Cut(f, "=")
		if !ok {
			key, p = path.Base(f), f
		}
		if c.path(fmt.Sprintf("%s.files[%d]", field, i), &p, fileOnly) {
			s.FileSources[i] = key + "=" + p
		}
	}
	c.each(field+".envs", s.EnvSources, fileOnly)
	c.optional(field+".env", &s.EnvSource)
	for _, p := range append(slices.Clone(s.EnvSources), s.EnvSource) {
		c.env(field, p)
	}
}

// env refuses a file of variables with a name alone: kustomize would take its value
// from our own environment.
func (c *checker) env(field, p string) {
	if p == "" {
		return
	}
	b, err := c.t.read(path.Join(c.dir, p))
	if err != nil {
		return // path said so, or kustomize will
	}
	for i, line := range strings.Split(string(b), "\n") {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' && !strings.Contains(line, "=") {
			c.fault(field, "%s:%d has a name without value: write NAME= for an empty one", path.Join(c.dir, p), i+1)
		}
	}
}

// plugins checks entries of generators, transformers and validators: the YAML of
// a built-in one, or a file of such. A directory could patch paths into them
// that nobody has checked.
func (c *checker) plugins(field string, entries []string) {
	for i := range entries {
		at := fmt.Sprintf("%s[%d]", field, i)
		if !inline(entries[i]) {
			c.path(at, &entries[i], fileOnly)
			continue
		}
		in := &checker{t: c.t, file: c.file, dir: c.dir, doc: c.doc}
		in.builtins(at+".", []byte(entries[i]))
		c.faults = append(c.faults, in.faults...)
	}
}

// checkPlugins looks for configurations of built-in plugins in a file that is
// not a kustomization: wherever they are used from, the paths in them are held
// to the same rules.
func (t *treeFS) checkPlugins(name string, b []byte) error {
	if !bytes.Contains(b, []byte(konfig.BuiltinPluginApiVersion)) {
		return nil
	}
	c := &checker{t: t, file: name, dir: path.Dir(name), doc: b}
	c.builtins("", b)
	return errors.Join(c.faults...)
}

// builtins checks YAML documents with "apiVersion: builtin". The paths in them
// are relative to the kustomization that uses them, which need not be in the
// directory of this file, so only their form is checked, not what they name.
func (c *checker) builtins(prefix string, b []byte) {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	for {
		var d struct {
			APIVersion   string   `yaml:"apiVersion"`
			Kind         string   `yaml:"kind"`
			Path         string   `yaml:"path"`
			Paths        []string `yaml:"paths"`
			Files        []string `yaml:"files"`
			Envs         []string `yaml:"envs"`
			Env          string   `yaml:"env"`
			Replacements []struct {
				Path string `yaml:"path"`
			} `yaml:"replacements"`
		}
		err := dec.Decode(&d)
		if errors.Is(err, io.EOF) {
			return
		}
		var mismatch *yaml.TypeError
		if err != nil && !errors.As(err, &mismatch) {
			return // kustomize reads the same bytes and says what is wrong with them
		}
		if d.APIVersion != konfig.BuiltinPluginApiVersion {
			continue
		}
		if strings.HasPrefix(d.Kind, "Helm") {
			c.fault(prefix+"kind", "helm charts are not inflated")
		}
		paths := append(append([]string{d.Path, d.Env}, d.Paths...), d.Envs...)
		for _, f := range d.Files {
			if _, p, ok := strings.Cut(f, "="); ok {
				f = p
			}
			paths = append(paths, f)
		}
		for _, r := range d.Replacements {
			paths = append(paths, r.Path)
		}
		for _, p := range paths {
			if why := improper(p); p != "" && !inline(p) && why != "" {
				c.fault(prefix+d.Kind, "%q: %s", p, why)
			}
		}
	}
}

func (c *checker) optional(field string, p *string) {
	if *p != "" {
		c.path(field, p, fileOnly)
	}
}

// kind is what a path has to name.
type kind int

const (
	fileOrDir kind = iota
	fileOnly
	dirOnly
)

// path checks *p and spells it so that kustomize cannot take it for a URL.
func (c *checker) path(field string, p *string, want kind) bool {
	if why := improper(*p); why != "" {
		c.fault(field, "%q: %s", *p, why)
		return false
	}
	target := path.Join(c.dir, *p)
	if target == ".." || strings.HasPrefix(target, "../") {
		c.fault(field, "%q leaves the repository", *p)
		return false
	}
	info, err := c.t.stat(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.t.note(target, false)
		c.fault(field, "%q: no such file in the repository", *p)
		return false
	case err != nil:
		c.fault(field, "%q: %v", *p, err)
		return false
	case want == fileOnly && info.IsDir():
		c.fault(field, "%q is a directory", *p)
		return false
	case want == dirOnly && !info.IsDir():
		c.fault(field, "%q is not a directory", *p)
		return false
	}
	if q := path.Clean(*p); !strings.HasPrefix(q, "..") {
		*p = "./" + q
	}
	return true
}

// scpLike is git's short spelling of an SSH URL.
var scpLike = regexp.MustCompile(`^[A-Za-z0-9._-]+@[^/]+:`)

// improper says why a string is not a relative path; empty when it is one.
func improper(p string) string {
	lower := strings.ToLower(p)
	switch {
	case p == "":
		return "is empty"
	case strings.Contains(p, "://"), strings.HasPrefix(lower, "git::"), scpLike.MatchString(p),
		strings.HasPrefix(lower, "github.com/"), strings.HasPrefix(lower, "github.com:"),
		strings.HasPrefix(lower, "http:"), strings.HasPrefix(lower, "https:"):
		return "remote sources are not fetched"
	case path.IsAbs(p):
		return "absolute paths are refused"
	}
	return ""
}

func (c *checker) fault(field, format string, args ...any) {
	where := c.file
	if line := lineOf(c.doc, field); line > 0 {
		where += ":" + strconv.Itoa(line)
	}
	c.faults = append(c.faults, fmt.Errorf("%s: %s: %s", where, field, fmt.Sprintf(format, args...)))
}

// step is one part of a field's path: a key or [index].
var step = regexp.MustCompile(`[^.\[\]]+`)

// lineOf returns the line of a field such as "patches[1].path" in the first
// document of b, or of as much of it as is there; 0 when nothing is.
func lineOf(b []byte, field string) int {
	var doc yaml.Node
	if yaml.Unmarshal(b, &doc) != nil || len(doc.Content) == 0 {
		return 0
	}
	n, line := doc.Content[0], 0
	for _, s := range step.FindAllString(field, -1) {
		next := child(n, s)
		if next == nil {
			break
		}
		n, line = next, next.Line
	}
	return line
}

func child(n *yaml.Node, s string) *yaml.Node {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == s {
				return n.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(s); err == nil && i < len(n.Content) {
			return n.Content[i]
		}
	}
	return nil
}
