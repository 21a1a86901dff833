package webhook

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"hoist/bump"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is a real server with receivers, and what came out of it.
type house struct {
	url   string
	mu    sync.Mutex
	hints []Hint
	logs  *observer.ObservedLogs
}

func open(t *testing.T, rs ...Route) *house {
	core, logs := observer.New(zapcore.DebugLevel)
	h := &house{logs: logs}
	out := func(hint Hint) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.hints = append(h.hints, hint)
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config = NewServer("", Handler(rs, out, zap.New(core)))
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	h.url = server.URL
	return h
}

// heard returns the hints since it was last asked.
func (h *house) heard() []Hint {
	h.mu.Lock()
	defer h.mu.Unlock()
	hints := h.hints
	h.hints = nil
	return hints
}

type message struct {
	method, path, body string
	header             map[string]string
}

// send returns the status, the headers and the body of the answer.
func (h *house) send(t *testing.T, m message) (int, http.Header, string) {
	t.Helper()
	if m.method == "" {
		m.method = "POST"
	}
	req, err := http.NewRequest(m.method, h.url+m.path, strings.NewReader(m.body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range m.header {
		req.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

func secret(pairs ...string) func(context.Context) (bump.Secret, error) {
	s := bump.Secret{}
	for i := 0; i < len(pairs); i += 2 {
		s[pairs[i]] = []byte(pairs[i+1])
	}
	return func(context.Context) (bump.Secret, error) { return s, nil }
}

func signature(name string, newHash func() hash.Hash, key, body string) map[string]string {
	mac := hmac.New(newHash, []byte(key))
	mac.Write([]byte(body))
	return map[string]string{"X-Signature": name + "=" + hex.EncodeToString(mac.Sum(nil))}
}

func ci(images ...string) Route {
	return Route{
		Receiver: Receiver{Name: bump.Name{Namespace: "hoist", Name: "ci"}, Type: GenericHMAC, Images: images},
		Secret:   secret("token", "open sesame"),
	}
}

func registry(s func(context.Context) (bump.Secret, error)) Route {
	return Route{Receiver: Receiver{Name: bump.Name{Namespace: "hoist", Name: "registry"}, Type: Distribution}, Secret: s}
}

// TestSignature is W1 for generic-hmac: who does not know the secret gets 401,
// however near it is.
func TestSignature(t *testing.T) {
	const body = `{"image": "r.example/app"}`
	good := signature("sha256", sha256.New, "open sesame", body)
	want := []Hint{{Image: "r.example/app", Trigger: "webhook ci"}}
	h := open(t, ci())
	for _, row := range []struct {
		name   string
		header map[string]string
		code   int
	}{
		{"sha256", good, 202},
		{"sha512", signature("sha512", sha512.New, "open sesame", body), 202},
		{"upper-case digits", map[string]string{"X-Signature": "sha256=" + strings.ToUpper(good["X-Signature"][7:])}, 202},
		{"replayed (W7)", good, 202},
		{"no signature", nil, 401},
		{"empty signature", map[string]string{"X-Signature": ""}, 401},
		{"algorithm alone", map[string]string{"X-Signature": "sha256="}, 401},
		{"digits alone", map[string]string{"X-Signature": good["X-Signature"][7:]}, 401},
		{"sha1", signature("sha1", sha1.New, "open sesame", body), 401},
		{"sha256 called sha512", map[string]string{"X-Signature": "sha512=" + good["X-Signature"][7:]}, 401},
		{"unknown algorithm", map[string]string{"X-Signature": "none=" + good["X-Signature"][7:]}, 401},
		{"no digits", map[string]string{"X-Signature": "sha256=zz"}, 401},
		{"cut short", map[string]string{"X-Signature": good["X-Signature"][:60]}, 401},
		{"wrong key", signature("sha256", sha256.New, "open sesam", body), 401},
		{"empty key", signature("sha256", sha256.New, "", body), 401},
		{"another body", signature("sha256", sha256.New, "open sesame", body+" "), 401},
		{"the header of GitHub", map[string]string{"X-Hub-Signature-256": good["X-Signature"]}, 401},
		{"a bearer token", map[string]string{"Authorization": "Bearer open sesame"}, 401},
	} {
		code, _, text := h.send(t, message{path: "/hook/ci", body: body, header: row.header})
		heard := h.heard()
		if code != row.code || (code == 202) != reflect.DeepEqual(heard, want) || (code != 202 && heard != nil) {
			t.Errorf("%s: %d %q and hints %v, want %d", row.name, code, text, heard, row.code)
		}
	}
}

// TestAuthorization is W1 for the registry.
func TestAuthorization(t *testing.T) {
	body := envelope(push("r.example", "app"))
	basic := func(user, password string) map[string]string {
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth(user, password)
		return map[string]string{"Authorization": r.Header.Get("Authorization")}
	}
	bearer := func(token string) map[string]string { return map[string]string{"Authorization": "Bearer " + token} }
	token, both := secret("token", "s3cret"), secret("token", "s3cret", "username", "registry", "password", "hunter2")
	for _, row := range []struct {
		name   string
		secret func(context.Context) (bump.Secret, error)
		header map[string]string
		code   int
	}{
		{"bearer", token, bearer("s3cret"), 202},
		{"bearer in lower case", token, map[string]string{"Authorization": "bearer s3cret"}, 202},
		{"bearer where basic would do too", both, bearer("s3cret"), 202},
		{"basic", both, basic("registry", "hunter2"), 202},
		{"nothing", both, nil, 401},
		{"wrong token", token, bearer("s3cre"), 401},
		{"empty token", token, bearer(""), 401},
		{"wrong scheme", token, map[string]string{"Authorization": "Digest s3cret"}, 401},
		{"no scheme", token, map[string]string{"Authorization": "s3cret"}, 401},
		{"wrong password", both, basic("registry", "hunter"), 401},
		{"wrong user", both, basic("root", "hunter2"), 401},
		{"basic where only a token is known", token, basic("", ""), 401},
		{"the token as password", token, basic("s3cret", "s3cret"), 401},
		{"broken basic", both, map[string]string{"Authorization": "Basic !"}, 401},
		{"bearer where only basic is known", secret("username", "u", "password", "p"), bearer(""), 401},
	} {
		h := open(t, registry(row.secret))
		code, header, text := h.send(t, message{path: "/hook/registry", body: body, header: row.header})
		if code != row.code || (code == 202) != (len(h.heard()) == 1) {
			t.Errorf("%s: %d %q, want %d", row.name, code, text, row.code)
		}
		if code == 401 && header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: 401 without WWW-Authenticate", row.name)
		}
	}
}

// TestBlankCredentials asks below HTTP, whose headers lose the blank at their end.
func TestBlankCredentials(t *testing.T) {
	basicOnly := bump.Secret{"username": []byte("u"), "password": []byte("p")}
	for _, header := range []string{"Bearer ", "Basic Og==", "Basic dTo="} {
		if authorized(basicOnly, []string{header}) || authorized(bump.Secret{}, []string{header}) {
			t.Errorf("%q is let in", header)
		}
	}
	if signed(nil, []string{"sha256=", "sha256="}, nil) || authorized(bump.Secret{"token": []byte("t")}, []string{"Bearer t", "Bearer t"}) {
		t.Error("a header that is there twice is let in")
	}
}

// TestOneHintForTwoSpellings names one image twice.
func TestOneHintForTwoSpellings(t *testing.T) {
	h := open(t, ci("docker.io/library/nginx", "nginx"))
	code, _, _ := h.send(t, message{path: "/hook/ci", header: signature("sha256", sha256.New, "open sesame", "")})
	if got, want := h.heard(), []Hint{{Image: "docker.io/library/nginx", Trigger: "webhook ci"}}; code != 202 || !reflect.DeepEqual(got, want) {
		t.Errorf("%d, hints %v, want %v", code, got, want)
	}
}

// TestEmptySecret is the rest of W1: nobody gets in, and the log says why, once.
func TestEmptySecret(t *testing.T) {
	for _, s := range []func(context.Context) (bump.Secret, error){
		secret(), secret("token", ""), secret("token", " \n"), secret("username", "u", "password", ""),
	} {
		hmac, reg := ci(), registry(s)
		hmac.Secret = s
		h := open(t, hmac, reg)
		for range 3 {
			if code, _, _ := h.send(t, message{path: "/hook/ci", header: signature("sha256", sha256.New, "", "")}); code != 401 {
				t.Errorf("generic-hmac: %d, want 401", code)
			}
			if code, _, _ := h.send(t, message{path: "/hook/registry", body: envelope(push("r.example", "app")), header: map[string]string{"Authorization": "Bearer "}}); code != 401 {
				t.Errorf("distribution: %d, want 401", code)
			}
		}
		if n := h.logs.FilterLevelExact(zap.ErrorLevel).Len(); n != 2 || h.heard() != nil {
			t.Errorf("%d errors in the log, want one for each receiver", n)
		}
	}
}

// TestSecretIsReadAtEachRequest rotates the secret, and takes it away for a while.
func TestSecretIsReadAtEachRequest(t *testing.T) {
	now, gone := "old", false
	r := ci("r.example/app")
	r.Secret = func(context.Context) (bump.Secret, error) {
		if gone {
			return nil, errors.New("no such secret")
		}
		return bump.Secret{"token": []byte(now)}, nil
	}
	h := open(t, r)
	try := func(key string) int {
		code, _, _ := h.send(t, message{path: "/hook/ci", header: signature("sha256", sha256.New, key, "")})
		return code
	}
	got := []int{try("old"), try("new")}
	now = "new"
	got = append(got, try("old"), try("new"))
	gone = true
	got = append(got, try("new"), try("new"))
	gone = false
	got = append(got, try("new"))
	gone = true
	got = append(got, try("new"))
	if want := []int{202, 401, 401, 202, 503, 503, 202, 503}; !reflect.DeepEqual(got, want) {
		t.Errorf("statuses %v, want %v", got, want)
	}
	if n := h.logs.FilterLevelExact(zap.WarnLevel).Len(); n != 2 {
		t.Errorf("%d warnings in the log, want one for each time that it went away", n)
	}
}

// TestPathAndMethod is W11.
func TestPathAndMethod(t *testing.T) {
	other := registry(secret("token", "t"))
	other.Name, other.Path = bump.Name{Namespace: "flux-system", Name: "r"}, ""
	moved := registry(secret("token", "t"))
	moved.Name.Name, moved.Path = "moved", "/registry/events"
	h := open(t, ci(), other, moved)
	for _, row := range []struct {
		method, path string
		code         int
	}{
		{"POST", "/hook/ci", 401},
		{"POST", "/hook/flux-system/r", 401},
		{"POST", "/registry/events", 401},
		{"POST", "/hook/ci?token=open%20sesame", 401},
		{"GET", "/hook/ci", 405},
		{"HEAD", "/hook/ci", 405},
		{"PUT", "/hook/ci", 405},
		{"OPTIONS", "/hook/ci", 405},
		{"BREW", "/hook/ci", 405},
		{"post", "/hook/ci", 405},
		{"POST", "/", 404},
		{"POST", "/hook", 404},
		{"POST", "/hook/", 404},
		{"POST", "/hook/CI", 404},
		{"POST", "/hook/ci/", 404},
		{"POST", "//hook/ci", 404},
		{"POST", "/hook/moved", 404},
		{"POST", "/hook/x/../ci", 404},
		{"POST", "/hook/%2e%2e/hook/ci", 404},
		{"POST", "/hook%2fci", 404},
		{"POST", "/%68ook/ci", 404},
		{"POST", "/hook/ci%00", 404},
		{"GET", "/nowhere", 404},
	} {
		code, header, _ := h.send(t, message{method: row.method, path: row.path})
		if code != row.code {
			t.Errorf("%s %s: %d, want %d", row.method, row.path, code, row.code)
		}
		if allow := header.Get("Allow"); (code == 405) != (allow == "POST") {
			t.Errorf("%s %s: %d with Allow %q", row.method, row.path, code, allow)
		}
	}
	if heard := h.heard(); heard != nil {
		t.Errorf("hints %v", heard)
	}
}

// TestNoEcho sends what is known by its spelling and looks for it in the answers
// and in the log.
func TestNoEcho(t *testing.T) {
	const mark = "kilroy"
	h := open(t, ci(), registry(secret("token", mark)))
	for _, m := range []message{
		{path: "/" + mark},
		{path: "/hook/ci?" + mark, body: mark},
		{method: mark, path: "/hook/ci"},
		{path: "/hook/ci", body: mark, header: map[string]string{"X-Signature": mark}},
		{path: "/hook/ci", body: mark, header: signature("sha256", sha256.New, "open sesame", mark)},
		{path: "/hook/registry", body: `{"events":"` + mark + `"}`, header: map[string]string{"Authorization": "Bearer " + mark}},
		{path: "/hook/registry", body: `{"events":[]}`, header: map[string]string{"Authorization": "Bearer wrong", "Host": mark, "User-Agent": mark}},
	} {
		code, header, text := h.send(t, m)
		if strings.Contains(text+fmt.Sprint(header), mark) || strings.Count(text, "\n") != 1 || code < 400 {
			t.Errorf("%+v: %d %q with %v", m, code, text, header)
		}
	}
	for _, entry := range h.logs.All() {
		if line := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(line, mark) {
			t.Errorf("log: %s", line)
		}
	}
}

// TestBodyCap is W2: 413 before anyone asks for the secret.
func TestBodyCap(t *testing.T) {
	r := ci()
	asked := false
	r.Secret = func(context.Context) (bump.Secret, error) { asked = true; return bump.Secret{}, nil }
	h := open(t, r)
	address := strings.TrimPrefix(h.url, "http://")
	post := "POST /hook/ci HTTP/1.1\r\nHost: x\r\n"
	for _, row := range []struct {
		name, head string
		body       io.Reader
		code       int
	}{
		{"large", post + fmt.Sprintf("Content-Length: %d\r\n\r\n", maxBody+1), bytes.NewReader(make([]byte, maxBody+1)), 413},
		{"announced only", post + "Content-Length: 9999999999\r\n\r\n", nil, 413},
		{"endless chunks", post + "Transfer-Encoding: chunked\r\n\r\n", chunks{}, 413},
		{"shorter than announced", post + "Content-Length: 100\r\n\r\n", strings.NewReader("{}"), 400},
		{"broken chunks", post + "Transfer-Encoding: chunked\r\n\r\n", strings.NewReader("zz\r\n"), 400},
	} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		written := make(chan struct{})
		go func() {
			defer close(written)
			io.WriteString(conn, row.head)
			if row.body != nil {
				io.Copy(conn, row.body)
				conn.(*net.TCPConn).CloseWrite()
			}
		}()
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
		} else if res.StatusCode != row.code {
			t.Errorf("%s: %d, want %d", row.name, res.StatusCode, row.code)
		}
		conn.Close()
		<-written
	}
	if asked {
		t.Error("the secret was asked for")
	}
	// A body of exactly the cap is read.
	if code, _, _ := h.send(t, message{path: "/hook/ci", body: strings.Repeat(" ", maxBody)}); code != 401 || !asked {
		t.Errorf("a body of the cap: %d, want 401", code)
	}
}

// chunks is a chunked body without end.
type chunks struct{}

func (chunks) Read(p []byte) (int, error) {
	const chunk = "a\r\n0123456789\r\n"
	n := 0
	for n+len(chunk) <= len(p) {
		n += copy(p[n:], chunk)
	}
	return n, nil
}

// TestSlowCallers is W3. The limits are looked at as they are, and tried with shorter ones.
func TestSlowCallers(t *testing.T) {
	server := NewServer("127.0.0.1:0", Handler([]Route{ci()}, func(Hint) {}, zap.NewNop()))
	if server.ReadHeaderTimeout != 10*time.Second || server.ReadTimeout != 30*time.Second ||
		server.WriteTimeout <= 0 || server.IdleTimeout <= 0 || server.MaxHeaderBytes != 16<<10 || server.Addr != "127.0.0.1:0" {
		t.Errorf("limits: %+v", server)
	}
	server.ReadHeaderTimeout, server.ReadTimeout = 200*time.Millisecond, 400*time.Millisecond
	listener, err := net.Listen("tcp", server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() { server.Close(); <-served }()
	for _, row := range []struct {
		name, sent, want string
	}{
		{"headers", "POST /hook/ci HTTP/1.1\r\nHost: x\r\nX-Slow", "HTTP/1.1 400 Bad Request"},
		{"body", "POST /hook/ci HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", "HTTP/1.1 408 Request Timeout"},
		{"large headers", "POST /hook/ci HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 32<<10) + "\r\n\r\n", "HTTP/1.1 431 Request Header Fields Too Large"},
	} {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(conn, row.sent)
		answer, err := io.ReadAll(conn) // ends when the server closes
		if first, _, _ := strings.Cut(string(answer), "\r\n"); first != row.want || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %q (%v), want %q", row.name, first, err, row.want)
		}
		conn.Close()
	}
}

// TestRestrictions hints only at what the receiver names, in its spelling.
func TestRestrictions(t *testing.T) {
	r := ci("nginx", "r.example/app")
	r.Repositories = []string{"infrastructure", "https://git.example/org/infra.git"}
	r.Name.Namespace = "team"
	h := open(t, r)
	image := func(names ...string) (hints []Hint) {
		for _, n := range names {
			hints = append(hints, Hint{Image: n, Trigger: "webhook team:ci"})
		}
		return hints
	}
	repo := func(names ...string) (hints []Hint) {
		for _, n := range names {
			hints = append(hints, Hint{Repository: n, Trigger: "webhook team:ci"})
		}
		return hints
	}
	for _, row := range []struct {
		body string
		want []Hint
	}{
		{"", append(image("nginx", "r.example/app"), repo("infrastructure", "https://git.example/org/infra.git")...)},
		{" \n", append(image("nginx", "r.example/app"), repo("infrastructure", "https://git.example/org/infra.git")...)},
		{`{"image": "r.example/app:1.2.3"}`, image("r.example/app")},
		{`{"image": "docker.io/library/nginx@sha256:` + strings.Repeat("0", 64) + `"}`, image("nginx")},
		{`{"image": "r.example/other"}`, nil},
		{`{"repository": "infrastructure"}`, repo("infrastructure")},
		{`{"repository": "https://user:pw@git.example/org/infra"}`, repo("https://git.example/org/infra.git")},
		{`{"repository": "secret"}`, nil},
		{`{"image": "nginx", "repository": "infrastructure", "tag": "9.9.9"}`, append(image("nginx"), repo("infrastructure")...)},
	} {
		code, _, text := h.send(t, message{path: "/hook/team/ci", body: row.body, header: signature("sha256", sha256.New, "open sesame", row.body)})
		if got := h.heard(); code != 202 || !reflect.DeepEqual(got, row.want) {
			t.Errorf("%q: %d %q, hints %v, want %v", row.body, code, text, got, row.want)
		}
	}
}

// TestUnrestricted hints at whatever is named, and at everything when nothing is.
func TestUnrestricted(t *testing.T) {
	h := open(t, ci(), registry(secret("token", "t")))
	for _, row := range []struct {
		path, body string
		code       int
		want       []Hint
	}{
		{"/hook/ci", ``, 202, []Hint{{Trigger: "webhook ci"}}},
		{"/hook/ci", `{"image":"r.example:5000/app:1"}`, 202, []Hint{{Image: "r.example:5000/app", Trigger: "webhook ci"}}},
		{"/hook/ci", `{"repository":"https://u:p@git.example/x"}`, 202, []Hint{{Repository: "https://git.example/x", Trigger: "webhook ci"}}},
		{"/hook/ci", `{}`, 400, nil},
		{"/hook/ci", `null`, 400, nil},
		{"/hook/ci", `{"image":`, 400, nil},
		{"/hook/ci", `{"image":"a"} {"image":"b"}`, 400, nil},
		{"/hook/ci", `{"image":["a"]}`, 400, nil},
		{"/hook/ci", `{"image":""}`, 400, nil},
		{"/hook/ci", `{"image":"UPPER/case"}`, 400, nil},
		{"/hook/ci", `{"image":"http://r.example/app"}`, 400, nil},
		{"/hook/ci", `{"image":"r.example/app\n"}`, 400, nil},
		{"/hook/ci", `{"repository":"two words"}`, 400, nil},
		{"/hook/ci", `{"repository":"https://git.example/x?access_token=t"}`, 400, nil},
		{"/hook/ci", `{"repository":"https://git.example/x#t"}`, 400, nil},
		{"/hook/ci", `{"repository":"` + strings.Repeat("a", 3000) + `"}`, 400, nil},
		{"/hook/ci", strings.Repeat(`{"image":`, 20_000), 400, nil},
		{"/hook/registry", envelope(push("r.example", "org/app"), push("r.example", "org/app"), push("r.example:5000", "web")), 202,
			[]Hint{{Image: "r.example/org/app", Trigger: "webhook registry"}, {Image: "r.example:5000/web", Trigger: "webhook registry"}}},
		{"/hook/registry", `{"events":[]}`, 202, nil},
		{"/hook/registry", `{}`, 202, nil},
		{"/hook/registry", ``, 400, nil},
		{"/hook/registry", `[]`, 400, nil},
		{"/hook/registry", envelope(many(maxHints)...), 202, hintsAtMany(maxHints)},
		{"/hook/registry", envelope(many(maxHints + 1)...), 413, nil},
	} {
		header := signature("sha256", sha256.New, "open sesame", row.body)
		header["Authorization"] = "Bearer t"
		code, _, text := h.send(t, message{path: row.path, body: row.body, header: header})
		if got := h.heard(); code != row.code || !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s %.80q: %d %q, hints %v, want %d, %v", row.path, row.body, code, text, got, row.code, row.want)
		}
	}
}

func envelope(events ...string) string { return `{"events":[` + strings.Join(events, ",") + `]}` }

// push is an event as registry 3 sends it.
func push(host, repo string) string {
	return fmt.Sprintf(`{"id":"1","timestamp":"2026-01-02T15:04:05Z","action":"push","target":{
		"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:00","size":1,"length":1,
		"repository":%q,"url":"http://%s/v2/%s/manifests/sha256:00","tag":"1.2.3"},
		"request":{"id":"2","addr":"10.0.0.1:1","host":%q,"method":"PUT","useragent":"test"},"actor":{},
		"source":{"addr":"registry-0:5000","instanceID":"3"}}`, repo, host, repo, host)
}

func many(n int) (events []string) {
	for i := range n {
		events = append(events, push("r.example", fmt.Sprint("app", i)))
	}
	return events
}

func hintsAtMany(n int) (hints []Hint) {
	for i := range n {
		hints = append(hints, Hint{Image: fmt.Sprint("r.example/app", i), Trigger: "webhook registry"})
	}
	return hints
}

// TestEvents tells which events of a registry are news.
func TestEvents(t *testing.T) {
	const manifest, index = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
	for _, row := range []struct {
		action, mediaType, host, repo, url string
		want                               string
	}{
		{"push", manifest, "r.example", "app", "", "r.example/app"},
		{"push", index, "r.example", "app", "", "r.example/app"},
		{"push", index + "; charset=utf-8", "r.example", "app", "", "r.example/app"},
		{"push", "application/vnd.docker.distribution.manifest.v2+json", "r.example", "app", "", "r.example/app"},
		{"push", "application/vnd.docker.distribution.manifest.list.v2+json", "localhost:5000", "a/b/c", "", "localhost:5000/a/b/c"},
		{"push", manifest, "", "app", "https://r.example/v2/app/manifests/sha256:00", "r.example/app"},
		{"push", manifest, "[::1]:5000", "app", "", "[::1]:5000/app"},
		{"push", manifest, "", "app", "", ""},
		{"push", manifest, "r.example", "", "", ""},
		{"push", manifest, "r.example", "app:1", "", ""},
		{"push", manifest, "r.example", "app@sha256", "", ""},
		{"push", manifest, "r.example", "../app", "", ""},
		{"push", manifest, "r.example/x", "app", "", ""},
		{"push", manifest, "u:p@r.example", "app", "", ""},
		{"push", "application/octet-stream", "r.example", "app", "", ""},
		{"push", "application/vnd.oci.image.layer.v1.tar+gzip", "r.example", "app", "", ""},
		{"push", "", "r.example", "app", "", ""},
		{"pull", manifest, "r.example", "app", "", ""},
		{"delete", manifest, "r.example", "app", "", ""},
		{"mount", manifest, "r.example", "app", "", ""},
		{"", manifest, "r.example", "app", "", ""},
	} {
		body := fmt.Sprintf(`{"events":[{"action":%q,"target":{"mediaType":%q,"repository":%q,"url":%q},"request":{"host":%q}}]}`,
			row.action, row.mediaType, row.repo, row.url, row.host)
		found, err := parseEnvelope([]byte(body))
		got := ""
		if len(found) > 0 {
			got = found[0].image
		}
		if err != nil || got != row.want {
			t.Errorf("%s: %q, %v, want %q", body, got, err, row.want)
		}
	}
}

func TestCheck(t *testing.T) {
	ref := &bump.LocalRef{Name: "hook"}
	for _, row := range []struct {
		r    Receiver
		want string
	}{
		{Receiver{Type: GenericHMAC, SecretRef: ref}, ""},
		{Receiver{Type: Distribution, SecretDir: "/etc/hoist/hook", Path: "/registry/events", Images: []string{"nginx", "r.example:5000/a/b"}, Repositories: []string{"infra", "https://git.example/a.git", "git@git.example:a.git"}}, ""},
		{Receiver{}, "type: missing: expected generic-hmac or distribution | secretRef: missing: a receiver needs secretRef or secretDir"},
		{Receiver{Type: "github", SecretRef: ref}, `type: "github" is not a type of receiver: expected generic-hmac or distribution`},
		{Receiver{Type: GenericHMAC, SecretRef: ref, SecretDir: "x"}, "secretDir: set besides secretRef: expected one of them"},
		{Receiver{Type: GenericHMAC, SecretRef: &bump.LocalRef{}}, "secretRef.name: missing"},
		{Receiver{Type: GenericHMAC, SecretRef: ref, Path: "x"}, `path: "x" does not begin with a slash`},
		{Receiver{Type: GenericHMAC, SecretRef: ref, Path: "/a/../b"}, `path: "/a/../b" has an empty part, . or .. in it`},
		{Receiver{Type: GenericHMAC, SecretRef: ref, Path: "/a/"}, `path: "/a/" has an empty part, . or .. in it`},
		{Receiver{Type: GenericHMAC, SecretRef: ref, Path: "/a?b"}, `path: "/a?b" has more in it than letters, digits and -._~`},
		{Receiver{Type: GenericHMAC, SecretRef: ref, Images: []string{"app", "app:1", "App"}, Repositories: []string{"", "a b"}},
			`images[1]: "app:1" is not an image repository without tag | images[2]: "App" is not an image repository without tag | repositories[0]: "" is not the name or URL of a Git repository | repositories[1]: "a b" is not the name or URL of a Git repository`},
	} {
		var got []string
		for _, f := range row.r.Check() {
			got = append(got, f.Field+": "+f.Message)
		}
		if joined := strings.Join(got, " | "); joined != row.want {
			t.Errorf("Check(%+v):\ngot  %s\nwant %s", row.r, joined, row.want)
		}
	}
}

// TestBurst lets more callers in at once than are read at once: none is turned away.
func TestBurst(t *testing.T) {
	h := open(t, ci("r.example/app"))
	const callers = 4 * maxReading
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			if code, _, _ := h.send(t, message{path: "/hook/ci", header: signature("sha256", sha256.New, "open sesame", "")}); code != 202 {
				t.Errorf("status %d", code)
			}
		})
	}
	all.Wait()
	if n := len(h.heard()); n != callers {
		t.Errorf("%d hints, want %d", n, callers)
	}
}
