package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"hoist/bump"
	"hoist/gitpush"
	"hoist/reconcile"
	"hoist/setter"
)

// finding is what became of a complaint: the reason for the commit that rolls
// back, or why there is none, and whether there may be one later.
type finding struct {
	reason, why string
	later       bool
}

// accuse proposes the commit that takes back the bumps which made an app
// unhealthy, on the newest head of the branch. What was applied lies behind it
// perhaps: only what still stands there is taken back.
func (w *walker) accuse(ctx context.Context, c complaint) (Proposal, finding, error) {
	head, err := w.mirror.Fetch(ctx)
	if err != nil {
		return Proposal{}, finding{}, err
	}
	p := Proposal{Head: head}
	if p.Tree, err = w.mirror.Tree(head); err != nil {
		return p, finding{}, err
	}
	r := w.memory.at(ctx, head, p.Tree)
	if !r.load() {
		return p, finding{why: "the branch has no history to read"}, r.err
	}
	proven := bump.Head{Hash: hashIn(c.trial.Proven)}
	if within, err := w.history.Contains(head, proven); err != nil || !within {
		return p, finding{why: fmt.Sprintf("%s, at which the app was last well, is no longer in the branch", bump.Short(proven.Hash))}, err
	}
	trace := &trace{walker: w, recall: r, complaint: c, proven: proven.Hash}
	e := evidence{sick: c.sick, after: c.after(), now: w.now()}
	if e.suspects, err = trace.suspects(); err != nil {
		return p, finding{}, err
	}
	coming, err := trace.fixes(&e)
	if err != nil {
		return p, finding{}, err
	}
	if coming != nil {
		return p, finding{why: fmt.Sprintf("%s by %s is not applied yet", bump.Short(coming.Commit), coming.Author.Name), later: true}, nil
	}
	guilty, why, later := e.guilty()
	if len(guilty) == 0 {
		return p, finding{why: why, later: later}, nil
	}
	draft, reason, err := c.draft(r, guilty)
	p.Drafts = []gitpush.Draft{draft}
	return p, finding{reason: reason}, err
}

// hashIn returns the commit of a revision in the spelling of [bump.Head].
func hashIn(revision string) string {
	_, hash, _ := strings.Cut(revision, "@sha1:")
	return hash
}

// trace follows what an app got since it was last well.
type trace struct {
	*walker
	recall    *recall
	complaint complaint
	proven    string
}

// suspects lists the fields of the app that hold what we bumped since then.
func (t *trace) suspects() ([]suspect, error) {
	recent, err := t.bumps(gitpush.HistoryOptions{Until: t.proven})
	if err != nil || len(recent) == 0 {
		return nil, err
	}
	after := t.complaint.after()
	older, err := t.bumps(gitpush.HistoryOptions{Since: recent[len(recent)-1].Time.Add(-maxOvertaken * after)})
	if err != nil {
		return nil, err
	}
	var all []suspect
	seen := newDrafting(t.recall.tree, t.now())
	for _, u := range t.updates {
		found, err := t.sites.Find(t.recall.ctx, t.recall.tree, u.Options(t.images))
		if err != nil {
			return nil, fmt.Errorf("update %s: %w", u.Name.Name, err)
		}
		for _, s := range seen.unseen(found.Sites) {
			if s.Problem != "" || s.Part == bump.Repo || !t.complaint.set.Touches(s.File) {
				continue
			}
			one, ok, err := t.suspect(ownField{s, u}, recent, older)
			if err != nil {
				return nil, err
			}
			if ok {
				all = append(all, one)
			}
		}
	}
	return all, nil
}

// bumps lists our bumps, the newest first.
func (t *trace) bumps(opts gitpush.HistoryOptions) ([]gitpush.Entry, error) {
	list, err := t.history.History(t.recall.ctx, t.recall.head, opts)
	if err != nil {
		return nil, err
	}
	var all []gitpush.Entry
	for e, err := range list {
		if err != nil {
			return nil, err
		}
		if e.Kind == gitpush.Bumped {
			all = append(all, e)
		}
	}
	return all, nil
}

// maxOvertaken bounds how far behind the proven revision bumps are looked for
// that were overtaken, in times of a trial.
const maxOvertaken = 10

// suspect follows the bumps of a field back from what it holds now, as far as
// each left what the next one found. What the trailers say is not enough: the
// commits must have done it. An older bump that was overtaken by the next one
// before its own time was over has proven nothing, and is followed as well.
func (t *trace) suspect(f ownField, recent, older []gitpush.Entry) (s suspect, ok bool, err error) {
	s = suspect{ownField: f, before: f.Value}
	var last gitpush.Entry
	for _, e := range older {
		isRecent := slices.ContainsFunc(recent, func(r gitpush.Entry) bool { return r.Commit == e.Commit })
		switch {
		case !sets(e, f):
			continue
		case !isRecent && (!ok || last.Time.Sub(e.Time) >= t.complaint.after()):
			return t.followed(s, ok)
		}
		after, there, err := t.valueAt(e.Commit, f)
		if err != nil {
			return s, false, err
		}
		before, was, err := t.valueAt(e.Parent, f)
		if err != nil {
			return s, false, err
		}
		if !there || !was || after != s.before || before == after {
			break
		}
		if !ok {
			ok, s.bump = true, e
		}
		s.before, last = before, e
	}
	return t.followed(s, ok)
}

// sets tells whether an entry names a field.
func sets(e gitpush.Entry, f ownField) bool {
	return e.Policy == f.Policy && slices.ContainsFunc(e.Fields, func(x gitpush.Field) bool {
		return x.File == f.File && (x.ID == gitpush.FieldID(f.Site) || x.Path == f.Field)
	})
}

