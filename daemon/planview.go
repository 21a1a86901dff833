package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"hoist/gitpush"
)

// PlanView is a plan for people and programs: what `hoist plan` prints and
// /api/v1/plan serves.
type PlanView struct {
	Version      int              `json:"version"` // of this form; a field may be added without a new number
	ID           string           `json:"id"`      // of what would happen, see [PlanID]
	Repositories []RepositoryPlan `json:"repositories"`
	Cluster      []AppPlan        `json:"cluster,omitempty"` // where somebody asked the cluster
}

// RepositoryPlan is the plan for one repository.
type RepositoryPlan struct {
	Name     string        `json:"name"`
	Head     string        `json:"head,omitempty"`
	Error    string        `json:"error,omitempty"`
	Verdicts []VerdictLine `json:"verdicts"`
	Commits  []CommitPlan  `json:"commits"`
	Warnings []string      `json:"warnings,omitempty"`
	Notices  []string      `json:"notices,omitempty"` // files that were passed over and may hold markers
}

// CommitPlan is a commit that would be pushed.
type CommitPlan struct {
	Message string `json:"message"`
	Diff    string `json:"diff"` // unified, of all its files
}

// AppPlan is what an apply of the planned commits would change in the cluster.
type AppPlan struct {
	App     string       `json:"app"`
	Cluster string       `json:"cluster,omitempty"` // empty for the one where Hoist runs
	Left    string       `json:"left,omitempty"`    // what becomes of an app that is not in the configuration any more
	Error   string       `json:"error,omitempty"`
	Objects []ObjectPlan `json:"objects"`
}

// ObjectPlan is what would become of one object.
type ObjectPlan struct {
	Object string `json:"object"`
	Action string `json:"action"`
	Reason string `json:"reason,omitempty"`
	Diff   string `json:"diff,omitempty"` // values of Secrets are masked
}

// View returns a plan in its public form.
func View(planned []Planned) PlanView {
	view := PlanView{Version: 1, ID: PlanID(planned), Repositories: []RepositoryPlan{}}
	for _, p := range planned {
		r := RepositoryPlan{
			Name: p.Repository.String(), Error: text(p.Err), Verdicts: Lines(p.Proposal.Verdicts),
			Commits: []CommitPlan{}, Warnings: p.Proposal.Warnings, Notices: p.Proposal.Notices,
		}
		if p.Proposal.Head.Hash != "" {
			r.Head = p.Proposal.Head.String()
		}
		for _, d := range p.Proposal.Drafts {
			r.Commits = append(r.Commits, CommitPlan{Message: d.Message, Diff: DiffOf(d)})
		}
		view.Repositories = append(view.Repositories, r)
	}
	return view
}

// Commits returns how many commits would be pushed.
func (v PlanView) Commits() int {
	n := 0
	for _, r := range v.Repositories {
		n += len(r.Commits)
	}
	return n
}

// InCluster returns what an apply would change, in its public form.
func InCluster(differences []Difference) []AppPlan {
	var all []AppPlan
	for _, d := range differences {
		app := AppPlan{App: d.App.String(), Left: d.Left, Cluster: d.Cluster, Error: text(d.Err), Objects: []ObjectPlan{}}
		for _, o := range d.Differences {
			app.Objects = append(app.Objects, ObjectPlan{Object: o.Object.String(), Action: string(o.Action), Reason: o.Reason, Diff: o.Diff})
		}
		all = append(all, app)
	}
	return all
}

// holdsSecret finds a Secret in a manifest.
var holdsSecret = regexp.MustCompile(`(?m)^\s*["']?kind["']?:\s*["']?Secret\b`)

// DiffOf returns the unified diff of a draft. Of a file that holds a Secret only
// the lines that change are shown: those around them may be its values.
func DiffOf(d gitpush.Draft) string {
	var b strings.Builder
	for _, c := range d.Changes {
		context := udiff.DefaultContextLines
		if holdsSecret.Match(c.Before) {
			context = 0
		}
		before, after := string(c.Before), string(c.After)
		unified, err := udiff.ToUnified("a/"+c.File, "b/"+c.File, before, udiff.Lines(before, after), context)
		if err != nil { // edits that were made of this very text fit it
			panic(err)
		}
		b.WriteString(unified)
	}
	return b.String()
}

// PlanID is the same for two plans that would do the same to the same heads:
// the heads, the verdicts without their reasons, and every byte of the commits
// go into it. A reason may tell a time that has passed.
func PlanID(planned []Planned) string {
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
