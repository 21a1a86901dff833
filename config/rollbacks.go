package config

import "fmt"

// idleRollbacks refuses a rollback that has nothing to take back: what nobody
// here bumps, nobody here can revert.
func (b *builder) idleRollbacks() {
	if b.broken {
		return
	}
	for _, a := range b.cfg.Apply {
		o := b.apps[a.Name]
		if a.Rollback == nil || a.RepositoryName.Name == "" || b.known(o.doc, o.path("repository")) {
			continue
		}
		bumped := false
		for _, u := range b.cfg.Updates {
			bumped = bumped || u.Repository == a.RepositoryName
		}
		if !bumped {
			b.say(o, "rollback", fmt.Sprintf("no entry of updates is about repository %q, so there is nothing to take back", a.Repository),
				"add one, which also says who commits, or remove rollback")
		}
	}
}
