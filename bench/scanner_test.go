package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"hoist/bump"
	"hoist/scanner"
)

// tagPages is a registry that holds the same tags in each repository and does
// next to nothing for a request: pages are encoded beforehand.
type tagPages struct {
	pages [][]byte
	size  int
	asked atomic.Int64
}

func newTagPages(b *testing.B, tags, size int) (*tagPages, string) {
	p := &tagPages{size: size}
	for from := 0; from < tags; from += size {
		var page []string
		for n := from; n < min(from+size, tags); n++ {
			page = append(page, fmt.Sprintf("1.%d.%d", n/1000, n%1000))
		}
		body, err := json.Marshal(map[string]any{"name": "any", "tags": page})
		if err != nil {
			b.Fatal(err)
		}
		p.pages = append(p.pages, body)
	}
	server := httptest.NewServer(p)
	b.Cleanup(server.Close)
	return p, server.Listener.Addr().String()
}

func (p *tagPages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.asked.Add(1)
	if r.URL.Path == "/v2/" {
		return
	}
	n, _ := strconv.Atoi(r.URL.Query().Get("page"))
	if n+1 < len(p.pages) {
		w.Header().Set("Link", fmt.Sprintf(`<%s?n=%d&page=%d>; rel="next"`, r.URL.Path, p.size, n+1))
	}
	body := p.pages[n]
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

func tagScanner(b *testing.B, concurrency int) *scanner.Scanner {
	s := scanner.New(scanner.Options{Concurrency: concurrency, PerSecond: -1, DockerConfig: filepath.Join(b.TempDir(), "none.json")})
	b.Cleanup(s.Close)
	return s
}

func tagSource(address, repo string) scanner.Source {
	return scanner.Source{Image: scanner.Image{
		Name: bump.Name{Namespace: "hoist", Name: repo}, Image: address + "/" + repo, Insecure: true,
		Interval: bump.Duration(24 * time.Hour),
	}}
}

// BenchmarkScan1000x1000 scans 1,000 images of 1,000 tags each through
// Scanner.Run, the way the daemon does: cold with nothing known, steady with
// every list known and unchanged.
func BenchmarkScan1000x1000(b *testing.B) {
	const images = 1000
	_, address := newTagPages(b, 1000, 1000)
	var sources []scanner.Source
	for n := range images {
		sources = append(sources, tagSource(address, fmt.Sprintf("acme/web%d", n)))
	}
	run := func(b *testing.B, s *scanner.Scanner, each func(all func())) {
		ctx, cancel := context.WithCancel(b.Context())
		outcomes := make(chan scanner.Outcome, images)
		ended := make(chan struct{})
		go func() {
			s.Run(ctx, sources, func(o scanner.Outcome) { outcomes <- o })
			close(ended)
		}()
		each(func() {
			for range images {
				if o := <-outcomes; o.Err != nil || len(o.Tags.List) != 1000 {
					b.Errorf("%d tags, %v", len(o.Tags.List), o.Err)
				}
			}
		})
		cancel()
		<-ended
	}
	b.Run("cold", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			run(b, tagScanner(b, 4), func(all func()) { all() })
		}
	})
	b.Run("steady", func(b *testing.B) {
		b.ReportAllocs()
		s := tagScanner(b, 4)
		run(b, s, func(all func()) {
			all()
			for b.Loop() {
				for _, src := range sources {
					s.Wake(src.Image.Image, "bench")
				}
				all()
			}
		})
	})
}

// BenchmarkScan100000Tags is R9: one list of 100,000 tags over 100 pages, in at
// most 5 s and 64 MiB.
func BenchmarkScan100000Tags(b *testing.B) {
	_, address := newTagPages(b, 100_000, 1000)
	src := tagSource(address, "acme/web")
	s := tagScanner(b, 4)
	b.ReportAllocs()
	peak := new(atomic.Uint64)
	stop := watchScanHeap(peak)
	before := scanHeap()
	for b.Loop() {
		tags, err := s.Scan(b.Context(), src, "bench")
		if err != nil || len(tags.List) != 100_000 {
			b.Fatalf("%d tags, %v", len(tags.List), err)
		}
	}
	stop()
	b.ReportMetric(float64(max(peak.Load(), before)-before)/(1<<20), "peak-MiB")
}

func scanHeap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// watchScanHeap notes the largest heap, garbage included, until it is stopped.
func watchScanHeap(peak *atomic.Uint64) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				peak.Store(max(peak.Load(), scanHeap()))
			}
		}
	}()
	return func() { close(done); <-ended }
}
