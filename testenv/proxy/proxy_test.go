package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hoist/testenv/kubeconfig"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// before starts a proxy before a handler.
func before(t *testing.T, h http.HandlerFunc) *Proxy {
	t.Helper()
	target := httptest.NewServer(h)
	t.Cleanup(target.Close)
	u, err := url.Parse(target.URL)
	must(t, err)
	p := New(u, nil)
	must(t, p.Start())
	t.Cleanup(func() { must(t, p.Close()) })
	return p
}

// ask uses a connection of its own: see the package comment.
func ask(t *testing.T, method, url, body string) (status int, header http.Header, text string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	must(t, err)
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, string(b), err
}

const says = "0123456789"

func TestCalm(t *testing.T) {
	p := before(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Was", r.Host+" "+r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.RequestURI(), b)
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, p.URL()+"/a%2Fb?c=d", strings.NewReader("body"))
	must(t, err)
	req.Header.Set("Authorization", "Bearer secret")
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	must(t, err)
	if res.StatusCode != http.StatusAccepted || string(b) != "PUT /a%2Fb?c=d body" || res.Header.Get("X-Was") != p.Addr()+" Bearer secret" {
		t.Errorf("%d %q %q", res.StatusCode, b, res.Header.Get("X-Was"))
	}
	got := p.Requests()
	if len(got) != 1 || time.Since(got[0].Time) > time.Minute {
		t.Fatalf("record %+v", got)
	}
	got[0].Time = time.Time{}
	if want := (Request{Method: "PUT", Path: "/a/b", Query: "c=d", Authorized: true, Write: true, Status: http.StatusAccepted}); got[0] != want {
		t.Errorf("record %+v, want %+v", got[0], want)
	}
}

// TestFaults sees each fault as a client does.
func TestFaults(t *testing.T) {
	var reached atomic.Int64
	p := before(t, func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		w.Header().Set("X-Real", "yes")
		_, _ = io.WriteString(w, says)
	})
	for title, row := range map[string]struct {
		fault  Fault
		status int
		body   string
		err    error // found with errors.Is
		hits   int64
		least  time.Duration
	}{
		"none":                 {Fault{}, 200, says, nil, 1, 0},
		"latency":              {Fault{Latency: 150 * time.Millisecond}, 200, says, nil, 1, 150 * time.Millisecond},
		"status":               {Fault{Status: 429, Header: http.Header{"retry-after": {"120"}}, Body: "slow down"}, 429, "slow down", nil, 0, 0},
		"late status":          {Fault{Latency: 50 * time.Millisecond, Status: 503}, 503, "", nil, 0, 50 * time.Millisecond},
		"cut before":           {Fault{Cut: CutBefore}, 0, "", io.EOF, 0, 0},
		"cut after":            {Fault{Cut: CutAfter}, 0, "", io.EOF, 1, 0},
		"empty":                {Fault{EmptyBody: true}, 200, "", nil, 1, 0},
		"truncated":            {Fault{TruncateBody: 4}, 200, "0123", io.ErrUnexpectedEOF, 1, 0},
		"truncated elsewhere":  {Fault{TruncateBody: 10}, 200, says, nil, 1, 0},
		"drip":                 {Fault{Drip: 50}, 200, says, nil, 1, 90 * time.Millisecond},
		"drip, then truncated": {Fault{Drip: 100, TruncateBody: 5}, 200, "01234", io.ErrUnexpectedEOF, 1, 40 * time.Millisecond},
	} {
		t.Run(title, func(t *testing.T) {
			reached.Store(0)
			p.Forget()
			p.Play(Rule{Fault: row.fault})
			begin := time.Now()
			status, header, body, err := ask(t, http.MethodGet, p.URL(), "")
			took := time.Since(begin)
			if status != row.status || body != row.body || !errors.Is(err, row.err) {
				t.Errorf("%d %q %v, want %d %q %v", status, body, err, row.status, row.body, row.err)
			}
			if reached.Load() != row.hits {
				t.Errorf("the target saw %d requests, want %d", reached.Load(), row.hits)
			}
			if took < row.least {
				t.Errorf("took %v, want %v at least", took, row.least)
			}
			if title == "status" && header.Get("Retry-After") != "120" {
				t.Errorf("header %v", header)
			}
			if row.hits == 1 && status != 0 && header.Get("X-Real") != "yes" {
				t.Errorf("header %v is not the target's", header)
			}
			if got := p.Requests(); len(got) != 1 || got[0].Status != row.status || !got[0].Faulty {
				t.Errorf("record %+v", got)
			}
		})
	}
}

func TestTruncatesChunksToo(t *testing.T) {
	p := before(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 10 {
			_, _ = io.WriteString(w, says)
			w.(http.Flusher).Flush()
		}
	})
	p.Play(Rule{Fault: Fault{TruncateBody: 25}})
	if _, _, body, err := ask(t, http.MethodGet, p.URL(), ""); len(body) != 25 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%q, %v", body, err)
	}
}

