package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"hoist/bump"
	"hoist/config"
	"hoist/policy"
	"hoist/scanner"
)

const (
	// maxPassedOver is how many tags one election passes over before it gives up:
	// when so many fail, something other than the tags is wrong.
	maxPassedOver = 100
	// maxBuilds is how many tags a policy that goes by build time may choose from.
	maxBuilds = 500
	// buildsRecheck is how long it is believed that a tag still means the same
	// build. The elected one is looked up at each election.
	buildsRecheck = time.Hour
	// buildLookups is how many of an election's look-ups are under way at once; the
	// scanner's budget of the registry is below that.
	buildLookups = 16
)

// registry is what an election asks about a tag.
type registry interface {
	Inspect(context.Context, scanner.Source, string, scanner.Wants) (bump.Artifact, error)
	Verify(context.Context, scanner.Source, string) error
}

// elector finds the newest tag of a policy that exists and passes every check.
// The order of the tags is the policy's, and so is the judgement; the elector
// looks up what they are about. It is safe from several goroutines.
type elector struct {
	registry registry
	now      func() time.Time

	mu     sync.Mutex
	young  map[policyTag]bump.PassedOver       // not asked about again before they are old enough
	builds map[bump.Name]map[string]knownBuild // by policy that goes by build time, and tag
}

type policyTag struct {
	policy bump.Name
	tag    string
}

// knownBuild is what a tag meant when it was looked up.
type knownBuild struct {
	artifact bump.Artifact
	lookedUp time.Time
}

// lookUpError says that the registry did not let an election come to its end.
type lookUpError struct{ err error }

func (e *lookUpError) Error() string { return e.err.Error() }
func (e *lookUpError) Unwrap() error { return e.err }

func newElector(r registry, now func() time.Time) *elector {
	return &elector{
		registry: r, now: now,
		young:  make(map[policyTag]bump.PassedOver),
		builds: make(map[bump.Name]map[string]knownBuild),
	}
}

// elect chooses among the tags of a list. The selection is proven, or has an
// error that says why no tag could be chosen; its Again is when the same list
// may give another answer.
func (e *elector) elect(ctx context.Context, p config.Policy, src scanner.Source, tags bump.Tags) bump.Selection {
	s := provisional(p, tags)
	s.Tag, s.Err = "", nil
	if err := e.lookUpBuilds(ctx, p, src, tags); err != nil {
		s.Err = err
		return s
	}
	for tag := range p.Policy.Ranked(tags, e.buildsOf(p.Name), e.now()) {
		artifact, over, err := e.check(ctx, p, src, tag)
		if err != nil {
			s.Err = &lookUpError{err}
			return s
		}
		if over == nil {
			s.Tag, s.Proven = tag, true
			if p.Policy.Asks().Digest {
				s.Digest = artifact.Digest
			}
			break
		}
		if s.PassedOver = append(s.PassedOver, *over); len(s.PassedOver) == maxPassedOver {
			break
		}
	}
	if !s.Proven {
		s.Err = e.nobody(p, tags, s.PassedOver)
	}
	s.Again = e.again(p, src, s)
	return s
}

// provisional is what the policy says before anything is looked up.
func provisional(p config.Policy, tags bump.Tags) bump.Selection {
	s := p.Policy.Select(tags)
	reflection, _ := p.Policy.DigestReflection()
	s.KeepDigest = reflection == "IfNotPresent"
	return s
}

// nobody says why no tag was elected.
func (e *elector) nobody(p config.Policy, tags bump.Tags, over []bump.PassedOver) error {
	switch {
	case len(over) == maxPassedOver:
		return fmt.Errorf("the %d newest tags are all passed over, the first of them %s: %s", len(over), over[0].Tag, over[0].Reason)
	case len(over) > 0:
		return fmt.Errorf("no tag qualifies: every allowed one is passed over (%s: %s)", over[0].Tag, over[0].Reason)
	}
	if err := p.Policy.Select(tags).Err; err != nil {
		return err
	}
	return errors.New("no tag qualifies: none has a believable build time")
}

// check looks a tag up and judges what it is. It returns the artifact, or why
// the tag is passed over, or why that could not be found out.
func (e *elector) check(ctx context.Context, p config.Policy, src scanner.Source, tag string) (bump.Artifact, *bump.PassedOver, error) {
	if over, ok := e.stillYoung(p.Name, tag); ok {
		return bump.Artifact{}, &over, nil
	}
	asks := p.Policy.Asks()
	artifact, err := e.registry.Inspect(ctx, src, tag, scanner.Wants{Platforms: asks.Platforms, Created: asks.Created})
	if errors.Is(err, scanner.ErrNotFound) {
		return bump.Artifact{}, &bump.PassedOver{Tag: tag, Reason: "the registry lists it and does not have it"}, nil
	}
	if err != nil {
		return bump.Artifact{}, nil, err
	}
	if asks.Every {
		e.note(p.Name, artifact)
	}
	judged := artifact
	judged.Type = scanner.Describe(artifact.Type) // for the people who read the reason
	if reason, until := p.Policy.Refuses(judged, e.now()); reason != "" {
		over := bump.PassedOver{Tag: tag, Reason: reason, Until: until}
		e.remember(p.Name, over)
		return bump.Artifact{}, &over, nil
	}
	if src.Image.Verify == nil {
		return artifact, nil, nil
	}
	var unsigned *scanner.UnsignedError
	err = e.registry.Verify(ctx, src, artifact.Digest)
	if errors.As(err, &unsigned) {
		return bump.Artifact{}, &bump.PassedOver{Tag: tag, Reason: unsigned.Reason}, nil
	}
	return artifact, nil, err
}

