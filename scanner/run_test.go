package scanner

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hoist/bump"
)

// diary collects the outcomes of a Run.
type diary struct {
	mu   sync.Mutex
	all  []Outcome
	when []time.Time
}

func (d *diary) note(o Outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, o)
	d.when = append(d.when, time.Now())
}

// list returns all outcomes, in order.
func (d *diary) list() []Outcome {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.all)
}

// times returns when they came.
func (d *diary) times() []time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.when)
}

// of returns the outcomes for one name.
func (d *diary) of(name string) []Outcome {
	return slices.DeleteFunc(d.list(), func(o Outcome) bool { return o.Name.Name != name })
}

// start runs the sources in a bubble and returns how to end the run.
func start(t *testing.T, s *Scanner, d *diary, sources ...Source) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(ctx, sources, d.note)
	}()
	synctest.Wait()
	return func() {
		cancel()
		<-ended
	}
}

// settle lets a moment of the bubble's time pass.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// bubble runs a test with a scanner whose network is in the process.
func bubble(t *testing.T, o Options, test func(t *testing.T, s *Scanner, network *pipeNet)) {
	synctest.Test(t, func(t *testing.T) {
		network := new(pipeNet)
		s := newScanner(t, o)
		s.dial = network.dial
		test(t, s, network)
	})
}

// R29: sources of one image share one scan and each gets the outcome, as its
// own exclusions leave it; nothing is said to have changed that did not.
func TestR29SharedScan(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, s *Scanner, network *pipeNet) {
		list := &tagList{tags: []string{"1.0", "1.0.sig"}}
		network.serve(t, "reg.example:80", list)
		a, b, c, d := plain("reg.example", "acme/web"), plain("reg.example", "acme/web"), plain("reg.example", "acme/web"), plain("reg.example", "acme/web")
		a.Image.Name.Name, b.Image.Name.Name, c.Image.Name.Name, d.Image.Name.Name = "a", "b", "c", "d"
		b.Image.Interval = bump.Duration(time.Hour)
		c.Image.ExclusionList = []string{}
		d = with(d, "alice", "x")
		var notes diary
		stop := start(t, s, &notes, a, b, c, d)
		defer stop()
		settle(ramp)
		if list.lists() != 2 {
			t.Errorf("%d scans for three equal sources and one with its own secret, want 2", list.lists())
		}
		for name, want := range map[string]int{"a": 1, "b": 1, "c": 2, "d": 1} {
			if got := notes.of(name); len(got) != 1 || !got[0].Changed || len(got[0].Tags.List) != want {
				t.Errorf("%s got %+v, want one changed list of %d tags", name, got, want)
			}
		}
		settle(2 * time.Minute)
		for _, o := range notes.of("a")[1:] {
			if o.Changed || len(o.Tags.List) != 1 || o.Err != nil {
				t.Errorf("an unchanged list came out as %+v", o)
			}
		}
		list.set("1.0", "1.0.sig", "1.1.sig")
		settle(2 * time.Minute)
		if slices.ContainsFunc(notes.of("a")[1:], func(o Outcome) bool { return o.Changed }) {
			t.Error("a signature that a excludes changed its list")
		}
		if !slices.ContainsFunc(notes.of("c"), func(o Outcome) bool { return o.Changed && len(o.Tags.List) == 3 }) {
			t.Error("c, which excludes nothing, was not told of the new signature")
		}
	})
}

// N6: what a registry does while it fails leaves the last good list.
func TestFailureKeepsTheLastList(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, s *Scanner, network *pipeNet) {
		list := &tagList{tags: []string{"1.0"}}
		var down atomic.Bool
		network.serve(t, "reg.example:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if down.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			list.ServeHTTP(w, r)
		}))
		var notes diary
		stop := start(t, s, &notes, plain("reg.example", "acme/web"))
		defer stop()
		settle(time.Second)
		down.Store(true)
		settle(30 * time.Minute)
		all := notes.of("acme/web")
		last := all[len(all)-1]
		if last.Err == nil || last.Changed || !slices.Equal(last.Tags.List, []string{"1.0"}) || !last.Next.After(time.Now()) {
			t.Errorf("outcome while down = %+v, want the error, the old list and a time", last)
		}
		down.Store(false)
		list.set("1.0", "1.1")
		settle(20 * time.Minute)
		all = notes.of("acme/web")
		if last = all[len(all)-1]; last.Err != nil || len(last.Tags.List) != 2 {
			t.Errorf("outcome afterwards = %+v, want the new list", last)
		}
	})
}

