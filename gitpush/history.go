package gitpush

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"hoist/bump"
)

// Entry is one bump in the history of a branch, read from the trailers of its
// commit and nothing else.
type Entry struct {
	Commit  string // hash
	Time    time.Time
	Author  Author
	Subject string
	Policy  bump.Name
	Image   string
	From    string   // tag, tag@digest, or a whole value that had no tag
	To      string   // tag
	Digest  string   // of To; empty where it was not reflected
	Fields  []string // "file:line path"
	Trigger string
}

// HistoryOptions narrow a history down. Zero values do not.
type HistoryOptions struct {
	Since  time.Time // commits older than this are left out, and end the walk
	Until  string    // hash of a commit that is known already: the walk ends before it
	Policy string    // "namespace:name", or a name in any namespace; may hold * and ?
	Image  string    // the repository, as the user spells it; may hold * and ?
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

// History is [Mirror.History] in a clone.
func (c *Clone) History(ctx context.Context, from bump.Head, opts HistoryOptions) (iter.Seq2[Entry, error], error) {
	return c.objects.history(ctx, from.Hash, opts)
}

func (o *objects) history(ctx context.Context, from string, opts HistoryOptions) (iter.Seq2[Entry, error], error) {
	for _, pattern := range []string{opts.Policy, opts.Image} {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("pattern %q: %w", pattern, err)
		}
	}
	h := plumbing.NewHash(from)
	if !o.has(h) {
		return nil, fmt.Errorf("commit %s is not here", from)
	}
	return func(yield func(Entry, error) bool) {
		for c, err := range o.walk(h) {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if c.Committer.When.Before(opts.Since) || c.Hash.String() == opts.Until {
				return
			}
			for _, e := range entries(c) {
				if opts.match(e) && !yield(e, nil) {
					return
				}
			}
		}
	}, nil
}

// entries reads the bumps of a commit.
func entries(c *object.Commit) []Entry {
	blocks, trigger := parseTrailers(c.Message)
	list := make([]Entry, 0, len(blocks))
	for _, b := range blocks {
		list = append(list, Entry{
			Commit: c.Hash.String(), Time: c.Committer.When, Author: Author{c.Author.Name, c.Author.Email},
			Subject: subject(c.Message), Policy: b.policy, Image: b.image, From: b.from, To: b.to, Digest: b.digest,
			Fields: b.fields, Trigger: trigger,
		})
	}
	return list
}

func (o HistoryOptions) match(e Entry) bool {
	return (o.Image == "" || matches(o.Image, e.Image)) &&
		(o.Policy == "" || matches(o.Policy, e.Policy.String()) || matches(o.Policy, e.Policy.Name))
}

// matches treats / like any other character, as people mean it in images.
func matches(pattern, s string) bool {
	flat := func(s string) string { return strings.ReplaceAll(s, "/", "\x00") }
	ok, _ := path.Match(flat(pattern), flat(s))
	return ok
}
