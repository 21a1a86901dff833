package daemon

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"hoist/gitpush"
	"hoist/reconcile"
)

// suspect is a field of an app that holds what we bumped since the app was last well.
type suspect struct {
	ownField
	bump    gitpush.Entry // the newest of the bumps
	before  string        // what the field held before all of them
	applied time.Time     // when the cluster got the bump; zero while it has not
}

// evidence is what a verdict on suspects rests on.
type evidence struct {
	suspects []suspect
	sick     []reconcile.Sick
	after    time.Duration
	fixed    time.Time // when what a person changed in the app since then was applied, if somebody did
	now      time.Time
}

// guilty returns the suspects whose image a sick object runs and whose time is
// over; why says what stands against it where there are none, and later that only
// time does.
//
//	sick object                         who is suspected
//	names the image of a bump           that bump
//	is custom, and no image is found    every bump of the app
//	anything else                       nobody
//
// An object that failed for good takes no time. A person's change of the app gets
// the time that a bump gets.
func (e evidence) guilty() (guilty []suspect, why string, later bool) {
	if len(e.suspects) == 0 {
		return nil, "nothing that was bumped since it was last well is there any more", false
	}
	named := make(map[int][]reconcile.Sick) // by suspect
	for _, s := range e.sick {
		for _, i := range e.named(s) {
			named[i] = append(named[i], s)
		}
	}
	if len(named) == 0 {
		for _, s := range e.sick {
			for i := range e.suspects {
				if s.Custom() {
					named[i] = append(named[i], s)
				}
			}
		}
	}
	var soonest time.Time
	for i, s := range e.suspects {
		failed := slices.ContainsFunc(named[i], func(o reconcile.Sick) bool { return o.Failed })
		end := latest(s.applied, e.fixed).Add(e.after)
		switch {
		case len(named[i]) == 0 || s.applied.IsZero():
		case failed || !e.now.Before(end):
			guilty = append(guilty, s)
		case soonest.IsZero() || end.Before(soonest):
			soonest = end
		}
	}
	switch {
	case len(guilty) > 0:
		return guilty, "", false
	case !soonest.IsZero():
		return nil, fmt.Sprintf("what was bumped is on trial until %s", soonest.UTC().Format(time.RFC3339)), true
	case len(named) > 0:
		return nil, "what was bumped is not applied yet", true
	}
	return nil, fmt.Sprintf("no bump since it was last well is in %s", namesOf(e.sick)), false
}

// named returns the suspects whose image a sick object runs. Where one is named
// with its whole repository, those that only share its last word do not count.
func (e evidence) named(s reconcile.Sick) (list []int) {
	best := 1
	for i, suspect := range e.suspects {
		for _, image := range s.Images {
			switch n := likeness(image, suspect.bump); {
			case n > best:
				best, list = n, []int{i}
			case n == best && !slices.Contains(list, i):
				list = append(list, i)
			}
		}
	}
	return list
}

// likeness tells how surely an image is what a bump set: 2 for its repository
// with its tag or digest, 1 for a repository of the same last word (a mirror) with
// these, else 0.
func likeness(image string, e gitpush.Entry) int {
	name, digest, _ := strings.Cut(image, "@")
	repository, tag := name, ""
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		repository, tag = name[:i], name[i+1:]
	}
	switch {
	case tag != e.To && (digest == "" || digest != e.Digest):
		return 0
	case digest != "" && e.Digest != "" && digest != e.Digest:
		return 0
	case repository == e.Image:
		return 2
	case path.Base(repository) == path.Base(e.Image):
		return 1
	}
	return 0
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func namesOf(sick []reconcile.Sick) string {
	var names []string
	for _, s := range sick {
		names = append(names, s.Object.String())
	}
	return strings.Join(names, ", ")
}
