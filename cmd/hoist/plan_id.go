package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"hoist/daemon"
)

// triggerOnce is what commits of `hoist once` say asked for them. A plan shows
// the commits as they would be pushed, so it says the same.
const triggerOnce = "once"

// planID is the same for two plans that would do the same to the same heads:
// the heads, the verdicts without their reasons, and every byte of the commits
// go into it. A reason may tell a time that has passed.
func planID(planned []daemon.Planned) string {
	h := sha256.New()
	line := func(fields ...string) {
		for _, f := range fields {
			fmt.Fprintf(h, "%d:%s,", len(f), f)
		}
		fmt.Fprintln(h)
	}
	for _, p := range planned {
		failed := ""
		if p.Err != nil {
			failed = "failed"
		}
		line("repository", p.Repository.String(), p.Proposal.Head.String(), failed)
		for _, v := range p.Proposal.Verdicts {
			line("verdict", string(v.Outcome), v.Site.Position(), v.Site.Field, v.Site.Policy.String(), v.Site.Value, v.New)
		}
		for _, d := range p.Proposal.Drafts {
			line("commit", d.Message, d.Author.Name, d.Author.Email)
			for _, c := range d.Changes {
				line("file", c.File, string(c.Before), string(c.After))
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// samePlan refuses a plan that is no longer what would happen.
func samePlan(wanted, now string) error {
	if strings.EqualFold(wanted, now) {
		return nil
	}
	return &exitError{
		code:  1,
		err:   fmt.Errorf("plan %s is not what would happen now, that is plan %s: nothing was pushed", wanted, now),
		hints: []string{"a branch, a registry or the configuration has moved since; look at `hoist plan` again"},
	}
}