// stillYoung returns why a tag was passed over lately, as long as nothing but
// time can change that.
func (e *elector) stillYoung(policy bump.Name, tag string) (bump.PassedOver, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := policyTag{policy, tag}
	over, ok := e.young[key]
	if ok && !e.now().Before(over.Until) {
		delete(e.young, key)
		return bump.PassedOver{}, false
	}
	return over, ok
}

func (e *elector) remember(policy bump.Name, over bump.PassedOver) {
	if over.Until.IsZero() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	// A tag that is old enough by now and was never asked about again would stay for ever.
	maps.DeleteFunc(e.young, func(_ policyTag, o bump.PassedOver) bool { return !e.now().Before(o.Until) })
	e.young[policyTag{policy, over.Tag}] = over
}

// again is when the same list may lead to another selection: a tag gets old
// enough, is signed or completed by its publisher, or is pushed again.
func (e *elector) again(p config.Policy, src scanner.Source, s bump.Selection) time.Time {
	now := e.now()
	var at time.Time
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	for _, over := range s.PassedOver {
		if over.Until.IsZero() {
			sooner(now.Add(src.Image.Interval.Or(scanner.DefaultInterval)))
		} else {
			sooner(over.Until)
		}
	}
	if reflection, interval := p.Policy.DigestReflection(); reflection == "Always" {
		sooner(now.Add(interval))
	}
	if p.Policy.Asks().Every {
		sooner(now.Add(buildsRecheck))
	}
	return at
}

// lookUpBuilds finds out what every candidate of a policy that goes by build
// time is. Other policies need nothing of the kind. One candidate that cannot
// be looked up fails them all: the newest might be it.
func (e *elector) lookUpBuilds(ctx context.Context, p config.Policy, src scanner.Source, tags bump.Tags) error {
	asks := p.Policy.Asks()
	if !asks.Every {
		return nil
	}
	candidates := p.Policy.Candidates(tags)
	if len(candidates) > maxBuilds {
		return fmt.Errorf("%d tags may be chosen and each has to be looked up: narrow them to %d with filterTags", len(candidates), maxBuilds)
	}
	known := e.knownBuilds(p.Name)
	var mu sync.Mutex
	fresh := make(map[string]knownBuild, len(candidates))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(buildLookups)
	for _, tag := range candidates {
		if k, ok := known[tag]; ok && e.now().Sub(k.lookedUp) < buildsRecheck {
			mu.Lock()
			fresh[tag] = k
			mu.Unlock()
			continue
		}
		g.Go(func() error {
			artifact, err := e.registry.Inspect(ctx, src, tag, scanner.Wants{Platforms: asks.Platforms, Created: true})
			if errors.Is(err, scanner.ErrNotFound) {
				return nil
			}
			if err != nil {
				return &lookUpError{err}
			}
			mu.Lock()
			defer mu.Unlock()
			fresh[tag] = knownBuild{artifact, e.now()}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	e.mu.Lock()
	e.builds[p.Name] = fresh
	e.mu.Unlock()
	return nil
}

func (e *elector) knownBuilds(policy bump.Name) map[string]knownBuild {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.builds[policy]
}

// note takes over what a candidate is at this moment. Maps that were handed out
// are not written to.
func (e *elector) note(policy bump.Name, a bump.Artifact) {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := make(map[string]knownBuild, len(e.builds[policy])+1)
	maps.Copy(next, e.builds[policy])
	next[a.Tag] = knownBuild{a, e.now()}
	e.builds[policy] = next
}

// buildsOf returns what is known of a policy's candidates now.
func (e *elector) buildsOf(policy bump.Name) func(tag string) (bump.Artifact, bool) {
	known := e.knownBuilds(policy)
	return func(tag string) (bump.Artifact, bool) {
		k, ok := known[tag]
		return k.artifact, ok
	}
}

// order compares tags as a policy does with what is known at that moment.
type order struct {
	policy  config.Policy
	elector *elector
}

func (o order) Compare(a, b string) (int, bool) { return o.now().Compare(a, b) }

// Unknown tells whether nothing is known of a tag that its place depends on.
func (o order) Unknown(tag string) bool { return o.now().Unknown(tag) }

func (o order) now() policy.Order { return o.policy.Policy.Order(o.elector.buildsOf(o.policy.Name)) }
