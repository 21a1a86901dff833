package daemon

import (
	"context"
	"io/fs"
	"iter"
	"strings"
	"time"

	"hoist/bump"
	"hoist/gitpush"
	"hoist/plan"
)

// Bounds of what is remembered of a branch.
const (
	maxVersions = 1000 // of one field
	maxSets     = 8    // newest bumps of a field, in which flips are looked for
)

// revisions are what a branch looked like, and what its steps changed.
type revisions interface {
	Tree(bump.Head) (fs.FS, error)
	Steps(ctx context.Context, head bump.Head, until string, max int) iter.Seq2[gitpush.Step, error]
}

// historian reads what happened on a branch.
type historian interface {
	revisions
	Contains(head, old bump.Head) (bool, error)
	History(context.Context, bump.Head, gitpush.HistoryOptions) (iter.Seq2[gitpush.Entry, error], error)
}

// memory is what the history of a branch says about its fields. It has two
// halves: the trailers of all its commits say which tags we set each field to,
// and its last steps say what anybody did to the files (lineage.go). Both are
// read once and then kept up with the branch: a fetch of three commits reads
// three commits. Git is the memory, this is its index.
type memory struct {
	git    historian
	orders map[bump.Name]plan.Order
	now    func() time.Time

	head    bump.Head // that index and lineage stand at
	index   *index
	lineage *lineage
	flips   []flip          // that nobody was told of yet
	told    map[string]bool // of a flip, by field and commit
}

func newMemory(git historian, orders map[bump.Name]plan.Order, now func() time.Time) *memory {
	return &memory{git: git, orders: orders, now: now, index: newIndex(), lineage: newLineage(git), told: make(map[string]bool)}
}

// index is what the trailers of a row of commits say.
type index struct {
	fields   map[place][]*record
	released map[release]time.Time // the newest release of each kind
	backs    map[bump.Name][]back  // what health rolled back, the newest first, by policy
}

// place is where fields of a policy are.
type place struct {
	policy bump.Name
	file   string
}

// release is what a release commit names; tag "" means all of the policy.
type release struct {
	policy bump.Name
	tag    string
}

// record is what we did to one field.
type record struct {
	id, path string
	tags     map[string]event // what was in the field because of us, or was rolled back; the newest time of each
	left     map[string]bool  // tags of earlier commits that we set lower ourselves: nobody took them out
	sets     []set            // the newest first
}

// event is when a tag came into a field, or out of it by a rollback.
type event struct {
	commit  string
	time    time.Time
	out     bool   // rolled back, by this very commit
	reason  string // of the rollback
	dropped bool   // the commit is no longer in the branch
}

// set is a bump of a field: what stood there, and every spelling of what stood
// there afterwards.
type set struct {
	commit string
	time   time.Time
	from   string
	to     [4]string
}

// flip is a field that somebody else sets back again and again.
type flip struct {
	site   bump.Site
	reason string
}

func newIndex() *index {
	return &index{fields: make(map[place][]*record), released: make(map[release]time.Time), backs: make(map[bump.Name][]back)}
}

// add takes in an entry that is older than all the others before.
func (x *index) add(e gitpush.Entry, lower func(policy bump.Name, a, b string) bool) {
	if e.Kind == gitpush.Released {
		r := release{e.Policy, strings.Clone(e.To)}
		if _, ok := x.released[r]; !ok {
			x.released[r] = e.Time
		}
		return
	}
	x.addBack(e)
	for _, f := range e.Fields {
		r := x.record(place{e.Policy, f.File}, f.ID, f.Path)
		if e.Kind == gitpush.RolledBack {
			x.remember(r, e.Policy, e.Hold, event{commit: e.Commit, time: e.Time, out: true, reason: e.Reason})
		}
		x.remember(r, e.Policy, e.To, event{commit: e.Commit, time: e.Time})
		from, _, _ := strings.Cut(e.From, "@")
		if e.Kind == gitpush.Bumped && lower(e.Policy, e.To, from) {
			r.left[strings.Clone(from)] = true
		}
		if e.Kind == gitpush.Bumped && len(r.sets) < maxSets && !x.isReleased(e.Policy, e.To) {
			r.sets = append(r.sets, set{e.Commit, e.Time, strings.Clone(e.From),
				[4]string{strings.Clone(e.To), e.To + "@" + e.Digest, strings.Clone(e.Digest), strings.Clone(e.Image)}})
		}
	}
}

