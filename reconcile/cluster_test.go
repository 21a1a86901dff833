package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"hoist/bump"
	"hoist/testenv/cluster"
)

// One control plane serves all tests of the package, each in namespaces of its own.
var theCluster = struct {
	sync.Once
	c   *cluster.Cluster
	err error
}{}

const limitedToken = "token-of-the-limited-user"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "build-worker" {
		beWorker(os.Args[2])
	}
	code := m.Run()
	if theCluster.c != nil {
		_ = theCluster.c.Stop()
	}
	os.Exit(code)
}

func controlPlane(t testing.TB) *cluster.Cluster {
	t.Helper()
	theCluster.Do(func() {
		theCluster.c, theCluster.err = cluster.Start(context.Background(), cluster.Options{
			Progress: os.Stderr,
			Tokens:   []cluster.Token{{Token: limitedToken, User: "limited"}},
		})
	})
	if theCluster.err != nil {
		t.Fatal(theCluster.err)
	}
	return theCluster.c
}

// bench is one app in a namespace of its own, and an engine for it.
type field struct {
	t    testing.TB
	ns   string
	app  App
	eng  *Engine
	logs *observer.ObservedLogs
	line *line
	n    int

	mu   sync.Mutex
	told []Drift
}

// line stands between an engine and the API server: it counts what passes and
// can be cut.
type line struct {
	mu     sync.Mutex
	counts map[string]int
	cut    func(*http.Request) (before, after bool) // whether the request, or the answer, is lost

	answer func(*http.Request) *http.Response // answers instead of the server, unless nil

	watches []io.Closer
	breaks  int
	expired func(*http.Request) bool // whether a list or watch is answered with 410
}

var errCut = errors.New("the line was cut")

func (l *line) wrap(next http.RoundTripper) http.RoundTripper {
	return above{next, roundTripper(func(r *http.Request) (*http.Response, error) {
		l.mu.Lock()
		what := r.Method
		if r.URL.Query().Get("dryRun") != "" {
			what += "?dryRun"
		}
		l.counts[what]++
		var before, after bool
		if l.cut != nil {
			before, after = l.cut(r)
		}
		var instead *http.Response
		if l.answer != nil {
			instead = l.answer(r)
		}
		l.mu.Unlock()
		if before {
			return nil, errCut
		}
		if instead != nil {
			return instead, nil
		}
		if q := r.URL.Query(); q.Get("labelSelector") == labelApp || q.Get("watch") != "" {
			l.mu.Lock()
			began := l.breaks
			l.mu.Unlock()
			if l.isExpired(r) {
				return gone(r), nil
			}
			res, err := next.RoundTrip(r)
			if err == nil && q.Get("watch") != "" {
				l.mu.Lock()
				if l.watches = append(l.watches, res.Body); l.breaks != began {
					res.Body.Close() // it came up while all were broken
				}
				l.mu.Unlock()
			}
			return res, err
		}
		res, err := next.RoundTrip(r)
		if after && err == nil {
			res.Body.Close()
			return nil, errCut
		}
		return res, err
	})}
}

func (l *line) isExpired(r *http.Request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.expired != nil && l.expired(r)
}

// gone is the API server's answer where the history is compacted.
func gone(r *http.Request) *http.Response {
	return refusal(r, http.StatusGone, "Expired", "too old resource version", "", "")
}

// refusal is an answer of an API server that refuses, with one more header.
func refusal(r *http.Request, code int, reason, message, header, value string) *http.Response {
	body := fmt.Sprintf(`{"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": %q, "reason": %q, "code": %d}`, message, reason, code)
	h := http.Header{"Content-Type": {"application/json"}}
	if header != "" {
		h.Set(header, value)
	}
	return &http.Response{StatusCode: code, Status: fmt.Sprint(code, " ", reason), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

// breakWatches ends the engine's watches; what they ask next is answered with
// 410 while expired says so.
func (l *line) breakWatches(expired func(*http.Request) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expired = expired
	l.breaks++
	for _, w := range l.watches {
		w.Close()
	}
	l.watches = nil
}

func (l *line) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.counts)
	l.cut = nil
}

func (l *line) writes() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts["POST"] + l.counts["PUT"] + l.counts["PATCH"] + l.counts["DELETE"]
}

// above is a round tripper that says what is below it, so that the connections
// there can be closed.
type above struct {
	next http.RoundTripper
	roundTripper
}

func (a above) WrappedRoundTripper() http.RoundTripper { return a.next }

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

var fieldNumber atomic.Int64