// R28: a thousand images of one host are asked for neither at once nor, later
// on, in the same second.
func TestR28Spread(t *testing.T) {
	bubble(t, Options{Concurrency: 3, PerSecond: 50}, func(t *testing.T, s *Scanner, network *pipeNet) {
		var mu sync.Mutex
		var running, most int
		perSecond := make(map[int64]int)
		network.serve(t, "reg.example:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			running++
			most = max(most, running)
			perSecond[time.Now().Unix()]++
			mu.Unlock()
			time.Sleep(5 * time.Millisecond)
			mu.Lock()
			running--
			mu.Unlock()
			writeTags(w, []string{"1.0"})
		}))
		var sources []Source
		for n := range 1000 {
			src := plain("reg.example", fmt.Sprintf("acme/web%d", n))
			src.Image.Interval = bump.Duration(10 * time.Minute)
			sources = append(sources, src)
		}
		var notes diary
		stop := start(t, s, &notes, sources...)
		defer stop()
		settle(time.Minute)
		if len(notes.list()) != len(sources) {
			t.Errorf("%d of %d images scanned within a minute", len(notes.list()), len(sources))
		}
		settle(10 * time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if most > 3 {
			t.Errorf("%d requests at once, want 3 at most", most)
		}
		var busiest int
		for _, n := range perSecond {
			busiest = max(busiest, n)
		}
		if busiest > 100 {
			t.Errorf("%d requests within one second, want 50 and a burst of 50 at most", busiest)
		}
	})
}

// W5: however many hints come, one scan runs and one waits, and the last scan
// starts after the last hint.
func TestW5Coalesced(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, s *Scanner, network *pipeNet) {
		list := &tagList{tags: []string{"1.0"}}
		network.serve(t, "reg.example:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			list.ServeHTTP(w, r) // answers with the list as it was when asked
			if r.URL.Path != "/v2/" {
				time.Sleep(time.Second)
			}
		}))
		src := plain("reg.example", "acme/web")
		src.Image.Interval = bump.Duration(24 * time.Hour)
		var notes diary
		stop := start(t, s, &notes, src)
		defer stop()
		settle(10 * time.Second)
		before := list.lists()
		for range 5000 {
			if n := s.Wake("reg.example/acme/web:2.0", "webhook"); n != 1 {
				t.Fatalf("Wake woke %d scans, want 1", n)
			}
			time.Sleep(time.Millisecond / 10)
		}
		list.set("1.0", "2.0")
		s.Wake("reg.example/acme/web", "webhook")
		settle(10 * time.Second)
		if got := list.lists() - before; got != 2 {
			t.Errorf("%d scans, want one running and one queued", got)
		}
		all := notes.of("acme/web")
		if last := all[len(all)-1]; !last.Changed || last.Tags.Trigger != "webhook" {
			t.Errorf("the last scan gave %+v, want the tag of the last hint", last)
		}
		if n := s.Wake("reg.example/acme/other", "webhook"); n != 0 {
			t.Errorf("Wake of an unknown image woke %d scans", n)
		}
	})
}

