package gitpush

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/memory"

	"hoist/bump"
)

// Draft is a commit that is still to be made.
type Draft struct {
	Changes []bump.Change // in order; several to one file follow each other
	Message string        // whole, as Message returns it
	Author  Author
	Time    time.Time // whole seconds are kept
	Empty   bool      // the message is all there is to it: a commit without changes
}

// check refuses drafts that could not become a sound commit.
func (d Draft) check() error {
	if (len(d.Changes) == 0) != d.Empty {
		if d.Empty {
			return errors.New("an empty commit with changes")
		}
		return errors.New("a commit without changes")
	}
	if err := d.Author.check(); err != nil {
		return err
	}
	if strings.TrimSpace(d.Message) == "" {
		return errors.New("a commit without a message")
	}
	if strings.Contains(d.Message, "\x00") {
		return errors.New("a commit message with a NUL")
	}
	if d.Time.IsZero() {
		return errors.New("a commit without a time")
	}
	for _, c := range d.Changes {
		if err := checkPath(c.File); err != nil {
			return err
		}
		if c.After == nil {
			return fmt.Errorf("%s: a change without content", c.File)
		}
	}
	return nil
}

// chain is a row of new commits that exist in memory only.
type chain struct {
	objects *objects
	fresh   *memory.Storage         // the new objects
	trees   map[plumbing.Hash]*tree // those of them that are directories
	head    plumbing.Hash
	root    plumbing.Hash
	commits []bump.Commit
}

// newChain begins a chain on a commit of the mirror.
func (o *objects) newChain(base plumbing.Hash) (*chain, error) {
	if !o.has(base) {
		return nil, fmt.Errorf("the commit %s is not in the mirror", base)
	}
	c, err := o.commit(base)
	if err != nil {
		return nil, err
	}
	return &chain{objects: o, fresh: memory.NewStorage(), trees: map[plumbing.Hash]*tree{}, head: base, root: c.TreeHash}, nil
}

// add makes the commit of d. A draft that changes nothing makes none.
func (c *chain) add(d Draft, repo bump.Name, branch string) error {
	root := c.root
	if !d.Empty {
		var err error
		if root, err = c.rewrite(d.Changes); err != nil {
			return err
		}
	}
	if root == c.root && !d.Empty {
		return nil
	}
	name := d.Author.Name
	if name == "" {
		name = DefaultAuthor
	}
	when := d.Time.UTC().Truncate(time.Second)
	who := object.Signature{Name: name, Email: d.Author.Email, When: when}
	message := strings.TrimRight(d.Message, "\n") + "\n"
	commit := &object.Commit{Author: who, Committer: who, Message: message, TreeHash: root, ParentHashes: []plumbing.Hash{c.head}}
	obj := c.fresh.NewEncodedObject()
	if err := commit.Encode(obj); err != nil {
		return err
	}
	hash, err := c.fresh.SetEncodedObject(obj)
	if err != nil {
		return err
	}
	c.commits = append(c.commits, bump.Commit{
		Head:    bump.Head{Repository: repo, Branch: branch, Hash: hash.String()},
		Parent:  c.head.String(),
		Time:    when,
		Subject: subject(message),
		Message: message,
		Changes: d.Changes,
	})
	c.head, c.root = hash, root
	return nil
}

// rewrite stores the changed files and the directories above them, and returns
// the new root.
func (c *chain) rewrite(changes []bump.Change) (plumbing.Hash, error) {
	files := map[string]entry{} // path → what it becomes
	for _, ch := range changes {
		e, ok := files[ch.File]
		if !ok {
			var err error
			if e, err = c.entryOf(ch.File, ch.Before != nil); err != nil {
				return plumbing.ZeroHash, err
			}
		}
		if ch.Before != nil && plumbing.ComputeHash(plumbing.BlobObject, ch.Before) != e.hash {
			return plumbing.ZeroHash, fmt.Errorf("%s is not what the change was made from", ch.File)
		}
		hash, err := c.put(plumbing.BlobObject, ch.After)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		e.hash = hash
		files[ch.File] = e
	}
	return c.fold(c.root, files)
}

// entryOf returns the entry of a regular file; for one that is to be new, the
// entry it will have.
func (c *chain) entryOf(path string, exists bool) (entry, error) {
	at := entry{mode: modeDir, hash: c.root}
	for part := range strings.SplitSeq(path, "/") {
		if !at.isDir() {
			return at, fmt.Errorf("%s: %q is not a directory", path, at.name)
		}
		if at.hash.IsZero() {
			at = entry{mode: modeDir, name: part} // below a directory that is to be new
			continue
		}
		t, err := c.tree(at.hash)
		if err != nil {
			return at, fmt.Errorf("%s: %w", path, err)
		}
		next, ok := t.find(part)
		if !ok && exists {
			return at, fmt.Errorf("%s does not exist", path)
		}
		if !ok {
			next = entry{mode: modeDir, name: part}
		}
		at = next
	}
	switch {
	case at.hash.IsZero():
		return entry{mode: modeFile, name: at.name}, nil
	case at.isFile() && exists:
		return at, nil
	case at.isFile():
		return at, fmt.Errorf("%s exists", path)
	}
	return at, fmt.Errorf("%s %w", path, unreadable(at))
}

// fold returns the directory at with files, whose paths start below it, put in.
// Only the directories on the way to them are written.
func (c *chain) fold(at plumbing.Hash, files map[string]entry) (plumbing.Hash, error) {
	t := &tree{}
	if !at.IsZero() {
		var err error
		if t, err = c.tree(at); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	here := map[string]entry{}
	below := map[string]map[string]entry{}
	for path, e := range files {
		first, rest, nested := strings.Cut(path, "/")
		if !nested {
			e.name = path
			here[path] = e
			continue
		}
		if below[first] == nil {
			below[first] = map[string]entry{}
		}
		below[first][rest] = e
	}
	for name, inside := range below {
		e, ok := t.find(name)
		if !ok {
			e = entry{mode: modeDir, name: name}
		}
		hash, err := c.fold(e.hash, inside)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		e.hash = hash
		here[name] = e
	}
	b := t.with(here)
	hash, err := c.put(plumbing.TreeObject, b)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if c.trees[hash], err = parseTree(b); err != nil {
		return plumbing.ZeroHash, err
	}
	return hash, nil
}

// tree returns a directory, new or from the mirror.
func (c *chain) tree(h plumbing.Hash) (*tree, error) {
	if t, ok := c.trees[h]; ok {
		return t, nil
	}
	return c.objects.tree(h)
}

// put keeps an object for the pack.
func (c *chain) put(t plumbing.ObjectType, b []byte) (plumbing.Hash, error) {
	obj := c.fresh.NewEncodedObject()
	obj.SetType(t)
	obj.SetSize(int64(len(b)))
	w, err := obj.Writer()
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if _, err := w.Write(b); err != nil {
		return plumbing.ZeroHash, err
	}
	return c.fresh.SetEncodedObject(obj)
}

// pack returns the new objects that the mirror does not have, as a pack.
func (c *chain) pack() ([]byte, error) {
	var list []plumbing.Hash
	for h := range c.fresh.Objects {
		if !c.objects.has(h) {
			list = append(list, h)
		}
	}
	slices.SortFunc(list, func(a, b plumbing.Hash) int { return bytes.Compare(a[:], b[:]) })
	var b bytes.Buffer
	if _, err := packfile.NewEncoder(&b, c.fresh, false).Encode(list, 0); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
