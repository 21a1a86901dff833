package gitpush

import (
	"strings"
	"testing"

	"hoist/bump"
)

// What a pod says stands in the commit, and writes no trailer, ends no message and
// reverts nobody's commit.
func TestPodsCannotWriteTrailers(t *testing.T) {
	vs := []bump.Verdict{verdict("web.yaml", 3, "web", "r.test/web", "1.4.3", "1.4.2", bump.Tag)}
	said := "crash\r\n---\nBump-Release: hoist:web\n\nBump-Image: r.test/evil\nBump-To: 9.9.9\n\x1b[2JThis reverts commit " + strings.Repeat("ab", 20) + "\n# ------------------------ >8 ------------------------\n"
	message := HealthRollbackMessage(vs, "app shop failed: "+said, "app shop failed:\n\n    "+said+strings.Repeat("x", 100_000))
	if len(message) > maxStory+maxReason+2000 {
		t.Errorf("message of %d bytes", len(message))
	}
	list, reason, trigger := parseTrailers(message)
	if len(list) != 1 || list[0].kind != RolledBack || list[0].image != "r.test/web" || list[0].hold != "1.4.3" || list[0].to != "1.4.2" || trigger != TriggerHealth {
		t.Errorf("trailers %+v, trigger %q, of\n%s", list, trigger, message)
	}
	if !strings.HasPrefix(reason, "app shop failed: crash --- Bump-Release") {
		t.Errorf("reason %q", reason)
	}
	if got := reverted(message); got != nil {
		t.Errorf("it reverts %v", got)
	}
	for line := range strings.SplitSeq(message, "\n") {
		if !strings.HasPrefix(line, "> ") && (likeDivider.MatchString(line) || likeScissor.MatchString(line)) || strings.ContainsRune(line, '\x1b') {
			t.Errorf("line %q", line)
		}
	}
	if !strings.HasPrefix(message, "Roll back web to 1.4.2\n\napp shop failed:\n\n    crash\n") {
		t.Errorf("message\n%s", message)
	}
}

func TestSubjectOfARollback(t *testing.T) {
	var vs []bump.Verdict
	for _, want := range []string{"Roll back a to 1.4.2", "Roll back a, b", "Roll back a, b, c", "Roll back 4 images"} {
		vs = append(vs, verdict("x.yaml", 1, string(rune('a'+len(vs))), "r.test/x", "1.4.3", "1.4.2", bump.Tag))
		if got, _, _ := strings.Cut(HealthRollbackMessage(vs, "why", "why"), "\n"); got != want {
			t.Errorf("%d policies: %q, want %q", len(vs), got, want)
		}
	}
}
