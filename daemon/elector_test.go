package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"hoist/bump"
	"hoist/config"
	"hoist/policy"
	"hoist/scanner"
)

// shelfOfTags is a registry that answers what a test says, and counts.
type shelfOfTags struct {
	mu        sync.Mutex
	artifacts map[string]bump.Artifact // by tag
	broken    map[string]error         // by tag
	unsigned  map[string]string        // by digest: why
	hang      bool
	asked     []string
}

func (r *shelfOfTags) Inspect(ctx context.Context, _ scanner.Source, tag string, _ scanner.Wants) (bump.Artifact, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, tag)
	if r.hang {
		r.mu.Unlock()
		<-ctx.Done()
		r.mu.Lock()
		return bump.Artifact{}, ctx.Err()
	}
	if err := r.broken[tag]; err != nil {
		return bump.Artifact{}, err
	}
	a, ok := r.artifacts[tag]
	if !ok {
		return bump.Artifact{}, fmt.Errorf("digest of %s: %w", tag, scanner.ErrNotFound)
	}
	a.Tag, a.Image = tag, a.Type == ""
	return a, nil
}

func (r *shelfOfTags) Verify(_ context.Context, _ scanner.Source, digest string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if why, ok := r.unsigned[digest]; ok {
		return &scanner.UnsignedError{Reason: why}
	}
	return nil
}

// takeAsked returns the tags that were looked up since the last call.
func (r *shelfOfTags) takeAsked() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := strings.Join(r.asked, " ")
	r.asked = nil
	return asked
}

func policyOf(t *testing.T, s policy.Spec) config.Policy {
	t.Helper()
	name := bump.Name{Namespace: "hoist", Name: "web"}
	if s.Policy == (policy.Choice{}) {
		s.Policy.SemVer = &policy.SemVer{Range: ">=1.0.0"}
	}
	p, err := policy.New(name, s)
	if err != nil {
		t.Fatal(err)
	}
	return config.Policy{Name: name, Image: name, Spec: s, Policy: p}
}

var webImage = scanner.Source{Image: scanner.Image{Name: bump.Name{Namespace: "hoist", Name: "web"}, Image: "r.test/web"}}

func tagsOf(list ...string) bump.Tags {
	slices.Sort(list)
	return bump.Tags{Image: "r.test/web", List: list}
}

func TestTheNextBestTagIsElected(t *testing.T) {
	now := time.Date(2026, 11, 27, 14, 0, 0, 0, time.UTC)
	amd64 := []string{"linux/amd64"}
	r := &shelfOfTags{
		artifacts: map[string]bump.Artifact{
			"1.6.0": {Digest: "sha256:6", Type: "application/vnd.cncf.helm.config.v1+json"},
			"1.5.0": {Digest: "sha256:5", Platforms: amd64},
			"1.4.0": {Digest: "sha256:4", Platforms: []string{"linux/amd64", "linux/arm64"}, Created: now.Add(-time.Minute)},
			"1.3.0": {Digest: "sha256:3", Platforms: []string{"linux/amd64", "linux/arm64"}, Created: now.Add(-time.Hour)},
			"1.2.0": {Digest: "sha256:2", Platforms: []string{"linux/amd64", "linux/arm64"}, Created: now.Add(-2 * time.Hour)},
		},
		unsigned: map[string]string{"sha256:3": "no signature"},
	}
	p := policyOf(t, policy.Spec{Platforms: []string{"linux/arm64"}, MinimumAge: bump.Duration(30 * time.Minute), DigestReflectionPolicy: "Always"})
	src := webImage
	src.Image.Verify = &scanner.Verify{}
	e := newElector(r, func() time.Time { return now })

	s := e.elect(t.Context(), p, src, tagsOf("1.2.0", "1.3.0", "1.4.0", "1.5.0", "1.6.0", "1.7.0"))
	if s.Err != nil || s.Tag != "1.2.0" || s.Digest != "sha256:2" || !s.Proven {
		t.Fatalf("elected %q %q proven=%t, %v; want 1.2.0 with its digest", s.Tag, s.Digest, s.Proven, s.Err)
	}
	var why []string
	for _, over := range s.PassedOver {
		why = append(why, over.Tag+" "+over.Reason)
	}
	for i, want := range []string{"1.7.0 ", "1.6.0 ", "1.5.0 ", "1.4.0 younger than 30m", "1.3.0 "} {
		if i >= len(why) || !strings.HasPrefix(why[i], want) {
			t.Errorf("passed over: %q, want %q in place %d", why, want, i)
		}
	}
	for i, part := range []string{"does not have it", "Helm chart", "linux/arm64", "eligible 14:29", "no signature"} {
		if i < len(why) && !strings.Contains(why[i], part) {
			t.Errorf("passed over %q, want %q in it", why[i], part)
		}
	}
	if want := now.Add(time.Minute); !s.Again.Equal(want) {
		t.Errorf("again at %v, want %v: a signature may come late", s.Again, want)
	}
}

