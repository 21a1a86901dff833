package gitpush

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"hoist/bump"
)

// maxTouches bounds the files of one step. A commit that changes more is a step
// without files.
const maxTouches = 10_000

// Step is a commit on the line of first parents of a branch: what the branch
// looked like before it and after it.
type Step struct {
	Commit  string
	Parent  string // "" for a first commit
	Time    time.Time
	Author  Author
	Subject string
	Entries []Entry // what our trailers say in it
	Touches []Touch // compared with the parent, by name
}

// Touch is a file that a step changes. The hashes are those of the bytes, "" for
// a file that is not there.
type Touch struct{ File, Before, After string }

// Steps yields the last steps of a branch, the newest first: at most max, and
// none from the commit until on. The end of a shallow clone ends it.
func (m *Mirror) Steps(ctx context.Context, head bump.Head, until string, max int) iter.Seq2[Step, error] {
	return m.objects.steps(ctx, head.Hash, until, max)
}

// Steps is [Mirror.Steps] in a clone.
func (c *Clone) Steps(ctx context.Context, head bump.Head, until string, max int) iter.Seq2[Step, error] {
	return c.objects.steps(ctx, head.Hash, until, max)
}

func (o *objects) steps(ctx context.Context, at, until string, max int) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		ends := o.shallow()
		for n := 0; n < max && at != "" && at != until; n++ {
			step, err := o.step(at, ends[plumbing.NewHash(at)])
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(Step{}, fmt.Errorf("commit %s: %w", bump.Short(at), err))
				return
			}
			if !yield(step, nil) {
				return
			}
			at = step.Parent
		}
	}
}

// step reads a commit; alone is set where its parents are not here.
func (o *objects) step(hash string, alone bool) (Step, error) {
	c, err := o.commit(plumbing.NewHash(hash))
	if err != nil {
		return Step{}, err
	}
	s := Step{Commit: hash, Time: c.Committer.When, Author: authorOf(c.Author), Subject: subject(c.Message)}
	if s.Entries, err = o.entries(c); err != nil || alone || len(c.ParentHashes) == 0 {
		return s, err // a first commit changes nothing: before it there was no field
	}
	s.Parent = firstParent(c)
	parent, err := o.commit(c.ParentHashes[0])
	if err != nil {
		return s, err
	}
	err = o.compare("", parent.TreeHash, c.TreeHash, &s.Touches)
	if len(s.Touches) > maxTouches {
		s.Touches = nil
	}
	return s, err
}

// compare adds the files that differ between two directories. A zero hash is a
// directory that is not there. Directories of the same hash are not read.
func (o *objects) compare(prefix string, before, after plumbing.Hash, list *[]Touch) error {
	if before == after || len(*list) > maxTouches {
		return nil
	}
	a, err := o.treeOrNone(before)
	if err != nil {
		return err
	}
	b, err := o.treeOrNone(after)
	if err != nil {
		return err
	}
	for i, j := 0, 0; i < len(a.byName) || j < len(b.byName); {
		var x, y entry
		if i < len(a.byName) {
			x = a.entries[a.byName[i]]
		}
		if j < len(b.byName) {
			y = b.entries[b.byName[j]]
		}
		switch {
		case y.name == "" || x.name != "" && strings.Compare(x.name, y.name) < 0:
			y, i = entry{}, i+1
		case x.name == "" || x.name != y.name:
			x, j = entry{}, j+1
		default:
			i, j = i+1, j+1
		}
		if err := o.compareEntry(prefix, x, y, list); err != nil {
			return err
		}
	}
	return nil
}

// compareEntry compares what stands under one name; one of both may be missing.
func (o *objects) compareEntry(prefix string, x, y entry, list *[]Touch) error {
	if x.hash == y.hash && x.mode == y.mode {
		return nil
	}
	name := prefix + x.name
	if x.name == "" {
		name = prefix + y.name
	}
	if x.isDir() || y.isDir() {
		if err := o.compare(name+"/", dirHash(x), dirHash(y), list); err != nil {
			return err
		}
	}
	if before, after := fileHash(x), fileHash(y); before != after {
		*list = append(*list, Touch{name, before, after})
	}
	return nil
}

func (o *objects) treeOrNone(h plumbing.Hash) (*tree, error) {
	if h.IsZero() {
		return &tree{}, nil
	}
	return o.tree(h)
}

func dirHash(e entry) plumbing.Hash {
	if !e.isDir() {
		return plumbing.ZeroHash
	}
	return e.hash
}

func fileHash(e entry) string {
	if !e.isFile() {
		return ""
	}
	return e.hash.String()
}