// W8: a hint that is ahead of the registry's list is looked after.
func TestW8Hint(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, s *Scanner, network *pipeNet) {
		list := &tagList{tags: []string{"1.0"}}
		network.serve(t, "index.docker.io:80", list)
		src := plain("docker.io", "nginx")
		src.Image.Interval = bump.Duration(24 * time.Hour)
		var notes diary
		stop := start(t, s, &notes, src)
		defer stop()
		settle(time.Second)
		before, hinted := list.lists(), time.Now()
		if n := s.Hint("index.docker.io/library/nginx:1.1", "webhook"); n != 1 {
			t.Fatalf("Hint woke %d scans, want 1", n)
		}
		settle(7 * time.Second)
		list.set("1.0", "1.1")
		settle(2 * time.Minute)
		if got := list.lists() - before; got != 4 {
			t.Errorf("%d scans after a hint, want 4: now and after 5, 15 and 60 s", got)
		}
		for i, o := range notes.list() {
			if o.Changed && len(o.Tags.List) == 2 {
				if late := notes.times()[i].Sub(hinted); late > 16*time.Second {
					t.Errorf("the tag was seen after %v, want 15 s", late)
				}
				return
			}
		}
		t.Error("the tag was never seen")
	})
}

// A pause for wrong credentials does not keep a renewed secret waiting.
func TestRenewedSecretEndsTheRefusal(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, s *Scanner, network *pipeNet) {
		var tried int
		network.serve(t, "reg.example:80", basic("alice", "new", &tagList{tags: []string{"1.0"}}, &tried))
		var pass atomic.Value
		pass.Store("old")
		src := plain("reg.example", "acme/web")
		src.Secret = func(context.Context) (bump.Secret, error) {
			return bump.Secret{"username": []byte("alice"), "password": []byte(pass.Load().(string))}, nil
		}
		var notes diary
		stop := start(t, s, &notes, src)
		defer stop()
		settle(20 * time.Minute)
		if tried != 2 || len(notes.list()) > 2 {
			t.Errorf("wrong credentials were tried %d times with %d outcomes, want 2 and at most 2", tried, len(notes.list()))
		}
		pass.Store("new")
		settle(2 * time.Minute)
		if last := notes.list()[len(notes.list())-1]; last.Err != nil || len(last.Tags.List) != 1 {
			t.Errorf("two minutes after the secret was renewed: %+v", last)
		}
	})
}

// New credentials are tried at the next interval, even where the old ones were
// good but not for this repository.
func TestRenewedSecretEndsTheSlowProbe(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, s *Scanner, network *pipeNet) {
		network.serve(t, "reg.example:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch user, _, sent := r.BasicAuth(); {
			case !sent:
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
			case user == "old" && r.URL.Path != "/v2/":
				w.WriteHeader(http.StatusForbidden)
			default:
				writeTags(w, []string{"1.0"})
			}
		}))
		var user atomic.Value
		user.Store("old")
		src := plain("reg.example", "acme/web")
		src.Secret = func(context.Context) (bump.Secret, error) {
			return bump.Secret{"username": []byte(user.Load().(string)), "password": []byte("x")}, nil
		}
		var notes diary
		stop := start(t, s, &notes, src)
		defer stop()
		settle(10 * time.Minute)
		user.Store("new")
		settle(90 * time.Second)
		if last := notes.list()[len(notes.list())-1]; last.Err != nil || len(last.Tags.List) != 1 {
			t.Errorf("90 s after the secret was renewed: %+v", last)
		}
	})
}

// R16, R3: an image that is refused is asked for every half hour.
func TestRefusedImageIsProbedSlowly(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, s *Scanner, network *pipeNet) {
		var asked atomic.Int32
		network.serve(t, "reg.example:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				asked.Add(1)
				w.WriteHeader(http.StatusForbidden)
				fmt.Fprint(w, "<html>your address is blocked</html>")
			}
		}))
		var notes diary
		stop := start(t, s, &notes, plain("reg.example", "acme/web"))
		defer stop()
		settle(2 * time.Hour)
		if n := asked.Load(); n < 4 || n > 6 {
			t.Errorf("asked %d times in two hours, want 2 and then one each half hour", n)
		}
	})
}