func TestAYoungTagIsNotAskedAboutBeforeItIsOldEnough(t *testing.T) {
	now := time.Date(2026, 11, 27, 14, 0, 0, 0, time.UTC)
	r := &shelfOfTags{artifacts: map[string]bump.Artifact{
		"1.1.0": {Digest: "sha256:1", Seen: now},
		"1.0.0": {Digest: "sha256:0", Seen: now.Add(-time.Hour)},
	}}
	p := policyOf(t, policy.Spec{MinimumAge: bump.Duration(10 * time.Minute)})
	e := newElector(r, func() time.Time { return now })
	tags := tagsOf("1.0.0", "1.1.0")
	for range 2 {
		if s := e.elect(t.Context(), p, webImage, tags); s.Tag != "1.0.0" || !s.Again.Equal(now.Add(10*time.Minute)) {
			t.Fatalf("elected %q, again at %v; want 1.0.0, and again when 1.1.0 is old enough", s.Tag, s.Again)
		}
	}
	if got := r.takeAsked(); got != "1.1.0 1.0.0 1.0.0" {
		t.Errorf("looked up %q, want the young tag once", got)
	}
	now = now.Add(10 * time.Minute)
	if s := e.elect(t.Context(), p, webImage, tags); s.Tag != "1.1.0" || len(s.PassedOver) != 0 {
		t.Errorf("elected %q, want 1.1.0, which is old enough now", s.Tag)
	}
}

// A release train does not fill the memory: what is old enough by now is forgotten,
// also when a newer tag won and nobody asked again.
func TestYoungTagsAreForgotten(t *testing.T) {
	now := time.Date(2026, 11, 27, 14, 0, 0, 0, time.UTC)
	r := &shelfOfTags{artifacts: make(map[string]bump.Artifact)}
	p := policyOf(t, policy.Spec{MinimumAge: bump.Duration(10 * time.Minute)})
	e := newElector(r, func() time.Time { return now })
	for i := range 100 {
		tag := fmt.Sprintf("1.0.%d", i)
		r.artifacts[tag] = bump.Artifact{Digest: "sha256:" + tag, Seen: now}
		e.elect(t.Context(), p, webImage, tagsOf(tag))
		now = now.Add(5 * time.Minute)
	}
	if n := len(e.young); n > 3 {
		t.Errorf("%d young tags are remembered, want those of the last ten minutes", n)
	}
}

// R20, N9: with nothing that qualifies there is a reason and no tag.
func TestNobodyIsElected(t *testing.T) {
	r := &shelfOfTags{broken: map[string]error{"1.2.0": errors.New("503 service unavailable")}}
	e := newElector(r, time.Now)
	for _, tc := range []struct {
		tags   bump.Tags
		reason string
	}{
		{tagsOf("latest"), "no tag qualifies: of 1"},
		{tagsOf("1.0.0"), "no tag qualifies: every allowed one is passed over (1.0.0: the registry lists it"},
		{tagsOf("1.0.0", "1.2.0"), "503 service unavailable"},
	} {
		s := e.elect(t.Context(), policyOf(t, policy.Spec{}), webImage, tc.tags)
		if s.Tag != "" || s.Proven || s.Err == nil || !strings.Contains(s.Err.Error(), tc.reason) {
			t.Errorf("elect(%q) = %q, %v; want nothing and %q", tc.tags.List, s.Tag, s.Err, tc.reason)
		}
	}
	many := make([]string, 200)
	for i := range many {
		many[i] = fmt.Sprintf("1.0.%d", i)
	}
	s := e.elect(t.Context(), policyOf(t, policy.Spec{}), webImage, tagsOf(many...))
	if s.Err == nil || !strings.Contains(s.Err.Error(), "the 100 newest tags are all passed over") {
		t.Errorf("elect with 200 tags that are not there: %v, want that it gives up", s.Err)
	}
}

