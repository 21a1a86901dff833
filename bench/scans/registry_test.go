package scans

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// pageSize is how many tags the registry puts on a page.
const pageSize = 1000

// registry lists the same tags in each repository and does next to nothing for
// a request. The repository's name says how many tags, and how many
// milliseconds an answer takes: "t1000-l50/web7".
type registry struct {
	asked atomic.Int64
	mu    sync.Mutex
	pages map[int][][]byte // by the number of tags
}

// serveRegistry is the registry's own process. It says where it listens and
// ends with its standard input.
func serveRegistry() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // whatever ends it, it is the end
		listener.Close()
	}()
	_ = http.Serve(listener, &registry{pages: make(map[int][][]byte)}) // its only error is that it ended
	return nil
}

func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	switch {
	case req.URL.Path == "/asked":
		fmt.Fprint(w, r.asked.Load())
		return
	case req.URL.Path == "/v2/":
		r.asked.Add(1)
		return
	}
	r.asked.Add(1)
	var tags, latency int
	if _, err := fmt.Sscanf(strings.Split(req.URL.Path, "/")[2], "t%d-l%d", &tags, &latency); err != nil {
		http.NotFound(w, req)
		return
	}
	if latency > 0 {
		time.Sleep(time.Duration(latency) * time.Millisecond)
	}
	pages := r.of(tags)
	if req.URL.Query().Get("n") == "1" { // "do you link?"
		w.Header().Set("Link", fmt.Sprintf(`<%s?n=1&last=x>; rel="next"`, req.URL.Path))
		fmt.Fprint(w, `{"tags":["1.0"]}`)
		return
	}
	n, _ := strconv.Atoi(req.URL.Query().Get("page"))
	if n >= len(pages) {
		http.NotFound(w, req)
		return
	}
	if n+1 < len(pages) {
		w.Header().Set("Link", fmt.Sprintf(`<%s?n=%d&page=%d>; rel="next"`, req.URL.Path, pageSize, n+1))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(pages[n])))
	_, _ = w.Write(pages[n]) // the scanner counts what is missing
}

// of returns the encoded pages of so many tags, made once.
func (r *registry) of(tags int) [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pages[tags] == nil {
		for from := 0; from < tags; from += pageSize {
			var page []string
			for n := from; n < min(from+pageSize, tags); n++ {
				page = append(page, fmt.Sprintf("1.%03d.%03d", n/1000, n%1000))
			}
			body, _ := json.Marshal(map[string]any{"name": "any", "tags": page}) // strings always can be
			r.pages[tags] = append(r.pages[tags], body)
		}
	}
	return r.pages[tags]
}
