package scanner

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"hoist/bump"
)

// again is when a hinted image is scanned once more: a registry may announce a
// tag before it lists it.
var again = []time.Duration{5 * time.Second, 15 * time.Second, 60 * time.Second}

const (
	failedPause = 5 * time.Second  // before an image whose host failed is tried again; doubled each time
	slowProbe   = 30 * time.Minute // between tries of an image that was refused twice
	ramp        = 5 * time.Second  // over which the first scans of many images start
)

// Outcome is how a scan ended for one of the sources that Run was given.
type Outcome struct {
	Name bump.Name
	// Tags is the complete list; the last good one where Err is set or nothing
	// changed, and empty before the first. The list is shared by all outcomes
	// and by the scanner: do not write to it.
	Tags    bump.Tags
	Changed bool // the list differs from the one in the last outcome for Name
	// Suspicion says why the registry's newest list is not the one in Tags: it
	// lost too much, and has to be found once more. Empty where all is well.
	Suspicion string
	Dropped   int // tags outside the OCI grammar, which are not in Tags
	Err       error
	Next      time.Time // of the next scan, if nobody wakes it before
}

// Run scans every source, now and then on its interval, until ctx ends; then
// it returns after all its goroutines have. Sources of the same image and
// credentials share one scan, at the shortest of their intervals. out gets the
// outcome of each; it is called from several goroutines, but never twice at
// once, and holds up scans while it runs, so it had better be quick.
//
// What the last Run knew, or the cache directory knows, is told at once, as
// changed, without a scan, and scanned again within an interval. First scans of
// the others start within a few seconds of each other, later ones are spread
// over the interval. One Run at a time: after a change of the configuration,
// end it and start it anew.
func (s *Scanner) Run(ctx context.Context, sources []Source, out func(Outcome)) {
	jobs, err := s.newJobs(sources)
	if err != nil {
		s.log.Error("exclusion list does not compile", zap.Error(err))
	}
	s.recallJobs(jobs)
	s.mu.Lock()
	for _, j := range jobs {
		s.jobs[j.image] = append(s.jobs[j.image], j)
	}
	s.mu.Unlock()

	var serial sync.Mutex
	tell := func(o Outcome) {
		serial.Lock()
		defer serial.Unlock()
		if ctx.Err() == nil {
			out(o)
		}
	}
	var all sync.WaitGroup
	for n, j := range jobs {
		delay := min(ramp, time.Duration(len(jobs))*time.Millisecond) * time.Duration(n) / time.Duration(len(jobs))
		all.Go(func() { s.loop(ctx, j, delay, tell) })
	}
	<-ctx.Done()
	all.Wait()
	s.mu.Lock()
	clear(s.jobs)
	s.known = make(map[string]snapshot, len(jobs))
	for _, j := range jobs {
		s.known[j.key] = j.list
	}
	s.mu.Unlock()
	s.keepTimes(jobs)
	s.Close()
}

// Wake asks for a scan of an image now, in whatever way it is spelt and with
// or without a tag, and returns how many scans that are (0: no source has it).
// While one is running at most one more waits, and that one starts after the
// last Wake.
func (s *Scanner) Wake(image, trigger string) int { return s.wake(image, wakeup{trigger: trigger}) }

// Hint is Wake for a webhook's word: the image is scanned now, and again after
// 5, 15 and 60 seconds in case the registry does not list the tag yet.
func (s *Scanner) Hint(image, trigger string) int {
	return s.wake(image, wakeup{trigger: trigger, again: true})
}

func (s *Scanner) wake(image string, w wakeup) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	jobs := s.jobs[canonical(image)]
	for _, j := range jobs {
		j.wake(w)
	}
	return len(jobs)
}

// refusal keeps an image from being asked for again and again where the
// registry said no. It ends early when the credentials change.
type refusal struct {
	endpoint *endpoint
	until    time.Time
}

type wakeup struct {
	trigger string
	again   bool
}

// job is one scan that is repeated, and everyone who wants its outcome.
type job struct {
	key      string // see shareKey
	image    string // canonical
	source   Source // with the shortest interval and the longest timeout
	interval time.Duration
	caution  caution
	views    []*view

	list    snapshot
	told    bool // a list was told in this Run
	fails   int  // in a row
	refused refusal
	paused  string        // the pause that was told last
	due     []time.Time   // scans asked for by hints, soonest first
	hinted  string        // what asked for them
	bell    chan struct{} // holds one token while a wakeup waits

	mu      sync.Mutex
	waiting wakeup
}

