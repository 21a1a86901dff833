package scanner

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"hoist/bump"
	"hoist/testenv/registryserver"
)

// everything is all that Inspect can be asked for.
var everything = Wants{Platforms: true, Created: true}

// mustInspect looks a tag up and fails the test where that fails.
func mustInspect(t *testing.T, s *Scanner, src Source, tag string, wants Wants) bump.Artifact {
	t.Helper()
	a, err := s.Inspect(t.Context(), src, tag, wants)
	if err != nil {
		t.Fatalf("Inspect(%q, %q) = %v", src.Image.Image, tag, err)
	}
	return a
}

// inspectError looks a tag up and wants an error that has each of the parts.
func inspectError(t *testing.T, s *Scanner, src Source, tag string, wants Wants, parts ...string) error {
	t.Helper()
	a, err := s.Inspect(t.Context(), src, tag, wants)
	if err == nil {
		t.Fatalf("Inspect(%q, %q) = %+v, want an error with %q", src.Image.Image, tag, a, parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("Inspect(%q, %q) = %q, want %q in it", src.Image.Image, tag, err, part)
		}
	}
	return err
}

// counted counts the requests to a registry in this process, but for pings.
type counted struct {
	next     http.Handler
	requests []string
}

func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/v2/" {
		c.requests = append(c.requests, r.Method+" "+r.URL.Path)
	}
	c.next.ServeHTTP(w, r)
}

// take returns the requests since the last take.
func (c *counted) take() []string {
	taken := c.requests
	c.requests = nil
	return taken
}

// local is a registry in this process, and the same with its requests counted.
func local(t *testing.T) (*registryserver.Local, *counted, string) {
	t.Helper()
	registry, err := registryserver.InProcess(registryserver.InProcessOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { registry.Close() })
	c := &counted{next: registry}
	return registry, c, serve(t, c)
}

