package gitpush

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"hoist/bump"
)

// Entry is one bump, rollback or release in the history of a branch, read from
// the trailers of its commit and nothing else.
type Entry struct {
	Kind    Kind
	Commit  string // hash
	Parent  string // hash of its first parent; "" for a first commit
	Time    time.Time
	Author  Author
	Subject string
	Policy  bump.Name
	Image   string
	From    string // tag, tag@digest, or a whole value that had no tag
	To      string // tag; of a release the tag that is released, "" for all of the policy
	Hold    string // of a rollback: the tag that is to stay out
	Digest  string // of To; empty where it was not reflected
	Fields  []Field
	Reason  string // what a person said
	Trigger string
	// Reverted is the newest commit whose message says that it reverts this one
	// ("This reverts commit …"); its Commit is "" where none does.
	Reverted Signed
}

// Signed is a commit, and who made it when.
type Signed struct {
	Commit string
	Time   time.Time
	Author Author
}

// HistoryOptions narrow a history down. Zero values do not.
type HistoryOptions struct {
	Since  time.Time // commits older than this are left out, and end the walk
	Until  string    // hash of a commit that is known already: neither it nor what it was built on is read
	Policy string    // "namespace:name", or a name in any namespace; may hold * and ?
	Image  string    // the repository, as the user spells it; may hold * and ?
	File   string    // a file whose fields were set; may hold * and ?
}

// History yields the bumps in the history of from, the newest first; those of
// one commit in the order of its trailers. An error ends it. It only reads.
func (m *Mirror) History(ctx context.Context, from bump.Head, opts HistoryOptions) (iter.Seq2[Entry, error], error) {
	return m.objects.history(ctx, from.Hash, opts)
}

// Clone is somebody's clone of a repository, to be read.
type Clone struct {
	objects *objects
	repo    *git.Repository
}

