package plan

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"hoist/bump"
)

// numbers orders tags that are whole numbers.
type numbers struct{}

func (numbers) Compare(a, b string) (int, bool) {
	x, err1 := strconv.Atoi(a)
	y, err2 := strconv.Atoi(b)
	return x - y, err1 == nil && err2 == nil
}

var web = bump.Name{Namespace: "hoist", Name: "web"}

func value(s bump.Site, sel bump.Selection) (string, error) {
	switch s.Part {
	case bump.Tag:
		return sel.Tag, nil
	case bump.Repo:
		return sel.Image(), nil
	case bump.Digest:
		if sel.Digest == "" {
			return "", errors.New("no digest")
		}
		return sel.Digest, nil
	}
	return sel.Reference(), nil
}

func input(tag string, sites ...bump.Site) Input {
	return Input{
		Sites:      sites,
		Orders:     map[bump.Name]Order{web: numbers{}},
		Selections: map[bump.Name]bump.Selection{web: {Policy: web, Tags: bump.Tags{Image: "r.test/web"}, Tag: tag, Proven: true}},
		Value:      value,
	}
}

func TestDecide(t *testing.T) {
	site := func(part bump.Part, value string) bump.Site {
		return bump.Site{File: "web.yaml", Line: 3, Policy: web, Part: part, Value: value, Field: "spec.image"}
	}
	digest := input("7", site(bump.Whole, "r.test/web:7"))
	moved := digest.Selections[web]
	moved.Digest = "sha256:ab"
	digest.Selections[web] = moved

	unscanned := input("7", site(bump.Tag, "6"))
	unscanned.Selections = nil

	noMatch := input("7", site(bump.Tag, "6"))
	noMatch.Selections[web] = bump.Selection{Policy: web, Err: errors.New("none of 3 tags is allowed")}

	taken := input("7", site(bump.Whole, "r.test/web:6"))
	taken.Hold = func(s bump.Site, sel bump.Selection) string {
		if s.Field == "spec.image" && sel.Tag == "7" {
			return "somebody took it out"
		}
		return ""
	}
	newer := input("8", site(bump.Whole, "r.test/web:6"))
	newer.Hold = taken.Hold
	there := input("7", site(bump.Whole, "r.test/web:7"))
	there.Hold = taken.Hold

	anchored := site(bump.Whole, "r.test/web:6")
	anchored.Note = "the anchor &image is used in 2 more places, which change with it"
	named := anchored
	named.Value = "r.test/web:latest"

	for _, tc := range []struct {
		name   string
		in     Input
		want   bump.Outcome
		new    string
		reason string
	}{
		{"newer", input("7", site(bump.Whole, "r.test/web:6")), bump.Bump, "r.test/web:7", ""},
		{"newer tag", input("7", site(bump.Tag, "6")), bump.Bump, "7", ""},
		{"same", input("7", site(bump.Tag, "7")), bump.Current, "", ""},
		{"equal but spelt otherwise", input("7", site(bump.Tag, "07")), bump.Current, "", "07 is the same version as 7"},
		{"equal in another repository", input("7", site(bump.Whole, "old.test/web:07")), bump.Bump, "r.test/web:7", "same version, other repository"},
		{"equal in the same repository", input("7", site(bump.Whole, "r.test/web:07")), bump.Current, "", "07 is the same version as 7"},
		{"never older", input("7", site(bump.Whole, "r.test/web:8")), bump.Held, "", "8 is newer than 7, the newest that policy hoist:web allows"},
		{"never older behind a digest", input("7", site(bump.Whole, "r.test/web:8@sha256:00")), bump.Held, "", "8 is newer than 7, the newest that policy hoist:web allows"},
		{"outside the order", input("7", site(bump.Whole, "r.test/web:latest")), bump.Bump, "r.test/web:7", `replaces "latest", which is not a version of policy hoist:web`},
		{"registry port is no tag", input("7", site(bump.Whole, "r.test:5000/web")), bump.Bump, "r.test/web:7", "no tag is there yet"},
		{"moved repository", input("7", site(bump.Whole, "old.test/web:7")), bump.Bump, "r.test/web:7", "same tag, other repository"},
		{"moved digest", digest, bump.Bump, "r.test/web:7@sha256:ab", ""},
		{"name", input("7", site(bump.Repo, "old.test/web")), bump.Bump, "r.test/web", ""},
		{"digest without one", input("7", site(bump.Digest, "sha256:00")), bump.Problem, "", "no digest"},
		{"N9 taken out by a person", taken, bump.Held, "", "somebody took it out"},
		{"newer than what was taken out", newer, bump.Bump, "r.test/web:8", ""},
		{"anchored", input("7", anchored), bump.Bump, "r.test/web:7", "the anchor &image is used in 2 more places, which change with it"},
		{"anchored and outside the order", input("7", named), bump.Bump, "r.test/web:7", `replaces "latest", which is not a version of policy hoist:web; the anchor &image is used in 2 more places, which change with it`},
		{"set again by hand", there, bump.Current, "", ""},
		{"not scanned", unscanned, bump.Held, "", "the registry has not been read yet"},
		{"P6 no match", noMatch, bump.Held, "", "none of 3 tags is allowed"},
		{"Y13 unknown policy", input("7", bump.Site{Policy: bump.Name{Namespace: "flux-system", Name: "web"}}), bump.Problem, "", `marker names unknown policy "flux-system:web"; did you mean "hoist:web"?`},
		{"bad marker", input("7", bump.Site{Problem: "marker is not JSON"}), bump.Problem, "", "marker is not JSON"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Decide(tc.in)[0]
			if got.Outcome != tc.want || got.New != tc.new || got.Reason != tc.reason {
				t.Errorf("Decide(%q → %q) = %s %q %q, want %s %q %q", tc.in.Sites[0].Value, tc.in.Selections[web].Tag,
					got.Outcome, got.New, got.Reason, tc.want, tc.new, tc.reason)
			}
		})
	}
}

