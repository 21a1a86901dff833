package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"hoist/bump"
	"hoist/gitpush"
)

// Faults says what is wrong with a commit that has trailers of ours: a signature
// that is not good, a committer who matches none of the allowed patterns (where
// there are any), a trailer that does not tell what the commit changes, a change
// that no trailer tells. Nothing means that it is what it says.
func Faults(ctx context.Context, git revisions, w gitpush.Written, allowed []string) ([]string, error) {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if w.BadSign != nil {
		fault("%v", w.BadSign)
	}
	if len(allowed) > 0 && !slices.ContainsFunc(allowed, func(p string) bool { ok, _ := path.Match(p, w.Committer.Email); return ok }) {
		fault("its committer %s is not allowed", w.Committer.Email)
	}
	switch {
	case len(w.Entries) == 0:
		fault("it names a release and changes files: such a release does not count")
		return faults, nil
	case w.Parent == "" && !onlyReleases(w.Entries):
		fault("its parent is not here to compare with")
		return faults, nil
	}
	c, err := compareWith(git, w)
	if err != nil {
		return nil, err
	}
	for _, e := range w.Entries {
		if e.Kind != gitpush.Released && len(e.Fields) == 0 {
			fault("the trailers name no field for %s -> %s", e.From, e.To)
		}
		for _, f := range e.Fields {
			why, err := c.field(ctx, e, f)
			if err != nil {
				return nil, err
			}
			if why != "" {
				fault("%s: the trailers say %s -> %s, %s", f, e.From, e.To, why)
			}
		}
	}
	for _, t := range w.Touches {
		why, err := c.rest(t.File)
		if err != nil {
			return nil, err
		}
		if why != "" {
			fault("%s", why)
		}
	}
	return faults, nil
}

func onlyReleases(entries []gitpush.Entry) bool {
	return !slices.ContainsFunc(entries, func(e gitpush.Entry) bool { return e.Kind != gitpush.Released })
}

// comparison is a commit with its trailers beside the trees before and after it.
type comparison struct {
	before, after fs.FS
	named         map[string]map[int]bool // lines that the trailers name, by file
}

func compareWith(git revisions, w gitpush.Written) (*comparison, error) {
	c := &comparison{named: make(map[string]map[int]bool)}
	for _, e := range w.Entries {
		for _, f := range e.Fields {
			if c.named[f.File] == nil {
				c.named[f.File] = make(map[int]bool)
			}
			c.named[f.File][f.Line] = true
		}
	}
	if w.Parent == "" {
		return c, nil
	}
	var err error
	if c.before, err = git.Tree(bump.Head{Hash: w.Parent}); err != nil {
		return nil, err
	}
	c.after, err = git.Tree(bump.Head{Hash: w.Commit})
	return c, err
}

// field says what the commit does to a field instead of what the trailers tell, or "".
func (c *comparison) field(ctx context.Context, e gitpush.Entry, f gitpush.Field) (string, error) {
	before, err := fieldsIn(ctx, c.before, f.File)
	if err != nil {
		return "", err
	}
	after, err := fieldsIn(ctx, c.after, f.File)
	if err != nil {
		return "", err
	}
	x, y := find(before, e.Policy, f), find(after, e.Policy, f)
	if x < 0 || y < 0 {
		return c.line(e, f)
	}
	old := bump.Site{Part: before[x].part, Value: before[x].value}
	now := after[y].value
	told := false
	switch old.Part {
	case bump.Repo:
		told = now == e.Image
	case bump.Digest:
		told = now == e.Digest
	default:
		told = valueNow(old) == e.From && tagOf(old.Part, now) == e.To
	}
	switch {
	case old.Value == now:
		return "the commit does not change it", nil
	case !told:
		return fmt.Sprintf("the commit %s -> %s", old.Value, now), nil
	}
	return "", nil
}

// line is field for a field without a marker: it looks at the line that is named.
func (c *comparison) line(e gitpush.Entry, f gitpush.Field) (string, error) {
	before, after, err := c.lines(f.File)
	if err != nil || f.Line < 1 || f.Line > len(before) || f.Line > len(after) {
		return "the commit has no such field", err
	}
	old, now := before[f.Line-1], after[f.Line-1]
	switch {
	case old == now:
		return "the commit does not change it", nil
	case e.To != "" && strings.Contains(old, e.From) && strings.Contains(now, e.To), e.Digest != "" && strings.Contains(now, e.Digest), e.Image != "" && strings.Contains(now, e.Image):
		return "", nil
	}
	return fmt.Sprintf("the commit %q -> %q", strings.TrimSpace(old), strings.TrimSpace(now)), nil
}

// rest says what a commit changes in a file beside what its trailers name, or "".
func (c *comparison) rest(file string) (string, error) {
	if c.named[file] == nil {
		return fmt.Sprintf("%s: the commit changes it, and no trailer names it", file), nil
	}
	before, after, err := c.lines(file)
	if err != nil {
		return "", err
	}
	if len(before) != len(after) {
		return fmt.Sprintf("%s: the commit adds or removes lines", file), nil
	}
	for i := range before {
		if before[i] != after[i] && !c.named[file][i+1] {
			return fmt.Sprintf("%s:%d: the commit changes it, and no trailer names it", file, i+1), nil
		}
	}
	return "", nil
}

// lines returns the lines of a file before and after; none where it is not there.
func (c *comparison) lines(file string) (before, after []string, err error) {
	read := func(tree fs.FS) []string {
		b, readErr := fs.ReadFile(tree, file)
		if readErr != nil && !errors.Is(readErr, fs.ErrNotExist) {
			err = readErr
		}
		return strings.Split(string(b), "\n")
	}
	return read(c.before), read(c.after), err
}
