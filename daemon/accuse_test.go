package daemon

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hoist/bump"
	"hoist/config"
	"hoist/gitpush"
	"hoist/reconcile"
)

func rolledBackApp(n string) config.App {
	a := app(n)
	a.Rollback = &reconcile.Rollback{After: bump.Duration(5 * time.Minute)}
	return a
}

// trying is a fleet whose app is told to be unwell.
type trying struct {
	*fleet
	proven string // commit at which the app was last well
	files  []string
}

func newTrying(t *testing.T, files map[string]string) *trying {
	f := &trying{fleet: newFleet(t, files), files: []string{fleetFile}}
	f.proven = strings.TrimSpace(f.git("rev-parse", "main"))
	f.latest = 1
	return f
}

// complaint is one about what is on the branch now, applied ten minutes ago.
func (f *trying) complaint(image string) complaint {
	head := bump.Head{Repository: name("fleet"), Branch: "main", Hash: strings.TrimSpace(f.git("rev-parse", "main"))}
	return complaint{
		again: new(atomic.Bool),
		app:   rolledBackApp("shop"), head: head, set: &reconcile.Set{Files: f.files},
		trial: reconcile.Trial{Proven: "main@sha1:" + f.proven, Tries: []reconcile.Try{{Revision: head.String(), Applied: f.clock.Add(-10 * time.Minute)}}},
		sick: []reconcile.Sick{{Object: bump.Object{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "web"},
			Message: "InProgress: Available: 0/1", Images: []string{image}}},
	}
}

// rollBack hands a complaint in and checks what came of it: the commits and the
// reason, or why there is none.
func (f *trying) rollBack(c complaint, commits int, want string) Pass {
	f.t.Helper()
	found, pass, err := f.branch().rollBack(f.t.Context(), c)
	if err != nil {
		f.t.Fatal(err)
	}
	if got := found.reason + found.why; len(pass.Commits) != commits || !regexp.MustCompile(want).MatchString(got) {
		f.t.Fatalf("%d commits (%s), want %d (%s)", len(pass.Commits), got, commits, want)
	}
	return pass
}

func (f *trying) file() string { return f.git("show", "main:"+fleetFile) + "\n" }

func (f *trying) wantFile(text string) {
	f.t.Helper()
	if got := f.file(); got != text {
		f.t.Fatalf("%s holds\n%s\nwant\n%s", fleetFile, got, text)
	}
}

// N9: only our bump is taken back, byte by byte; what a person did beside it
// stays, and the version stays out, also for a process that has seen nothing.
func TestN9RolledBackByHealth(t *testing.T) {
	f := newTrying(t, nil)
	f.want(bump.Bump, "")
	f.person("more of them", map[string]string{fleetFile: strings.Replace(f.file(), "spec:\n  template", "spec:\n  replicas: 3 # busy\n  template", 1)})
	f.rollBack(f.complaint("r.test/web:1.1.0"), 1, "^app shop was not ready 5m after it got "+bump.Short(f.pushed[0].Head.Hash)+": Deployment/shop/web: InProgress: Available: 0/1$")
	f.wantFile(strings.Replace(webFile(0), "spec:\n  template", "spec:\n  replicas: 3 # busy\n  template", 1))
	for range 2 {
		f.want(bump.Held, `^1.1.0 was rolled back on 20..-..-.. in .{7} \("app shop was not ready 5m after`)
		f.restart()
	}
	f.latest = 2
	f.want(bump.Bump, "")
}

// A second app, or a second replica, finds it done.
func TestRollbackIsDoneOnce(t *testing.T) {
	f := newTrying(t, nil)
	f.want(bump.Bump, "")
	c := f.complaint("r.test/web:1.1.0")
	f.rollBack(c, 1, "")
	c.app = rolledBackApp("staging")
	f.rollBack(c, 0, "^nothing that was bumped since it was last well is there any more$")
	f.restart()
	f.rollBack(c, 0, "^nothing that was bumped")
	if n := f.git("rev-list", "--count", "main"); n != "3" {
		t.Errorf("main has %s commits, want 3", n)
	}
}