// followed completes a suspect. A field that went down, as the configuration
// allows, is none: back would be up.
func (t *trace) followed(s suspect, ok bool) (suspect, bool, error) {
	if !ok || t.recall.lower(s.Policy, tagOf(s.Part, s.Value), tagOf(s.Part, s.before)) {
		return s, false, nil
	}
	var err error
	s.applied, err = t.applied(s.bump.Commit)
	return s, true, err
}

// valueAt returns what a field held at a commit.
func (t *trace) valueAt(commit string, f ownField) (string, bool, error) {
	tree, err := t.mirror.Tree(bump.Head{Hash: commit})
	if err != nil || commit == "" {
		return "", false, err
	}
	opt := f.update.Options(t.images)
	opt.Paths = []string{f.File}
	sites, err := setter.Sites(t.recall.ctx, tree, opt)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	id := gitpush.FieldID(f.Site)
	i := slices.IndexFunc(sites, func(s bump.Site) bool {
		return s.Problem == "" && s.Policy == f.Policy && s.Part == f.Part && gitpush.FieldID(s) == id
	})
	if err != nil || i < 0 {
		return "", false, err
	}
	return sites[i].Value, true, nil
}

// applied returns when the cluster got a commit: with the first try that holds
// it. The zero time is returned for one that it has not got.
func (t *trace) applied(commit string) (time.Time, error) {
	for _, try := range t.complaint.trial.Tries {
		if try.Applied.IsZero() {
			continue
		}
		holds, err := t.history.Contains(bump.Head{Hash: hashIn(try.Revision)}, bump.Head{Hash: commit})
		if holds {
			return try.Applied, nil
		}
		if err != nil && !t.gone(try) {
			return time.Time{}, err
		}
	}
	return time.Time{}, nil
}

// gone tells whether a revision that was tried is no longer in the branch: a
// rewind, and an empty disk.
func (t *trace) gone(try reconcile.Try) bool {
	within, err := t.history.Contains(t.recall.head, bump.Head{Hash: hashIn(try.Revision)})
	return err == nil && !within
}

// fixes notes when the cluster got the newest change that a person made of the
// app since then: somebody is at work there. One that it has not got is returned;
// one that changed nothing there does not count.
func (t *trace) fixes(e *evidence) (coming *gitpush.Step, err error) {
	for _, step := range t.recall.lineage.steps {
		if step.Commit == t.proven {
			break
		}
		if len(step.Entries) > 0 || !slices.ContainsFunc(step.Touches, func(x gitpush.Touch) bool { return t.complaint.set.Touches(x.File) }) {
			continue
		}
		there, err := t.history.Contains(t.complaint.head, bump.Head{Hash: step.Commit})
		if err != nil || !there {
			return &step, err
		}
		if e.fixed, err = t.applied(step.Commit); err != nil || !e.fixed.IsZero() {
			return nil, err
		}
	}
	return nil, nil
}

// draft makes the commit that gives fields what they held before.
func (c complaint) draft(r *recall, guilty []suspect) (d gitpush.Draft, reason string, err error) {
	var verdicts []bump.Verdict
	for _, s := range guilty {
		tag := tagOf(s.Part, s.before)
		if s.Part == bump.Digest {
			tag, _, _ = strings.Cut(s.bump.From, "@")
		}
		_, digest, _ := strings.Cut(s.before, "@")
		verdicts = append(verdicts, bump.Verdict{Site: s.Site, Outcome: bump.Bump, New: s.before,
			Selection: bump.Selection{Policy: s.Policy, Tags: bump.Tags{Image: s.bump.Image}, Tag: tag, Digest: digest}})
	}
	changes, failed := newDrafting(r.tree, r.now()).changes(verdicts)
	for _, message := range slices.Sorted(maps.Values(failed)) {
		return d, "", errors.New(message) // all of it or nothing
	}
	reason, story := c.tell(guilty[0].bump.Commit)
	return gitpush.Draft{Changes: changes, Message: gitpush.HealthRollbackMessage(verdicts, reason, story), Author: guilty[0].update.Commit.Author, Time: r.now()}, reason, nil
}

// Bounds of what a commit quotes.
const (
	maxQuoted = 300 // bytes of one object's message
	maxSick   = 10  // objects
)

// tell says why the commit bad is rolled back: in one line, and with every sick object.
func (c complaint) tell(bad string) (reason, story string) {
	head := fmt.Sprintf("app %s was not ready %s after it got %s", c.app.Name.Name, bump.Spell(c.after()), bump.Short(bad))
	if slices.ContainsFunc(c.sick, func(s reconcile.Sick) bool { return s.Failed }) {
		head = fmt.Sprintf("app %s failed with %s", c.app.Name.Name, bump.Short(bad))
	}
	story = head + ":\n"
	for i, s := range c.sick {
		if i == maxSick {
			story += fmt.Sprintf("\n    and %d more", len(c.sick)-i)
			break
		}
		story += fmt.Sprintf("\n    %s: %s", s.Object, quoted(s.Message))
	}
	return head + ": " + c.sick[0].Object.String() + ": " + quoted(c.sick[0].Message), story
}

// quoted puts a message on one line of bounded length.
func quoted(message string) string {
	message = strings.Join(strings.Fields(message), " ")
	if len(message) <= maxQuoted {
		return message
	}
	return strings.ToValidUTF8(message[:maxQuoted], "") + "…"
}
