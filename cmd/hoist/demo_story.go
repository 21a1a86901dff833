package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"hoist/bump"
	"hoist/daemon"
)

// demoApps is how many apps have to be ready before a bump has arrived.
const demoApps = 3

// storyteller prints what happens to each pushed tag, with the time since its push.
type storyteller struct {
	w io.Writer

	mu    sync.Mutex
	tag   string
	start time.Time
	head  string          // of the commit that carries the tag
	ready map[string]bool // apps that are ready at head
	news  chan struct{}   // something became ready
}

func newStoryteller(w io.Writer) *storyteller {
	return &storyteller{w: w, ready: make(map[string]bool), news: make(chan struct{}, 1)}
}

type lookAround struct{ kubeconfig, clone, config, dataDir, status, registry, webhook string }

func (s *storyteller) lookAround(l lookAround) {
	fmt.Fprintf(s.w, `Hoist is running. Look around from another terminal:

  the cluster      kubectl --kubeconfig %s get deployments -A
  the repository   git clone %s
  the status       curl %s
  the next plan    %s plan -c %s --data-dir %s
  the registry     %s
  webhooks         %s
  take one back    git revert --no-edit HEAD && git push      (in the clone; the cluster follows, and the version stays out)

Ctrl-C ends everything.

`, l.kubeconfig, l.clone, l.status, os.Args[0], l.config, l.dataDir, l.registry, "http://"+l.webhook+"/hook/registry")
}

// observe prints an event of the daemon. It is called from several goroutines.
func (s *storyteller) observe(e daemon.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case e.Selection != nil && e.Selection.Tag == s.tag && s.tag != "":
		s.line("seen by policy %s (%s)", e.Selection.Policy, e.Selection.Tags.Trigger)
	case e.Commit != nil:
		s.committed(*e.Commit)
	case e.Applied != nil:
		s.applied(*e.Applied)
	case e.Ready != nil:
		s.available(*e.Ready)
	}
}

func (s *storyteller) line(format string, args ...any) {
	fmt.Fprintf(s.w, "  %6.2f s  %s\n", time.Since(s.start).Seconds(), fmt.Sprintf(format, args...))
}

func (s *storyteller) committed(c bump.Commit) {
	s.head = c.Head.Hash
	clear(s.ready)
	s.line("committed %s  %s", bump.Short(c.Head.Hash), c.Subject)
	for _, change := range c.Changes {
		for _, v := range change.Verdicts {
			fmt.Fprintf(s.w, "             %s  -%s +%s\n", v.Site.Position(), v.Site.Value, v.New)
		}
	}
}

func (s *storyteller) applied(r bump.Result) {
	if s.tag == "" || r.Head.Hash != s.head {
		return
	}
	n := r.Counts()
	s.line("applied to %s (%d configured, %d unchanged)", r.App.Name, n[bump.Configured], n[bump.Unchanged])
}

func (s *storyteller) available(r bump.Result) {
	if s.head != "" && r.Head.Hash != s.head || s.ready[r.App.Name] {
		return
	}
	s.ready[r.App.Name] = true
	if s.tag != "" {
		s.line("Deployments available in %s", r.App.Name)
	}
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// pushed begins the story of a tag.
func (s *storyteller) pushed(tag string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tag, s.start, s.head = tag, time.Now(), ""
	clear(s.ready)
	fmt.Fprintf(s.w, "api-service:%s\n", tag)
	s.line("tag pushed")
}

// settled waits until the example is up in every environment.
func (s *storyteller) settled(ctx context.Context) error {
	return s.wait(ctx, func() bool { return true })
}

// arrived waits until the commit of a tag is available everywhere.
func (s *storyteller) arrived(ctx context.Context, _ string) error {
	return s.wait(ctx, func() bool { return s.head != "" })
}

func (s *storyteller) wait(ctx context.Context, and func() bool) error {
	patience := time.NewTicker(30 * time.Second)
	defer patience.Stop()
	for {
		s.mu.Lock()
		done := len(s.ready) == demoApps && and()
		s.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-patience.C:
			s.impatient()
		case <-s.news:
		}
	}
}

// impatient says what is waited for.
func (s *storyteller) impatient() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.tag != "" && s.head == "":
		fmt.Fprintf(s.w, "  no commit for %s yet; is there a newer tag, or was it taken out before? hoist plan tells\n", s.tag)
	default:
		fmt.Fprintf(s.w, "  %d of %d apps are ready; the status tells what the others wait for\n", len(s.ready), demoApps)
	}
}

func (s *storyteller) finished(bumps int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.w, "%d bumps, each from the push to the cluster.\n", bumps)
}