func TestSuspendedImageIsNotScanned(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, s *Scanner, network *pipeNet) {
		list := &tagList{tags: []string{"1.0"}}
		network.serve(t, "reg.example:80", list)
		src := plain("reg.example", "acme/web")
		src.Image.Suspend = true
		var notes diary
		stop := start(t, s, &notes, src)
		defer stop()
		if n := s.Wake("reg.example/acme/web", "webhook"); n != 0 {
			t.Errorf("Wake woke %d scans of a suspended image", n)
		}
		settle(time.Hour)
		if list.lists() != 0 || len(notes.list()) != 0 {
			t.Errorf("%d scans, %d outcomes of a suspended image", list.lists(), len(notes.list()))
		}
	})
}

// A run that is ended in the middle of hanging scans ends at once, tells
// nothing more and can be followed by another.
func TestRunEndsAndStartsAnew(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, s *Scanner, network *pipeNet) {
		var hang atomic.Bool
		hang.Store(true)
		network.serve(t, "reg.example:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if hang.Load() {
				<-r.Context().Done()
				return
			}
			writeTags(w, []string{"1.0"})
		}))
		var notes diary
		sources := []Source{plain("reg.example", "acme/a"), plain("reg.example", "acme/b")}
		stop := start(t, s, &notes, sources...)
		settle(5 * time.Second)
		began := time.Now()
		stop()
		if took := time.Since(began); took > 0 || len(notes.list()) != 0 {
			t.Errorf("took %v to end and told %d outcomes, want at once and none", took, len(notes.list()))
		}
		if n := s.Wake("reg.example/acme/a", "webhook"); n != 0 {
			t.Errorf("Wake found %d scans after the end", n)
		}
		hang.Store(false)
		defer start(t, s, &notes, sources...)()
		settle(time.Minute)
		if len(notes.of("acme/a")) == 0 || len(notes.of("acme/b")) == 0 {
			t.Error("the second run told nothing")
		}
	})
}

// A new configuration is no storm: what is known is told again, not asked for
// again, and scanned when it is due.
func TestRunRemembersTheLastRun(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, s *Scanner, network *pipeNet) {
		list := &tagList{tags: []string{"1.0"}}
		network.serve(t, "reg.example:80", list)
		src := plain("reg.example", "acme/web")
		src.Image.Interval = bump.Duration(time.Hour)
		stop := start(t, s, new(diary), src)
		settle(time.Minute)
		stop()
		var notes diary
		src.Image.Name.Name = "renamed"
		stop = start(t, s, &notes, src)
		if got := notes.of("renamed"); list.lists() != 1 || len(got) != 1 || !got[0].Changed || len(got[0].Tags.List) != 1 {
			t.Errorf("%d scans and %+v, want one scan and the known list told as changed", list.lists(), got)
		}
		list.set("1.0", "1.1")
		settle(time.Hour)
		if got := notes.of("renamed"); len(got) < 2 || !got[1].Changed || len(got[1].Tags.List) != 2 {
			t.Errorf("an hour later: %+v, want the new tag", got)
		}
		stop()
		settle(2 * time.Hour)
		before := list.lists()
		told := len(notes.list())
		defer start(t, s, &notes, src)()
		if len(notes.list()) != told+1 {
			t.Error("a list that is two hours old was not told at once")
		}
		settle(time.Hour)
		if list.lists() == before {
			t.Error("a list that is two hours old was not read within its interval")
		}
	})
}

// What a failing image never had is not told as a list.
func TestFirstScanFails(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, s *Scanner, network *pipeNet) {
		list := &tagList{tags: []string{"1.0"}}
		var up atomic.Bool
		network.serve(t, "reg.example:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !up.Load() {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			list.ServeHTTP(w, r)
		}))
		var notes diary
		defer start(t, s, &notes, plain("reg.example", "acme/web"))()
		settle(time.Minute)
		for _, o := range notes.list() {
			if o.Err == nil || o.Changed || o.Tags.List != nil {
				t.Errorf("outcome while down = %+v", o)
			}
		}
		up.Store(true)
		settle(20 * time.Minute)
		var changed int
		for _, o := range notes.list() {
			if o.Changed {
				changed++
			}
		}
		if changed != 1 {
			t.Errorf("%d outcomes say changed, want 1", changed)
		}
	})
}
