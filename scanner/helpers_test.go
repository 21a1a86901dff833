package scanner

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"hoist/bump"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newScanner returns a Scanner that reads no docker config file of this machine.
func newScanner(t *testing.T, o Options) *Scanner {
	t.Helper()
	if o.DockerConfig == "" {
		o.DockerConfig = filepath.Join(t.TempDir(), "none.json")
	}
	s := New(o)
	t.Cleanup(s.Close)
	return s
}

// serve starts h on loopback and returns its host:port.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// plain is a source of an image that is spoken to over plain http.
func plain(registry, repo string) Source {
	return Source{Image: Image{Name: bump.Name{Namespace: "hoist", Name: repo}, Image: registry + "/" + repo, Insecure: true}}
}

// with gives a source username and password.
func with(src Source, user, pass string) Source {
	src.Image.SecretRef = &bump.LocalRef{Name: "login"}
	src.Secret = secretOf(map[string]string{"username": user, "password": pass})
	return src
}

func secretOf(keys map[string]string) func(context.Context) (bump.Secret, error) {
	return func(context.Context) (bump.Secret, error) {
		secret := bump.Secret{}
		for k, v := range keys {
			secret[k] = []byte(v)
		}
		return secret, nil
	}
}

// tagList is a registry of one list for all its repositories. It pages by n
// and last with a Link header, as distribution does.
type tagList struct {
	mu       sync.Mutex
	tags     []string
	pageMost int // tags on a page at most; 0: as many as are asked for
	asked    []string
}

func (l *tagList) set(tags ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tags = tags
}

// lists returns how often tags were listed.
func (l *tagList) lists() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.asked)
}

func (l *tagList) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v2/" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, r.URL.Path)
	n, _ := strconv.Atoi(r.URL.Query().Get("n"))
	if l.pageMost > 0 {
		n = min(n, l.pageMost)
	}
	rest := l.tags
	if last := r.URL.Query().Get("last"); last != "" {
		rest = l.tags[slices.Index(l.tags, last)+1:]
	}
	if n < len(rest) {
		rest = rest[:n]
		w.Header().Set("Link", fmt.Sprintf(`<%s?n=%d&last=%s>; rel="next"`, r.URL.Path, n, url.QueryEscape(rest[n-1])))
	}
	writeTags(w, rest)
}

func writeTags(w http.ResponseWriter, tags []string) {
	json.NewEncoder(w).Encode(map[string]any{"name": "any", "tags": tags})
}

// numbered returns n tags in byte order.
func numbered(n int) []string {
	tags := make([]string, n)
	for i := range tags {
		tags[i] = fmt.Sprintf("1.0.%07d", i)
	}
	return tags
}

// mustScan scans and fails the test where that does.
func mustScan(t *testing.T, s *Scanner, src Source) bump.Tags {
	t.Helper()
	tags, err := s.Scan(t.Context(), src, "once")
	if err != nil {
		t.Fatalf("Scan(%q) = %v", src.Image.Image, err)
	}
	return tags
}

// scanError scans and wants an error that has each of the parts.
func scanError(t *testing.T, s *Scanner, src Source, parts ...string) error {
	t.Helper()
	tags, err := s.Scan(t.Context(), src, "once")
	if err == nil {
		t.Fatalf("Scan(%q) = %d tags, want an error with %q", src.Image.Image, len(tags.List), parts)
	}
	if tags.List != nil {
		t.Errorf("Scan(%q) gave %d tags beside the error: a list is whole or not there", src.Image.Image, len(tags.List))
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("Scan(%q) = %q, want %q in it", src.Image.Image, err, part)
		}
	}
	return err
}

// pipeNet is a network inside the process: dialling an address reaches the
// server that listens there. It lets tests run in a synctest bubble.
type pipeNet struct {
	mu        sync.Mutex
	listeners map[string]chan net.Conn
}

func (p *pipeNet) serve(t *testing.T, address string, h http.Handler) {
	conns := make(chan net.Conn)
	p.mu.Lock()
	if p.listeners == nil {
		p.listeners = make(map[string]chan net.Conn)
	}
	p.listeners[address] = conns
	p.mu.Unlock()
	server := &http.Server{Handler: h}
	l := &pipeListener{conns: conns, closed: make(chan struct{})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
}

func (p *pipeNet) dial(ctx context.Context, _, address string) (net.Conn, error) {
	p.mu.Lock()
	conns, ok := p.listeners[address]
	p.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("nobody listens at %s", address)
	}
	client, server := net.Pipe()
	select {
	case conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// discard keeps handshake errors that a test provokes out of its output.
var discard = log.New(io.Discard, "", 0)

func pemOf(cert *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
}
