package policy

import (
	"container/heap"
	"iter"
	"time"

	"hoist/bump"
)

// Ranked yields the tags that p allows before its checks, the newest first and
// each once. The first costs what [Policy.Select] costs; to ask for more costs as
// much again once, and little for each. Artifact gives what is known of a tag;
// only newestBuild asks it.
//
// To choose, take the first that [Policy.Refuses] has nothing against. So a
// release train faster than minimumAge does not starve: its newest tag that is
// old enough wins, however many younger ones there are.
func (p *Policy) Ranked(t bump.Tags, artifact func(tag string) (bump.Artifact, bool), now time.Time) iter.Seq[string] {
	return func(yield func(string) bool) {
		o := p.ordering(artifact, now)
		best, lost := p.newest(o, t.List)
		if lost != nil || !yield(best.tag) {
			return
		}
		last := best.tag
		for rest := p.behind(o, t.List, best); rest.Len() > 0; {
			c := heap.Pop(rest).(candidate)
			if c.tag == last || o.refuses(c.value, c.at) != "" {
				continue
			}
			if last = c.tag; !yield(c.tag) {
				return
			}
		}
	}
}

// behind returns the candidates that go after best. What goes before it is
// outside the range, or best would not be the best.
func (p *Policy) behind(o order, tags []string, best candidate) *queue {
	q := &queue{order: o}
	for _, tag := range tags {
		value, at := p.value(tag)
		if at != ordered {
			continue
		}
		place, why := o.place(tag, value)
		if c := (candidate{tag, value, place}); why == "" && newer(o, best, c) > 0 {
			q.waiting = append(q.waiting, c)
		}
	}
	heap.Init(q)
	return q
}

// queue is a [heap.Interface] with the newest candidate on top: few callers want
// more than the next, and to sort them all would cost ten times as much.
type queue struct {
	waiting []candidate
	order   order
}

func (q *queue) Len() int           { return len(q.waiting) }
func (q *queue) Less(i, j int) bool { return newer(q.order, q.waiting[i], q.waiting[j]) > 0 }
func (q *queue) Swap(i, j int)      { q.waiting[i], q.waiting[j] = q.waiting[j], q.waiting[i] }
func (q *queue) Push(x any)         { q.waiting = append(q.waiting, x.(candidate)) }

func (q *queue) Pop() any {
	last := len(q.waiting) - 1
	c := q.waiting[last]
	q.waiting = q.waiting[:last]
	return c
}
