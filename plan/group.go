package plan

import "hoist/bump"

// Group is the bumps of one policy: what becomes one commit, so that one
// `git revert` takes back one decision.
type Group struct {
	Policy   bump.Name
	Verdicts []bump.Verdict
}

// Groups returns the bumps among verdicts by policy, in the order in which the
// policies first appear. Without bumps it is empty.
func Groups(verdicts []bump.Verdict) []Group {
	var groups []Group
	at := make(map[bump.Name]int)
	for _, v := range verdicts {
		if v.Outcome != bump.Bump {
			continue
		}
		i, ok := at[v.Site.Policy]
		if !ok {
			i = len(groups)
			at[v.Site.Policy] = i
			groups = append(groups, Group{Policy: v.Site.Policy})
		}
		groups[i].Verdicts = append(groups[i].Verdicts, v)
	}
	return groups
}

// Count returns how many verdicts have each outcome.
func Count(verdicts []bump.Verdict) map[bump.Outcome]int {
	n := make(map[bump.Outcome]int)
	for _, v := range verdicts {
		n[v.Outcome]++
	}
	return n
}
