package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"hoist/bump"
	"hoist/scanner"
)

// lint looks for what is allowed but probably not meant.
func (b *builder) lint() {
	b.lintPolicies()
	b.lintUnused()
	b.lintOverlaps()
	b.lintUsers()
}

// lintPolicies passes on what the policies say of themselves.
func (b *builder) lintPolicies() {
	for _, p := range b.cfg.Policies {
		for _, f := range p.Policy.Lints() {
			b.warn(b.policies[p.Name].fault(f.Field, f.Message, ""))
		}
	}
}

// lintUnused finds entries that nothing makes use of.
func (b *builder) lintUnused() {
	if len(b.cfg.Updates) == 0 {
		for _, p := range b.cfg.Policies {
			b.warn(b.policies[p.Name].fault("", "there is no update: what this policy selects is written nowhere", ""))
		}
	} else if len(b.cfg.Policies) == 0 {
		for _, u := range b.cfg.Updates {
			b.warn(b.updates[u.Name].fault("", "there is no policy: this update never finds anything to set", ""))
		}
	}
	for _, r := range b.cfg.Registries {
		if !slices.ContainsFunc(b.cfg.Images, func(i scanner.Image) bool { return r.Covers(i.Image) }) {
			b.warn(b.registries[r.Key()].fault("host", fmt.Sprintf("no image is on %s: this budget is for nothing", r.Host), "write the host as the images do, with its port"))
		}
	}
	used := make(map[bump.Name]bool)
	for _, u := range b.cfg.Updates {
		used[u.Repository] = true
	}
	for _, a := range b.cfg.Apply {
		used[a.RepositoryName] = true
	}
	for _, r := range b.cfg.Repositories {
		if !used[r.Name] {
			b.warn(b.repositories[r.Name].fault("", "no update and no app uses this repository", ""))
		}
	}
}

// lintOverlaps finds updates that set the same fields, and repositories that
// are the same branch twice.
func (b *builder) lintOverlaps() {
	for i, u := range b.cfg.Updates {
		for _, other := range b.cfg.Updates[:i] {
			if mine, theirs, ok := overlap(u.Roots(), other.Roots()); ok && u.Repository == other.Repository {
				b.warn(b.updates[u.Name].fault("path", fmt.Sprintf("%q overlaps %q of update %q (%s)", mine, theirs, spell(other.Name), b.updates[other.Name].position()), ""))
				break
			}
		}
	}
	first := make(map[[2]string]bump.Name) // by URL and branch
	for _, r := range b.cfg.Repositories {
		key := [2]string{urlKey(r.URL), r.Branch}
		if other, twice := first[key]; twice {
			b.warn(b.repositories[r.Name].fault("url", fmt.Sprintf("is branch %q of repository %q (%s) once more", r.Branch, spell(other), b.repositories[other].position()), "one entry is fetched once"))
			continue
		}
		first[key] = r.Name
	}
}

// overlap returns the first two directories of which one is in the other.
func overlap(a, b []string) (mine, theirs string, ok bool) {
	for _, mine := range a {
		for _, theirs := range b {
			if within(mine, theirs) || within(theirs, mine) {
				return mine, theirs, true
			}
		}
	}
	return "", "", false
}

// within says whether a directory is top or below it.
func within(dir, top string) bool {
	return top == "." || dir == top || strings.HasPrefix(dir, top+"/")
}

// lintUsers finds https URLs with a user, which is a token more often than not.
func (b *builder) lintUsers() {
	for _, r := range b.cfg.Repositories {
		if u, err := url.Parse(r.URL); err == nil && u.User != nil && strings.HasPrefix(u.Scheme, "http") {
			b.warn(b.repositories[r.Name].fault("url", "holds a user", "if that is a token, put it into a secret that secretRef or secretDir names"))
		}
	}
}
