package gitpush

import (
	"fmt"
	"slices"
	"strings"

	"hoist/bump"
)

// RollbackMessage returns the message of a commit that sets fields back by the
// word of a person. Its trailers hold the tags that it takes out.
func RollbackMessage(vs []bump.Verdict, reason string) string {
	return undoMessage(rollbackSubject(vs), reason, reason, listed(vs), rollbacks(vs), "rollback")
}

// TriggerHealth is the trigger of a rollback that an app's health asked for.
const TriggerHealth = "health"

// maxStory bounds what a commit tells of objects that are not well, in bytes.
const maxStory = 4 << 10

// HealthRollbackMessage is [RollbackMessage] where an app did not become healthy:
// reason is one line about that, story all that is known. Both may hold what
// strangers wrote, such as the messages of pods.
func HealthRollbackMessage(vs []bump.Verdict, reason, story string) string {
	// Whoever reads the history takes git's own words for a revert.
	defuse := strings.NewReplacer("This reverts commit", "this reverts commit")
	story = clip(defuse.Replace(clean(story)), maxStory)
	return undoMessage(rollbackSubject(vs), story, defuse.Replace(reason), listed(vs), rollbacks(vs), TriggerHealth)
}

func rollbackSubject(vs []bump.Verdict) string {
	var policies []string
	for _, v := range vs {
		if name := oneLine(v.Site.Policy.Name); !slices.Contains(policies, name) {
			policies = append(policies, name)
		}
	}
	switch {
	case len(policies) == 0:
		return "Roll back images"
	case len(policies) == 1:
		return fmt.Sprintf("Roll back %s to %s", policies[0], oneLine(vs[0].Selection.Tag))
	case len(policies) <= 3:
		return "Roll back " + strings.Join(policies, ", ")
	}
	return fmt.Sprintf("Roll back %d images", len(policies))
}

// rollbacks are blocks that hold what the verdicts take out: a tag, or where that
// stays and only its digest goes back, tag@digest.
func rollbacks(vs []bump.Verdict) []*block {
	list := blocks(vs)
	for _, k := range list {
		k.kind = RolledBack
		if k.hold, _, _ = strings.Cut(k.from, "@"); k.hold == k.to {
			k.hold = k.from
		}
	}
	return list
}

// ReleaseMessage returns the message of an empty commit that lets tag, or for ""
// every tag, come back to the fields of a policy.
func ReleaseMessage(policy bump.Name, tag, reason string) string {
	subject := "Release " + oneLine(strings.TrimSpace(policy.Name+" "+tag))
	return undoMessage(subject, reason, reason, "", []*block{{kind: Released, policy: policy, to: tag}}, "release")
}

func undoMessage(subject, text, reason, fields string, list []*block, trigger string) string {
	parts := []string{subject}
	for _, p := range []string{clip(tame(text), maxMessage), fields} {
		if p = strings.TrimSpace(p); p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(append(parts, trailers(list, clip(oneLine(reason), maxReason), trigger)), "\n\n")
}
