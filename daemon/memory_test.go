package daemon

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"hoist/bump"
	"hoist/config"
	"hoist/gitpush"
	"hoist/testenv/gitserver"
)

var web = bump.Name{Namespace: "hoist", Name: "web"}

// fleet is a repository on a real Git server, and a walker that keeps it fresh.
type fleet struct {
	t      *testing.T
	server *gitserver.Server
	clock  time.Time
	latest int
	walker *walker
	push   pushFunc
	pushed []bump.Commit
}

const fleetFile = "apps/web.yaml"

func newFleet(t *testing.T, files map[string]string) *fleet {
	t.Helper()
	s, err := gitserver.Start(gitserver.Options{Users: map[string]string{"bot": "secret"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if files == nil {
		files = map[string]string{fleetFile: webFile(0)}
	}
	if err := s.Init("fleet", files); err != nil {
		t.Fatal(err)
	}
	f := &fleet{t: t, server: s, clock: time.Now()}
	f.restart()
	return f
}

// webFile is a Deployment whose image is version n.
func webFile(n int) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      containers:
      - name: web
        image: r.test/web:1.%d.0 # {"$imagepolicy": "hoist:web"}
`, n)
}

// restart starts anew on an empty disk.
func (f *fleet) restart() {
	f.t.Helper()
	m, err := gitpush.Open(f.t.TempDir(), gitpush.Repository{Name: bump.Name{Namespace: "hoist", Name: "fleet"}, URL: f.server.URL("fleet"), Branch: "main"},
		func(context.Context) (bump.Secret, error) {
			return bump.Secret{"username": []byte("bot"), "password": []byte("secret")}, nil
		}, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { m.Close() })
	w, _ := newWalker(f.t, m, "web")
	w.now = func() time.Time { return f.clock }
	w.memory = newMemory(m, w.orders, w.now)
	f.walker, f.push = w, m.Push
}

// pass elects the newest version and returns the verdict on the field.
func (f *fleet) pass() bump.Verdict {
	f.t.Helper()
	sel := bump.Selection{Policy: web, Tags: bump.Tags{Image: "r.test/web"}, Tag: fmt.Sprintf("1.%d.0", f.latest), Proven: true}
	pass, err := f.walker.pass(f.t.Context(), always(map[bump.Name]bump.Selection{web: sel}), f.push)
	if err != nil {
		f.t.Fatal(err)
	}
	f.pushed = append(f.pushed, pass.Commits...)
	f.branch().remember(f.t.Context(), pass.Newest()) // as the daemon does
	if len(pass.Verdicts) != 1 {
		f.t.Fatalf("verdicts %+v, want one", pass.Verdicts)
	}
	return pass.Verdicts[0]
}

// branch is the branch as the daemon has it.
func (f *fleet) branch() *branch {
	f.walker.history = f.walker.memory.git
	return &branch{walker: f.walker, push: f.push, wakes: make(chan struct{}, 1), log: zap.NewNop(),
		house: Open(&config.Config{}, Options{Log: zap.NewNop(), Now: f.walker.now})}
}

func (f *fleet) want(outcome bump.Outcome, reason string) {
	f.t.Helper()
	v := f.pass()
	if v.Outcome != outcome || !regexp.MustCompile(reason).MatchString(v.Reason) {
		f.t.Fatalf("%s -> 1.%d.0: %s (%s), want %s (%s)", v.Site.Value, f.latest, v.Outcome, v.Reason, outcome, reason)
	}
}

// person commits files as a person does, and removes others.
func (f *fleet) person(message string, files map[string]string, remove ...string) string {
	f.t.Helper()
	hash, err := f.server.Commit("fleet", message, files, remove...)
	if err != nil {
		f.t.Fatal(err)
	}
	return hash
}

// edit sets the field by hand, wherever it is.
func (f *fleet) edit(message, file string, n int) string {
	return f.person(message, map[string]string{file: webFile(n)})
}

func (f *fleet) git(args ...string) string {
	f.t.Helper()
	out, err := f.server.Git("fleet", args...)
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

// P10, N9: who took a version out is told, also by a process that has never seen
// the repository; a newer version ends the hold.
func TestP10TakenOutByHand(t *testing.T) {
	f := newFleet(t, nil)
	f.latest = 1
	f.want(bump.Bump, "")
	set := bump.Short(f.pushed[0].Head.Hash)
	out := bump.Short(f.edit("back", fleetFile, 0))
	told := fmt.Sprintf("^1.1.0 was set here on 20..-..-.. \\(%s\\) and taken out by Somebody on 20..-..-.. in %s; .*`hoist release web 1.1.0` ends this$", set, out)
	f.want(bump.Held, told)
	f.restart()
	f.want(bump.Held, told)
	f.edit("by hand again", fleetFile, 1)
	f.want(bump.Current, "")
	f.edit("and back", fleetFile, 0)
	f.want(bump.Held, "taken out by Somebody")
	f.latest = 2
	f.want(bump.Bump, "")
}

// N9: several bumps taken back at once hold each of them.
func TestN9SeveralBumpsTakenBack(t *testing.T) {
	f := newFleet(t, nil)
	for f.latest = 1; f.latest <= 3; f.latest++ {
		f.want(bump.Bump, "")
	}
	f.edit("all back, squashed", fleetFile, 0)
	for _, f.latest = range []int{3, 2, 1} {
		f.restart()
		f.want(bump.Held, fmt.Sprintf("^1.%d.0 was set here .* and taken out by Somebody", f.latest))
	}
}

// N9: a version that only people set and took out is not ours to put back.
func TestN9OnlyPeopleSetIt(t *testing.T) {
	f := newFleet(t, nil)
	in := bump.Short(f.edit("try 1.1.0", fleetFile, 1))
	out := bump.Short(f.edit("no good", fleetFile, 0))
	f.latest = 1
	f.want(bump.Held, "^1.1.0 was set here by Somebody on .* \\("+in+"\\) and taken out by Somebody on .* in "+out)
}

// N9: the object is followed, not the file or the place in a list.
func TestN9FileRenamedAndListReordered(t *testing.T) {
	f := newFleet(t, nil)
	f.latest = 1
	f.want(bump.Bump, "")
	f.edit("back", fleetFile, 0)
	f.person("move", map[string]string{"shop/web/deployment.yaml": webFile(0)}, fleetFile)
	f.want(bump.Held, "^1.1.0 was set here .* and taken out by Somebody")
	f.restart()
	f.want(bump.Held, "^1.1.0 was set here .* and taken out by Somebody")
	sidecar := strings.Replace(webFile(0), "      - name: web\n", "      - name: sidecar\n        image: other\n      - name: web\n", 1)
	f.person("a sidecar goes first", map[string]string{"shop/web/deployment.yaml": sidecar})
	f.restart()
	f.want(bump.Held, "^1.1.0 was set here .* and taken out by Somebody")
	// Another object of the same shape is another field.
	f.person("another", map[string]string{"shop/web/deployment.yaml": strings.Replace(webFile(0), "{name: web}", "{name: canary}", 1)})
	f.restart()
	f.want(bump.Bump, "")
}

// G4: what a force push dropped stays dropped while we run.
func TestG4ForcePushed(t *testing.T) {
	f := newFleet(t, nil)
	f.latest = 1
	f.want(bump.Bump, "")
	f.want(bump.Current, "")
	f.git("update-ref", "refs/heads/main", f.pushed[0].Parent)
	f.want(bump.Held, "^1.1.0 was set here on .*, which the branch was rewound behind")
	if n := f.git("rev-list", "--count", "main"); n != "1" {
		t.Errorf("main has %s commits, want 1", n)
	}
	f.latest = 2
	f.want(bump.Bump, "")
}

// N9: a release counts from then on, and only as an empty commit.
func TestReleaseCountsInEmptyCommits(t *testing.T) {
	f := newFleet(t, nil)
	f.latest = 1
	f.want(bump.Bump, "")
	f.edit("back", fleetFile, 0)
	f.person("squashed\n\nBump-Release: hoist:web 1.1.0", map[string]string{"README": "x\n"})
	f.want(bump.Held, "taken out")
	f.person("other\n\nBump-Release: hoist:web 1.7.0", nil)
	f.want(bump.Held, "taken out")
	f.person("release\n\nBump-Release: hoist:web", nil)
	f.restart()
	f.want(bump.Bump, "")
	f.edit("no", fleetFile, 0)
	f.want(bump.Held, "taken out")
}

// G32: another bot that reverts each of our commits is not fought; the limit is
// kept over restarts, and told once.
func TestG32AnotherBot(t *testing.T) {
	f := newFleet(t, nil)
	ours, reverted := make(chan string), make(chan error)
	go func() {
		for range ours {
			_, err := f.server.Commit("fleet", "bot: undo drift", map[string]string{fleetFile: webFile(0)})
			reverted <- err
		}
	}()
	t.Cleanup(func() { close(ours) })
	for f.latest = 1; f.latest <= 3; f.latest++ {
		f.want(bump.Bump, "")
		ours <- f.pushed[len(f.pushed)-1].Head.Hash
		if err := <-reverted; err != nil {
			t.Fatal(err)
		}
	}
	const told = "^set here 3 times since ..:..:.. and set back each time, last by Somebody \\(.{7}\\); left alone until"
	for range 3 {
		f.want(bump.Held, told)
	}
	if news := f.walker.memory.news(); len(news) != 1 {
		t.Errorf("told %d times, want once: %+v", len(news), news)
	}
	f.restart()
	f.want(bump.Held, told)
	if len(f.pushed) != 3 {
		t.Errorf("%d commits, want 3", len(f.pushed))
	}
	f.clock = f.clock.Add(flipWindow + time.Minute)
	f.want(bump.Bump, "")
}

// D21: the list that trailers give on an empty disk, and in a fresh clone, is the
// list of what was pushed.
func TestD21HistoryEqualsWhatWasPushed(t *testing.T) {
	f := newFleet(t, nil)
	for i := range 6 {
		f.latest++
		f.clock = f.clock.Add(2 * flipWindow)
		f.want(bump.Bump, "")
		if i%2 == 1 {
			f.person("a person works", map[string]string{"README": fmt.Sprint(i)})
			f.restart()
		}
	}
	var want []string
	for _, c := range slices.Backward(f.pushed) {
		v := c.Changes[0].Verdicts[0]
		want = append(want, fmt.Sprintf("%s %s %s %s->%s", c.Head.Hash, c.Time.UTC().Format(time.RFC3339), v.Site.Policy, tagOf(v.Site.Part, v.Site.Value), v.Selection.Tag))
	}
	f.restart()
	clone := filepath.Join(t.TempDir(), "clone")
	if out, err := exec.Command("git", "clone", "-q", "file://"+f.server.Path("fleet"), clone).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	c, err := gitpush.OpenClone(clone)
	if err != nil {
		t.Fatal(err)
	}
	head, err := f.walker.mirror.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, git := range map[string]chronicle{"mirror": f.walker.memory.git, "clone": c} {
		var got []string
		list, err := Audit(t.Context(), git, head, gitpush.HistoryOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for e, err := range list {
			if err != nil {
				t.Fatal(err)
			}
			if e.Undone {
				t.Errorf("%s: %s -> %s counts as undone by %+v", name, e.From, e.To, e.By)
			}
			got = append(got, fmt.Sprintf("%s %s %s %s->%s", e.Commit, e.Time.UTC().Format(time.RFC3339), e.Policy, e.From, e.To))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: history\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// The memory is kept up commit by commit.
func TestMemoryReadsOnlyWhatIsNew(t *testing.T) {
	f := newFleet(t, nil)
	counted := &counting{historian: f.walker.memory.git}
	f.walker.memory.git, f.walker.memory.lineage.git = counted, counted
	for range 5 {
		f.latest++
		f.clock = f.clock.Add(2 * flipWindow)
		f.want(bump.Bump, "")
	}
	counted.entries, counted.steps = 0, 0
	f.latest++
	f.clock = f.clock.Add(2 * flipWindow)
	f.want(bump.Bump, "")
	if counted.entries != 1 || counted.steps != 1 {
		t.Errorf("after one new commit %d entries and %d steps were read, want one each", counted.entries, counted.steps)
	}
}

// counting counts what is read.
type counting struct {
	historian
	entries, steps int
}

// N9 for any course of things: no older version by us, and no version put back
// that a person took out and nobody released; and (N1) a version that was never
// there is set.
func TestN9AnyCourse(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			newCourse(t, seed).run(35)
		})
	}
}

// course is what persons, Hoist and the disk do to one field.
type course struct {
	*fleet
	random *rand.Rand
	file   string
	value  int
	was    map[int]bool // versions that were in the field since their release
	log    []string
}

func newCourse(t *testing.T, seed uint64) *course {
	return &course{fleet: newFleet(t, nil), random: rand.New(rand.NewPCG(seed, 7)), file: fleetFile, was: map[int]bool{0: true}}
}

func (c *course) run(steps int) {
	for range steps {
		switch c.random.IntN(10) {
		case 0, 1, 2:
			c.latest++
		case 3:
			c.hand("hand edit", c.random.IntN(c.latest+2))
		case 4:
			c.hand("Revert \"Update web\"\n\nThis reverts commit "+c.git("rev-parse", "main")+".", max(0, c.value-1))
		case 5:
			c.hand("squash of several reverts", c.random.IntN(c.value+1))
		case 6:
			tag, ended := fmt.Sprintf(" 1.%d.0", c.latest), func(n int, _ bool) bool { return n == c.latest }
			if c.random.IntN(2) == 0 {
				tag, ended = "", func(int, bool) bool { return true }
			}
			c.note("release" + tag)
			c.person("release\n\nBump-Release: hoist:web"+tag, nil)
			maps.DeleteFunc(c.was, ended)
			c.was[c.value] = true
		case 7:
			c.note("restart")
			c.restart()
		case 8:
			to := fmt.Sprintf("apps/%d/web.yaml", len(c.log))
			c.note("move to " + to)
			c.person("move", map[string]string{to: webFile(c.value)}, c.file)
			c.file = to
		case 9:
			c.note("other work")
			c.person("work", map[string]string{"README": fmt.Sprint(len(c.log))})
		}
		c.check()
	}
}

func (c *course) hand(message string, n int) {
	if n == c.value {
		return
	}
	c.note(fmt.Sprintf("%s: 1.%d.0 -> 1.%d.0", strings.SplitN(message, "\n", 2)[0], c.value, n))
	c.edit(message, c.file, n)
	c.value = n
	c.was[n] = true
}

func (c *course) note(s string) { c.log = append(c.log, s) }

// check lets Hoist pass and looks at what it did.
func (c *course) check() {
	c.t.Helper()
	c.clock = c.clock.Add(2 * flipWindow) // flips are another matter
	v := c.pass()
	text := c.git("show", "main:"+c.file) + "\n"
	now := c.value
	if v.Outcome == bump.Bump {
		now = c.latest
	}
	fail := func(what string) {
		c.t.Fatalf("%s: elected 1.%d.0, there was 1.%d.0: %s (%s)\n%s", what, c.latest, c.value, v.Outcome, v.Reason, strings.Join(c.log, "\n"))
	}
	switch {
	case text != webFile(now):
		fail("the file is not what the verdict says")
	case v.Outcome == bump.Bump && c.latest < c.value:
		fail("an older version")
	case v.Outcome == bump.Bump && c.was[c.latest]:
		fail("put back what was taken out")
	case v.Outcome != bump.Bump && c.latest > c.value && !c.was[c.latest]:
		fail("a new version is not set")
	}
	if now != c.value {
		c.note(fmt.Sprintf("bump 1.%d.0 -> 1.%d.0", c.value, now))
	}
	c.value = now
	c.was[now] = true
}

func (c *counting) History(ctx context.Context, head bump.Head, o gitpush.HistoryOptions) (iter.Seq2[gitpush.Entry, error], error) {
	list, err := c.historian.History(ctx, head, o)
	return counted(list, &c.entries), err
}

func (c *counting) Steps(ctx context.Context, head bump.Head, until string, max int) iter.Seq2[gitpush.Step, error] {
	return counted(c.historian.Steps(ctx, head, until, max), &c.steps)
}

func counted[T any](list iter.Seq2[T, error], n *int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for x, err := range list {
			*n++
			if !yield(x, err) {
				return
			}
		}
	}
}