// Two apps ask at the same time: the one who is second looks again.
func TestRollbackIsDoneOnceByTwo(t *testing.T) {
	f := newTrying(t, nil)
	f.want(bump.Bump, "")
	c := f.complaint("r.test/web:1.1.0")
	first, second := f.branch(), f.branch()
	raced := false
	push := second.push
	second.push = func(ctx context.Context, h bump.Head, d []gitpush.Draft) ([]bump.Commit, error) {
		if !raced {
			raced = true
			if _, pass, err := first.rollBack(ctx, c); err != nil || len(pass.Commits) != 1 {
				t.Errorf("the first: %d commits, %v", len(pass.Commits), err)
			}
		}
		return push(ctx, h, d)
	}
	found, pass, err := second.rollBack(t.Context(), c)
	if err != nil || len(pass.Commits) != 0 || !strings.HasPrefix(found.why, "nothing that was bumped") {
		t.Fatalf("the second: %d commits, %q, %v", len(pass.Commits), found.why, err)
	}
	if n := f.git("rev-list", "--count", "main"); n != "3" {
		t.Errorf("main has %s commits, want 3", n)
	}
}

// G1, G3: a person pushes first. Where they set the field there is nothing left to
// do; beside it, the rollback goes on top.
func TestG3RollbackRacesWithAPerson(t *testing.T) {
	for _, c := range []struct {
		what    string
		edit    string
		commits int
		want    string
	}{
		{"they set it", webFile(7), 0, "^.{7} by Somebody is not applied yet$"},
		{"they work elsewhere", "", 1, "^app shop was not ready"},
	} {
		f := newTrying(t, nil)
		f.want(bump.Bump, "")
		complaint := f.complaint("r.test/web:1.1.0")
		push, raced := f.push, false
		f.push = func(ctx context.Context, h bump.Head, d []gitpush.Draft) ([]bump.Commit, error) {
			if !raced {
				raced = true
				if c.edit == "" {
					f.person("notes", map[string]string{"README": "x\n"})
				} else {
					f.person("this one", map[string]string{fleetFile: c.edit})
				}
			}
			return push(ctx, h, d)
		}
		f.rollBack(complaint, c.commits, c.want)
		if c.edit != "" {
			f.wantFile(c.edit)
		} else {
			f.wantFile(webFile(0))
		}
	}
}

// A field that a person has set since is theirs, whatever still runs.
func TestG3RollbackLeavesWhatAPersonSet(t *testing.T) {
	f := newTrying(t, nil)
	f.want(bump.Bump, "")
	f.edit("this one", fleetFile, 7)
	f.rollBack(f.complaint("r.test/web:1.1.0"), 0, "^nothing that was bumped since it was last well is there any more$")
	f.wantFile(webFile(7))
}

// Somebody is at work: what they changed in the app gets its time, and while the
// cluster has not got it nothing is taken back.
func TestRollbackLetsAPersonTry(t *testing.T) {
	f := newTrying(t, nil)
	f.want(bump.Bump, "")
	c := f.complaint("r.test/web:1.1.0")
	fix := f.person("more memory", map[string]string{fleetFile: f.file() + "# more memory\n"})
	f.rollBack(c, 0, "^"+bump.Short(fix)+" by Somebody is not applied yet$")
	if b := f.branch(); !b.answers(t, c) {
		t.Error("the app is not told that there is more to come")
	}
	c.head.Hash = fix
	c.trial.Tries = append(c.trial.Tries, reconcile.Try{Revision: "main@sha1:" + fix, Applied: f.clock.Add(-time.Minute)})
	f.rollBack(c, 0, "^what was bumped is on trial until ")
	c.trial.Tries[1].Applied = f.clock.Add(-5 * time.Minute)
	f.rollBack(c, 1, "^app shop was not ready")
	f.wantFile(webFile(0) + "# more memory\n")
}

// answers hands a complaint in and tells whether the app is to complain again.
func (b *branch) answers(t *testing.T, c complaint) bool {
	b.complain(c)
	b.answerComplaints(t.Context())
	return c.again.Load()
}

