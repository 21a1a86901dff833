package scanner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"hoist/bump"
)

func TestSettled(t *testing.T) {
	said := []Registry{
		{Host: "*.example.com", Concurrency: 3, RequestsPerSecond: 30},
		{Host: "*.eu.example.com", Concurrency: 2},
		{Host: "reg.eu.example.com", RequestsPerSecond: 7, TokenServers: []string{"auth.example.com"}},
		{Host: "docker.io", RequestsPerSecond: 2},
	}
	for _, c := range []struct {
		host string
		want string
	}{
		{"registry.internal:5000", "16 500 []"},
		{"a.example.com", "3 30 []"},
		{"a.b.example.com", "3 30 []"},
		{"a.eu.example.com", "2 500 []"},
		{"reg.eu.example.com", "16 7 [auth.example.com]"},
		{"example.com", "16 500 []"},
		{"index.docker.io", "4 2 [auth.docker.io]"},
		{"ghcr.io", "8 15 []"},
		{"123.dkr.ecr.eu-west-1.amazonaws.com", "16 50 []"},
		{"europe-docker.pkg.dev", "16 40 []"},
		{"registry.gitlab.com", "4 8 [gitlab.com]"},
	} {
		r := settled(said, Options{}, c.host)
		if got := fmt.Sprint(r.Concurrency, r.RequestsPerSecond, r.TokenServers); got != c.want {
			t.Errorf("settled(%q) = %s, want %s", c.host, got, c.want)
		}
	}
	for _, r := range knownRegistries {
		if faults := r.Check(); len(faults) > 0 {
			t.Errorf("%s: %v", r.Host, faults)
		}
	}
}

// Places can be changed while some are taken; who waits longest is next, and
// who stops waiting takes none along.
func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s slots
		s.resize(1)
		ctx, cancel := context.WithCancel(t.Context())
		var order []int
		var mu sync.Mutex
		enter := func(ctx context.Context, n int) {
			if s.take(ctx) == nil {
				mu.Lock()
				order = append(order, n)
				mu.Unlock()
			}
		}
		enter(ctx, 0)
		for n := 1; n <= 3; n++ {
			waiter := t.Context()
			if n == 1 {
				waiter = ctx
			}
			go enter(waiter, n)
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		s.give()
		synctest.Wait()
		s.resize(2)
		synctest.Wait()
		if got := fmt.Sprint(order); got != "[0 2 3]" {
			t.Errorf("places went to %s, want [0 2 3]", got)
		}
		s.resize(1)
		s.give()
		if limit, taken := s.use(); limit != 1 || taken != 1 {
			t.Errorf("%d of %d places taken, want 1 of 1", taken, limit)
		}
	})
}

// N6: a hundred images of a registry that hangs delay none of a quick one, and
// give their places back when their time is up.
func TestN6HangingRegistry(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, s *Scanner, network *pipeNet) {
		network.serve(t, "stuck.example:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		network.serve(t, "quick.example:80", &tagList{tags: []string{"1.0"}})
		began := time.Now()
		var all, quick sync.WaitGroup
		for n := range 100 {
			all.Go(func() {
				if _, err := s.Scan(t.Context(), plain("stuck.example", fmt.Sprintf("acme/web%d", n)), "once"); err == nil {
					t.Error("a registry that hangs was scanned")
				}
			})
			quick.Go(func() {
				if _, err := s.Scan(t.Context(), plain("quick.example", fmt.Sprintf("acme/web%d", n)), "once"); err != nil {
					t.Error(err)
				}
			})
		}
		quick.Wait()
		if took := time.Since(began); took > time.Second {
			t.Errorf("the quick registry's images took %v", took)
		}
		all.Wait()
		rounds := time.Duration((100 + defaultBudget.Concurrency - 1) / defaultBudget.Concurrency)
		if took := time.Since(began); took > rounds*(DefaultTimeout+patience) {
			t.Errorf("the images of the one that hangs took %v, want a timeout and a pause for each %d of them", took, defaultBudget.Concurrency)
		}
	})
}

// N6: one path that hangs does not have its whole host left alone.
func TestN6HangingPath(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, s *Scanner, network *pipeNet) {
		list := &tagList{tags: []string{"1.0"}}
		network.serve(t, "reg.example:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "stuck") {
				<-r.Context().Done()
				return
			}
			list.ServeHTTP(w, r)
		}))
		stuck := make(chan error)
		go func() {
			_, err := s.Scan(t.Context(), plain("reg.example", "acme/stuck"), "once")
			stuck <- err
		}()
		for range 30 {
			time.Sleep(time.Second - time.Millisecond)
			mustScan(t, s, plain("reg.example", "acme/web"))
		}
		if err := <-stuck; err == nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the path that hangs: %v, want its timeout", err)
		}
		if shut := s.hosts["reg.example"].gate.closed(); shut != nil {
			t.Errorf("the host is left alone for one path: %v", shut)
		}
		mustScan(t, s, plain("reg.example", "acme/web"))
	})
}

