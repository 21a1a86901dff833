package gitpush

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// The modes that Git trees hold. A mode is kept as the digits that stand in the
// tree, so that what we do not touch stays as it is.
const (
	modeDir       = "40000"
	modeFile      = "100644"
	modeSymlink   = "120000"
	modeSubmodule = "160000"
)

// entry is one line of a tree.
type entry struct {
	mode string
	name string
	hash plumbing.Hash
}

func (e entry) isDir() bool { return e.mode == modeDir || e.mode == "040000" }

// isFile holds for 100644, 100755 and the forms of older times.
func (e entry) isFile() bool { return len(e.mode) == 6 && strings.HasPrefix(e.mode, "100") }

// tree is a directory. It is not changed after it was made.
type tree struct {
	entries []entry // in the order of the object
	byName  []int   // positions in entries, in the order of the names
}

// parseTree decodes a tree object.
func parseTree(b []byte) (*tree, error) {
	t := &tree{entries: make([]entry, 0, len(b)/40)}
	for len(b) > 0 {
		sp := bytes.IndexByte(b, ' ')
		nul := bytes.IndexByte(b, 0)
		if sp <= 0 || nul < sp+2 || len(b) < nul+21 {
			return nil, errors.New("malformed")
		}
		e := entry{mode: modeString(b[:sp]), name: string(b[sp+1 : nul])}
		copy(e.hash[:], b[nul+1:])
		t.entries = append(t.entries, e)
		b = b[nul+21:]
	}
	t.byName = make([]int, len(t.entries))
	for i := range t.byName {
		t.byName[i] = i
	}
	slices.SortFunc(t.byName, func(a, b int) int { return strings.Compare(t.entries[a].name, t.entries[b].name) })
	return t, nil
}

// modeString returns b without a new string for the usual modes.
func modeString(b []byte) string {
	for _, m := range []string{modeFile, modeDir, "100755", modeSymlink, modeSubmodule} {
		if string(b) == m {
			return m
		}
	}
	return string(b)
}

// find returns the entry of that name.
func (t *tree) find(name string) (entry, bool) {
	i, ok := slices.BinarySearchFunc(t.byName, name, func(i int, n string) int { return cmp.Compare(t.entries[i].name, n) })
	if !ok {
		return entry{}, false
	}
	return t.entries[t.byName[i]], true
}

// with returns the tree's object with e put in the place of the entry of its
// name, or added.
func (t *tree) with(replaced map[string]entry) []byte {
	list := make([]entry, 0, len(t.entries)+len(replaced))
	seen := 0
	for _, e := range t.entries {
		if r, ok := replaced[e.name]; ok {
			e = r
			seen++
		}
		list = append(list, e)
	}
	if seen < len(replaced) {
		for name, e := range replaced {
			if _, ok := t.find(name); !ok {
				list = append(list, e)
			}
		}
		slices.SortFunc(list, func(a, b entry) int { return strings.Compare(a.sortKey(), b.sortKey()) })
	}
	var b bytes.Buffer
	for _, e := range list {
		b.WriteString(e.mode)
		b.WriteByte(' ')
		b.WriteString(e.name)
		b.WriteByte(0)
		b.Write(e.hash[:])
	}
	return b.Bytes()
}

// sortKey gives the order of Git: a directory sorts as if its name ended in a slash.
func (e entry) sortKey() string {
	if e.isDir() {
		return e.name + "/"
	}
	return e.name
}
