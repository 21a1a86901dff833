package daemon

import (
	"context"
	"fmt"
	"iter"
	"regexp"

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

// at returns what is remembered at a head. A nil memory remembers nothing.
func (m *memory) at(ctx context.Context, head bump.Head) (func(bump.Site, string) bool, error) {
	if m == nil {
		return nil, nil
	}
	if head != m.head {
		if err := m.read(ctx, head); err != nil {
			return nil, fmt.Errorf("read history of %s: %w", head.Branch, err)
		}
	}
	return func(s bump.Site, tag string) bool {
		return m.set[fieldTag{s.Policy, s.File, s.Field, tag}]
	}, nil
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
