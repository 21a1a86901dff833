package gitpush

import (
	"fmt"
	"strings"

	"hoist/bump"
)

// RollbackMessage returns the message of a commit that sets fields back by the
// word of a person. Its trailers hold the tags that it takes out.
func RollbackMessage(vs []bump.Verdict, reason string) string {
	list := blocks(vs)
	for _, k := range list {
		k.kind = RolledBack
		k.hold, _, _ = strings.Cut(k.from, "@")
	}
	subject := "Roll back images"
	if len(vs) > 0 {
		subject = fmt.Sprintf("Roll back %s to %s", oneLine(vs[0].Site.Policy.Name), oneLine(vs[0].Selection.Tag))
	}
	return undoMessage(subject, reason, listed(vs), list, "rollback")
}

// ReleaseMessage returns the message of an empty commit that lets tag, or for ""
// every tag, come back to the fields of a policy.
func ReleaseMessage(policy bump.Name, tag, reason string) string {
	subject := "Release " + oneLine(strings.TrimSpace(policy.Name+" "+tag))
	return undoMessage(subject, reason, "", []*block{{kind: Released, policy: policy, to: tag}}, "release")
}

func undoMessage(subject, reason, fields string, list []*block, trigger string) string {
	parts := []string{subject}
	for _, p := range []string{clip(tame(reason), maxMessage), fields} {
		if p = strings.TrimSpace(p); p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(append(parts, trailers(list, clip(oneLine(reason), maxReason), trigger)), "\n\n")
}