// P10: where a person put an older version back, it stays, and the reason says
// so; a newer one than that which was taken out is set. Who did what is the
// script bump_revert.
func TestP10APersonsOlderVersionStays(t *testing.T) {
	for tag, want := range map[string]bump.Outcome{"7": bump.Held, "8": bump.Bump} {
		in := input(tag, bump.Site{File: "a.yaml", Line: 3, Field: "spec.tag", Policy: web, Part: bump.Tag, Value: "6"})
		in.Hold = func(_ bump.Site, sel bump.Selection) string {
			if sel.Tag == "7" {
				return "somebody took it out"
			}
			return ""
		}
		if got := Decide(in)[0]; got.Outcome != want || (want == bump.Held) != (got.Reason == "somebody took it out") {
			t.Errorf("Decide(6 → %s) = %s %q, want %s", tag, got.Outcome, got.Reason, want)
		}
	}
}

// A tag is written only after the registry was asked about it; what needs no
// write needs no question.
func TestUnprovenTagsAreLookedUp(t *testing.T) {
	unproven := func(tag string, sites ...bump.Site) Input {
		in := input(tag, sites...)
		sel := in.Selections[web]
		sel.Proven = false
		in.Selections[web] = sel
		return in
	}
	site := func(part bump.Part, value string) bump.Site {
		return bump.Site{Policy: web, Part: part, Value: value, Field: "spec.image"}
	}
	for _, tc := range []struct {
		name string
		in   Input
		want bool
	}{
		{"newer", unproven("7", site(bump.Tag, "6")), true},
		{"digest not known yet", unproven("7", site(bump.Digest, "sha256:00")), true},
		{"current", unproven("7", site(bump.Tag, "7")), false},
		{"older", unproven("7", site(bump.Tag, "8")), false},
		{"proven", input("7", site(bump.Tag, "6")), false},
	} {
		verdicts := Decide(tc.in)
		if v := verdicts[0]; v.LookUp != tc.want || v.LookUp && v.Outcome != bump.Held {
			t.Errorf("%s: Decide(%q) = %s, look up %t, want %t", tc.name, tc.in.Sites[0].Value, v.Outcome, v.LookUp, tc.want)
		}
		if asked := ToLookUp(verdicts); (len(asked) == 1 && asked[0] == web) != tc.want {
			t.Errorf("%s: ToLookUp = %v, want %t", tc.name, asked, tc.want)
		}
	}
}