// view is the list as one exclusion list leaves it, and who sees it so.
type view struct {
	exclusions []string
	exclude    exclusion
	tags       []string
	sources    []Source
}

// newJobs groups the sources. Sources that are suspended have no job.
func (s *Scanner) newJobs(sources []Source) ([]*job, error) {
	var order []*job
	var errs []error
	jobs := make(map[string]*job)
	for _, src := range sources {
		if src.Image.Suspend {
			continue
		}
		exclude, err := newExclusion(src.Image.ExclusionList)
		if err != nil {
			errs = append(errs, fmt.Errorf("image %s: %w", src.Image.Name, err))
			continue
		}
		key := shareKey(src)
		j, ok := jobs[key]
		if !ok {
			j = &job{key: key, image: canonical(src.Image.Image), source: src, bell: make(chan struct{}, 1)}
			j.interval, j.caution = intervalOf(src), cautionOf(src)
			jobs[key] = j
			order = append(order, j)
		} else {
			j.interval, j.caution = min(j.interval, intervalOf(src)), j.caution.and(cautionOf(src))
		}
		timeout := max(j.source.Image.Timeout.Or(DefaultTimeout), src.Image.Timeout.Or(DefaultTimeout))
		j.source.Image.Timeout = bump.Duration(timeout)
		j.join(src, exclude)
	}
	return order, errors.Join(errs...)
}

// intervalOf is the image's interval, at least what keeps a source that was
// never checked from spinning.
func intervalOf(src Source) time.Duration {
	return max(src.Image.Interval.Or(DefaultInterval), 10*time.Millisecond)
}

// shareKey is the same for sources that one scan serves.
func shareKey(src Source) string {
	i := src.Image
	secret := func(ref *bump.LocalRef, dir string) string {
		if ref != nil {
			return "ref " + i.Name.Namespace + "/" + ref.Name
		}
		return "dir " + dir
	}
	account := ""
	if i.ServiceAccountName != "" {
		account = i.Name.Namespace + "/" + i.ServiceAccountName
	}
	if c := cloudOf(i.Provider); c != nil {
		account = "identity in " + c.name
	}
	return strings.Join([]string{
		canonical(i.Image), fmt.Sprint(i.Insecure),
		secret(i.SecretRef, i.SecretDir), account, secret(i.CertSecretRef, i.CertSecretDir), secret(i.ProxySecretRef, i.ProxySecretDir),
	}, "\x00")
}

func (j *job) join(src Source, exclude exclusion) {
	for _, v := range j.views {
		if (v.exclusions == nil) == (src.Image.ExclusionList == nil) && slices.Equal(v.exclusions, src.Image.ExclusionList) {
			v.sources = append(v.sources, src)
			return
		}
	}
	j.views = append(j.views, &view{exclusions: src.Image.ExclusionList, exclude: exclude, sources: []Source{src}})
}

func (j *job) wake(w wakeup) {
	j.mu.Lock()
	w.again = w.again || j.waiting.again
	j.waiting = w
	j.mu.Unlock()
	select {
	case j.bell <- struct{}{}:
	default: // one is waiting already, and will start after this
	}
}

func (j *job) answer() wakeup {
	j.mu.Lock()
	defer j.mu.Unlock()
	w := j.waiting
	j.waiting = wakeup{}
	return w
}

// loop scans one job until ctx ends.
func (s *Scanner) loop(ctx context.Context, j *job, delay time.Duration, tell func(Outcome)) {
	trigger := "start"
	regular := time.Now().Add(delay)
	if j.list.isKnown() {
		wait := j.firstWait(s.now())
		j.tellAll(tell, nil, true, "start", s.now().Add(wait))
		trigger, regular = "poll", time.Now().Add(wait)
	}
	for {
		next := regular
		if len(j.due) > 0 && j.due[0].Before(next) {
			next = j.due[0]
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
			for len(j.due) > 0 && !j.due[0].After(next) {
				j.due = j.due[1:]
				trigger = j.hinted
			}
		case <-j.bell:
			timer.Stop()
			w := j.answer()
			trigger = w.trigger
			if w.again {
				j.hinted = w.trigger
				j.due = j.due[:0]
				for _, d := range again {
					j.due = append(j.due, time.Now().Add(d))
				}
			}
		}
		wait := s.pass(ctx, j, trigger, tell)
		regular = time.Now().Add(wait)
		trigger = "poll"
	}
}