func TestNewestBuild(t *testing.T) {
	now := time.Date(2026, 11, 27, 14, 0, 0, 0, time.UTC)
	day := func(n int) time.Time { return now.AddDate(0, 0, -n) }
	r := &shelfOfTags{artifacts: map[string]bump.Artifact{
		"blue":  {Digest: "sha256:b", Created: day(3)},
		"green": {Digest: "sha256:g", Created: day(1)},
		"red":   {Digest: "sha256:r", Created: day(2)},
	}}
	p := policyOf(t, policy.Spec{Policy: policy.Choice{NewestBuild: &policy.NewestBuild{}}})
	e := newElector(r, func() time.Time { return now })
	tags := tagsOf("blue", "green", "red")
	if s := e.elect(t.Context(), p, webImage, tags); s.Tag != "green" || !s.Proven {
		t.Fatalf("elected %q, %v; want green, built last", s.Tag, s.Err)
	}
	if c, ok := (order{p, e}).Compare("green", "blue"); c <= 0 || !ok {
		t.Errorf("Compare(green, blue) = %d %t, want newer", c, ok)
	}
	r.takeAsked()
	if e.elect(t.Context(), p, webImage, tags); r.takeAsked() != "green" {
		t.Error("a second election looks up more than the elected tag")
	}

	// one that cannot be looked up might be the newest: no decision on a part
	now = now.Add(2 * buildsRecheck)
	r.broken = map[string]error{"red": errors.New("502 bad gateway")}
	if s := e.elect(t.Context(), p, webImage, tags); s.Err == nil || s.Tag != "" {
		t.Errorf("elected %q with a tag that cannot be looked up, want an error", s.Tag)
	}
}

// electionsOf returns elections over one policy and a way to see the board.
func electionsOf(t *testing.T, r registry, names ...string) (*House, *elections, *sync.WaitGroup) {
	t.Helper()
	var policies []config.Policy
	h := Open(&config.Config{}, Options{Log: zap.NewNop()})
	for _, n := range names {
		p := policyOf(t, policy.Spec{})
		p.Name.Name, p.Image.Name = n, n
		policies = append(policies, p)
		h.images[p.Image] = webImage.Image
	}
	h.board, h.elector = newBoard(policies), newElector(r, time.Now)
	return h, newElections(h, func() {}), new(sync.WaitGroup)
}

// N1: an election that the registry kept from its end is held again by itself.
func TestElectionIsHeldAgainAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &shelfOfTags{artifacts: map[string]bump.Artifact{"1.0.0": {Digest: "sha256:0"}}, broken: map[string]error{"1.0.0": errors.New("503")}}
		h, e, wg := electionsOf(t, r, "web")
		name := bump.Name{Namespace: "hoist", Name: "web"}
		h.scanned(scanner.Outcome{Name: name, Tags: tagsOf("1.0.0")})
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() { e.run(ctx) })
		e.ask(name)
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := h.board.current()[name]; s.Err == nil || s.Proven {
			t.Errorf("selection %+v while the registry fails, want its error", s)
		}
		if n := len(strings.Fields(r.takeAsked())); n < 3 || n > 6 {
			t.Errorf("%d look-ups in a minute of failure, want a few, later each time", n)
		}
		r.mu.Lock()
		r.broken = nil
		r.mu.Unlock()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if s := h.board.current()[name]; s.Err != nil || !s.Proven || s.Tag != "1.0.0" {
			t.Errorf("selection %+v after the registry recovered, want 1.0.0", s)
		}
		r.takeAsked()
		time.Sleep(24 * time.Hour)
		if got := r.takeAsked(); got != "" {
			t.Errorf("looked up %q on a quiet day, want nothing", got)
		}
		cancel()
		wg.Wait()
	})
}