func TestDigests(t *testing.T) {
	reflecting := func(keep bool, sites ...bump.Site) Input {
		in := input("7", sites...)
		sel := in.Selections[web]
		sel.Digest, sel.KeepDigest = "sha256:new", keep
		in.Selections[web] = sel
		return in
	}
	whole := func(value string) bump.Site {
		return bump.Site{Policy: web, Value: value, Field: "spec.image"}
	}
	pair := func(tag, digest string) []bump.Site {
		return []bump.Site{
			{Policy: web, Part: bump.Digest, Value: digest, Field: "images[0].digest"},
			{Policy: web, Part: bump.Tag, Value: tag, Field: "images[0].newTag"},
		}
	}
	for _, tc := range []struct {
		name   string
		in     Input
		want   bump.Outcome
		new    string
		reason string
	}{
		{"R18 pushed again", reflecting(false, whole("r.test/web:7@sha256:old")), bump.Bump, "r.test/web:7@sha256:new", "7 was pushed again: its digest was sha256:old"},
		{"R18 pushed again, digest given once", reflecting(true, whole("r.test/web:7@sha256:old")), bump.Current, "", "keeps the digest that it was given"},
		{"given once", reflecting(true, whole("r.test/web:7")), bump.Bump, "r.test/web:7@sha256:new", ""},
		{"given once for each tag", reflecting(true, whole("r.test/web:6@sha256:old")), bump.Bump, "r.test/web:7@sha256:new", ""},
		{"beside its tag", reflecting(false, pair("7", "sha256:old")...), bump.Bump, "sha256:new", ""},
		{"beside its tag, given once", reflecting(true, pair("7", "sha256:old")...), bump.Current, "", "keeps the digest that it was given"},
		{"beside its tag, not given yet", reflecting(true, pair("7", "")...), bump.Bump, "sha256:new", ""},
		{"beside a tag that moves", reflecting(true, pair("6", "sha256:old")...), bump.Bump, "sha256:new", ""},
		{"beside a tag that is held", reflecting(false, pair("8", "sha256:old")...), bump.Held, "", "stays with its tag: 8 is newer than 7, the newest that policy hoist:web allows"},
	} {
		got := Decide(tc.in)[0]
		if got.Outcome != tc.want || got.New != tc.new || got.Reason != tc.reason {
			t.Errorf("%s: Decide(%q) = %s %q %q, want %s %q %q", tc.name, tc.in.Sites[0].Value, got.Outcome, got.New, got.Reason, tc.want, tc.new, tc.reason)
		}
	}
}

// N1: a newer tag that failed a check is a reason that stays visible.
func TestPassedOverTagIsToldWhereNothingNewerIsSet(t *testing.T) {
	in := input("7", bump.Site{Policy: web, Part: bump.Tag, Value: "7"}, bump.Site{Policy: web, Part: bump.Tag, Value: "6"})
	sel := in.Selections[web]
	sel.PassedOver = []bump.PassedOver{{Tag: "8", Reason: "no linux/arm64"}}
	in.Selections[web] = sel
	got := Decide(in)
	if got[0].Outcome != bump.Held || got[0].Reason != "8 is newer and passed over: no linux/arm64" {
		t.Errorf("at the selected tag: %s %q, want held and the reason", got[0].Outcome, got[0].Reason)
	}
	if got[1].Outcome != bump.Bump || got[1].New != "7" {
		t.Errorf("at an older tag: %s %q, want a bump to 7", got[1].Outcome, got[1].New)
	}
}

