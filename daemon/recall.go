package daemon

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"hoist/bump"
	"hoist/gitpush"
)

// A field that was set maxFlips times within flipWindow and each time set back
// by somebody else is left alone until the window has passed.
const (
	maxFlips   = 3
	flipWindow = time.Hour
)

// recall is the memory of a branch during one pass.
type recall struct {
	*memory
	ctx  context.Context
	head bump.Head
	tree fs.FS
	err  error // why the history could not be read; what was answered since is not to be used
}

// at returns what can be asked about a head. Nothing is read before the first
// question. A nil memory remembers nothing.
func (m *memory) at(ctx context.Context, head bump.Head, tree fs.FS) *recall {
	return &recall{memory: m, ctx: ctx, head: head, tree: tree}
}

// load reads what is new, and tells whether there is something to ask.
func (r *recall) load() bool {
	if r.memory == nil || r.err != nil {
		return false
	}
	r.err = r.update(r.ctx, r.head)
	return r.err == nil
}

// hold says why the selected version has to stay out of the site, or "".
func (r *recall) hold(s bump.Site, sel bump.Selection) string {
	p, ok := r.past(s)
	if !ok {
		return ""
	}
	if reason := r.flipping(p); reason != "" {
		return reason
	}
	if b := r.breaker(s.Policy); b != nil {
		return b.String()
	}
	if reason := r.digestOut(p, sel); reason != "" {
		return reason
	}
	return r.takenOut(p, sel.Tag)
}

// digestOut says that what a tag points to now was rolled back, or "": where the
// tag stays, the digest is what a rollback holds.
func (r *recall) digestOut(p past, sel bump.Selection) string {
	if sel.Digest == "" {
		return ""
	}
	for _, what := range []string{sel.Tag + "@" + sel.Digest, sel.Digest} {
		if e, ok := p.event(what); ok && e.out {
			return story(what, e, true, trail{}) + fmt.Sprintf("; it stays out until the tag points elsewhere, there is a newer version or someone sets it by hand; `hoist release %s` ends this",
				nameOf(p.site.Policy))
		}
	}
	return ""
}

// past is what is known of a field: what we did to it, in the file that it is in
// and in those that it was in before, and what anybody did in the last steps of
// the branch.
type past struct {
	site    bump.Site
	records []*record
	changes []change
}

// past collects what is known of a field; ok is false when nothing can be asked.
func (r *recall) past(s bump.Site) (p past, ok bool) {
	if !r.load() {
		return p, false
	}
	p.site = s
	var files []string
	if p.changes, files, r.err = r.lineage.changes(r.ctx, s); r.err != nil {
		return p, false
	}
	id := gitpush.FieldID(s)
	for _, file := range files {
		for _, rec := range r.index.fields[place{s.Policy, file}] {
			if rec.id == id || rec.path == s.Field && !r.present(s, rec.id) {
				p.records = append(p.records, rec)
			}
		}
	}
	return p, r.err == nil
}

// present tells whether another field of the file has the ID now: then what is
// remembered under it is not about this one.
func (r *recall) present(s bump.Site, id string) bool {
	fields, err := fieldsIn(r.ctx, r.tree, s.File)
	if err != nil {
		r.err = err
	}
	return slices.ContainsFunc(fields, func(f fieldValue) bool { return f.policy == s.Policy && f.id == id })
}

// takenOut says when a tag was in the field and who took it out, or "".
func (r *recall) takenOut(p past, tag string) string {
	now, hasTag := tagIn(p.site)
	if !hasTag || now == tag || r.lower(p.site.Policy, tag, now) {
		return ""
	}
	in, known := p.event(tag)
	trail := r.trail(p, tag)
	if !known && !trail.was {
		return ""
	}
	return story(tag, in, known, trail) + fmt.Sprintf("; it stays out until there is a newer version or someone sets it by hand; `hoist release %s %s` ends this",
		nameOf(p.site.Policy), tag)
}

// story tells how a tag came to be out of a field.
func story(tag string, in event, known bool, t trail) string {
	switch {
	case known && in.out:
		why := ""
		if in.reason != "" {
			why = fmt.Sprintf(" (%q)", in.reason)
		}
		return fmt.Sprintf("%s was rolled back on %s in %s%s", tag, day(in.time), bump.Short(in.commit), why)
	case known && in.dropped && t.out == nil:
		return fmt.Sprintf("%s was set here on %s (%s), which the branch was rewound behind", tag, day(in.time), bump.Short(in.commit))
	}
	set := tag + " was set here"
	switch {
	case known:
		set += fmt.Sprintf(" on %s (%s)", day(in.time), bump.Short(in.commit))
	case t.in != nil:
		set += fmt.Sprintf(" by %s on %s (%s)", t.in.Author.Name, day(t.in.Time), bump.Short(t.in.Commit))
	}
	if t.out == nil {
		return set + " and somebody took it out"
	}
	return set + fmt.Sprintf(" and taken out by %s on %s in %s", t.out.Author.Name, day(t.out.Time), bump.Short(t.out.Commit))
}

