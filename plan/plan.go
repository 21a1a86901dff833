// Package plan decides what happens to every marked field: the room between
// "what is the newest allowed tag" and "write it". It takes Sites and Selections
// and gives one Verdict per site, each with a reason that a person understands.
//
// It promises N9: a field that holds a newer version than the selected one is
// held, never set back. It is pure – no network, clock, disk or Git – so the
// same input gives the same verdicts in the same order.
package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"hoist/bump"
)

// Order compares two tags as one policy does: c > 0 when a is newer than b. ok is
// false when a or b is not a version in the eyes of the policy ("latest").
type Order interface {
	Compare(a, b string) (c int, ok bool)
}

// unsure is an Order that may know nothing of a tag. It calls that tag the newer.
type unsure interface{ Unknown(tag string) bool }

// Input is what Decide looks at. It is not changed.
type Input struct {
	Sites      []bump.Site
	Orders     map[bump.Name]Order          // every policy of the configuration
	Selections map[bump.Name]bump.Selection // what each policy selected; a policy without one was not scanned yet
	// Value gives what a site would hold under a selection.
	Value func(bump.Site, bump.Selection) (string, error)
	// Hold says why the history of the branch keeps a selection out of a field, and
	// "" where it does not. It is asked about bumps only. nil means there is no history.
	Hold func(bump.Site, bump.Selection) string

	Rules    Rules
	Calendar Calendar // of Rules
	Now      time.Time
	Recent   int // policies that moved on the branch in the last hour, as far as Rules asks
}

// Decide returns a verdict for every site, in the order of the sites.
func Decide(in Input) []bump.Verdict {
	verdicts := make([]bump.Verdict, len(in.Sites))
	for i, s := range in.Sites {
		verdicts[i] = in.decide(s)
	}
	in.restrain(verdicts)
	holdSiblings(verdicts)
	return verdicts
}

func (in Input) decide(s bump.Site) bump.Verdict {
	v := bump.Verdict{Site: s}
	if s.Problem != "" {
		return problem(v, s.Problem)
	}
	order, known := in.Orders[s.Policy]
	if !known {
		return problem(v, in.unknown(s.Policy))
	}
	selection, scanned := in.Selections[s.Policy]
	if !scanned {
		return held(v, "the registry has not been read yet")
	}
	v.Selection = selection
	if selection.Err != nil {
		return held(v, selection.Err.Error())
	}
	value, err := in.Value(s, selection)
	switch {
	case err != nil && !selection.Proven:
		return lookUp(v) // what the value needs may be known then
	case err != nil:
		return problem(v, err.Error())
	}
	v = in.compare(v, value, order)
	if v.Outcome == bump.Bump && s.Note != "" {
		v.Reason = strings.TrimPrefix(v.Reason+"; "+s.Note, "; ")
	}
	if v.Outcome == bump.Bump && in.Hold != nil {
		if reason := in.Hold(s, selection); reason != "" {
			return held(v, reason)
		}
	}
	switch {
	case v.Outcome == bump.Bump && !selection.Proven:
		return lookUp(v)
	case v.Outcome == bump.Current && len(selection.PassedOver) > 0 && hasTag(s):
		first := selection.PassedOver[0]
		return held(v, fmt.Sprintf("%s is newer and passed over: %s", first.Tag, first.Reason))
	}
	return v
}

// lookUp holds a bump back until the registry was asked about its tag.
func lookUp(v bump.Verdict) bump.Verdict {
	v = held(v, fmt.Sprintf("%s is looked up in the registry before it is written", v.Selection.Tag))
	v.LookUp = true
	return v
}

// ToLookUp returns the policies whose tags have to be looked up before the plan
// can be carried out, each once, in the order of the verdicts.
func ToLookUp(verdicts []bump.Verdict) []bump.Name {
	var names []bump.Name
	for _, v := range verdicts {
		if v.LookUp && !slices.Contains(names, v.Site.Policy) {
			names = append(names, v.Site.Policy)
		}
	}
	return names
}

