// Package daemon is the loop that leads a bump through the house: scans fill the
// board, a pass per repository proposes and pushes, and the commit that was just
// pushed goes straight to the apps of that repository.
//
// Only this package, the scanner and the reconciler's watchers start goroutines.
// Triggers ask for a pass; they never run one. It promises that a pass may be
// killed at any point: Git and the cluster are the only memory, and the next
// pass starts by looking at them.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"time"

	"hoist/bump"
	"hoist/config"
	"hoist/gitpush"
	"hoist/plan"
	"hoist/setter"
)

// maxAttempts is how often one pass starts over because the remote has moved.
const maxAttempts = 10

// mirror is a Git branch as a pass sees it.
type mirror interface {
	Fetch(context.Context) (bump.Head, error)
	Tree(bump.Head) (fs.FS, error)
}

// pushFunc is the door to the remote. It returns the commits as they were read
// back, and an error that is gitpush.ErrMoved when somebody else was first.
type pushFunc func(context.Context, bump.Head, []gitpush.Draft) ([]bump.Commit, error)

// Proposal is what a pass would push: everything decided, nothing written.
type Proposal struct {
	Head     bump.Head
	Tree     fs.FS // of Head
	Verdicts []bump.Verdict
	Drafts   []gitpush.Draft
	Warnings []string
	Notices  []string // files that were passed over and may hold markers
}

// Pass is one walk through a repository.
type Pass struct {
	Proposal
	Commits []bump.Commit // what is on the remote because of this pass
}

// Newest returns the head that the pass leaves behind.
func (p Pass) Newest() bump.Head {
	if len(p.Commits) == 0 {
		return p.Head
	}
	return p.Commits[len(p.Commits)-1].Head
}

// walker walks one repository.
type walker struct {
	repository gitpush.Repository
	updates    []config.Update // of this repository
	orders     map[bump.Name]plan.Order
	images     map[bump.Name]string // that each policy chooses from
	mirror     mirror
	history    historian // of the mirror; nil where the branch has none to read
	sites      *setter.Cache
	memory     *memory // nil where the branch has no history to read
	now        func() time.Time
	// lookUp looks up the tags that a proposal waits for, before it is made. nil:
	// the proposal is made without them, and whoever takes it sees to that.
	lookUp func(context.Context, []bump.Name)
}

// pass proposes and pushes, and starts over on the new head when somebody else
// pushed first.
func (w *walker) pass(ctx context.Context, selections func() map[bump.Name]bump.Selection, push pushFunc) (Pass, error) {
	return w.repeat(ctx, func() (Proposal, error) { return w.propose(ctx, selections) }, push)
}

// repeat proposes and pushes until nobody else was first.
func (w *walker) repeat(ctx context.Context, propose func() (Proposal, error), push pushFunc) (Pass, error) {
	for attempt := 1; ; attempt++ {
		proposal, err := propose()
		if err != nil || len(proposal.Drafts) == 0 {
			return Pass{Proposal: proposal}, err
		}
		commits, err := push(ctx, proposal.Head, proposal.Drafts)
		if !errors.Is(err, gitpush.ErrMoved) || attempt == maxAttempts {
			return Pass{Proposal: proposal, Commits: commits}, err
		}
		if err := Pause(ctx, rand.N(time.Duration(attempt)*50*time.Millisecond)); err != nil {
			return Pass{Proposal: proposal}, err
		}
	}
}

// propose decides about the newest commit of the branch. It only reads.
func (w *walker) propose(ctx context.Context, selections func() map[bump.Name]bump.Selection) (Proposal, error) {
	head, err := w.mirror.Fetch(ctx)
	if err != nil {
		return Proposal{}, err
	}
	tree, err := w.mirror.Tree(head)
	if err != nil {
		return Proposal{Head: head}, err
	}
	look := sight{head: head, tree: tree, recall: w.memory.at(ctx, head, tree)}
	if look.recent, err = w.movedLately(ctx, head); err != nil {
		return Proposal{Head: head, Tree: tree}, err
	}
	p, err := w.decide(ctx, look, selections())
	if open := plan.ToLookUp(p.Verdicts); err == nil && len(open) > 0 && w.lookUp != nil {
		w.lookUp(ctx, open)
		p, err = w.decide(ctx, look, selections())
	}
	return p, err
}

// sight is what a pass sees of the branch.
type sight struct {
	head   bump.Head
	tree   fs.FS
	recall *recall
	recent int // policies that moved in the last hour, where a rule asks
}

// decide drafts what the selections ask for.
func (w *walker) decide(ctx context.Context, at sight, selections map[bump.Name]bump.Selection) (Proposal, error) {
	draft := newDrafting(at.tree, w.now())
	for _, u := range w.updates {
		found, err := w.sites.Find(ctx, at.tree, u.Options(w.images))
		if ctx.Err() != nil {
			return Proposal{Head: at.head, Tree: at.tree}, ctx.Err()
		}
		if err != nil { // of this update; the others go on
			draft.verdicts = append(draft.verdicts, unreadable(u, err))
			continue
		}
		draft.notices = append(draft.notices, found.Notices...)
		draft.add(u, plan.Decide(plan.Input{
			Sites: draft.unseen(found.Sites), Orders: w.orders, Selections: selections, Value: setter.Value, Hold: at.recall.hold,
			Rules: u.Rules, Calendar: u.Calendar, Now: w.now(), Recent: at.recent + len(draft.drafts),
		}))
	}
	if at.recall.err != nil { // what is not remembered might be put back
		return Proposal{Head: at.head, Tree: at.tree}, fmt.Errorf("read history of %s: %w", at.head.Branch, at.recall.err)
	}
	return Proposal{
		Head: at.head, Tree: at.tree, Verdicts: draft.verdicts, Drafts: draft.drafts, Warnings: draft.warnings, Notices: draft.notices,
	}, nil
}

// unreadable is the verdict on an update whose files cannot be read.
func unreadable(u config.Update, err error) bump.Verdict {
	at := strings.Join(u.Roots(), ", ")
	if file := new(fs.PathError); errors.As(err, &file) {
		at = file.Path
	}
	reason := fmt.Sprintf("update %s: %v", u.Name.Name, err)
	if errors.Is(err, fs.ErrNotExist) {
		reason = fmt.Sprintf("update %s: the repository has no %q; correct the update's path", u.Name.Name, at)
	}
	return bump.Verdict{Site: bump.Site{File: at, Problem: reason}, Outcome: bump.Problem, Reason: reason}
}

// Pause waits for d, or until ctx ends and then returns its error.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
