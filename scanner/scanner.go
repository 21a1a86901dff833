// Package scanner is the first room on a bump's way: it asks registries which
// tags they hold and gives bump.Tags, and what one tag points to and gives a
// bump.Artifact.
//
// A list is complete or it is not given at all: whatever goes wrong on one
// page discards the scan. Each registry host has its own budget, its own
// pauses and its own back-off, so that a host that hangs, limits or fails
// never delays the images of another. Credentials go to the host they were
// written for and to the token server it names, over TLS unless the image says
// insecure: true, and never along a redirect to another host.
//
// The trap that bites first: go-containerregistry, which does the
// authentication, falls back to plain http for localhost and private
// addresses, ignores Retry-After, and reads any number of pages. The type wire
// below it and the type listing beside it put that right. It also refuses a
// token server that is named by a private IP address other than the
// registry's own.
package scanner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"go.uber.org/zap"

	"hoist/bump"
)

// Options are the bounds of all scans. The zero value is usable.
type Options struct {
	Log          *zap.Logger      // nil: silent
	Now          func() time.Time // nil: time.Now; decides pauses, not timers
	MaxPages     int              // of one list; 0: 2000
	MaxTags      int              // of one list; 0: 1,000,000
	MaxPageBytes int64            // of one answer, decompressed; 0: 16 MiB
	Concurrency  int              // scans at once per host that SetRegistries does not name; 0: what is known of the host, else 16
	PerSecond    int              // requests per second and such host, and the burst; 0: what is known of it, else 500; negative: no limit
	UserAgent    string           // "": hoist
	DockerConfig string           // a docker config file; "": the standard one

	// CacheDir is where what was learnt is kept from one process to the next; it
	// may be deleted. "" keeps nothing. CacheReadOnly reads it and writes nothing.
	CacheDir      string
	CacheReadOnly bool
}

func (o Options) orDefaults() Options {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.MaxPages = cmp.Or(o.MaxPages, 2000)
	o.MaxTags = cmp.Or(o.MaxTags, 1_000_000)
	o.MaxPageBytes = cmp.Or(o.MaxPageBytes, 16<<20)
	o.UserAgent = cmp.Or(o.UserAgent, "hoist")
	return o
}

// Scanner scans registries. Connections, tokens, pauses and back-off live as
// long as it does. It is safe from several goroutines.
type Scanner struct {
	opts     Options
	log      *zap.Logger
	now      func() time.Time
	dial     func(ctx context.Context, network, address string) (net.Conn, error) // tests only; nil: the net package's
	pageSize int                                                                  // tests only make it smaller
	wallet   wallet
	shelf    *shelf
	habits   sync.Map // of registries: *habit by host and first part of the path
	proxies  proxies

	meanings  *recent[string, meaning]  // by digest
	sightings *recent[string, sighting] // by repository and tag
	verified  *recent[string, struct{}] // by digest and keys

	mu         sync.Mutex
	registries []Registry
	hosts      map[string]*host
	endpoints  map[string]*endpoint
	jobs       map[string][]*job   // while Run runs: by canonical image reference
	known      map[string]snapshot // what the last Run knew at its end, by share key
}

// New returns a Scanner. It starts nothing.
func New(o Options) *Scanner {
	o = o.orDefaults()
	return &Scanner{
		opts: o, log: o.Log, now: o.Now, pageSize: pageSize,
		wallet:    wallet{now: o.Now, pockets: make(map[pocketKey]*pocket)},
		shelf:     newShelf(o.CacheDir, o.CacheReadOnly, o.Log, o.Now),
		meanings:  newRecent[string, meaning](maxMeanings),
		sightings: newRecent[string, sighting](maxSightings),
		verified:  newRecent[string, struct{}](maxVerified),
		proxies:   environmentProxies(),
		hosts:     make(map[string]*host),
		endpoints: make(map[string]*endpoint),
		jobs:      make(map[string][]*job),
	}
}

// Close drops idle connections. The Scanner can still be used.
func (s *Scanner) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ep := range s.endpoints {
		ep.wire.inner.CloseIdleConnections()
	}
}

// Scan lists the tags of an image once. trigger is noted in the result. The
// list is complete, each tag once, in byte order, without what the image
// excludes and without tags outside the OCI grammar; a repository that holds
// none gives an empty one. The error is a [PausedError] where the host is left
// alone just now and nothing was sent.
func (s *Scanner) Scan(ctx context.Context, src Source, trigger string) (bump.Tags, error) {
	o := s.Once(ctx, src, trigger)
	if o.Err != nil {
		return bump.Tags{}, o.Err
	}
	return o.Tags, nil
}

