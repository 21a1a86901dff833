package scanner

import (
	"slices"
	"sync"
)

// roll collects the tags of a listing as one piece of memory, and becomes a
// list of strings only where that list is news. Rolls are used again.
type roll struct {
	text    []byte
	ends    []uint32 // of each tag in text
	mixed   bool     // some tag does not sort behind the one before it
	dropped int      // tags outside the OCI grammar
}

var rolls = sync.Pool{New: func() any { return new(roll) }}

// maxKept is the capacity up to which a buffer waits for its next use, in bytes.
const maxKept = 4 << 20

func openRoll() *roll {
	r := rolls.Get().(*roll)
	r.text, r.ends, r.mixed, r.dropped = r.text[:0], r.ends[:0], false, 0
	return r
}

func (r *roll) close() {
	if cap(r.text) <= maxKept && cap(r.ends) <= maxKept/4 {
		rolls.Put(r)
	}
}

// add takes a tag, or counts what is none.
func add[T string | []byte](r *roll, tag T) {
	if !isTag(tag) {
		r.dropped++
		return
	}
	n := len(r.ends)
	if n > 0 && !r.mixed && string(r.at(n-1)) >= string(tag) {
		r.mixed = true
	}
	r.text = append(r.text, tag...)
	r.ends = append(r.ends, uint32(len(r.text)))
}

func (r *roll) at(i int) []byte {
	if i == 0 {
		return r.text[:r.ends[0]]
	}
	return r.text[r.ends[i-1]:r.ends[i]]
}

// cut forgets all but the first n tags, of which dropped were none.
func (r *roll) cut(n, dropped int) {
	end := uint32(0)
	if n > 0 {
		end = r.ends[n-1]
	}
	r.text, r.ends, r.dropped = r.text[:end], r.ends[:n], dropped
}

// equal tells whether the roll holds just these tags in this order.
func (r *roll) equal(tags []string) bool {
	if r.mixed || len(tags) != len(r.ends) {
		return false
	}
	for i, tag := range tags {
		if string(r.at(i)) != tag {
			return false
		}
	}
	return true
}

// list returns the tags, each once, in byte order. They share one string.
func (r *roll) list() []string {
	whole := string(r.text)
	tags := make([]string, len(r.ends))
	from := uint32(0)
	for i, end := range r.ends {
		tags[i], from = whole[from:end], end
	}
	if r.mixed {
		slices.Sort(tags)
		tags = slices.Clip(slices.Compact(tags))
	}
	return tags
}