// pass scans once, tells everyone, and returns how long to wait for the next.
func (s *Scanner) pass(ctx context.Context, j *job, trigger string, tell func(Outcome)) time.Duration {
	if trigger == "poll" && s.stillRefused(ctx, j) {
		return j.interval
	}
	first := !j.told
	doubt := j.list.doubt
	changed, fail := s.scan(ctx, j.source, &j.list, j.caution)
	if ctx.Err() != nil {
		return 0
	}
	if changed || j.list.doubt != doubt {
		s.keep(j.key, &j.list)
	}
	wait := j.wait(fail, first, s.now())
	if j.toldPause(fail) {
		return wait
	}
	if changed && j.list.dropped > 0 {
		s.log.Warn("tags outside the OCI grammar dropped", zap.String("image", j.source.Image.Image), zap.Int("tags", j.list.dropped))
	}
	j.tellAll(tell, fail, changed, trigger, s.now().Add(wait))
	return wait
}

// tellAll gives everyone the outcome of a scan.
func (j *job) tellAll(tell func(Outcome), fail *failure, changed bool, trigger string, next time.Time) {
	first := !j.told && fail == nil
	j.told = j.told || first
	suspicion := j.list.doubt.String()
	for _, v := range j.views {
		differs := (first || changed) && v.update(j.list.tags, first)
		for _, src := range v.sources {
			o := Outcome{Name: src.Image.Name, Changed: differs, Suspicion: suspicion, Dropped: j.list.dropped, Next: next}
			if fail != nil {
				o.Err = fmt.Errorf("scan %s: %w", src.Image.Image, fail)
			}
			o.Tags = bump.Tags{Image: src.Image.Image, List: v.tags, Scanned: j.list.scanned, Trigger: trigger}
			tell(o)
		}
	}
}

// stillRefused tells whether an image was refused lately and would be asked for
// with the same credentials. It sends nothing.
func (s *Scanner) stillRefused(ctx context.Context, j *job) bool {
	if !s.now().Before(j.refused.until) {
		return false
	}
	repo, err := parseImage(j.source.Image.Image, j.source.Image.Insecure)
	if err != nil {
		return false
	}
	ep, err := s.openEndpoint(ctx, j.source, repo)
	return err == nil && ep == j.refused.endpoint
}

// toldPause tells whether everybody knows already that this pause is on.
func (j *job) toldPause(fail *failure) bool {
	before := j.paused
	j.paused = ""
	if fail != nil && fail.blame == blamePause {
		j.paused = fail.text
	}
	return before != "" && before == j.paused
}

// update takes over a list that changed and tells whether it did in this view.
func (v *view) update(tags []string, first bool) bool {
	kept := v.exclude.keep(tags)
	if !first && slices.Equal(kept, v.tags) {
		return false
	}
	v.tags = kept
	return true
}

// firstWait decides when an image whose list is known from before is scanned
// again: when it is due, and where that is over, spread over its interval.
func (j *job) firstWait(now time.Time) time.Duration {
	if j.list.doubt != nil {
		return j.untilConfirmed(now)
	}
	wait := rand.N(j.interval)
	if left := j.interval - now.Sub(j.list.scanned); left > 0 {
		wait = min(left, wait)
	}
	return wait
}

// untilConfirmed is how long it takes until a scan can confirm a doubted list.
func (j *job) untilConfirmed(now time.Time) time.Duration {
	return max(j.list.doubt.until.Sub(now), 0) + rand.N(j.caution.pause/10)
}

// wait decides when an image is scanned next. After a success that is its
// interval, a tenth more or less, and after the first one a random part of it,
// so that images that started together drift apart. After a failure of the
// host it is soon, later each time; otherwise it is the interval. An image that
// was refused twice is looked at on its interval, but the registry is asked
// only every half hour, unless the credentials changed or someone wakes it.
func (j *job) wait(fail *failure, first bool, now time.Time) time.Duration {
	if fail == nil {
		j.fails, j.refused = 0, refusal{}
		if j.list.doubt != nil {
			return j.untilConfirmed(now)
		}
		if first {
			return j.interval/5 + rand.N(j.interval*4/5)
		}
		return j.interval*9/10 + rand.N(j.interval/5)
	}
	var paused *PausedError
	if errors.As(fail, &paused) {
		return min(paused.Until.Sub(now), max(j.interval, patience)) + rand.N(failedPause)
	}
	j.fails++
	if fail.blame == blameHost || fail.blame == blameWay || fail.blame == blameLender {
		d := doubled(failedPause, j.fails-1, longPause)
		return d + rand.N(d/5)
	}
	if j.fails >= 2 && (fail.status == http.StatusUnauthorized || fail.status == http.StatusForbidden) {
		j.refused = refusal{endpoint: fail.endpoint, until: now.Add(slowProbe)}
	}
	return j.interval + rand.N(j.interval/5)
}