func TestNameStaysWithHeldTag(t *testing.T) {
	sites := []bump.Site{
		{File: "k.yaml", Policy: web, Part: bump.Repo, Value: "old.test/web", Field: "images[0].newName"},
		{File: "k.yaml", Policy: web, Part: bump.Tag, Value: "9", Field: "images[0].newTag"},
		{File: "k.yaml", Policy: web, Part: bump.Repo, Value: "old.test/web", Field: "images[1].newName"},
	}
	got := Decide(input("7", sites...))
	want := []bump.Outcome{bump.Held, bump.Held, bump.Bump}
	for i := range want {
		if got[i].Outcome != want[i] {
			t.Errorf("%s: outcome %s, want %s", sites[i].Field, got[i].Outcome, want[i])
		}
	}
}

// A new tag beside the digest of the old one would be an image that nobody chose.
func TestTagStaysWithStuckDigest(t *testing.T) {
	sites := []bump.Site{
		{File: "k.yaml", Policy: web, Part: bump.Tag, Value: "6", Field: "images[0].newTag"},
		{File: "k.yaml", Policy: web, Part: bump.Digest, Value: "sha256:00", Field: "images[0].digest"},
		{File: "k.yaml", Policy: web, Part: bump.Tag, Value: "6", Field: "images[1].newTag"},
	}
	got := Decide(input("7", sites...))
	want := []bump.Outcome{bump.Held, bump.Problem, bump.Bump}
	for i := range want {
		if got[i].Outcome != want[i] {
			t.Errorf("%s: outcome %s (%s), want %s", sites[i].Field, got[i].Outcome, got[i].Reason, want[i])
		}
	}
	if got[0].Reason != "stays with its digest: no digest" {
		t.Errorf("reason %q", got[0].Reason)
	}
}

func TestGroups(t *testing.T) {
	api := bump.Name{Namespace: "hoist", Name: "api"}
	v := func(p bump.Name, o bump.Outcome) bump.Verdict {
		return bump.Verdict{Site: bump.Site{Policy: p}, Outcome: o}
	}
	got := Groups([]bump.Verdict{v(web, bump.Bump), v(api, bump.Current), v(api, bump.Bump), v(web, bump.Bump), v(api, bump.Held)})
	var text string
	for _, g := range got {
		text += fmt.Sprint(g.Policy, len(g.Verdicts), " ")
	}
	if want := "hoist:web 2 hoist:api 1 "; text != want {
		t.Errorf("Groups = %q, want %q", text, want)
	}
	if got := Groups(nil); len(got) != 0 {
		t.Errorf("Groups(nil) = %v, want none", got)
	}
}

// forgetful is an order that knows nothing of tag 8.
type forgetful struct{ numbers }

func (forgetful) Unknown(tag string) bool { return tag == "8" }

// R20: a tag whose place depends on what it is may be gone from its registry.
func TestNothingIsClaimedOfATagThatIsUnknown(t *testing.T) {
	for now, want := range map[string]string{"8": "nothing is known of 8, so it cannot be told whether 7 is newer", "9": "9 is newer than 7"} {
		verdicts := Decide(Input{
			Sites:      []bump.Site{{Policy: web, Part: bump.Tag, Value: now}},
			Orders:     map[bump.Name]Order{web: forgetful{}},
			Selections: map[bump.Name]bump.Selection{web: {Policy: web, Tag: "7", Proven: true}},
			Value:      value,
		})
		if v := verdicts[0]; v.Outcome != bump.Held || !strings.HasPrefix(v.Reason, want) {
			t.Errorf("with %s there: %s %q, want held, %q", now, v.Outcome, v.Reason, want)
		}
	}
}
