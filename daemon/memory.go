package daemon

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"regexp"
	"strings"

	"hoist/bump"
	"hoist/gitpush"
)

// historian reads the bumps in the history of a branch, the newest first.
type historian interface {
	History(context.Context, bump.Head, gitpush.HistoryOptions) (iter.Seq2[gitpush.Entry, error], error)
}

// memory is what the trailers of a branch say that we did: which tags we set
// each field to. It is read once and then kept up with the branch: a fetch of
// three commits reads three commits. Git is the memory, this is its index.
type memory struct {
	history historian
	head    bump.Head
	set     map[fieldTag]bool
}

// fieldTag is a field that we once set to a tag. Lines move, so the field is
// known by its path in the file.
type fieldTag struct {
	policy      bump.Name
	file, field string
	tag         string
}

func newMemory(h historian) *memory { return &memory{history: h, set: make(map[fieldTag]bool)} }

// at returns what can be asked about a head. Nothing is read before the first
// question. A nil memory remembers nothing.
func (m *memory) at(ctx context.Context, head bump.Head, tree fs.FS) *recall {
	return &recall{memory: m, ctx: ctx, head: head, tree: tree}
}

// recall is the memory of a branch during one pass.
type recall struct {
	memory *memory
	ctx    context.Context
	head   bump.Head
	tree   fs.FS
	err    error // why the history could not be read; what was answered since is not to be used
}

// hold says why the selected version has to stay out of the site, or "".
func (r *recall) hold(s bump.Site, sel bump.Selection) string {
	if r.memory == nil || r.err != nil {
		return ""
	}
	if r.head != r.memory.head {
		if r.err = r.memory.read(r.ctx, r.head); r.err != nil {
			return ""
		}
	}
	now, hasTag := tagIn(s)
	if hasTag && now != sel.Tag && r.memory.set[fieldTag{s.Policy, s.File, s.Field, sel.Tag}] {
		return fmt.Sprintf("%s was set here before and somebody took it out; it stays out until there is a newer version, or until someone sets it by hand", sel.Tag)
	}
	return ""
}

// tagIn returns the tag that a field holds; ok is false where it holds none by
// its nature.
func tagIn(s bump.Site) (tag string, ok bool) {
	ref, _, _ := strings.Cut(s.Value, "@")
	switch s.Part {
	case bump.Tag:
		return ref, true
	case bump.Whole:
		if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
			return ref[i+1:], true
		}
		return "", true
	}
	return "", false
}

// read takes in what is between the last head and this one. When the branch was
// rewound it reads everything that is left, and keeps what it knew: a version
// that was taken out by a rewind is taken out.
func (m *memory) read(ctx context.Context, head bump.Head) error {
	entries, err := m.history.History(ctx, head, gitpush.HistoryOptions{Until: m.head.Hash})
	if err != nil {
		return err
	}
	for e, err := range entries {
		if err != nil {
			return err
		}
		for _, f := range e.Fields {
			file, field := parseField(f)
			m.set[fieldTag{e.Policy, file, field, e.To}] = true
		}
	}
	m.head = head
	return nil
}

// trailerField is how a Bump-Field trailer looks: "file:line path".
var trailerField = regexp.MustCompile(`^(.*):\d+ (.*)$`)

func parseField(s string) (file, field string) {
	m := trailerField.FindStringSubmatch(s)
	if m == nil {
		return s, ""
	}
	return m[1], m[2]
}
