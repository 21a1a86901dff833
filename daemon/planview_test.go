package daemon

import (
	"errors"
	"strings"
	"testing"

	"hoist/bump"
	"hoist/gitpush"
)

// N5: the lines around a marked field of a Secret are its values.
func TestDiffOfASecretShowsNothingAround(t *testing.T) {
	draft := func(before string) gitpush.Draft {
		after := strings.Replace(before, "1.0.0", "1.1.0", 1)
		return gitpush.Draft{Changes: []bump.Change{{File: "a.yaml", Before: []byte(before), After: []byte(after)}}}
	}
	const body = "stringData:\n  password: hunter2\n  version: 1.0.0\n  token: abc\n"
	for _, head := range []string{"kind: Secret\n", "\"kind\": 'Secret'\n", "---\nkind: Service\n---\nkind: Secret # x\n"} {
		diff := DiffOf(draft(head + body))
		if strings.Contains(diff, "hunter2") || strings.Contains(diff, "abc") {
			t.Errorf("diff of a file with %q shows what stands around:\n%s", head, diff)
		}
		if !strings.Contains(diff, "-  version: 1.0.0\n+  version: 1.1.0\n") {
			t.Errorf("diff of a file with %q does not show the change:\n%s", head, diff)
		}
	}
	if diff := DiffOf(draft("kind: SecretStore\n" + body)); !strings.Contains(diff, "hunter2") {
		t.Errorf("diff of another kind lacks its context:\n%s", diff)
	}
}

func TestPlanID(t *testing.T) {
	plan := func() []Planned {
		return []Planned{{Repository: name("fleet"), Proposal: Proposal{
			Head:     bump.Head{Branch: "main", Hash: "1"},
			Verdicts: []bump.Verdict{{Site: bump.Site{File: "a.yaml", Line: 1}, Outcome: bump.Held, Reason: "eligible 14:32"}},
			Drafts:   []gitpush.Draft{{Message: "m", Changes: []bump.Change{{File: "a.yaml", After: []byte("x")}}}},
		}}}
	}
	id := PlanID(plan())
	same := plan()
	same[0].Proposal.Verdicts[0].Reason = "eligible 14:33"
	if got := PlanID(same); got != id {
		t.Errorf("another reason makes plan %s of %s", got, id)
	}
	for what, change := range map[string]func(*Planned){
		"head":    func(p *Planned) { p.Proposal.Head.Hash = "2" },
		"verdict": func(p *Planned) { p.Proposal.Verdicts[0].Outcome = bump.Bump },
		"message": func(p *Planned) { p.Proposal.Drafts[0].Message = "n" },
		"bytes":   func(p *Planned) { p.Proposal.Drafts[0].Changes[0].After = []byte("y") },
		"failure": func(p *Planned) { p.Err = errors.New("x") },
	} {
		other := plan()
		change(&other[0])
		if PlanID(other) == id {
			t.Errorf("another %s makes the same plan", what)
		}
	}
}