// R28: no more than the budget reaches a registry, whatever asks at once, and
// a new budget counts at once.
func TestR28Budget(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, s *Scanner, network *pipeNet) {
		list := &tagList{tags: []string{"1.0"}}
		network.serve(t, "reg.example:80", list)
		s.SetRegistries([]Registry{{Host: "reg.example", Concurrency: 8, RequestsPerSecond: 20}})
		began := time.Now()
		var all sync.WaitGroup
		for n := range 200 {
			all.Go(func() {
				if _, err := s.Scan(t.Context(), plain("reg.example", fmt.Sprintf("acme/web%d", n)), "once"); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(3 * time.Second)
		if n := list.lists(); n > 20+3*20 || n < 3*20 {
			t.Errorf("%d lists in three seconds, want about 80", n)
		}
		s.SetRegistries([]Registry{{Host: "reg.example", Concurrency: 8, RequestsPerSecond: 1000}})
		all.Wait()
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("took %v after the budget was raised, want no more than 4s", took)
		}
		hosts := s.Hosts()
		if len(hosts) != 1 || hosts[0] != (HostStatus{Host: "reg.example", Concurrency: 8, RequestsPerSecond: 1000}) {
			t.Errorf("Hosts() = %+v", hosts)
		}
	})
}

// A budget that leaves an image no turn within its timeout is said, and harms
// no host.
func TestOverBudget(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, s *Scanner, network *pipeNet) {
		network.serve(t, "reg.example:80", &tagList{tags: numbered(500), pageMost: 100})
		s.SetRegistries([]Registry{{Host: "reg.example", RequestsPerSecond: 1}})
		src := plain("reg.example", "acme/web")
		src.Image.Timeout = bump.Duration(1500 * time.Millisecond)
		scanError(t, s, src, "over budget: reg.example gets 1 requests a second", "more requestsPerSecond under registries")
		if s.Hosts()[0].Paused() {
			t.Errorf("Hosts() = %+v, want nothing paused", s.Hosts())
		}
	})
}

// R2: hours of failures are one line in the log, and their end another.
func TestR2SingleAlert(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	bubble(t, Options{Log: zap.New(core)}, func(t *testing.T, s *Scanner, network *pipeNet) {
		var down atomic.Bool
		list := &tagList{tags: []string{"1.0"}}
		network.serve(t, "reg.example:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if down.Load() {
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			list.ServeHTTP(w, r)
		}))
		var notes diary
		stop := start(t, s, &notes, plain("reg.example", "acme/web"), plain("reg.example", "acme/api"))
		defer stop()
		settle(time.Minute)
		down.Store(true)
		settle(5 * time.Hour)
		if hosts := s.Hosts(); hosts[0].Failures < 5 || !strings.Contains(hosts[0].Cause, "429") || !hosts[0].Paused() {
			t.Errorf("Hosts() while down = %+v, want the pause, its cause and the failures", hosts)
		}
		s.SetRegistries([]Registry{{Host: "reg.example", RequestsPerSecond: 9}})
		if hosts := s.Hosts(); !hosts[0].Paused() || hosts[0].RequestsPerSecond != 9 {
			t.Errorf("Hosts() after a reload = %+v, want the pause kept and the new budget", hosts)
		}
		down.Store(false)
		settle(time.Hour)
		if hosts := s.Hosts(); hosts[0].Failures != 0 || hosts[0].Paused() || hosts[0].Cause != "" {
			t.Errorf("Hosts() afterwards = %+v, want all well", hosts)
		}
	})
	var said []string
	for _, line := range logs.All() {
		said = append(said, line.Level.String()+" "+line.Message)
	}
	if got := strings.Join(said, ", "); got != "warn host left alone, info host answers again" {
		t.Errorf("logged %s, want one alert and its end", got)
	}
}

// barred answers as a firewall does, with a web page.
func barred(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(http.StatusForbidden)
	fmt.Fprint(w, "<html>Access denied</html>")
}

