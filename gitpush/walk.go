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
	return func(yield func(*object.Commit, error) bool) {
		var todo commitHeap
		seen := map[plumbing.Hash]bool{h: true}
		ends := o.shallow()
		c, err := o.commit(h)
		if err != nil {
			yield(nil, err)
			return
		}
		heap.Push(&todo, c)
		for len(todo) > 0 {
			c := heap.Pop(&todo).(*object.Commit)
			if !yield(c, nil) {
				return
			}
			if ends[c.Hash] {
				continue
			}
			for _, p := range c.ParentHashes {
				if seen[p] {
					continue
				}
				seen[p] = true
				parent, err := o.commit(p)
				if err != nil {
					yield(nil, err)
					return
				}
				heap.Push(&todo, parent)
			}
		}
	}
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
type commitHeap []*object.Commit

func (h commitHeap) Len() int           { return len(h) }
func (h commitHeap) Less(i, j int) bool { return h[i].Committer.When.After(h[j].Committer.When) }
func (h commitHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *commitHeap) Push(c any)        { *h = append(*h, c.(*object.Commit)) }

func (h *commitHeap) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	*h = (*h)[:last]
	return c
}
