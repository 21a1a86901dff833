package daemon

import (
	"fmt"
	"io/fs"
	"time"

	"hoist/bump"
	"hoist/config"
	"hoist/gitpush"
	"hoist/plan"
	"hoist/setter"
)

// drafting turns the verdicts of a pass into commits, one per policy. Each
// commit's files hold the edits of the commits before it too: the edits are
// made on the bytes of the tree, cumulatively.
type drafting struct {
	tree     fs.FS
	now      time.Time
	verdicts []bump.Verdict
	drafts   []gitpush.Draft
	warnings []string
	notices  []string

	seen  map[position]bool         // sites that an earlier update of this pass has
	edits map[string][]bump.Verdict // by file, of all drafts so far
	files map[string]versions
}

// position tells sites apart; those with a problem may share a place.
type position struct {
	file    string
	start   int
	line    int
	problem string
}

func positionOf(s bump.Site) position { return position{s.File, s.Start, s.Line, s.Problem} }

// versions is a file in the tree and after the drafts so far.
type versions struct{ original, last []byte }

func newDrafting(tree fs.FS, now time.Time) *drafting {
	return &drafting{
		tree: tree, now: now,
		seen:  make(map[position]bool),
		edits: make(map[string][]bump.Verdict),
		files: make(map[string]versions),
	}
}

// unseen returns the sites that no earlier update of this pass covers: where
// the paths of two updates overlap, the first one has the field.
func (d *drafting) unseen(sites []bump.Site) []bump.Site {
	var fresh []bump.Site
	for _, s := range sites {
		at := positionOf(s)
		if !d.seen[at] {
			d.seen[at] = true
			fresh = append(fresh, s)
		}
	}
	return fresh
}

// add drafts the bumps among the verdicts of one update.
func (d *drafting) add(u config.Update, verdicts []bump.Verdict) {
	at := len(d.verdicts)
	d.verdicts = append(d.verdicts, verdicts...)
	for _, group := range plan.Groups(verdicts) {
		changes, failed := d.changes(group.Verdicts)
		for site, reason := range failed {
			d.fail(d.verdicts[at:], site, reason)
		}
		if len(changes) == 0 {
			continue
		}
		message, warning := message(u, changes)
		if warning != nil {
			d.warnings = append(d.warnings, fmt.Sprintf("update %s: %v", u.Name, warning))
		}
		d.drafts = append(d.drafts, gitpush.Draft{Changes: changes, Message: message, Author: u.Commit.Author, Time: d.now})
	}
}

// changes edits the files of one group. A file that cannot be edited safely is
// left out; its sites come back with the reason.
func (d *drafting) changes(verdicts []bump.Verdict) ([]bump.Change, map[position]string) {
	var changes []bump.Change
	failed := make(map[position]string)
	for _, file := range filesOf(verdicts) {
		mine := inFile(verdicts, file)
		before, after, err := d.edit(file, mine)
		if err != nil {
			for _, v := range mine {
				failed[positionOf(v.Site)] = err.Error()
			}
			continue
		}
		changes = append(changes, bump.Change{File: file, Before: before, After: after, Verdicts: mine})
	}
	return changes, failed
}

func (d *drafting) edit(file string, verdicts []bump.Verdict) (before, after []byte, err error) {
	v, ok := d.files[file]
	if !ok {
		if v.original, err = fs.ReadFile(d.tree, file); err != nil {
			return nil, nil, err
		}
		v.last = v.original
	}
	edits := append(d.edits[file][:len(d.edits[file]):len(d.edits[file])], verdicts...)
	after, err = setter.Edit(v.original, edits)
	if err != nil {
		return nil, nil, err
	}
	before = v.last
	d.files[file], d.edits[file] = versions{v.original, after}, edits
	return before, after, nil
}

// fail turns the bump of a site into a problem.
func (d *drafting) fail(verdicts []bump.Verdict, at position, reason string) {
	for i, v := range verdicts {
		if positionOf(v.Site) == at {
			verdicts[i].Outcome, verdicts[i].New, verdicts[i].Reason = bump.Problem, "", reason
		}
	}
}

// message writes the commit message of one policy's changes. warning is not nil
// when the template failed and the default text stands in for it.
func message(u config.Update, changes []bump.Change) (text string, warning error) {
	verdicts := verdictsOf(changes)
	data := gitpush.NewData(u.Name, verdicts, u.Commit.MessageTemplateValues, verdicts[0].Selection.Tags.Trigger)
	return gitpush.Message(u.Commit.MessageTemplate, data)
}

func verdictsOf(changes []bump.Change) []bump.Verdict {
	var all []bump.Verdict
	for _, c := range changes {
		all = append(all, c.Verdicts...)
	}
	return all
}

// filesOf returns the files of verdicts in the order in which they appear.
func filesOf(verdicts []bump.Verdict) []string {
	var files []string
	seen := make(map[string]bool)
	for _, v := range verdicts {
		if !seen[v.Site.File] {
			seen[v.Site.File] = true
			files = append(files, v.Site.File)
		}
	}
	return files
}

func inFile(verdicts []bump.Verdict, file string) []bump.Verdict {
	var mine []bump.Verdict
	for _, v := range verdicts {
		if v.Site.File == file {
			mine = append(mine, v)
		}
	}
	return mine
}