// What a person changed in a file of the app and not in the cluster gives a bump no time.
func TestRollbackIsNotStoppedByAComment(t *testing.T) {
	f := newTrying(t, nil)
	f.want(bump.Bump, "")
	c := f.complaint("r.test/web:1.1.0")
	c.head.Hash = f.person("a comment", map[string]string{fleetFile: f.file() + "# a comment\n"}) // applied, and no try
	f.rollBack(c, 1, "^app shop was not ready")
	f.wantFile(webFile(0) + "# a comment\n")
}

// A bump that the next one overtook has proven nothing.
func TestRollbackGoesBehindWhatWasOvertaken(t *testing.T) {
	f := newTrying(t, nil)
	for f.latest = 1; f.latest <= 3; f.latest++ {
		f.clock = f.clock.Add(time.Minute)
		f.want(bump.Bump, "")
	}
	f.proven = f.pushed[0].Head.Hash // 1.1.0, of which nobody knows how it was in time
	f.rollBack(f.complaint("r.test/web:1.3.0"), 1, "^app shop was not ready")
	f.wantFile(webFile(0))
}

// What had its time is what there is to go back to.
func TestRollbackStopsAtWhatHadItsTime(t *testing.T) {
	f := newTrying(t, nil)
	for f.latest = 1; f.latest <= 2; f.latest++ {
		f.clock = f.clock.Add(time.Hour)
		f.want(bump.Bump, "")
	}
	f.proven = f.pushed[0].Head.Hash
	f.rollBack(f.complaint("r.test/web:1.2.0"), 1, "^app shop was not ready")
	f.wantFile(webFile(1))
}

// Of two policies in one app only the one that the sick object runs goes back;
// what is in files that the app does not read is nobody's business here.
func TestRollbackTakesTheGuiltyAlone(t *testing.T) {
	api := strings.NewReplacer("web", "api").Replace(webFile(0))
	f := newTrying(t, map[string]string{fleetFile: webFile(0), "apps/api.yaml": api, "other/web.yaml": strings.Replace(webFile(0), "{name: web}", "{name: canary}", 1)})
	f.files = []string{"apps/api.yaml", fleetFile}
	w, selections := newWalker(t, f.walker.mirror, "web", "api")
	w.memory, w.history, w.now = newMemory(f.walker.memory.git, w.orders, f.walker.now), f.walker.memory.git, f.walker.now
	f.walker = w
	if pass, err := w.pass(t.Context(), always(selections), f.push); err != nil || len(pass.Commits) != 2 {
		t.Fatalf("%d commits, %v", len(pass.Commits), err)
	}
	f.rollBack(f.complaint("r.test/web:1.1.0"), 1, "^app shop was not ready")
	f.wantFile(webFile(0))
	for file, want := range map[string]string{"apps/api.yaml": "r.test/api:1.1.0 ", "other/web.yaml": "r.test/web:1.1.0 "} {
		if got := f.git("show", "main:"+file); !strings.Contains(got, want) {
			t.Errorf("%s holds\n%s", file, got)
		}
	}
}

// G4: of what was rewound nothing can be said.
func TestG4NothingIsRolledBackBehindARewind(t *testing.T) {
	f := newTrying(t, nil)
	f.want(bump.Bump, "")
	c := f.complaint("r.test/web:1.1.0")
	c.trial.Proven = "main@sha1:" + strings.Repeat("ab", 20)
	f.rollBack(c, 0, "^abababa, at which the app was last well, is no longer in the branch$")
}

// A commit that only says that it set the field did not.
func TestForgedBumpIsNotRolledBack(t *testing.T) {
	f := newTrying(t, nil)
	f.person("mine\n\nBump-Image: r.test/web\nBump-From: 0.1.0\nBump-To: 1.0.0\nBump-Policy: hoist:web\nBump-Field: "+fleetFile+":9 spec.template.spec.containers[0].image",
		map[string]string{"README": "x\n"})
	f.rollBack(f.complaint("r.test/web:1.0.0"), 0, "^nothing that was bumped")
}

