package gitpush

import (
	"container/heap"
	"iter"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// maxMilestones bounds the commits that a fetch names as known.
const maxMilestones = 32

// milestones returns commits of the first-parent history of h: the newest ones
// and then wider and wider apart, so that a server which has lost the newest
// still finds one that both sides have.
func (o *objects) milestones(h plumbing.Hash) []plumbing.Hash {
	var list []plumbing.Hash
	next, step := 0, 1
	for i := 0; len(list) < maxMilestones && i < 2000; i++ {
		if i == next {
			list = append(list, h)
			if i >= 8 {
				step *= 2
			}
			next += step
		}
		c, err := o.commit(h)
		if err != nil || len(c.ParentHashes) == 0 {
			break
		}
		h = c.ParentHashes[0]
	}
	return list
}

// contains reports whether old is in the history of h. The newest commits are
// looked at first, so the usual yes is quick; a no reads the whole history.
func (o *objects) contains(h, old plumbing.Hash) (bool, error) {
	for c, err := range o.walk(h) {
		if err != nil {
			return false, err
		}
		if c.Hash == old {
			return true, nil
		}
	}
	return false, nil
}

// walk yields the history of h, each commit once, the newest committer time
// first. The end of a shallow clone ends it; any other missing commit is an error.
func (o *objects) walk(h plumbing.Hash) iter.Seq2[*object.Commit, error] {
	return o.walkNew(h, plumbing.ZeroHash)
}

// walkNew is walk without known and what known was built on: what `git rev-list h
// ^known` lists. A known that is zero leaves nothing out.
func (o *objects) walkNew(h, known plumbing.Hash) iter.Seq2[*object.Commit, error] {
	return func(yield func(*object.Commit, error) bool) {
		var todo commitHeap
		seen := map[plumbing.Hash]*walked{}
		ends := o.shallow()
		fresh := 0 // commits in todo that are to be yielded
		add := func(h plumbing.Hash, known bool) error {
			if w, ok := seen[h]; ok {
				if known && !w.known && w.commit != nil {
					fresh--
				}
				w.known = w.known || known
				return nil
			}
			c, err := o.commit(h)
			if err != nil {
				return err
			}
			w := &walked{c, known}
			seen[h] = w
			heap.Push(&todo, w)
			if !known {
				fresh++
			}
			return nil
		}
		var err error
		if !known.IsZero() && o.has(known) {
			err = add(known, true)
		}
		if err == nil {
			err = add(h, false)
		}
		for err == nil && fresh > 0 {
			w := heap.Pop(&todo).(*walked)
			c := w.commit
			w.commit = nil
			if !w.known {
				fresh--
				if !yield(c, nil) {
					return
				}
			}
			if ends[c.Hash] {
				continue
			}
			for _, p := range c.ParentHashes {
				if err = add(p, w.known); err != nil {
					break
				}
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// walked is a commit of a walk; commit is nil once it is behind.
type walked struct {
	commit *object.Commit
	known  bool
}

// shallow returns the commits whose parents were left out of a shallow clone.
func (o *objects) shallow() map[plumbing.Hash]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	list, _ := o.store.Shallow()
	ends := make(map[plumbing.Hash]bool, len(list))
	for _, h := range list {
		ends[h] = true
	}
	return ends
}

// commitHeap has the newest commit on top.
type commitHeap []*walked

func (h commitHeap) Len() int { return len(h) }
func (h commitHeap) Less(i, j int) bool {
	return h[i].commit.Committer.When.After(h[j].commit.Committer.When)
}
func (h commitHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *commitHeap) Push(c any)   { *h = append(*h, c.(*walked)) }

func (h *commitHeap) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	*h = (*h)[:last]
	return c
}