// remember keeps the newest event of a tag, unless something newer ended it.
// What is kept is cloned: the message that it comes from is not kept with it.
func (x *index) remember(r *record, policy bump.Name, tag string, e event) {
	if _, ok := r.tags[tag]; ok || tag == "" || r.left[tag] || len(r.tags) >= maxVersions || x.isReleased(policy, tag) {
		return
	}
	e.reason = strings.Clone(e.reason)
	r.tags[strings.Clone(tag)] = e
}

func (x *index) isReleased(policy bump.Name, tag string) bool {
	_, one := x.released[release{policy, tag}]
	_, all := x.released[release{policy, ""}]
	return one || all
}

// record returns the record of a field, a new one where there is none.
func (x *index) record(at place, id, path string) *record {
	for _, r := range x.fields[at] {
		if r.id == id && r.path == path {
			return r
		}
	}
	r := &record{id: strings.Clone(id), path: strings.Clone(path), tags: make(map[string]event), left: make(map[string]bool)}
	at = place{bump.Name{Namespace: strings.Clone(at.policy.Namespace), Name: strings.Clone(at.policy.Name)}, strings.Clone(at.file)}
	x.fields[at] = append(x.fields[at], r)
	return r
}

// over puts x on top of an older index and returns the result. Both are used up.
func (x *index) over(old *index) *index {
	for at, records := range old.fields {
		for _, o := range records {
			r := x.record(at, o.id, o.path)
			for tag, e := range o.tags {
				x.remember(r, at.policy, tag, e)
			}
			for _, s := range o.sets {
				if len(r.sets) < maxSets && !x.isReleased(at.policy, s.to[0]) {
					r.sets = append(r.sets, s)
				}
			}
			for tag := range o.left {
				r.left[tag] = r.left[tag] || r.tags[tag] == event{}
			}
		}
	}
	for policy, backs := range old.backs {
		for _, b := range backs {
			x.keepBack(policy, b)
		}
	}
	for r, t := range old.released {
		if _, ok := x.released[r]; !ok {
			x.released[r] = t
		}
	}
	return x
}

// update brings the memory to head. Where the branch was rewound, all that is
// left is read, and what is gone with the dropped commits counts as taken out.
func (m *memory) update(ctx context.Context, head bump.Head) error {
	if head == m.head {
		return nil
	}
	until, dropped := m.head.Hash, false
	if until != "" {
		within, err := m.git.Contains(head, m.head)
		if err != nil {
			return err
		}
		if dropped = !within; dropped {
			until = ""
		}
	}
	entries, err := m.git.History(ctx, head, gitpush.HistoryOptions{Until: until})
	if err != nil {
		return err
	}
	fresh := newIndex()
	for e, err := range entries {
		if err != nil {
			return err
		}
		fresh.add(e, m.lower)
	}
	if err := m.lineage.update(ctx, head, until); err != nil {
		return err
	}
	if dropped {
		m.index.drop()
	}
	m.index, m.head = fresh.over(m.index), head
	return nil
}

// drop marks everything as gone from the branch; releases are gone with it.
func (x *index) drop() {
	x.released, x.backs = make(map[release]time.Time), make(map[bump.Name][]back)
	for _, records := range x.fields {
		for _, r := range records {
			r.left, r.sets = make(map[string]bool), nil
			for tag, e := range r.tags {
				e.dropped = true
				r.tags[tag] = e
			}
		}
	}
}

// lower tells whether a is a lower version than b in the order of a policy.
func (m *memory) lower(policy bump.Name, a, b string) bool {
	order, ok := m.orders[policy]
	if !ok || a == "" || b == "" {
		return false
	}
	c, ok := order.Compare(a, b)
	return ok && c < 0
}

// news returns the flips that came up since it was last asked.
func (m *memory) news() []flip {
	if m == nil {
		return nil
	}
	list := m.flips
	m.flips = nil
	return list
}

// tagIn returns the tag that a field holds; ok is false where it holds none by
// its nature.
func tagIn(s bump.Site) (tag string, ok bool) {
	return tagOf(s.Part, s.Value), s.Part == bump.Tag || s.Part == bump.Whole
}

// tagOf returns the tag in a value, "" where there is none.
func tagOf(part bump.Part, value string) string {
	ref, _, _ := strings.Cut(value, "@")
	switch part {
	case bump.Tag:
		return ref
	case bump.Whole:
		if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
			return ref[i+1:]
		}
	}
	return ""
}
