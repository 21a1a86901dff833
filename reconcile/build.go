package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/openapi"
)

// buildTimeout bounds one build of an app whose own timeout is not longer.
// kustomize takes 2 s for 1,000 objects and 10 s for 2,000.
const buildTimeout = time.Minute

// Set is what an app's directory says the cluster has to hold.
type Set struct {
	// Objects are in kustomize's order.
	Objects []Manifest
	// Files are the paths of the tree that the build read, and those that it
	// looked for and did not find, sorted.
	Files []string
	// Dirs are the directories whose whole content counts, because they have no
	// kustomization file; sorted.
	Dirs []string
	// Warnings name deprecated fields of kustomization files.
	Warnings []string
	// Plaintext tells of Secrets whose values everybody can read in Git.
	Plaintext []string

	raw   bool              // objects still have their variables, and were not looked at closely
	texts map[string]string // files with variables, to find these in
}

// Manifest is one object as built, and the file that it came from ("" when
// kustomize does not know).
type Manifest struct {
	Object *unstructured.Unstructured
	File   string
	Line   int      // where the object begins in the file; 0 when that is not known
	hidden []string // values in it that may not be shown
}

// Touches says whether a change of the given file of the tree can change the set.
func (s *Set) Touches(file string) bool {
	if _, ok := slices.BinarySearch(s.Files, file); ok {
		return true
	}
	for _, d := range s.Dirs {
		if d == "." || strings.HasPrefix(file, d+"/") {
			return true
		}
	}
	return false
}

// BuildFunc renders the app's directory of tree. [Build] is one, and the method
// of [Builder].
type BuildFunc func(ctx context.Context, tree fs.FS, a App) (*Set, error)

// building is held by the one build that may run: kustomize keeps the OpenAPI
// schema in global variables. A channel, because waiting for it can be given up.
var building = make(chan struct{}, 1)

// Build renders the app's directory of tree as "kustomize build" does, without
// touching disk or network: remote sources, plugins, functions and Helm are
// refused. Files that SOPS encrypted are opened as the app's Decryption says; what
// stays encrypted is refused. A directory without kustomization
// file is built from all YAML files below it, as Flux does; hidden files and
// directories are left out. Objects that name no namespace keep none.
//
// It is safe for concurrent use; builds take turns. A build that hangs past ctx,
// or a minute, or the app's timeout where that is longer, is left behind with an
// error: it keeps its turn until it ends.
func Build(ctx context.Context, tree fs.FS, a App) (*Set, error) {
	return Unsealing(buildAlone)(ctx, tree, a)
}

// buildAlone is Build of what needs no decryption.
func buildAlone(ctx context.Context, tree fs.FS, a App) (*Set, error) {
	ctx, cancel := context.WithTimeout(ctx, max(buildTimeout, time.Duration(a.Timeout)))
	defer cancel()
	dir := dirOf(a.Path)
	if dir == "" {
		return nil, fmt.Errorf("build %s: the path leaves the repository", a.Path)
	}
	select {
	case building <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("build %s: wait for another build: %w", dir, ctx.Err())
	}
	type answer struct {
		set *Set
		err error
	}
	done := make(chan answer, 1)
	go func() {
		defer func() { <-building }()
		defer func() {
			if p := recover(); p != nil {
				openapi.ResetOpenAPI()
				done <- answer{err: fmt.Errorf("kustomize panicked: %v\n%s", p, debug.Stack())}
			}
		}()
		set, err := build(ctx, tree, dir, a)
		done <- answer{set, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, fmt.Errorf("build %s: %w", dir, r.err)
		}
		return r.set, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("build %s: %w", dir, ctx.Err())
	}
}

func build(ctx context.Context, tree fs.FS, dir string, a App) (*Set, error) {
	t := &treeFS{ctx: ctx, tree: tree, app: dir, overlay: a.Overlay, generated: map[string][]byte{}, files: map[string]bool{}, lines: lines{}}
	info, err := t.stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("no such directory in the repository")
	}
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, errors.New("is not a directory")
	}
	set := &Set{raw: a.PostBuild.asks()}
	if set.raw {
		set.texts = map[string]string{}
		t.texts = set.texts
	}
	file, err := t.kustomizationOf(dir)
	if err != nil {
		return nil, err
	}
	t.top = file
	if file == "" {
		if set.Dirs, err = t.generate(dir); err != nil {
			return nil, err
		}
	}
	meta, sorts, err := t.wrap(dir, file, a)
	if err != nil {
		return nil, err
	}
	var rm resmap.ResMap
	if _, empty := t.generated[path.Join(treeRoot, dir, emptyMark)]; !empty {
		rm, err = t.run(sorts)
		if err != nil {
			return nil, err
		}
	}
	if rm != nil {
		if set.Objects, err = manifests(rm, dir, t.lines, slices.Contains(meta, types.OriginAnnotations), set.raw); err != nil {
			return nil, err
		}
	}
	for _, m := range set.Objects {
		a.CommonMetadata.set(m.Object)
	}
	for f := range t.files {
		set.Files = append(set.Files, f)
	}
	slices.Sort(set.Files)
	slices.Sort(t.warnings)
	set.Warnings = slices.Compact(t.warnings) // a base may be used twice
	return set, nil
}