// Once is Scan with all that is to be said about it. Where the cache directory
// knows an older list and the new one is suspicious, Tags is the older one and
// Suspicion says so; the next Once after a pause may confirm the new one.
func (s *Scanner) Once(ctx context.Context, src Source, trigger string) Outcome {
	o := Outcome{Name: src.Image.Name}
	exclude, err := newExclusion(src.Image.ExclusionList)
	if err != nil {
		o.Err = fmt.Errorf("scan %s: exclusionList: %w", src.Image.Image, err)
		return o
	}
	share := shareKey(src)
	list := s.recall(share)
	doubt := list.doubt
	changed, fail := s.scan(ctx, src, &list, cautionOf(src))
	if fail != nil {
		o.Err = fmt.Errorf("scan %s: %w", src.Image.Image, fail)
		return o
	}
	if changed || list.doubt != doubt {
		s.keep(share, &list)
	}
	o.Tags = bump.Tags{Image: src.Image.Image, List: exclude.keep(list.tags), Scanned: list.scanned, Trigger: trigger}
	o.Changed, o.Suspicion, o.Dropped = changed, list.doubt.String(), list.dropped
	return o
}

// Known returns the tags that the cache directory knows of an image, as it
// excludes them, without asking the registry; nil where it knows none.
func (s *Scanner) Known(src Source) []string {
	exclude, err := newExclusion(src.Image.ExclusionList)
	if err != nil {
		return nil
	}
	return exclude.keep(s.recall(shareKey(src)).tags)
}

// scan brings list up to date and tells whether its tags changed. On failure
// list is as it was.
func (s *Scanner) scan(ctx context.Context, src Source, list *snapshot, c caution) (changed bool, fail *failure) {
	before := *list
	fail = s.visit(ctx, src, func(ctx context.Context, ep *endpoint, client *http.Client, repo name.Repository) error {
		found := openRoll()
		defer found.close()
		pages := listing{
			send: func(req *http.Request) (*http.Response, error) { return ep.send(ctx, client, req) },
			size: s.pageSize, maxPages: s.opts.MaxPages, maxTags: s.opts.MaxTags,
			known: *list, tags: found, habit: s.habitOf(repo),
		}
		u := repoURL(repo, src.Image.Insecure, "tags/list")
		u.RawQuery = fmt.Sprintf("n=%d", s.pageSize)
		var read bool
		var err error
		aside(func() { read, err = pages.read(ctx, u) })
		if err != nil {
			return err
		}
		if read {
			changed = list.take(found, pages.pages, c, s.now())
		} else {
			list.pages, list.scanned, list.doubt = pages.pages, s.now(), nil
		}
		return nil
	})
	if fail == nil {
		s.report(src.Image.Image, before, *list)
	}
	return changed, fail
}

// aside runs work on a goroutine of its own and returns after it. HTTP makes
// stacks deep, and a goroutine's stays so for long: this way the many that wait
// for their turn or for their time have shallow ones.
func aside(work func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		work()
	}()
	<-done
}

// habitOf returns what is remembered of the part of a registry that repo is in.
// One host may be the front of several registries, told apart by the first
// part of the path.
func (s *Scanner) habitOf(repo name.Repository) *habit {
	part, _, _ := strings.Cut(repo.RepositoryStr(), "/")
	h, _ := s.habits.LoadOrStore(repo.RegistryStr()+"/"+part, new(habit))
	return h.(*habit)
}

func repoURL(repo name.Repository, insecure bool, rest string) *url.URL {
	scheme := "https"
	if insecure {
		scheme = "http"
	}
	return &url.URL{Scheme: scheme, Host: repo.RegistryStr(), Path: "/v2/" + repo.RepositoryStr() + "/" + rest}
}

// visit does work at the registry of src with its credentials, within the
// host's budget and the image's timeout, and keeps account of how it went.
func (s *Scanner) visit(ctx context.Context, src Source, work func(context.Context, *endpoint, *http.Client, name.Repository) error) *failure {
	repo, err := parseImage(src.Image.Image, src.Image.Insecure)
	if err != nil {
		return &failure{text: err.Error()}
	}
	ep, err := s.openEndpoint(ctx, src, repo)
	if err != nil {
		return explainOpening(err)
	}
	timeout := src.Image.Timeout.Or(DefaultTimeout)
	done, err := ep.try(ctx)
	if err != nil {
		return ep.explain(ctx, err, timeout)
	}
	defer done()
	leave, err := ep.host.enter(ctx)
	if err != nil {
		return ep.explain(ctx, err, timeout)
	}
	defer leave()

	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	began := s.now()
	client, err := ep.client(ctx, repo)
	if err == nil {
		err = work(ctx, ep, client, repo)
	}
	if err == nil {
		ep.host.gate.succeed(began)
		ep.accepted()
		return nil
	}
	fail := ep.explain(ctx, err, timeout)
	fail.endpoint = ep
	s.account(ctx, ep, client, repo, fail, began)
	if fail.blame == blameLogin || fail.status == http.StatusUnauthorized {
		s.forgetCredentials(src, repo)
	}
	return fail
}

