package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hoist/bump"
	"hoist/config"
	"hoist/gitpush"
	"hoist/setter"
)

// ErrNothing says that a rollback or a release has nothing to do.
var ErrNothing = errors.New("nothing to do")

// Rollback sets the fields of a policy back to the tag "to", or each to the one
// that was there before when to is "", and holds what it takes out: one commit
// in each repository that has such fields. The reason is kept in the commit. A
// repository without such fields is not in the result; none at all is [ErrNothing].
func (h *House) Rollback(ctx context.Context, doors Doors, policy config.Policy, to, reason string) ([]PassOf, error) {
	image, _ := h.Config.Image(policy.Image)
	return h.undo(ctx, doors, policy.Name, func(r *recall, fields []ownField) (gitpush.Draft, error) {
		return r.rollback(fields, image.Image, to, reason)
	})
}

// TakenOut returns the newest of the tags that a rollback took out, "" where there was none.
func (h *House) TakenOut(policy config.Policy, passes []PassOf) (newest string) {
	for _, p := range passes {
		for _, d := range p.Pass.Drafts {
			for _, v := range verdictsOf(d.Changes) {
				tag := tagOf(v.Site.Part, v.Site.Value)
				if c, ok := h.orders[policy.Name].Compare(tag, newest); newest == "" || ok && c > 0 {
					newest = tag
				}
			}
		}
	}
	return newest
}

// Release ends the holds of a policy on a tag, or on every tag when it is "", by
// an empty commit in each repository that has them.
func (h *House) Release(ctx context.Context, doors Doors, policy config.Policy, tag, reason string) ([]PassOf, error) {
	return h.undo(ctx, doors, policy.Name, func(r *recall, fields []ownField) (gitpush.Draft, error) {
		for _, f := range fields {
			held, err := r.holds(f.Site, tag)
			if err != nil {
				return gitpush.Draft{}, err
			}
			if held {
				return gitpush.Draft{Message: gitpush.ReleaseMessage(policy.Name, tag, reason), Author: f.update.Commit.Author, Empty: true}, nil
			}
		}
		if tag == "" {
			return gitpush.Draft{}, fmt.Errorf("%w: no version is held back in the fields of policy %s", ErrNothing, policy.Name)
		}
		return gitpush.Draft{}, fmt.Errorf("%w: %s is not held back in any field of policy %s", ErrNothing, tag, policy.Name)
	})
}

// ownField is a field with the update that writes it.
type ownField struct {
	bump.Site
	update config.Update
}