// N9: where a tag stays and its digest goes back, the digest is held.
func TestN9RolledBackDigestStaysOut(t *testing.T) {
	digest := func(c string) string { return "sha256:" + strings.Repeat(c, 64) }
	field := func(c string) string { return strings.Replace(webFile(0), ":1.0.0 ", ":1.0.0@"+digest(c)+" ", 1) }
	f := newTrying(t, map[string]string{fleetFile: field("a")})
	pass := func(c string) bump.Verdict {
		t.Helper()
		sel := bump.Selection{Policy: web, Tags: bump.Tags{Image: "r.test/web"}, Tag: "1.0.0", Digest: digest(c), Proven: true}
		p, err := f.walker.pass(t.Context(), always(map[bump.Name]bump.Selection{web: sel}), f.push)
		if err != nil {
			t.Fatal(err)
		}
		return p.Verdicts[0]
	}
	if v := pass("b"); v.Outcome != bump.Bump {
		t.Fatalf("%+v", v)
	}
	f.rollBack(f.complaint("r.test/web:1.0.0@"+digest("b")), 1, "^app shop was not ready")
	f.wantFile(field("a"))
	for range 2 {
		if v := pass("b"); v.Outcome != bump.Held || !strings.HasPrefix(v.Reason, "1.0.0@"+digest("b")+" was rolled back on ") {
			t.Fatalf("%s: %s", v.Outcome, v.Reason)
		}
		f.restart()
	}
	if v := pass("c"); v.Outcome != bump.Bump {
		t.Fatalf("%s: %s", v.Outcome, v.Reason)
	}
}

// D14, G7: what cannot be pushed is tried again as long as the app complains; a
// closed door pushes nothing and says what would be.
func TestRollbackThatIsRefused(t *testing.T) {
	f := newTrying(t, nil)
	f.want(bump.Bump, "")
	b := f.branch()
	b.house.status.apps[name("shop")] = &AppStatus{}
	said := func() string { return b.house.status.apps[name("shop")].Rollback }
	push, pushes := b.push, 0
	b.push = func(context.Context, bump.Head, []gitpush.Draft) ([]bump.Commit, error) {
		if pushes++; pushes == 1 {
			panic("a door that is broken")
		}
		return nil, errors.New("protected branch")
	}
	b.complain(f.complaint("r.test/web:1.1.0"))
	for i := range 3 {
		b.answerComplaints(t.Context())
		if pushes != i+1 || !strings.Contains(said(), "rollback is tried again: ") {
			t.Fatalf("%d pushes, %q", pushes, said())
		}
	}
	b.push = func(context.Context, bump.Head, []gitpush.Draft) ([]bump.Commit, error) { return nil, nil }
	b.answerComplaints(t.Context())
	if !strings.Contains(said(), "would be rolled back: app shop") {
		t.Errorf("closed door: %q", said())
	}
	b.push = push
	b.complain(f.complaint("r.test/web:1.1.0"))
	b.withdraw(name("shop"))
	b.answerComplaints(t.Context())
	f.wantFile(webFile(1)) // it is well again
	b.complain(f.complaint("r.test/web:1.1.0"))
	b.house.controls.take(map[reconcile.Subject]reconcile.Control{appSubject(name("shop")): {Suspended: &reconcile.Suspension{Since: f.clock}}}, nil)
	b.answerComplaints(t.Context())
	f.wantFile(webFile(1)) // it is suspended
	b.house.controls.take(nil, nil)
	b.complain(f.complaint("r.test/web:1.1.0"))
	b.answerComplaints(t.Context())
	f.wantFile(webFile(0))
	if !strings.Contains(said(), ": rolled back in ") {
		t.Errorf("status %q", said())
	}
}

// threeRollbacks takes three bumps back, hours apart.
func (f *trying) threeRollbacks() { f.rollbacksEvery(2 * time.Hour) }

func (f *trying) rollbacksEvery(d time.Duration) {
	f.t.Helper()
	for range maxRollbacks {
		f.want(bump.Bump, "")
		f.rollBack(f.complaint(fmt.Sprintf("r.test/web:1.%d.0", f.latest)), 1, "")
		f.latest++
		f.clock = f.clock.Add(d)
	}
}