// OpenClone opens the clone that path lies in: a work tree, one of its
// directories, or a bare repository. It changes nothing there.
func OpenClone(path string) (*Clone, error) {
	repo, err := git.PlainOpenWithOptions(path, &git.PlainOpenOptions{EnableDotGitCommonDir: true})
	if errors.Is(err, git.ErrRepositoryNotExists) {
		repo, err = git.PlainOpenWithOptions(path, &git.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	}
	if errors.Is(err, git.ErrRepositoryNotExists) {
		if abs, absErr := filepath.Abs(path); absErr == nil {
			path = abs
		}
		return nil, fmt.Errorf("%s is not in a Git repository", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	store, ok := repo.Storer.(*filesystem.Storage)
	if !ok {
		return nil, fmt.Errorf("open %s: unknown kind of repository", path)
	}
	// The files stay open: a history reads tens of thousands of objects.
	store = filesystem.NewStorageWithOptions(store.Filesystem(), cache.NewObjectLRU(cachedBytes), filesystem.Options{KeepDescriptors: true})
	return &Clone{&objects{path: path, store: store, trees: map[plumbing.Hash]*tree{}}, repo}, nil
}

// Head returns where the branch is, or what HEAD points to for an empty name. A
// branch that is only known from a remote is found as well.
func (c *Clone) Head(branch string) (bump.Head, error) {
	if branch == "" {
		ref, err := c.repo.Head()
		if errors.Is(err, plumbing.ErrReferenceNotFound) {
			return bump.Head{}, ErrEmpty
		}
		if err != nil {
			return bump.Head{}, err
		}
		return bump.Head{Branch: ref.Name().Short(), Hash: ref.Hash().String()}, nil
	}
	for _, spec := range []string{"refs/heads/" + branch, "refs/remotes/" + branch, "refs/remotes/origin/" + branch} {
		ref, err := c.repo.Reference(plumbing.ReferenceName(spec), true)
		if err == nil {
			return bump.Head{Branch: branch, Hash: ref.Hash().String()}, nil
		}
	}
	return bump.Head{}, fmt.Errorf("%q: %w", branch, ErrNoBranch)
}

// Shallow tells whether the clone has only the newer part of the history.
func (c *Clone) Shallow() bool { return len(c.objects.shallow()) > 0 }

// Tree is [Mirror.Tree] in a clone.
func (c *Clone) Tree(h bump.Head) (fs.FS, error) {
	f, err := c.objects.files(h.Hash)
	if err != nil {
		return nil, fmt.Errorf("tree of %s at %s: %w", c.objects.path, bump.Short(h.Hash), err)
	}
	return f, nil
}

// History is [Mirror.History] in a clone.
func (c *Clone) History(ctx context.Context, from bump.Head, opts HistoryOptions) (iter.Seq2[Entry, error], error) {
	return c.objects.history(ctx, from.Hash, opts)
}

func (o *objects) history(ctx context.Context, from string, opts HistoryOptions) (iter.Seq2[Entry, error], error) {
	for _, pattern := range []string{opts.Policy, opts.Image, opts.File} {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("pattern %q: %w", pattern, err)
		}
	}
	h := plumbing.NewHash(from)
	if !o.has(h) {
		return nil, fmt.Errorf("commit %s is not here", from)
	}
	return func(yield func(Entry, error) bool) {
		reverts := make(map[string]Signed)
		for c, err := range o.walkNew(h, plumbing.NewHash(opts.Until)) {
			if err == nil {
				err = ctx.Err()
			}
			var list []Entry
			if err == nil && !c.Committer.When.Before(opts.Since) {
				list, err = o.entries(c)
			}
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if c.Committer.When.Before(opts.Since) {
				return
			}
			for _, hash := range reverted(c.Message) {
				if _, ok := reverts[hash]; !ok {
					reverts[hash] = Signed{c.Hash.String(), c.Committer.When, authorOf(c.Author)}
				}
			}
			for _, e := range list {
				e.Reverted = reverts[e.Commit]
				if opts.match(e) && !yield(e, nil) {
					return
				}
			}
		}
	}, nil
}

// entries reads what our trailers say in a commit. A release counts only in a
// commit that changes nothing, so that it cannot come with the squashed text of
// somebody's pull request.
func (o *objects) entries(c *object.Commit) ([]Entry, error) {
	if !strings.Contains(c.Message, "\nBump-") {
		return nil, nil
	}
	blocks, reason, trigger := parseTrailers(c.Message)
	list := make([]Entry, 0, len(blocks))
	for _, b := range blocks {
		if b.kind == Released {
			empty, err := o.empty(c)
			if err != nil {
				return nil, err
			}
			if !empty {
				continue
			}
		}
		list = append(list, Entry{
			Kind: b.kind, Commit: c.Hash.String(), Parent: firstParent(c), Time: c.Committer.When, Author: authorOf(c.Author),
			Subject: subject(c.Message), Policy: b.policy, Image: b.image, From: b.from, To: b.to, Hold: b.hold, Digest: b.digest,
			Fields: b.fields, Reason: reason, Trigger: trigger,
		})
	}
	return list, nil
}

// revertForm is what `git revert` writes.
var revertForm = regexp.MustCompile(`This reverts commit ([0-9a-f]{40})`)

// reverted returns the commits that a message says to revert.
func reverted(message string) (list []string) {
	if !strings.Contains(message, "This reverts commit ") {
		return nil
	}
	for _, m := range revertForm.FindAllStringSubmatch(message, -1) {
		list = append(list, strings.Clone(m[1]))
	}
	return list
}

// empty tells whether a commit changes nothing.
func (o *objects) empty(c *object.Commit) (bool, error) {
	if len(c.ParentHashes) != 1 || o.shallow()[c.Hash] {
		return false, nil
	}
	parent, err := o.commit(c.ParentHashes[0])
	return err == nil && parent.TreeHash == c.TreeHash, err
}

func firstParent(c *object.Commit) string {
	if len(c.ParentHashes) == 0 {
		return ""
	}
	return c.ParentHashes[0].String()
}

// authorOf returns who a commit names, fit to be printed.
func authorOf(s object.Signature) Author { return Author{oneLine(s.Name), oneLine(s.Email)} }

func (o HistoryOptions) match(e Entry) bool {
	return (o.Image == "" || matches(o.Image, e.Image)) &&
		(o.Policy == "" || matches(o.Policy, e.Policy.String()) || matches(o.Policy, e.Policy.Name)) &&
		(o.File == "" || slices.ContainsFunc(e.Fields, func(f Field) bool { return matches(o.File, f.File) }))
}

// matches treats / like any other character, as people mean it in images.
func matches(pattern, s string) bool {
	flat := func(s string) string { return strings.ReplaceAll(s, "/", "\x00") }
	ok, _ := path.Match(flat(pattern), flat(s))
	return ok
}