// undo pushes a commit to every repository for which draft makes one. What has
// nothing to do counts only where nobody else has.
func (h *House) undo(ctx context.Context, doors Doors, policy bump.Name, draft func(*recall, []ownField) (gitpush.Draft, error)) ([]PassOf, error) {
	var all []PassOf
	nothing := fmt.Errorf("%w: no field is marked with policy %s", ErrNothing, policy)
	for _, r := range h.awake() {
		w, m, err := h.walker(r)
		p := PassOf{Repository: r.Name, Err: err}
		if err == nil {
			p.Pass, p.Err = w.repeat(ctx, func() (Proposal, error) { return w.undo(ctx, policy, draft) }, doors.Push(m))
		}
		if errors.Is(p.Err, ErrNothing) {
			nothing = p.Err
		} else if p.Err != nil || len(p.Pass.Drafts) > 0 {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		return nil, nothing
	}
	return all, nil
}

// undo proposes one commit on the newest head of the branch.
func (w *walker) undo(ctx context.Context, policy bump.Name, draft func(*recall, []ownField) (gitpush.Draft, error)) (Proposal, error) {
	var p Proposal
	if len(w.updates) == 0 {
		return p, nil
	}
	var err error
	if p.Head, err = w.mirror.Fetch(ctx); err != nil {
		return p, err
	}
	if p.Tree, err = w.mirror.Tree(p.Head); err != nil {
		return p, err
	}
	var fields []ownField
	seen := newDrafting(p.Tree, w.now())
	for _, u := range w.updates {
		sites, err := w.sites.Sites(ctx, p.Tree, setter.Options{Paths: []string{u.Path}})
		if err != nil {
			return p, fmt.Errorf("update %s: %w", u.Name.Name, err)
		}
		for _, s := range seen.unseen(sites) {
			if s.Policy == policy && s.Problem == "" {
				fields = append(fields, ownField{s, u})
			}
		}
	}
	if len(fields) == 0 {
		return p, nil
	}
	d, err := draft(w.memory.at(ctx, p.Head, p.Tree), fields)
	d.Time = w.now()
	p.Drafts = []gitpush.Draft{d}
	return p, err
}

// rollback drafts the commit that sets fields back.
func (r *recall) rollback(fields []ownField, image, to, reason string) (gitpush.Draft, error) {
	var verdicts []bump.Verdict
	var why []string
	for _, f := range digestsLast(fields) {
		if f.Part == bump.Repo {
			continue // the repository stays
		}
		goal := to
		if f.Part == bump.Digest && len(verdicts) > 0 {
			goal = verdicts[0].Selection.Tag // a digest goes with its tag
		}
		sel, refusal, err := r.target(f.Site, image, goal)
		if err != nil {
			return gitpush.Draft{}, err
		}
		value, err := setter.Value(f.Site, sel)
		switch {
		case refusal != "":
			why = append(why, f.Position()+": "+refusal)
		case err != nil:
			return gitpush.Draft{}, fmt.Errorf("%s: %w", f.Position(), err)
		case value != f.Value:
			verdicts = append(verdicts, bump.Verdict{Site: f.Site, Selection: sel, Outcome: bump.Bump, New: value})
		}
	}
	if len(verdicts) == 0 {
		if len(why) == 0 {
			why = []string{"every field of policy " + fields[0].Policy.String() + " holds " + to}
		}
		return gitpush.Draft{}, fmt.Errorf("%w: %s", ErrNothing, strings.Join(why, "; "))
	}
	changes, failed := newDrafting(r.tree, r.now()).changes(verdicts)
	for _, message := range slices.Sorted(maps.Values(failed)) {
		return gitpush.Draft{}, errors.New(message) // all of it or nothing
	}
	return gitpush.Draft{Changes: changes, Message: gitpush.RollbackMessage(verdicts, reason), Author: fields[0].update.Commit.Author}, nil
}

// digestsLast puts the fields that hold nothing but a digest behind the others.
func digestsLast(fields []ownField) []ownField {
	last := func(f ownField) bool { return f.Part == bump.Digest }
	first := slices.DeleteFunc(slices.Clone(fields), last)
	return append(first, slices.DeleteFunc(slices.Clone(fields), func(f ownField) bool { return !last(f) })...)
}

// target is what a field is set back to. The refusal says why there is nothing.
func (r *recall) target(s bump.Site, image, to string) (sel bump.Selection, refusal string, err error) {
	p, ok := r.past(s)
	if !ok {
		return sel, "", r.err
	}
	sel = bump.Selection{Policy: s.Policy, Tags: bump.Tags{Image: image}, Tag: to}
	now, hasTag := tagIn(s)
	if s.Part == bump.Whole {
		if name, _, _ := strings.Cut(s.Value, "@"); name != now {
			sel.Tags.Image = strings.TrimSuffix(name, ":"+now)
		}
	}
	if to == "" {
		to = r.before(p, now)
		sel.Tag = to
	}
	sel.Digest = p.digest(to)
	switch {
	case to == "":
		refusal = "the history does not tell what was there before; name it with --to"
	case hasTag && r.lower(s.Policy, now, to):
		refusal = fmt.Sprintf("%s is newer than %s, which is there: that is no rollback", to, now)
	}
	return sel, refusal, nil
}

// before returns the tag that a field held before the one of now, or "". What
// was newer does not count: it was taken out.
func (r *recall) before(p past, now string) string {
	part, policy := p.site.Part, p.site.Policy
	for _, c := range p.changes {
		if from := tagOf(part, c.from); tagOf(part, c.to) == now && from != now && from != "" && !r.lower(policy, now, from) {
			return from
		}
	}
	for _, rec := range p.records {
		for _, s := range rec.sets {
			if from, _, _ := strings.Cut(s.from, "@"); s.to[0] == now && !r.lower(policy, now, from) {
				return from
			}
		}
	}
	return ""
}

// digest returns the digest that the field had with a tag, or "".
func (p past) digest(tag string) string {
	for _, c := range p.changes {
		for _, v := range []string{c.from, c.to} {
			if _, d, ok := strings.Cut(v, "@"); ok && tagOf(p.site.Part, v) == tag {
				return d
			}
		}
	}
	for _, rec := range p.records {
		for _, s := range rec.sets {
			if s.to[0] == tag && s.to[2] != "" {
				return s.to[2]
			}
		}
	}
	for _, c := range p.changes {
		if p.site.Part == bump.Digest && c.to == p.site.Value {
			return c.from
		}
	}
	return ""
}

// holds tells whether a tag, or for "" any tag, is held back from a field.
func (r *recall) holds(s bump.Site, tag string) (bool, error) {
	p, ok := r.past(s)
	if !ok {
		return false, r.err
	}
	tags := []string{tag}
	if tag == "" {
		tags = p.tags()
	}
	held := tag == "" && (r.flipping(p) != "" || r.breaker(s.Policy) != nil)
	for _, t := range tags {
		held = held || r.takenOut(p, t) != ""
	}
	return held, r.err
}

// tags returns every tag that is known to have been in a field.
func (p past) tags() []string {
	seen := make(map[string]bool)
	for _, rec := range p.records {
		for t := range rec.tags {
			seen[t] = true
		}
	}
	for _, c := range p.changes {
		seen[tagOf(p.site.Part, c.from)] = true
	}
	delete(seen, "")
	return slices.Sorted(maps.Keys(seen))
}