func TestWhichRequests(t *testing.T) {
	p := before(t, func(http.ResponseWriter, *http.Request) {})
	p.Play(
		Rule{Method: "POST", Fault: Fault{Status: 501}},
		Rule{Prefix: "/v2/", Skip: 1, Times: 2, Fault: Fault{Status: 502}},
		Rule{URI: regexp.MustCompile(`/list\?n=\d+$`), Fault: Fault{Status: 503}},
		Rule{Prefix: "/v2/", Times: 1, Fault: Fault{Status: 504}},
	)
	for i, row := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/", 200},
		{"POST", "/v2/", 501},        // the first rule comes first, and the others do not count it
		{"GET", "/v2/", 504},         // skipped by the second rule, so the last one plays
		{"GET", "/v2/x", 502},        // once
		{"GET", "/v2/list?n=2", 502}, // twice
		{"GET", "/v2/list?n=2", 503},
		{"GET", "/v2/list?n=x", 200}, // the last one had its time
		{"GET", "/list?n=3", 503},
	} {
		if got, _, _, err := ask(t, row.method, p.URL()+row.path, ""); got != row.want || err != nil {
			t.Errorf("%d: %s %s = %d, %v, want %d", i, row.method, row.path, got, err, row.want)
		}
	}
	p.Play()
	if got, _, _, _ := ask(t, "POST", p.URL()+"/v2/", ""); got != 200 {
		t.Errorf("without rules: %d", got)
	}
	if got, want := p.Methods(), map[string]int{"GET": 7, "POST": 2}; !reflect.DeepEqual(got, want) {
		t.Errorf("methods %v, want %v", got, want)
	}
}

func TestWrites(t *testing.T) {
	p := before(t, func(http.ResponseWriter, *http.Request) {})
	for request, want := range map[string]bool{
		"GET /": false, "HEAD /": false, "OPTIONS /": false,
		"POST /fleet.git/git-upload-pack": false, "POST /fleet.git/git-receive-pack": true,
		"PATCH /api/v1/namespaces/a?dryRun=All": false, "PATCH /api/v1/namespaces/a?fieldManager=hoist": true, "PATCH /api/v1/namespaces/a?dryRun=": true,
		"POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews": false, "DELETE /apis/authorization.k8s.io/x": true,
		"DELETE /v2/acme/web/manifests/1": true, "PUT /": true,
	} {
		p.Forget()
		method, path, _ := strings.Cut(request, " ")
		_, _, _, err := ask(t, method, p.URL()+path, "")
		must(t, err)
		if got := p.Writes() == 1; got != want {
			t.Errorf("%s is a write: %v, want %v", request, got, want)
		}
	}
}

// TestStreams: a watch passes as it comes, and its end reaches the target.
func TestStreams(t *testing.T) {
	ended := make(chan struct{})
	p := before(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "one\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(ended)
	})
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL(), nil)
	must(t, err)
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	if line, err := bufio.NewReader(res.Body).ReadString('\n'); line != "one\n" {
		t.Errorf("%q, %v", line, err)
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the target did not learn of the end")
	}
}

// TestTLS goes from TLS to TLS by a kubeconfig, as a client of an API server.
func TestTLS(t *testing.T) {
	target := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Proto, " ", r.Header.Get("Authorization"))
	}))
	target.EnableHTTP2 = true
	target.StartTLS()
	defer target.Close()
	u, err := url.Parse(target.URL)
	must(t, err)
	p := New(u, target.Client().Transport)
	dir := t.TempDir()
	original, through := filepath.Join(dir, "original"), filepath.Join(dir, "through")
	must(t, kubeconfig.Write(original, kubeconfig.Config{Server: target.URL, Token: "t"}))
	if err := p.Kubeconfig(through, original); err == nil {
		t.Error("a kubeconfig for a proxy without TLS")
	}
	must(t, p.StartTLS())
	defer p.Close()
	must(t, p.Kubeconfig(through, original))
	k, err := kubeconfig.Read(through)
	must(t, err)
	transport, err := Transport(k.CAData)
	must(t, err)
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, k.Server, nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+k.Token)
	res, err := (&http.Client{Transport: transport}).Do(req)
	must(t, err)
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != "HTTP/2.0 Bearer t" {
		t.Errorf("%q, %v", b, err)
	}
	p.Play(Rule{Fault: Fault{Cut: CutBefore}})
	req.Method = http.MethodPost
	if _, err := (&http.Client{Transport: transport}).Do(req); err == nil {
		t.Error("the cut did not show")
	}
	if _, err := Transport([]byte("no PEM")); err == nil {
		t.Error("a transport without an authority")
	}
}

func TestUnreachableTargetCuts(t *testing.T) {
	target := httptest.NewServer(http.NotFoundHandler())
	u, err := url.Parse(target.URL)
	must(t, err)
	target.Close()
	p := New(u, nil)
	must(t, p.Start())
	defer p.Close()
	if status, _, _, err := ask(t, http.MethodGet, p.URL(), ""); !errors.Is(err, io.EOF) {
		t.Errorf("%d, %v, want a cut", status, err)
	}
}

func TestAwait(t *testing.T) {
	p := before(t, func(http.ResponseWriter, *http.Request) {})
	path := func(want string) func(Request) bool { return func(r Request) bool { return r.Path == want } }
	var asked sync.WaitGroup
	asked.Go(func() {
		for i := range 20 {
			if _, _, _, err := ask(t, http.MethodPost, fmt.Sprint(p.URL(), "/", i), ""); err != nil {
				t.Error(err)
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, want := range []string{"/19", "/0"} { // the second is past
		if r, err := p.Await(ctx, path(want)); err != nil || r.Path != want {
			t.Errorf("%+v, %v", r, err)
		}
	}
	asked.Wait()
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := p.Await(short, path("/20")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// TestNoSecretIsRecorded: nothing of what a record prints holds the password.
func TestNoSecretIsRecorded(t *testing.T) {
	p := before(t, func(http.ResponseWriter, *http.Request) {})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL(), bytes.NewReader([]byte("sesame in the body")))
	must(t, err)
	req.SetBasicAuth("bot", "sesame")
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	res.Body.Close()
	if text := fmt.Sprintf("%+v", p.Requests()); strings.Contains(text, "sesame") || !strings.Contains(text, "Authorized:true") {
		t.Error(text)
	}
}