// N6: an election that hangs delays no other.
func TestHangingElectionDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &shelfOfTags{artifacts: map[string]bump.Artifact{"1.0.0": {Digest: "sha256:0"}}, hang: true}
		h, e, wg := electionsOf(t, r, "slow", "web")
		slow, web := bump.Name{Namespace: "hoist", Name: "slow"}, bump.Name{Namespace: "hoist", Name: "web"}
		h.scanned(scanner.Outcome{Name: slow, Tags: tagsOf("1.0.0")})
		h.scanned(scanner.Outcome{Name: web, Tags: tagsOf("1.0.0")})
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() { e.run(ctx) })
		e.ask(slow)
		synctest.Wait()
		r.mu.Lock()
		r.hang = false
		r.mu.Unlock()
		e.ask(web)
		synctest.Wait()
		if s := h.board.current()[web]; !s.Proven {
			t.Errorf("selection %+v, want it proven while another election hangs", s)
		}
		cancel()
		wg.Wait()
	})
}

// A digest is part of the choice: it is known before a plan is made.
func TestADigestIsLookedUpBeforeThePlan(t *testing.T) {
	r := &shelfOfTags{artifacts: map[string]bump.Artifact{"1.0.0": {Digest: "sha256:0"}}}
	h, _, _ := electionsOf(t, r, "web")
	name := bump.Name{Namespace: "hoist", Name: "web"}
	p := policyOf(t, policy.Spec{DigestReflectionPolicy: "Always"})
	h.board = newBoard([]config.Policy{p})
	changed, open := h.scanned(scanner.Outcome{Name: name, Tags: tagsOf("1.0.0")})
	if changed || len(open) != 1 {
		t.Fatalf("first list: changed=%t, open %v; want an election first", changed, open)
	}
	h.electAll(t.Context(), open)
	if s := h.board.current()[name]; s.Digest != "sha256:0" || !s.Proven {
		t.Errorf("selection %+v, want the digest", s)
	}
	if changed, open := h.scanned(scanner.Outcome{Name: name, Tags: tagsOf("1.0.0", "latest")}); changed || len(open) != 0 {
		t.Errorf("a tag that is nothing to the policy: changed=%t, open %v; want neither", changed, open)
	}
}

// A choice that changes stays on the board as it was until the new tag has been
// looked up: no pass ever sees a gap.
func TestBoardKeepsTheOldChoiceUntilTheElection(t *testing.T) {
	r := &shelfOfTags{artifacts: map[string]bump.Artifact{"1.0.0": {Digest: "sha256:0"}, "1.1.0": {Digest: "sha256:1"}}}
	h, _, _ := electionsOf(t, r, "web")
	name := bump.Name{Namespace: "hoist", Name: "web"}
	if changed, open := h.scanned(scanner.Outcome{Name: name, Tags: tagsOf("1.0.0")}); !changed || len(open) != 0 {
		t.Fatalf("first list: changed=%t, open %v; want a provisional choice", changed, open)
	}
	h.electAll(t.Context(), []bump.Name{name})
	changed, open := h.scanned(scanner.Outcome{Name: name, Tags: tagsOf("1.0.0", "1.1.0")})
	if changed || len(open) != 1 {
		t.Errorf("newer tag: changed=%t, open %v; want an election first", changed, open)
	}
	if s := h.board.current()[name]; s.Tag != "1.0.0" || !s.Proven {
		t.Errorf("before the election: %q proven=%t, want the old choice", s.Tag, s.Proven)
	}
	h.electAll(t.Context(), open)
	if s := h.board.current()[name]; s.Tag != "1.1.0" || !s.Proven {
		t.Errorf("after the election: %q proven=%t, want 1.1.0", s.Tag, s.Proven)
	}
	if changed, open := h.scanned(scanner.Outcome{Name: name, Tags: tagsOf("1.0.0", "1.1.0", "latest")}); changed || len(open) != 0 {
		t.Errorf("a tag that is nothing to the policy: changed=%t, open %v; want neither", changed, open)
	}
}
