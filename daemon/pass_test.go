package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"hoist/bump"
	"hoist/config"
	"hoist/gitpush"
	"hoist/plan"
	"hoist/policy"
	"hoist/setter"
)

// branchInMemory is a remote that has moved a few times before a push gets through.
type branchInMemory struct {
	trees  []fstest.MapFS // by head: "0", "1", …
	at     int
	pushed []gitpush.Draft
}

func (b *branchInMemory) Fetch(context.Context) (bump.Head, error) {
	return bump.Head{Branch: "main", Hash: fmt.Sprint(b.at)}, nil
}

func (b *branchInMemory) Tree(h bump.Head) (fs.FS, error) {
	var n int
	_, err := fmt.Sscan(h.Hash, &n)
	return b.trees[n], err
}

func (b *branchInMemory) push(_ context.Context, base bump.Head, drafts []gitpush.Draft) ([]bump.Commit, error) {
	if b.at < len(b.trees)-1 {
		b.at++ // a person was first
		return nil, fmt.Errorf("push main: %w", gitpush.ErrMoved)
	}
	b.pushed = drafts
	return []bump.Commit{{Head: base}}, nil
}

func semver(t *testing.T, name bump.Name) *policy.Policy {
	t.Helper()
	p, err := policy.New(name, policy.Spec{Policy: policy.Choice{SemVer: &policy.SemVer{Range: ">=1.0.0"}}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newWalker(t *testing.T, m mirror, names ...string) (*walker, map[bump.Name]bump.Selection) {
	t.Helper()
	w := &walker{mirror: m, sites: setter.NewCache(), now: time.Now, orders: make(map[bump.Name]plan.Order)}
	w.updates = []config.Update{{
		Name: bump.Name{Namespace: "hoist", Name: "all"}, Spec: setter.Spec{Path: "."},
		Commit: gitpush.CommitSpec{Author: gitpush.Author{Name: "Hoist", Email: "hoist@example.com"}},
	}}
	selections := make(map[bump.Name]bump.Selection)
	for _, n := range names {
		name := bump.Name{Namespace: "hoist", Name: n}
		p := semver(t, name)
		w.orders[name] = p
		s := p.Select(bump.Tags{Image: "r.test/" + n, List: []string{"1.0.0", "1.1.0"}})
		s.Proven = true
		selections[name] = s
	}
	return w, selections
}

func always(s map[bump.Name]bump.Selection) func() map[bump.Name]bump.Selection {
	return func() map[bump.Name]bump.Selection { return s }
}

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

func TestPassPlansAgainOnTheHeadThatAPersonMade(t *testing.T) {
	remote := &branchInMemory{trees: []fstest.MapFS{
		{"web.yaml": file("tag: 1.0.0 # {\"$imagepolicy\": \"hoist:web:tag\"}\n")},
		{"web.yaml": file("# moved\ntag: 1.0.0 # {\"$imagepolicy\": \"hoist:web:tag\"}\n")},
	}}
	w, selections := newWalker(t, remote, "web")
	pass, err := w.pass(t.Context(), always(selections), remote.push)
	if err != nil {
		t.Fatal(err)
	}
	if len(pass.Commits) != 1 || len(remote.pushed) != 1 {
		t.Fatalf("pass made %d commits of %d drafts, want one of one", len(pass.Commits), len(remote.pushed))
	}
	got, want := string(remote.pushed[0].Changes[0].After), "# moved\ntag: 1.1.0 # {\"$imagepolicy\": \"hoist:web:tag\"}\n"
	if got != want {
		t.Errorf("pushed %q, want %q", got, want)
	}
}

func TestPassLeavesAPersonsNewerVersion(t *testing.T) { // G3
	remote := &branchInMemory{trees: []fstest.MapFS{
		{"web.yaml": file("tag: 1.0.0 # {\"$imagepolicy\": \"hoist:web:tag\"}\n")},
		{"web.yaml": file("tag: 1.2.0 # {\"$imagepolicy\": \"hoist:web:tag\"}\n")},
	}}
	w, selections := newWalker(t, remote, "web")
	pass, err := w.pass(t.Context(), always(selections), remote.push)
	if err != nil {
		t.Fatal(err)
	}
	if len(pass.Commits) != 0 || pass.Verdicts[0].Outcome != bump.Held {
		t.Errorf("pass made %d commits, verdict %s; want none, held", len(pass.Commits), pass.Verdicts[0].Outcome)
	}
}

func TestPassEndsWhenTheRemoteNeverStandsStill(t *testing.T) {
	tree := fstest.MapFS{"web.yaml": file("tag: 1.0.0 # {\"$imagepolicy\": \"hoist:web:tag\"}\n")}
	remote := &branchInMemory{}
	for range 2 * maxAttempts {
		remote.trees = append(remote.trees, tree)
	}
	w, selections := newWalker(t, remote, "web")
	if _, err := w.pass(t.Context(), always(selections), remote.push); !errors.Is(err, gitpush.ErrMoved) {
		t.Errorf("pass: %v, want ErrMoved", err)
	}
	if remote.at != maxAttempts {
		t.Errorf("%d attempts, want %d", remote.at, maxAttempts)
	}
}

func TestEachPolicyGetsACommitAndTheFileHoldsThoseBefore(t *testing.T) {
	remote := &branchInMemory{trees: []fstest.MapFS{{"all.yaml": file(
		"api: 1.0.0 # {\"$imagepolicy\": \"hoist:api:tag\"}\nweb: 1.0.0 # {\"$imagepolicy\": \"hoist:web:tag\"}\nagain: 1.0.0 # {\"$imagepolicy\": \"hoist:api:tag\"}\n")}}}
	w, selections := newWalker(t, remote, "web", "api")
	p, err := w.propose(t.Context(), always(selections))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Drafts) != 2 {
		t.Fatalf("%d drafts, want 2", len(p.Drafts))
	}
	first, second := p.Drafts[0].Changes[0], p.Drafts[1].Changes[0]
	if len(first.Verdicts) != 2 || len(second.Verdicts) != 1 {
		t.Errorf("drafts set %d and %d fields, want 2 and 1", len(first.Verdicts), len(second.Verdicts))
	}
	if string(second.Before) != string(first.After) {
		t.Errorf("the second commit starts from %q, want %q", second.Before, first.After)
	}
	want := "api: 1.1.0 # {\"$imagepolicy\": \"hoist:api:tag\"}\nweb: 1.1.0 # {\"$imagepolicy\": \"hoist:web:tag\"}\nagain: 1.1.0 # {\"$imagepolicy\": \"hoist:api:tag\"}\n"
	if string(second.After) != want {
		t.Errorf("at the end %q, want %q", second.After, want)
	}
}

func TestOverlappingUpdatesSetAFieldOnce(t *testing.T) {
	remote := &branchInMemory{trees: []fstest.MapFS{{"apps/web.yaml": file("tag: 1.0.0 # {\"$imagepolicy\": \"hoist:web:tag\"}\n")}}}
	w, selections := newWalker(t, remote, "web")
	narrow := w.updates[0]
	narrow.Path = "apps"
	w.updates = append(w.updates, narrow)
	p, err := w.propose(t.Context(), always(selections))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Drafts) != 1 || len(p.Verdicts) != 1 {
		t.Errorf("%d drafts, %d verdicts; want one each", len(p.Drafts), len(p.Verdicts))
	}
}

// Y8: a file that is not YAML but holds a marker is a problem in the status and in
// the metrics, and keeps no other file from its bump.
func TestY8BrokenFileIsSeen(t *testing.T) {
	remote := &branchInMemory{trees: []fstest.MapFS{{
		"broken.yaml": file("a:\n\tb: 1.0.0 # {\"$imagepolicy\": \"hoist:web:tag\"}\n"),
		"web.yaml":    file("tag: 1.0.0 # {\"$imagepolicy\": \"hoist:web:tag\"}\n"),
	}}}
	w, selections := newWalker(t, remote, "web")
	p, err := w.pass(t.Context(), always(selections), remote.push)
	if err != nil || len(p.Drafts) != 1 || p.Drafts[0].Changes[0].File != "web.yaml" {
		t.Fatalf("%d drafts, %v, want web.yaml alone", len(p.Drafts), err)
	}
	metrics := NewMetrics()
	name := bump.Name{Namespace: "hoist", Name: "fleet"}
	board := newStatusBoard(&config.Config{Repositories: []gitpush.Repository{{Name: name}}}, metrics)
	p.Head.Hash = "0123456"
	board.passed(name, p, nil)
	line := board.snapshot().Repositories[0].Verdicts[0]
	if line.Outcome != "problem" || line.File != "broken.yaml" || line.Line != 2 || !strings.HasPrefix(line.Reason, "file has a marker but is not valid YAML: line 2: ") {
		t.Errorf("status has %+v, want the problem of broken.yaml:2", line)
	}
	if n := testutil.ToFloat64(metrics.sites.WithLabelValues("fleet", "problem")); n != 1 {
		t.Errorf("hoist_sites of outcome problem = %v, want 1", n)
	}
}

// Y20: an object that two files hold is set in both, in one commit that names both.
func TestY20SameObjectInTwoFiles(t *testing.T) {
	const pod = "kind: Pod\nmetadata: {name: web}\ntag: 1.0.0 # {\"$imagepolicy\": \"hoist:web:tag\"}\n"
	remote := &branchInMemory{trees: []fstest.MapFS{{"a.yaml": file(pod), "b.yaml": file(pod)}}}
	w, selections := newWalker(t, remote, "web")
	p, err := w.propose(t.Context(), always(selections))
	if err != nil || len(p.Drafts) != 1 || len(p.Drafts[0].Changes) != 2 {
		t.Fatalf("drafts %+v, %v, want one of two files", p.Drafts, err)
	}
	for _, place := range []string{"Bump-Field: a.yaml:3 tag", "Bump-Field: b.yaml:3 tag"} {
		if !strings.Contains(p.Drafts[0].Message, place) {
			t.Errorf("message has no %q:\n%s", place, p.Drafts[0].Message)
		}
	}
}

// Fields and images of kustomizations go the same way as markers, and what was
// passed over is told of.
func TestProposeWithoutMarkers(t *testing.T) {
	remote := &branchInMemory{trees: []fstest.MapFS{{
		"env/values.yaml":    file("image: {tag: 1.0.0}\n"),
		"kustomization.yaml": file("images:\n- {name: r.test/web, newTag: 1.0.0}\n"),
		"marked.yaml":        file("tag: 1.0.0 # {\"$imagepolicy\": \"hoist:web:tag\"}\n"),
		"skip/x.yaml":        file("tag: 1.0.0 # {\"$imagepolicy\": \"hoist:web:tag\"}\n"),
		"vendor":             {Mode: fs.ModeDir | fs.ModeIrregular},
	}}}
	w, selections := newWalker(t, remote, "web")
	w.images = map[bump.Name]string{{Namespace: "hoist", Name: "web"}: "r.test/web"}
	w.updates[0].Spec = setter.Spec{Path: ".", Ignore: "skip/", Strategy: setter.Kustomize,
		Fields: []setter.Field{{File: "env/*.yaml", Path: "image.tag", Policy: "hoist:web", Part: bump.Tag}}}
	p, err := w.propose(t.Context(), always(selections))
	if err != nil || len(p.Verdicts) != 3 || len(p.Drafts) != 1 || len(p.Drafts[0].Changes) != 3 {
		t.Fatalf("%+v, %v, want one draft of three files", p.Verdicts, err)
	}
	if len(p.Notices) != 1 || !strings.HasPrefix(p.Notices[0], "vendor: is a submodule") {
		t.Errorf("notices %q, want the submodule", p.Notices)
	}
}
