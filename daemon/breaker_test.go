package daemon

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"hoist/bump"
)

const breakerOpen = `^breaker open: 3 rollbacks since 20.* UTC \(1.1.0, 1.2.0, 1.3.0\), the last in .{7}; nothing of policy web is bumped until 20.* UTC: find out why, then set a field of it by hand or run .hoist release web., which closes the breaker$`

// G32: three rollbacks of a policy in a day, and it is left alone, also by a
// process that has seen nothing of it; the first is a day old, and the next
// version is tried.
func TestG32BreakerOpensAfterThreeRollbacks(t *testing.T) {
	f := newTrying(t, nil)
	f.threeRollbacks()
	f.want(bump.Held, breakerOpen)
	f.restart()
	f.want(bump.Held, breakerOpen)
	f.clock = f.clock.Add(breakerWindow - 6*time.Hour - time.Minute)
	f.want(bump.Held, breakerOpen)
	f.clock = f.clock.Add(2 * time.Minute)
	f.want(bump.Bump, "")
	f.rollBack(f.complaint("r.test/web:1.4.0"), 1, "")
	f.latest++
	f.want(bump.Held, `^breaker open: 3 rollbacks since .* \(1.2.0, 1.3.0, 1.4.0\)`)
}

// What we take back ourselves is not another bot's work, however quick it goes.
func TestRollbacksAreNoFlips(t *testing.T) {
	f := newTrying(t, nil)
	f.rollbacksEvery(time.Minute)
	f.want(bump.Held, breakerOpen)
	if news := f.walker.memory.news(); len(news) != 0 {
		t.Errorf("told of %+v", news)
	}
}

func TestBreakerIsClosedByAPerson(t *testing.T) {
	f := newTrying(t, nil)
	f.threeRollbacks()
	f.person("elsewhere", map[string]string{"README": "x\n", fleetFile: webFile(0) + "# a note\n"})
	f.want(bump.Held, "^breaker open")
	f.restart()
	f.edit("this one", fleetFile, 2)
	f.want(bump.Bump, "")
	f.rollBack(f.complaint("r.test/web:1.4.0"), 1, "")
	f.latest++
	f.want(bump.Held, "^breaker open: 4 rollbacks") // what a person did before it does not count
}

func TestBreakerIsClosedByARelease(t *testing.T) {
	for _, message := range []string{"release\n\nBump-Release: hoist:web", "release\n\nBump-Release: hoist:web 1.2.0"} {
		f := newTrying(t, nil)
		f.threeRollbacks()
		f.want(bump.Held, "^breaker open")
		f.person(message, nil)
		f.want(bump.Bump, "")
		f.restart()
		f.want(bump.Current, "")
	}
}

// One version that is bad in three environments is one version.
func TestBreakerCountsByField(t *testing.T) {
	f := newTrying(t, nil)
	f.threeRollbacks()
	x := newIndex()
	b := f.walker.memory.index.backs[web]
	for i := range b {
		b[i].fields = []fieldKey{{file: strings.Repeat("x", i), id: "y"}}
		x.keepBack(web, b[i])
	}
	f.walker.memory.index = x
	f.want(bump.Bump, "")
}

// The alert is one line, and the end of it another.
func TestBreakerIsToldOnce(t *testing.T) {
	f := newTrying(t, nil)
	f.threeRollbacks()
	core, logged := observer.New(zap.InfoLevel)
	b := f.branch()
	b.log = zap.New(core)
	b.house.status.repositories[b.repository.Name] = &RepositoryStatus{}
	lines := func() []string { return b.house.status.repositories[b.repository.Name].Breakers }
	look := func() {
		t.Helper()
		head, err := f.walker.mirror.Fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b.remember(t.Context(), head)
	}
	look()
	look()
	if n := logged.FilterMessageSnippet("breaker open").FilterLevelExact(zap.ErrorLevel).Len(); n != 1 || len(lines()) != 1 {
		t.Errorf("told %d times, status %q", n, lines())
	}
	f.edit("this one", fleetFile, 2)
	look()
	look()
	if n := logged.FilterMessage("breaker closed").Len(); n != 1 || len(lines()) != 0 {
		t.Errorf("its end was told %d times, status %q", n, lines())
	}
}