// compare decides between the value now and the one that the selection gives.
func (in Input) compare(v bump.Verdict, value string, order Order) bump.Verdict {
	if value == v.Site.Value {
		v.Outcome = bump.Current
		return v
	}
	now, hasTag := tagOf(v.Site)
	if !hasTag { // a name or a digest alone has no order
		return bumped(v, value, "")
	}
	if now == "" {
		return bumped(v, value, "no tag is there yet")
	}
	if now == v.Selection.Tag {
		return sameTag(v, value)
	}
	c, ok := order.Compare(v.Selection.Tag, now)
	switch {
	case !ok:
		return bumped(v, value, fmt.Sprintf("replaces %q, which is not a version of policy %s", now, v.Site.Policy))
	case c < 0 && in.Rules.AllowDowngrade:
		return bumped(v, value, fmt.Sprintf("goes back from %s, since allowDowngrade is set", now))
	case c < 0 && unknown(order, now):
		return held(v, fmt.Sprintf("nothing is known of %s, so it cannot be told whether %s is newer: its registry may not have it any more; set the field by hand to go on",
			now, v.Selection.Tag))
	case c < 0:
		return held(v, fmt.Sprintf("%s is newer than %s, the newest that policy %s allows", now, v.Selection.Tag, v.Site.Policy))
	case c == 0 && otherRepository(v.Site, v.Selection):
		return bumped(v, value, "same version, other repository")
	case c == 0:
		v.Outcome, v.Reason = bump.Current, fmt.Sprintf("%s is the same version as %s", now, v.Selection.Tag)
		return v
	}
	return bumped(v, value, "")
}

func unknown(order Order, tag string) bool {
	u, ok := order.(unsure)
	return ok && u.Unknown(tag)
}

// sameTag decides where the field has the selected tag already, but another
// repository or digest with it.
func sameTag(v bump.Verdict, value string) bump.Verdict {
	before := digestOf(v.Site)
	switch {
	case otherRepository(v.Site, v.Selection):
		return bumped(v, value, "same tag, other repository")
	case before != "" && v.Selection.KeepDigest:
		v.Outcome, v.Reason = bump.Current, "keeps the digest that it was given"
		return v
	case before != "" && v.Selection.Digest != "":
		return bumped(v, value, fmt.Sprintf("%s was pushed again: its digest was %s", v.Selection.Tag, before))
	}
	return bumped(v, value, "")
}

func bumped(v bump.Verdict, value, reason string) bump.Verdict {
	v.Outcome, v.New, v.Reason = bump.Bump, value, reason
	return v
}

func held(v bump.Verdict, reason string) bump.Verdict {
	v.Outcome, v.New, v.Reason, v.LookUp = bump.Held, "", reason, false
	return v
}

func problem(v bump.Verdict, reason string) bump.Verdict {
	v.Outcome, v.Reason = bump.Problem, reason
	return v
}

func (in Input) unknown(name bump.Name) string {
	reason := fmt.Sprintf("marker names unknown policy %q", name)
	var near bump.Name
	for other := range in.Orders {
		if other.Name == name.Name && (near == bump.Name{} || other.String() < near.String()) {
			near = other
		}
	}
	if near != (bump.Name{}) {
		reason += fmt.Sprintf("; did you mean %q?", near)
	}
	return reason
}

// otherRepository tells whether a site holds a whole reference to another
// repository than the policy selects from.
func otherRepository(s bump.Site, sel bump.Selection) bool {
	ref, _, _ := strings.Cut(s.Value, "@")
	now, _ := tagOf(s)
	return s.Part == bump.Whole && strings.TrimSuffix(ref, ":"+now) != sel.Image()
}

// hasTag tells whether a site holds a tag by its nature.
func hasTag(s bump.Site) bool {
	_, ok := tagOf(s)
	return ok
}

// digestOf returns the digest behind the "@" of a site's value, "" where there is none.
func digestOf(s bump.Site) string {
	_, digest, _ := strings.Cut(s.Value, "@")
	return digest
}

// tagOf returns the tag that a site holds now; ok is false where the site holds
// none by its nature.
func tagOf(s bump.Site) (tag string, ok bool) {
	switch s.Part {
	case bump.Tag:
		tag, _, _ = strings.Cut(s.Value, "@")
		return tag, true
	case bump.Whole:
		ref, _, _ := strings.Cut(s.Value, "@")
		if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
			return ref[i+1:], true
		}
		return "", true
	}
	return "", false
}