// R3: a host whose firewall turns us away is probed twice an hour, however
// many images it has, and used again once it lets us in.
func TestR3Barred(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, s *Scanner, network *pipeNet) {
		var closed atomic.Bool
		var asked atomic.Int32
		list := &tagList{tags: []string{"1.0"}}
		network.serve(t, "reg.example:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if closed.Load() {
				asked.Add(1)
				barred(w)
				return
			}
			list.ServeHTTP(w, r)
		}))
		s.SetRegistries([]Registry{{Host: "reg.example", Concurrency: 2}})
		var sources []Source
		for n := range 50 {
			sources = append(sources, plain("reg.example", fmt.Sprintf("acme/web%d", n)))
		}
		var notes diary
		stop := start(t, s, &notes, sources...)
		defer stop()
		settle(time.Minute)
		closed.Store(true)
		settle(2 * time.Minute)
		if n := asked.Load(); n == 0 || n > 8 {
			t.Errorf("%d requests until the host was left alone, want a few", n)
		}
		if h := s.Hosts()[0]; time.Until(h.Until) < 25*time.Minute || !strings.Contains(h.Cause, "as a firewall does that blocks this address") {
			t.Errorf("Hosts() = %+v, want half an hour and the cause", h)
		}
		asked.Store(0)
		settle(3 * time.Hour)
		if n := asked.Load(); n > 12 {
			t.Errorf("%d requests in three hours, want no hammering", n)
		}
		closed.Store(false)
		settle(5 * time.Hour)
		all := notes.of("acme/web0")
		if last := all[len(all)-1]; last.Err != nil {
			t.Errorf("the last outcome is %v, want the list", last.Err)
		}
	})
}

// R3, N6: one repository that is turned away does not close its host.
func TestR3BarredPath(t *testing.T) {
	list := &tagList{tags: []string{"1.0"}}
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "secret") {
			barred(w)
			return
		}
		list.ServeHTTP(w, r)
	}))
	s := newScanner(t, Options{})
	scanError(t, s, plain(address, "acme/secret"), "403 forbidden", "web page")
	mustScan(t, s, plain(address, "acme/web"))
}

// R15: while the token server is down and the registry is up, the words are
// of the token server, it is left alone and the registry is not, tokens that
// are there go on working, and all is well afterwards.
func TestR15TokenServerDown(t *testing.T) {
	for name, fault := range map[string]http.HandlerFunc{
		"503":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"hangs": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"reset": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, s *Scanner, network *pipeNet) {
				b := &bearer{user: "alice", pass: "s3cret", realm: "http://auth.example/token"}
				b.list.set("1.0")
				var down atomic.Bool
				network.serve(t, "reg.example:80", b)
				network.serve(t, "auth.example:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if down.Load() {
						fault(w, r)
						return
					}
					b.ServeHTTP(w, r)
				}))
				s.SetRegistries([]Registry{{Host: "reg.example", TokenServers: []string{"auth.example"}}})
				web, api := with(plain("reg.example", "acme/web"), "alice", "s3cret"), with(plain("reg.example", "acme/api"), "alice", "s3cret")
				mustScan(t, s, web)
				down.Store(true)
				scanError(t, s, api, "the token server auth.example of reg.example")
				mustScan(t, s, web)
				for _, h := range s.Hosts() {
					if h.Paused() != (h.Host == "auth.example") {
						t.Errorf("%+v, want the token server left alone and the registry not", h)
					}
				}
				time.Sleep(time.Minute)
				down.Store(false)
				mustScan(t, s, api)
			})
		})
	}
}

// R25: a name that does not exist is looked up less and less often, and used
// again when it is there.
func TestR25NoSuchHost(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, s *Scanner, network *pipeNet) {
		list := &tagList{tags: []string{"1.0"}}
		network.serve(t, "reg.example:80", list)
		var gone atomic.Bool
		var looked atomic.Int32
		s.dial = func(ctx context.Context, n, address string) (net.Conn, error) {
			looked.Add(1)
			if gone.Load() {
				return nil, &net.OpError{Op: "dial", Net: n, Err: &net.DNSError{Err: "no such host", Name: "reg.example", IsNotFound: true}}
			}
			return network.dial(ctx, n, address)
		}
		gone.Store(true)
		var notes diary
		stop := start(t, s, &notes, plain("reg.example", "acme/web"))
		defer stop()
		settle(4 * time.Hour)
		if n := looked.Load(); n > 90 {
			t.Errorf("%d look-ups in four hours, want fewer and fewer", n)
		}
		all := notes.of("acme/web")
		if last := all[len(all)-1]; last.Err == nil || !strings.Contains(last.Err.Error(), "look up reg.example: no such host: the name does not exist here") {
			t.Errorf("outcome %v, hosts %+v, want the name and what to do", last.Err, s.Hosts())
		}
		gone.Store(false)
		settle(time.Hour)
		all = notes.of("acme/web")
		if last := all[len(all)-1]; last.Err != nil {
			t.Errorf("afterwards: %v", last.Err)
		}
	})
}
