package daemon

import (
	"context"
	"iter"
	"slices"

	"hoist/bump"
	"hoist/gitpush"
)

// Audited is an entry of the history, and what became of it.
type Audited struct {
	gitpush.Entry
	// Undone tells that a field of it was moved to something else by somebody else
	// or by a rollback, and By who that was, as far as Git tells.
	Undone bool
	By     gitpush.Signed
}

// chronicle is a repository whose history can be read, such as a clone.
type chronicle interface {
	revisions
	History(context.Context, bump.Head, gitpush.HistoryOptions) (iter.Seq2[gitpush.Entry, error], error)
}

// Audit yields the history of head, the newest entry first, each with what became
// of it. It only reads, and needs nothing but the repository.
func Audit(ctx context.Context, git chronicle, head bump.Head, opts gitpush.HistoryOptions) (iter.Seq2[Audited, error], error) {
	entries, err := git.History(ctx, head, opts)
	if err != nil {
		return nil, err
	}
	a := &audit{ctx: ctx, git: git, head: head, next: make(map[fieldKey]gitpush.Entry), now: make(map[string][]fieldValue)}
	return func(yield func(Audited, error) bool) {
		for e, err := range entries {
			var told Audited
			if err == nil {
				told, err = a.tell(e)
			}
			if err != nil {
				yield(Audited{}, err)
				return
			}
			if !yield(told, nil) {
				return
			}
		}
	}, nil
}

// audit compares each entry with what came after it.
type audit struct {
	ctx     context.Context
	git     chronicle
	head    bump.Head
	next    map[fieldKey]gitpush.Entry // the entry that came after, by field
	now     map[string][]fieldValue    // fields at head, by file
	lineage *lineage                   // nil until it is needed
}

type fieldKey struct {
	policy   bump.Name
	file, id string
}

func (a *audit) tell(e gitpush.Entry) (Audited, error) {
	told := Audited{Entry: e}
	if e.Kind == gitpush.Released {
		return told, nil
	}
	for _, f := range e.Fields {
		key := fieldKey{e.Policy, f.File, f.ID}
		next, later := a.next[key]
		a.next[key] = e
		if told.Undone {
			continue
		}
		var err error
		if told.Undone, told.By, err = a.undone(e, f, next, later); err != nil {
			return told, err
		}
	}
	return told, nil
}

// undone tells whether a field of e was moved away from what e set it to.
func (a *audit) undone(e gitpush.Entry, f gitpush.Field, next gitpush.Entry, later bool) (bool, gitpush.Signed, error) {
	if later && next.Kind == gitpush.RolledBack && (next.Hold == e.To || e.Digest != "" && next.Hold == e.To+"@"+e.Digest) {
		return true, gitpush.Signed{Commit: next.Commit, Time: next.Time, Author: next.Author}, nil
	}
	after := next.From
	site := bump.Site{File: f.File, Policy: e.Policy, Field: f.Path}
	if !later {
		fields, err := a.fields(f.File)
		if err != nil {
			return false, gitpush.Signed{}, err
		}
		i := find(fields, e.Policy, f)
		if i < 0 {
			return e.Reverted.Commit != "", e.Reverted, nil // the file or its marker is gone
		}
		site.Part, site.Value = fields[i].part, fields[i].value
		after = valueNow(site)
	}
	if slices.Contains([]string{e.To, e.To + "@" + e.Digest, e.Digest, e.Image}, after) {
		return false, gitpush.Signed{}, nil
	}
	if e.Reverted.Commit != "" {
		return true, e.Reverted, nil
	}
	by, err := a.who(e, f)
	return true, by, err
}

func find(fields []fieldValue, policy bump.Name, f gitpush.Field) int {
	i := slices.IndexFunc(fields, func(v fieldValue) bool { return v.policy == policy && v.id == f.ID })
	if i < 0 {
		i = slices.IndexFunc(fields, func(v fieldValue) bool { return v.policy == policy && v.path == f.Path })
	}
	return i
}

func (a *audit) fields(file string) ([]fieldValue, error) {
	if fields, ok := a.now[file]; ok {
		return fields, nil
	}
	tree, err := a.git.Tree(a.head)
	if err != nil {
		return nil, err
	}
	fields, err := fieldsIn(a.ctx, tree, file)
	a.now[file] = fields
	return fields, err
}

// who finds the first step after e that changed its field, in the last steps of
// the branch.
func (a *audit) who(e gitpush.Entry, f gitpush.Field) (by gitpush.Signed, err error) {
	if a.lineage == nil {
		a.lineage = newLineage(a.git)
		if err := a.lineage.update(a.ctx, a.head, ""); err != nil {
			return by, err
		}
	}
	touches := a.lineage.touched[f.File]
	end := slices.IndexFunc(touches, func(t touch) bool { return a.lineage.steps[t.step].Commit == e.Commit })
	for i := end - 1; i >= 0; i-- {
		step, t := a.lineage.steps[touches[i].step], touches[i]
		before, err := a.lineage.fields(a.ctx, step.Parent, f.File, t.Before)
		if err != nil {
			return by, err
		}
		after, err := a.lineage.fields(a.ctx, step.Commit, f.File, t.After)
		if err != nil {
			return by, err
		}
		x, y := find(before, e.Policy, f), find(after, e.Policy, f)
		if x >= 0 && (y < 0 || before[x].value != after[y].value) {
			return gitpush.Signed{Commit: step.Commit, Time: step.Time, Author: step.Author}, nil
		}
	}
	return by, nil
}