func newField(t testing.TB) *field {
	t.Helper()
	c := controlPlane(t)
	ns, err := c.CreateNamespace(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	f := &field{t: t, ns: ns, app: App{
		Name: bump.Name{Namespace: "hoist", Name: fmt.Sprintf("app-%d", fieldNumber.Add(1))}, Repository: "r", Path: "apps",
		TargetNamespace: ns, Prune: true, Timeout: bump.Duration(2 * time.Minute), // the machine may be busy
	}}
	f.engine()
	return f
}

// engine gives the field a new engine, as a restart would.
func (f *field) engine() {
	f.t.Helper()
	cfg, err := RESTConfig(controlPlane(f.t).Kubeconfig, "")
	if err != nil {
		f.t.Fatal(err)
	}
	f.connect(cfg)
}

func (f *field) connect(cfg *rest.Config) {
	f.t.Helper()
	f.line = &line{counts: map[string]int{}}
	cfg.Wrap(f.line.wrap)
	core, logs := observer.New(zapcore.DebugLevel)
	f.logs = logs
	eng, err := New(cfg, Options{Log: zap.New(core), Namespace: f.ns + "-inv", Drifted: func(_ bump.Name, d Drift) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.told = append(f.told, d)
	}})
	if err != nil {
		f.t.Fatal(err)
	}
	f.eng = eng
	f.t.Cleanup(eng.cluster.Close) // a test makes many
}

// head returns a new revision at each call.
func (f *field) head() bump.Head {
	f.n++
	return bump.Head{Repository: bump.Name{Namespace: "hoist", Name: "r"}, Branch: "main", Hash: fmt.Sprintf("%040x", f.n)}
}

// files prefixes the app's directory.
func apps(pairs ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m["apps/"+pairs[i]] = pairs[i+1]
	}
	return m
}

func (f *field) try(files map[string]string, h bump.Head) (bump.Result, error) {
	var pairs []string
	for p, c := range files {
		pairs = append(pairs, p, c)
	}
	return f.eng.Apply(f.t.Context(), f.app, tree(pairs...), h)
}

func (f *field) apply(files map[string]string) bump.Result {
	f.t.Helper()
	r, err := f.try(files, f.head())
	if err != nil {
		f.t.Fatalf("Apply: %v", err)
	}
	return r
}

// actions spells a result: "created ConfigMap/a, skipped ConfigMap/b".
func actions(r bump.Result) string {
	var all []string
	for _, o := range r.Objects {
		all = append(all, fmt.Sprintf("%s %s/%s", o.Action, o.Object.Kind, o.Object.Name))
	}
	return strings.Join(all, ", ")
}

func (f *field) want(r bump.Result, want string) {
	f.t.Helper()
	if got := actions(r); got != want {
		f.t.Errorf("result = %s, want %s", got, want)
	}
}

func gvr(group, version, name string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: version, Resource: name}
}

func (f *field) get(r schema.GroupVersionResource, name string) *unstructured.Unstructured {
	f.t.Helper()
	o, err := f.eng.client.Resource(r).Namespace(f.ns).Get(f.t.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return o
}

// edit changes a config map as "kubectl edit" does.
func (f *field) edit(name, key, value string) {
	f.t.Helper()
	o := f.get(configMaps, name)
	_ = unstructured.SetNestedField(o.Object, value, "data", key)
	if _, err := f.eng.client.Resource(configMaps).Namespace(f.ns).Update(f.t.Context(), o, metav1.UpdateOptions{FieldManager: "kubectl-edit"}); err != nil {
		f.t.Fatal(err)
	}
}

// recorded lists the inventory: "ConfigMap/a ConfigMap/b(why it is left)".
func (f *field) recorded() string {
	f.t.Helper()
	inv, err := f.eng.Inventory(f.t.Context(), f.app.Name)
	if err != nil {
		f.t.Fatal(err)
	}
	var all []string
	for _, e := range inv.Objects {
		s := e.Kind + "/" + e.Name
		if e.Left != "" {
			s += "(" + e.Left + ")"
		}
		all = append(all, s)
	}
	return strings.Join(all, " ")
}

// value is data.key of a config map in the cluster, "" when it is not there.
func (f *field) value(name string) string {
	f.t.Helper()
	o := f.get(configMaps, name)
	if o == nil {
		return ""
	}
	s, _, _ := unstructured.NestedString(o.Object, "data", "key")
	return s
}

func (f *field) logged(message string) []string {
	var all []string
	for _, e := range f.logs.FilterMessage(message).All() {
		all = append(all, fmt.Sprint(e.ContextMap()["object"]))
	}
	slices.Sort(all)
	return all
}