// run lets kustomize build what wrap prepared. Its schema survives to the next
// build, which saves parsing it, unless this build brought its own.
func (t *treeFS) run(sorts bool) (resmap.ResMap, error) {
	order := krusty.ReorderOptionNone
	if sorts {
		order = krusty.ReorderOptionUnspecified // as the file says; kustomize warns when both speak
	}
	rm, err := krusty.MakeKustomizer(&krusty.Options{
		Reorder: order,
		// Files may come from anywhere in the tree, as in Flux; treeFS sees to it
		// that they come from nowhere else.
		LoadRestrictions: types.LoadRestrictionsNone,
		PluginConfig:     types.DisabledPluginConfig(),
	}).Run(t, buildRoot)
	if t.custom {
		openapi.ResetOpenAPI()
	}
	switch {
	case t.refused != nil:
		return nil, t.refused
	case t.ctx.Err() != nil:
		return nil, t.ctx.Err()
	case err != nil:
		return nil, plain(err)
	}
	return rm, nil
}

// What kustomize wraps around an error at every directory that it enters, and
// around that of a file, which it then tries to enter too.
var (
	entered = regexp.MustCompile(`(?s)^.*?recursed accumulation of path '[^']*': (?:accumulating resources: )?`)
	tried   = regexp.MustCompile(`(?s)^accumulation err='accumulating resources from '[^']*': (.*)': must build at directory: '([^']*)': file is not directory$`)
)

// plain is a kustomize error without the way that led to it: the file, then
// what is wrong.
func plain(err error) error {
	s := strings.TrimPrefix(err.Error(), "accumulating resources: ")
	for entered.MatchString(s) {
		s = entered.ReplaceAllString(s, "")
	}
	if m := tried.FindStringSubmatch(s); m != nil {
		s = m[2] + ": " + m[1]
	}
	return errors.New(shown(s))
}

// kustomizationOf returns the kustomization file of a directory, "" when it has none.
func (t *treeFS) kustomizationOf(dir string) (string, error) {
	found := ""
	for _, base := range konfig.RecognizedKustomizationFileNames() {
		name := path.Join(dir, base)
		if !t.Exists(path.Join(treeRoot, name)) {
			continue
		}
		if found != "" {
			return "", fmt.Errorf("%s and %s: one directory, two kustomization files", found, name)
		}
		found = name
	}
	return found, nil
}

// wrap writes the kustomization of our own that stands above the app's. It
// returns the build metadata that the app's own file asks for, and whether that
// file sorts the objects.
func (t *treeFS) wrap(dir, file string, a App) (meta []string, sorts bool, err error) {
	var theirs types.Kustomization
	if file != "" {
		b, err := t.read(file)
		if err != nil {
			return nil, false, err
		}
		if err := theirs.Unmarshal(b); err != nil {
			return nil, false, fmt.Errorf("%s: %w", file, err)
		}
		if theirs.Kind == types.ComponentKind {
			return nil, false, fmt.Errorf("%s: a Component is built by the kustomization that includes it", file)
		}
	}
	ours := types.Kustomization{
		Resources:   []string{"../" + path.Join("tree", dir)},
		Namespace:   a.TargetNamespace,
		SortOptions: theirs.SortOptions,
		BuildMetadata: append(slices.DeleteFunc(slices.Clone(theirs.BuildMetadata),
			func(s string) bool { return s == types.OriginAnnotations }), types.OriginAnnotations),
	}
	ours.FixKustomization()
	b, err := json.Marshal(ours)
	if err != nil {
		return nil, false, err
	}
	t.generated[path.Join(buildRoot, konfig.DefaultKustomizationFileName())] = b
	return theirs.BuildMetadata, theirs.SortOptions != nil, nil
}

// emptyMark stands for a generated kustomization without resources, which
// kustomize refuses to build.
const emptyMark = ".empty"

// generate makes the kustomization of a directory that has none: its YAML files,
// and below it the directories that have one. It returns the directories that
// were listed.
func (t *treeFS) generate(root string) (dirs []string, err error) {
	var resources []string
	err = fs.WalkDir(t.tree, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := t.ctx.Err(); err != nil {
			return err
		}
		hidden := strings.HasPrefix(path.Base(name), ".") && name != "."
		from := strings.TrimPrefix(strings.TrimPrefix(name, root), "/")
		switch {
		case hidden && d.IsDir():
			return fs.SkipDir
		case hidden:
		case d.IsDir():
			dirs = append(dirs, name)
			if name == root {
				return nil
			}
			k, err := t.kustomizationOf(name)
			if err == nil && k != "" {
				resources = append(resources, "./"+from)
				return fs.SkipDir
			}
			return err
		case path.Ext(name) == ".yaml" || path.Ext(name) == ".yml":
			if root == "." {
				from = name
			}
			resources = append(resources, "./"+from)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(dirs)
	k := types.Kustomization{Resources: resources}
	if err := t.adopt(&k); err != nil {
		return nil, err
	}
	k.FixKustomization()
	b, err := json.Marshal(k)
	t.generated[path.Join(treeRoot, root, konfig.DefaultKustomizationFileName())] = b
	if len(k.Resources)+len(k.Components) == 0 {
		t.generated[path.Join(treeRoot, root, emptyMark)] = nil
	}
	return dirs, err
}