// event returns the newest of what our trailers say about a tag.
func (p past) event(tag string) (e event, ok bool) {
	for _, rec := range p.records {
		if x, has := rec.tags[tag]; has && (!ok || x.time.After(e.time)) {
			e, ok = x, true
		}
	}
	return e, ok
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// nameOf is a policy as people type it.
func nameOf(p bump.Name) string {
	if p.Namespace == bump.DefaultNamespace {
		return p.Name
	}
	return p.String()
}

// trail is what the last steps of the branch say about a tag in a field.
type trail struct {
	was bool
	in  *change // that brought it, where that is in sight
	out *change // of somebody else, that took it out
}

// trail looks for a tag in the steps of a field, back to its release.
func (r *recall) trail(p past, tag string) trail {
	var t trail
	policy, part := p.site.Policy, p.site.Part
	for _, c := range p.changes {
		if r.isReleased(policy, tag, c) {
			break
		}
		from, to := tagOf(part, c.from), tagOf(part, c.to)
		if from == to {
			continue
		}
		if to == tag {
			t.was, t.in = true, &c
			break
		}
		ours := bumps(c.Step, policy)
		if from == tag && ours && r.lower(policy, to, from) {
			break // by us, who were allowed to: nobody took it out
		}
		if falls := from == tag || r.lower(policy, tag, from); t.out == nil && !ours && falls && !r.lower(policy, tag, to) {
			t.out = &c
		}
		t.was = t.was || from == tag
	}
	return t
}

// isReleased tells whether a change came before the release of a tag.
func (r *recall) isReleased(policy bump.Name, tag string, c change) bool {
	for _, which := range []release{{policy, tag}, {policy, ""}} {
		if at, ok := r.lineage.released[which]; ok && c.at > at {
			return true
		}
		if at, ok := r.index.released[which]; ok && c.Time.Before(at) {
			return true
		}
	}
	return false
}

func bumps(step gitpush.Step, policy bump.Name) bool {
	return slices.ContainsFunc(step.Entries, func(e gitpush.Entry) bool { return e.Kind == gitpush.Bumped && e.Policy == policy })
}

// flipping says that somebody else sets the field back whenever we set it, or "".
func (r *recall) flipping(p past) string {
	undone := p.undone(r.now().Add(-flipWindow))
	if len(undone) < maxFlips {
		return ""
	}
	who := "somebody"
	if i := slices.IndexFunc(p.changes, func(c change) bool { return !bumps(c.Step, p.site.Policy) }); i >= 0 {
		who = fmt.Sprintf("%s (%s)", p.changes[i].Author.Name, bump.Short(p.changes[i].Commit))
	}
	first, end := undone[len(undone)-1].time, undone[maxFlips-1].time.Add(flipWindow)
	reason := fmt.Sprintf("set here %d times since %s and set back each time, last by %s; left alone until %s: find out who else writes this field; `hoist release %s` ends this",
		len(undone), first.UTC().Format(time.TimeOnly), who, end.UTC().Format(time.TimeOnly), nameOf(p.site.Policy))
	if key := strings.Join([]string{p.site.File, gitpush.FieldID(p.site), undone[0].commit}, "\x00"); !r.told[key] {
		r.told[key] = true
		r.flips = append(r.flips, flip{p.site, reason})
	}
	return reason
}

// undone returns our bumps of the field since then that were set back, the newest first.
func (p past) undone(since time.Time) []set {
	var sets, undone []set
	for _, rec := range p.records {
		sets = append(sets, rec.sets...)
	}
	slices.SortStableFunc(sets, func(a, b set) int { return b.time.Compare(a.time) })
	after := valueNow(p.site)
	for _, s := range sets {
		if s.time.Before(since) {
			break
		}
		if !slices.Contains(s.to[:], after) && !p.rolledBack(s) {
			undone = append(undone, s)
		}
		after = s.from
	}
	return undone
}

// rolledBack tells whether a bump was taken back by a rollback, which nobody else did.
func (p past) rolledBack(s set) bool {
	return slices.ContainsFunc(s.to[:], func(what string) bool {
		e, ok := p.event(what)
		return ok && e.out && !e.time.Before(s.time)
	})
}

// valueNow is what a field holds, as Bump-From would say it.
func valueNow(s bump.Site) string {
	tag := tagOf(s.Part, s.Value)
	if s.Part != bump.Whole || tag == "" {
		return s.Value
	}
	if _, digest, ok := strings.Cut(s.Value, "@"); ok {
		return tag + "@" + digest
	}
	return tag
}
