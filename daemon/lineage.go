package daemon

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"hoist/bump"
	"hoist/gitpush"
	"hoist/setter"
)

// Bounds of how far back a field is followed by its value.
const (
	maxSteps   = 1000    // commits on the line of first parents
	maxTouched = 100_000 // files that those commits change, together
	maxChanges = 100     // of one file
	maxParsed  = 5000    // versions of files whose fields are kept
	maxMoved   = 200     // changed files in which a field that moved is looked for
)

// lineage is the last steps of a branch. It tells who changed a field, whatever
// the commit messages say: a squash, an edit by hand, a version that only people
// set. What is older than its bounds is known from trailers alone.
type lineage struct {
	git      revisions
	steps    []gitpush.Step          // the newest first
	touched  map[string][]touch      // by file, the newest first
	released map[release]int         // the newest step that releases
	parsed   map[string][]fieldValue // by blob
}

// fieldValue is a field of a version of a file.
type fieldValue struct {
	policy   bump.Name
	id, path string
	part     bump.Part
	value    string
	line     int
}

// change is a step that gave a field another value.
type change struct {
	gitpush.Step
	at       int    // how many steps of the branch are newer
	from, to string // values; from is "" where the field did not exist
}

// touch is a change of a file in one of the steps.
type touch struct {
	step int
	gitpush.Touch
}

func newLineage(git revisions) *lineage {
	return &lineage{git: git, parsed: make(map[string][]fieldValue)}
}

// update brings the lineage to head, of which the steps from until on are known.
func (l *lineage) update(ctx context.Context, head bump.Head, until string) error {
	var fresh []gitpush.Step
	for s, err := range l.git.Steps(ctx, head, until, maxSteps) {
		if err != nil {
			return err
		}
		fresh = append(fresh, s)
	}
	joined := len(fresh) == 0 || fresh[len(fresh)-1].Parent == until
	if until != "" && joined {
		fresh = append(fresh, l.steps...)
	}
	l.steps = fresh[:min(len(fresh), maxSteps)]
	l.list()
	return nil
}

// list makes the lists of what the steps touch and release, and leaves out the
// oldest steps where that is too much.
func (l *lineage) list() {
	l.touched, l.released = make(map[string][]touch), make(map[release]int)
	n := 0
	for i, s := range l.steps {
		if n += len(s.Touches); n > maxTouched {
			l.steps = slices.Clip(l.steps[:i])
			return
		}
		for _, t := range s.Touches {
			l.touched[t.File] = append(l.touched[t.File], touch{i, t})
		}
		for _, e := range s.Entries {
			r := release{e.Policy, e.To}
			if _, ok := l.released[r]; e.Kind == gitpush.Released && !ok {
				l.released[r] = i
			}
		}
	}
}

// changes returns the newest changes of a field, the newest first, and the files
// that it was in, the present one first. It follows the object when it goes to
// another file.
func (l *lineage) changes(ctx context.Context, s bump.Site) (list []change, files []string, err error) {
	file := s.File
	files = []string{file}
	for at, n := -1, 0; file != "" && n < maxChanges; n++ {
		i := slices.IndexFunc(l.touched[file], func(t touch) bool { return t.step > at })
		if i < 0 {
			break
		}
		at = l.touched[file][i].step
		step, t := l.steps[at], l.touched[file][i].Touch
		after, _, err := l.value(ctx, step.Commit, file, t.After, s)
		if err != nil {
			return nil, nil, err
		}
		before, ok, err := l.value(ctx, step.Parent, file, t.Before, s)
		if err == nil && !ok {
			if before, file, err = l.origin(ctx, step, file, s); file != "" {
				files = append(files, file)
			}
		}
		if err != nil {
			return nil, nil, err
		}
		if before != after {
			list = append(list, change{step, at, before, after})
		}
	}
	return list, files, nil
}

// origin finds the file that the field was in before a step brought it to file:
// the same object, policy and field in a file that lost them in that step.
func (l *lineage) origin(ctx context.Context, step gitpush.Step, file string, s bump.Site) (value, from string, err error) {
	looked := 0
	for _, t := range step.Touches {
		if t.File == file || t.Before == "" {
			continue
		}
		if looked++; looked > maxMoved {
			break
		}
		before, ok, err := l.value(ctx, step.Parent, t.File, t.Before, s)
		if err != nil {
			return "", "", err
		}
		if !ok {
			continue
		}
		if _, still, err := l.value(ctx, step.Commit, t.File, t.After, s); err != nil || still {
			if err != nil {
				return "", "", err
			}
			continue
		}
		return before, t.File, nil
	}
	return "", "", nil
}

// value returns what a field held in a version of a file. The field is known by
// its object and the names on the way, or else by its path.
func (l *lineage) value(ctx context.Context, commit, file, blob string, s bump.Site) (string, bool, error) {
	fields, err := l.fields(ctx, commit, file, blob)
	if err != nil {
		return "", false, err
	}
	id := gitpush.FieldID(s)
	mine := func(same func(fieldValue) bool) int {
		return slices.IndexFunc(fields, func(f fieldValue) bool { return f.policy == s.Policy && f.part == s.Part && same(f) })
	}
	i := mine(func(f fieldValue) bool { return f.id == id })
	if i < 0 && file == s.File { // its object got another name there
		i = mine(func(f fieldValue) bool { return f.path == s.Field })
	}
	if i < 0 {
		return "", false, nil
	}
	return fields[i].value, true, nil
}

// fields returns the marked fields of a version of a file; none for "".
func (l *lineage) fields(ctx context.Context, commit, file, blob string) ([]fieldValue, error) {
	if fields, ok := l.parsed[blob]; ok || blob == "" {
		return fields, nil
	}
	tree, err := l.git.Tree(bump.Head{Hash: commit})
	if err != nil {
		return nil, err
	}
	fields, err := fieldsIn(ctx, tree, file)
	if err != nil {
		return nil, err
	}
	if len(l.parsed) >= maxParsed {
		l.parsed = make(map[string][]fieldValue)
	}
	l.parsed[blob] = fields
	return fields, nil
}

// fieldsIn returns the marked fields of one file.
func fieldsIn(ctx context.Context, tree fs.FS, file string) ([]fieldValue, error) {
	sites, err := setter.Sites(ctx, tree, setter.Options{Paths: []string{file}})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var fields []fieldValue
	for _, s := range sites {
		if s.Problem == "" {
			fields = append(fields, fieldValue{s.Policy, gitpush.FieldID(s), s.Field, s.Part, s.Value, s.Line})
		}
	}
	return fields, err
}