func mustPush(t *testing.T, c *registryserver.Client, ref string, o registryserver.PushOptions) string {
	t.Helper()
	digest, err := c.Push(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// R22: what a real registry holds is told apart: images with their platforms
// and build times, and everything that is no image.
func TestR22KindsInARealRegistry(t *testing.T) {
	server := realRegistry(t, registryserver.Options{}, "1.0.0")
	src := plain(server.Addr, "acme/web")
	s := newScanner(t, Options{})
	built := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	single := mustPush(t, server.Client, "acme/web:single", registryserver.PushOptions{Platforms: []string{"linux/arm64/v8"}, Created: built})
	index := mustPush(t, server.Client, "acme/web:index", registryserver.PushOptions{
		Platforms: []string{"linux/amd64", "linux/arm64", "linux/arm/v6", "linux/arm"}, Created: built, Attested: true,
	})
	for _, c := range []struct {
		tag, digest string
		platforms   []string
	}{
		{"single", single, []string{"linux/arm64"}},
		{"index", index, []string{"linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64"}},
	} {
		a := mustInspect(t, s, src, c.tag, everything)
		if !a.Image || a.Digest != c.digest || a.Tag != c.tag || !slices.Equal(a.Platforms, c.platforms) || !a.Created.Equal(built) {
			t.Errorf("Inspect(%q) = %+v, want an image %s for %q of %v", c.tag, a, c.digest, c.platforms, built)
		}
		a = mustInspect(t, newScanner(t, Options{}), src, c.tag, Wants{})
		if !a.Image || a.Digest != c.digest || a.Platforms != nil || !a.Created.IsZero() {
			t.Errorf("Inspect(%q) for nothing more = %+v, want an image %s without facts", c.tag, a, c.digest)
		}
	}
	for tag, c := range map[string]struct {
		artifact registryserver.Artifact
		words    string
	}{
		"chart":       {registryserver.Artifact{ConfigType: registryserver.HelmConfig, LayerType: registryserver.HelmChart, Layers: []string{"x"}}, "a Helm chart"},
		"signature":   {registryserver.Artifact{ConfigType: "application/vnd.oci.image.config.v1+json", LayerType: typeSimpleSigning, Layers: []string{"x"}}, "a cosign signature"},
		"attestation": {registryserver.Artifact{ConfigType: "application/vnd.oci.image.config.v1+json", LayerType: "application/vnd.dsse.envelope.v1+json", Layers: []string{"x"}}, "an attestation"},
		"sbom":        {registryserver.Artifact{ConfigType: "application/vnd.oci.image.config.v1+json", LayerType: "text/spdx+json", Layers: []string{"x"}}, "an SBOM"},
		"wasm":        {registryserver.Artifact{ConfigType: "application/vnd.wasm.config.v0+json", LayerType: "application/wasm", Layers: []string{"x"}}, "a WebAssembly module"},
		"flux":        {registryserver.Artifact{ConfigType: "application/vnd.cncf.flux.config.v1+json", Layers: []string{"x"}}, "a Flux artifact"},
		"typed":       {registryserver.Artifact{Type: "application/vnd.acme.model", ConfigType: "application/vnd.oci.image.config.v1+json"}, "an artifact of type application/vnd.acme.model"},
		"bundle":      {registryserver.Artifact{Type: typeBundle + ".v0.3+json", Layers: []string{"x"}}, "a sigstore bundle"},
	} {
		if _, err := server.PushArtifact(t.Context(), "acme/web:"+tag, c.artifact); err != nil {
			t.Fatal(err)
		}
		if a := mustInspect(t, s, src, tag, everything); a.Image || Describe(a.Type) != c.words {
			t.Errorf("Inspect(%q) = %+v, %s, want no image but %s", tag, a, Describe(a.Type), c.words)
		}
	}
	err := inspectError(t, s, src, "none", Wants{}, "look up "+server.Addr+"/acme/web:none: 404 not found", "MANIFEST_UNKNOWN")
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("%v is no ErrNotFound", err)
	}
	if err := server.Delete(t.Context(), "acme/web:single"); err != nil {
		t.Fatal(err)
	}
	if err := inspectError(t, s, src, "single", everything); !errors.Is(err, ErrNotFound) {
		t.Errorf("a deleted tag: %v, want ErrNotFound", err)
	}
}

// What a digest means is read once; afterwards a look is one HEAD.
func TestInspectAsksOnce(t *testing.T) {
	registry, asked, address := local(t)
	src := plain(address, "acme/web")
	s := newScanner(t, Options{})
	digest := mustPush(t, registry.Client, "acme/web:1.0", registryserver.PushOptions{Platforms: []string{"linux/amd64", "linux/arm64"}})
	head, get := "HEAD /v2/acme/web/manifests/1.0", "GET /v2/acme/web/manifests/"+digest
	for _, step := range []struct {
		wants Wants
		want  int // requests
	}{
		{Wants{}, 2}, {Wants{}, 1}, {Wants{Platforms: true}, 2}, {everything, 2 + 4}, {everything, 1}, {Wants{Created: true}, 1}, {Wants{}, 1},
	} {
		asked.take()
		mustInspect(t, s, src, "1.0", step.wants)
		got := asked.take()
		if len(got) != step.want || got[0] != head || (step.want > 1 && got[1] != get) {
			t.Errorf("Inspect for %+v asked %q, want %d requests", step.wants, got, step.want)
		}
	}
	if err := registry.Tag(t.Context(), "acme/web:1.0", "1.0-again"); err != nil {
		t.Fatal(err)
	}
	asked.take()
	if mustInspect(t, s, src, "1.0-again", everything); len(asked.requests) != 1 {
		t.Errorf("another tag of the same digest asked %q, want one HEAD", asked.requests)
	}
	if _, err := s.Inspect(t.Context(), src, "a/b", Wants{}); err == nil || len(asked.requests) != 1 {
		t.Errorf("what is no tag: %v, %q", err, asked.requests)
	}
}

// R18: a tag that gets another digest is told once, and its clock starts anew.
func TestR18PushedAgain(t *testing.T) {
	registry, _, address := local(t)
	core, logs := observer.New(zap.InfoLevel)
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s := newScanner(t, Options{Log: zap.New(core), Now: func() time.Time { return now }})
	src := plain(address, "acme/web")
	first := mustPush(t, registry.Client, "acme/web:1.0", registryserver.PushOptions{})
	began := now
	for range 3 {
		if a := mustInspect(t, s, src, "1.0", everything); !a.Seen.Equal(began) || a.Digest != first {
			t.Errorf("Inspect = %+v, want %s seen since %v", a, first, began)
		}
		now = now.Add(time.Hour)
	}
	second := mustPush(t, registry.Client, "acme/web:1.0", registryserver.PushOptions{Content: "other"})
	began = now
	for range 2 {
		if a := mustInspect(t, s, src, "1.0", everything); !a.Seen.Equal(began) || a.Digest != second {
			t.Errorf("after the push: %+v, want %s seen since %v", a, second, began)
		}
		now = now.Add(time.Hour)
	}
	told := logs.FilterMessage("tag was pushed again").All()
	want := map[string]any{"image": address + "/acme/web", "tag": "1.0", "from": first, "to": second}
	if len(told) != 1 || fmt.Sprint(told[0].ContextMap()) != fmt.Sprint(want) {
		t.Errorf("told %v, want once %v", told, want)
	}
}

// A clock that was ahead once does not make a tag wait for it.
func TestSeenIsNeverAhead(t *testing.T) {
	registry, _, address := local(t)
	mustPush(t, registry.Client, "acme/web:1.0", registryserver.PushOptions{})
	now := time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC)
	s := newScanner(t, Options{Now: func() time.Time { return now }})
	mustInspect(t, s, plain(address, "acme/web"), "1.0", everything)
	now = now.AddDate(-10, 0, 0)
	if a := mustInspect(t, s, plain(address, "acme/web"), "1.0", everything); !a.Seen.Equal(now) {
		t.Errorf("seen since %v, want %v", a.Seen, now)
	}
}