func (s *Scanner) openEndpoint(ctx context.Context, src Source, repo name.Repository) (*endpoint, error) {
	var certs bump.Secret
	if src.Certs != nil {
		var err error
		if certs, err = src.Certs(ctx); err != nil {
			return nil, fmt.Errorf("read the certificate secret: %w", err)
		}
	}
	through, err := proxyOf(ctx, src)
	if err != nil {
		return nil, err
	}
	var creds credentials
	if c := cloudOf(src.Image.Provider); c != nil {
		creds, err = s.fromCloud(ctx, c, repo, src.Image.Insecure, certs, through)
	} else {
		creds, err = s.credentialsFor(ctx, src, repo)
	}
	if err != nil {
		return nil, err
	}
	return s.endpointFor(repo, src.Image.Insecure, creds, certs, through)
}

// account lets the host or the credentials bear what is theirs.
func (s *Scanner) account(ctx context.Context, ep *endpoint, client *http.Client, repo name.Repository, fail *failure, began time.Time) {
	if fail.barred && ep.barsDoor(ctx, client) {
		fail.blame = blameHost
		ep.host.gate.ban(began, fail.text)
		return
	}
	rejections := 1
	if fail.status == http.StatusUnauthorized && fail.blame == blameImage && !ep.creds.anonymous() {
		// The registry itself said no: to the credentials, or only to this
		// repository? Logging in tells.
		if ep.admits(ctx, client) {
			ep.accepted()
		} else {
			fail.blame, rejections = blameLogin, 2
		}
	}
	switch fail.blame {
	case blameHost:
		// Where others had their answers meanwhile, only this path hangs.
		if !errors.Is(fail, context.DeadlineExceeded) || !ep.host.gate.answeredSince(began) {
			ep.host.gate.fail(began, fail.text)
		}
	case blameLogin:
		ep.rejected(repo, rejections, fail.text)
	case blameImage:
		if fail.status == http.StatusNotFound {
			ep.host.gate.succeed(began)
			ep.accepted()
		}
		if fail.status == http.StatusUnauthorized {
			ep.forget(repo)
		}
	}
}

// admits tells whether the registry takes the credentials at its front door.
func (e *endpoint) admits(ctx context.Context, client *http.Client) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.frontDoor(), nil)
	if err != nil || client == nil {
		return true
	}
	resp, err := client.Do(req)
	if err != nil {
		return true // unknown: a later scan will tell
	}
	resp.Body.Close()
	return resp.StatusCode != http.StatusUnauthorized
}

// barsDoor tells whether the host forbids its front door too, and not only
// one repository.
func (e *endpoint) barsDoor(ctx context.Context, client *http.Client) bool {
	e.wire.forget()
	if client == nil { // it was the front door, or the token server
		return true
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.frontDoor(), nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	return e.explainResponse(resp).barred
}

func (e *endpoint) frontDoor() string {
	if e.wire.insecure {
		return "http://" + e.wire.registry + "/v2/"
	}
	return "https://" + e.wire.registry + "/v2/"
}

// send sends a request without body and returns the answer if it is a 200, or
// the 304 to a condition in the request. A broken connection, a 5xx and a 429
// are tried again, three times in all and
// while ctx lasts.
func (e *endpoint) send(ctx context.Context, client *http.Client, req *http.Request) (*http.Response, error) {
	for attempt := 0; ; attempt++ {
		resp, err := client.Do(req.Clone(ctx))
		if err == nil && (resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNotModified && hasCondition(req)) {
			return resp, nil
		}
		if err == nil {
			err = e.explainResponse(resp)
		}
		status, again := e.mayPass(ctx, err)
		if !again || attempt == tries-1 {
			return nil, err
		}
		if status == http.StatusTooManyRequests {
			e.host.gate.pause(doubled(time.Second, attempt, patience), "it answered 429")
		} else if sleep(ctx, doubled(retryPause, attempt, patience)) != nil {
			return nil, err
		}
	}
}

func hasCondition(req *http.Request) bool {
	return req.Header.Get("If-None-Match") != "" || req.Header.Get("If-Modified-Since") != ""
}

// mayPass tells whether an error may be gone in a moment.
func (e *endpoint) mayPass(ctx context.Context, err error) (status int, again bool) {
	fail := e.explain(ctx, err, 0)
	if (fail.blame != blameHost && fail.blame != blameWay) || ctx.Err() != nil {
		return 0, false
	}
	var broken *net.OpError
	again = fail.status != 0 || errors.As(err, &broken) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if fail.blame == blameWay {
		return 0, again // its own pauses are kept by wire
	}
	return fail.status, again
}