// After a restart a look is one HEAD, and since when a tag is known outlasts it
// where somebody asked for that. Without the shelf the clock starts anew.
func TestInspectAfterARestart(t *testing.T) {
	registry, asked, address := local(t)
	src := plain(address, "acme/web")
	dir := t.TempDir()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	began := now
	start := func(dir string) *Scanner {
		return newScanner(t, Options{CacheDir: dir, Now: func() time.Time { return now }})
	}
	mustPush(t, registry.Client, "acme/web:1.0", registryserver.PushOptions{Platforms: []string{"linux/amd64", "linux/arm64"}, Created: began})
	first := mustInspect(t, start(dir), src, "1.0", everything)
	now = now.Add(time.Hour)
	asked.take()
	again := mustInspect(t, start(dir), src, "1.0", everything)
	if fmt.Sprint(first) != fmt.Sprint(again) || len(asked.requests) != 1 {
		t.Errorf("after a restart: %+v by %q, want %+v by one HEAD", again, asked.requests, first)
	}
	for name, s := range map[string]*Scanner{"nobody asked": start(t.TempDir()), "no shelf": start("")} {
		if a := mustInspect(t, s, src, "1.0", Wants{}); !a.Seen.Equal(now) {
			t.Errorf("%s: seen since %v, want %v", name, a.Seen, now)
		}
	}
	digest := mustPush(t, registry.Client, "acme/web:1.0", registryserver.PushOptions{Content: "other"})
	core, logs := observer.New(zap.InfoLevel)
	s := newScanner(t, Options{CacheDir: dir, Log: zap.New(core), Now: func() time.Time { return now }})
	if a := mustInspect(t, s, src, "1.0", everything); !a.Seen.Equal(now) || a.Digest != digest || logs.FilterMessage("tag was pushed again").Len() != 1 {
		t.Errorf("pushed again meanwhile: %+v with %v, want seen since %v and told once", a, logs.All(), now)
	}
}

// A registry that does not answer HEAD, or names no digest then, is asked by GET.
func TestInspectWithoutHead(t *testing.T) {
	registry, _, _ := local(t)
	digest := mustPush(t, registry.Client, "acme/web:1.0", registryserver.PushOptions{})
	for name, head := range map[string]http.HandlerFunc{
		"405":       func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusMethodNotAllowed) },
		"404":       func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"no digest": func(w http.ResponseWriter, r *http.Request) {},
		"not a digest": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Docker-Content-Digest", "sha256:../../x")
		},
		"sha512": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Docker-Content-Digest", "sha512:"+zeros+zeros)
		},
	} {
		address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				head(w, r)
				return
			}
			registry.ServeHTTP(w, r)
		}))
		s := newScanner(t, Options{})
		if a := mustInspect(t, s, plain(address, "acme/web"), "1.0", everything); a.Digest != digest || !a.Image {
			t.Errorf("%s: Inspect = %+v, want the image %s", name, a, digest)
		}
		if err := inspectError(t, s, plain(address, "acme/web"), "2.0", Wants{}, "404"); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v is no ErrNotFound", name, err)
		}
	}
}

// R1, N6: a host in a pause is not asked, and says until when.
func TestInspectPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		var network pipeNet
		network.serve(t, "busy.example:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(http.StatusTooManyRequests)
		}))
		s := newScanner(t, Options{})
		s.dial = network.dial
		inspectError(t, s, plain("busy.example", "acme/web"), "1.0", Wants{}, "look up busy.example/acme/web:1.0: ")
		n := asked.Load()
		err := inspectError(t, s, plain("busy.example", "acme/api"), "1.0", Wants{}, "left alone until")
		var paused *PausedError
		if !errors.As(err, &paused) || asked.Load() != n {
			t.Errorf("%v with %d more requests, want a PausedError and none", err, asked.Load()-n)
		}
	})
}
