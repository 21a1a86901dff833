package scanner

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hoist/bump"
	"hoist/testenv/proxy"
	"hoist/testenv/registryserver"
)

// shop is a registry of hand-made manifests and blobs, of which any answer can
// be replaced. It knows no repositories.
type shop struct {
	objects  map[string]string // by the end of the path: a tag or a digest
	replaced func(w http.ResponseWriter, r *http.Request) bool
}

// put stores bytes and returns their digest.
func (s *shop) put(body string) string {
	if s.objects == nil {
		s.objects = make(map[string]string)
	}
	digest := digestOf([]byte(body))
	s.objects[digest] = body
	return digest
}

// tag stores a manifest under a tag.
func (s *shop) tag(tag, body string) string {
	digest := s.put(body)
	s.objects[tag] = body
	return digest
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v2/" || s.replaced != nil && s.replaced(w, r) {
		return
	}
	body, ok := s.objects[r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]]
	if !ok || strings.Contains(r.URL.Path, "/referrers/") {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Docker-Content-Digest", digestOf([]byte(body)))
	if r.Method == http.MethodGet {
		io.WriteString(w, body)
	}
}

// image stores an image manifest with its configuration and returns the
// manifest's bytes.
func (s *shop) image(config string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q}}`, s.put(config))
}

const anyConfig = `{"os":"linux","architecture":"arm64","variant":"v8","created":"2026-01-02T03:04:05Z"}`

// What a manifest can be made to say: nothing of it is an error that comes back
// for ever, and nothing of it is taken for an image that is none.
func TestInspectStrangeManifests(t *testing.T) {
	entry := func(digest, more string) string {
		return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q%s}`, digest, more)
	}
	index := func(entries ...string) string {
		return `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` + strings.Join(entries, ",") + `]}`
	}
	amd := `,"platform":{"os":"linux","architecture":"amd64"}`
	var s shop
	image := s.put(s.image(anyConfig))
	newer := s.put(s.image(strings.Replace(anyConfig, "2026-01-02", "2026-02-03", 1)))
	chart := s.put(`{"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json"}}`)
	nested := s.put(index(entry(image, amd)))
	many := make([]string, 10_000)
	for i := range many {
		many[i] = entry(image, fmt.Sprintf(`,"platform":{"os":"linux","architecture":"arch%d"}`, i%100))
	}
	lost := digestOf([]byte("lost"))
	s.replaced = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "passwd") {
			t.Errorf("asked for %q", r.URL.Path)
		}
		return false
	}
	for tag, c := range map[string]struct{ body, want string }{
		"plain":            {s.image(anyConfig), "image [linux/arm64] 2026-01-02"},
		"no-platform":      {s.image(`{"created":"0001-01-01T00:00:00Z"}`), "image [] 0001-01-01"},
		"no-time":          {s.image(`{"os":"linux","architecture":"amd64","created":"yesterday"}`), "image [linux/amd64] 0001-01-01"},
		"garbage-config":   {s.image(`{"os":`), "image [] 0001-01-01"},
		"lost-config":      {strings.Replace(s.image("x"), digestOf([]byte("x")), lost, 1), "image [] 0001-01-01"},
		"oversized-config": {s.image(anyConfig + strings.Repeat(" ", maxConfig)), "image [] 0001-01-01"},
		"path-in-digest":   {strings.Replace(s.image("x"), digestOf([]byte("x")), "../../../etc/passwd", 1), "image [] 0001-01-01"},
		"newest":           {index(entry(image, amd), entry(newer, amd)), "image [linux/amd64] 2026-02-03"},
		"untold":           {index(entry(chart, ""), entry(image, "")), "image [linux/arm64] 2026-01-02"},
		"charts":           {index(entry(chart, ""), entry(chart, "")), "an index without images [] 0001-01-01"},
		"nested":           {index(strings.Replace(entry(nested, amd), "manifest.v1", "index.v1", 1)), "an index without images [] 0001-01-01"},
		"nested-unsaid":    {index(entry(nested, "")), "an index without images [] 0001-01-01"},
		"lost-image":       {index(entry(lost, amd), entry(image, amd)), "image [linux/amd64] 2026-01-02"},
		"many":             {index(many...), "image of 100 2026-01-02"},
		"garbage":          {`{"schemaVersion":2,`, "a manifest that cannot be read [] 0001-01-01"},
		"web-page":         {`<html>`, "a manifest that cannot be read [] 0001-01-01"},
		"oversized":        {index() + strings.Repeat(" ", maxManifest), "a manifest of more than 4 MiB [] 0001-01-01"},
	} {
		digest := s.tag(tag, c.body)
		a := mustInspect(t, newScanner(t, Options{}), plain(serve(t, &s), "acme/web"), tag, everything)
		got := Describe(a.Type)
		if a.Image {
			got = "image"
		}
		if len(a.Platforms) > 9 {
			got += fmt.Sprintf(" of %d", len(a.Platforms))
		} else {
			got += fmt.Sprintf(" %v", a.Platforms)
		}
		if got += a.Created.Format(" 2006-01-02"); got != c.want || a.Digest != digest {
			t.Errorf("%s: %s, %s, want %s, %s", tag, got, a.Digest, c.want, digest)
		}
	}
}

// Schema 1 cannot be checked by its digest and is started by nothing any more.
func TestInspectSchema1(t *testing.T) {
	s := shop{replaced: func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", typeSchema1+"+prettyjws; charset=utf-8")
		w.Header().Set("Docker-Content-Digest", signedOne)
		return true
	}}
	a := mustInspect(t, newScanner(t, Options{}), plain(serve(t, &s), "acme/web"), "1.0", everything)
	if a.Image || a.Digest != signedOne || !strings.Contains(Describe(a.Type), "retired schema 1") {
		t.Errorf("Inspect = %+v, want no image but one of schema 1", a)
	}
}

// What is missing now may come: it is not remembered as missing.
func TestInspectLooksAgainForWhatWasMissing(t *testing.T) {
	var s shop
	body := s.image(anyConfig)
	s.tag("1.0", body)
	delete(s.objects, digestOf([]byte(anyConfig)))
	sc, src := newScanner(t, Options{}), plain(serve(t, &s), "acme/web")
	if a := mustInspect(t, sc, src, "1.0", everything); !a.Image || len(a.Platforms) > 0 {
		t.Errorf("without its configuration: %+v, want an image for no platform", a)
	}
	s.put(anyConfig)
	if a := mustInspect(t, sc, src, "1.0", everything); len(a.Platforms) != 1 {
		t.Errorf("with its configuration: %+v, want one platform", a)
	}
}

// Bytes that are not those of the digest are refused, whoever sends them, and
// are not remembered.
func TestInspectWrongBytes(t *testing.T) {
	var s shop
	digest := s.tag("1.0", s.image(anyConfig))
	for name, replaced := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"manifest": func(w http.ResponseWriter, r *http.Request) bool {
			wrong := r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/manifests/"+digest)
			if wrong {
				io.WriteString(w, `{"schemaVersion":2}`)
			}
			return wrong
		},
		"blob": func(w http.ResponseWriter, r *http.Request) bool {
			wrong := strings.Contains(r.URL.Path, "/blobs/")
			if wrong {
				io.WriteString(w, strings.Replace(anyConfig, "arm64", "amd64", 1))
			}
			return wrong
		},
		"tag": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return true
			}
			if strings.HasSuffix(r.URL.Path, "/1.0") {
				w.Header().Set("Docker-Content-Digest", signedOne)
				io.WriteString(w, s.objects["1.0"])
				return true
			}
			return false
		},
	} {
		s.replaced = replaced
		sc, src := newScanner(t, Options{}), plain(serve(t, &s), "acme/web")
		if err := inspectError(t, sc, src, "1.0", everything, "look up ", "sen"); errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v is an ErrNotFound", name, err)
		}
		s.replaced = nil
		if a := mustInspect(t, sc, src, "1.0", everything); !a.Image || len(a.Platforms) != 1 || a.Platforms[0] != "linux/arm64" {
			t.Errorf("%s, afterwards: %+v, want an image for linux/arm64", name, a)
		}
	}
}

// R13: blobs are often at a storage host. It is asked without credentials, and
// from https only over https.
func TestR13BlobsAtAStorageHost(t *testing.T) {
	var s shop
	s.tag("1.0", s.image(anyConfig))
	var leaked, asked atomic.Bool
	storage := func(w http.ResponseWriter, r *http.Request) {
		asked.Store(true)
		if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
			leaked.Store(true)
		}
		io.WriteString(w, anyConfig)
	}
	plainStorage := serve(t, http.HandlerFunc(storage))
	to := "http://" + plainStorage
	s.replaced = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		http.Redirect(w, r, to+"/bucket?signature=s3cret", http.StatusTemporaryRedirect)
		return true
	}
	var tried int
	locked := basic("alice", "s3cret", &s, &tried)
	src := with(plain(serve(t, locked), "acme/web"), "alice", "s3cret")
	if a := mustInspect(t, newScanner(t, Options{}), src, "1.0", everything); len(a.Platforms) != 1 || !asked.Load() || leaked.Load() {
		t.Errorf("Inspect = %+v; storage asked: %t, with credentials: %t", a, asked.Load(), leaked.Load())
	}

	registry := httptest.NewTLSServer(locked)
	t.Cleanup(registry.Close)
	overTLS := with(Source{Image: Image{Image: registry.Listener.Addr().String() + "/acme/web"}}, "alice", "s3cret")
	overTLS.Certs = secretOf(map[string]string{"ca.crt": pemOf(registry.Certificate())})
	asked.Store(false)
	err := inspectError(t, newScanner(t, Options{}), overTLS, "1.0", everything, "plain http, which is not spoken")
	if asked.Load() || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("from https: storage asked over http: %t; %v", asked.Load(), err)
	}
	secure := httptest.NewUnstartedServer(http.HandlerFunc(storage))
	secure.TLS = registry.TLS.Clone() // a certificate of the same authority
	secure.StartTLS()
	t.Cleanup(secure.Close)
	to = "https://" + secure.Listener.Addr().String()
	if a := mustInspect(t, newScanner(t, Options{}), overTLS, "1.0", everything); len(a.Platforms) != 1 || leaked.Load() {
		t.Errorf("from https to https: %+v, with credentials: %t", a, leaked.Load())
	}
}

// R1, R2, R4, R5, R7: each request of a look can fail; then nothing is known,
// nothing is said not to be there, and afterwards all is well.
func TestInspectFaults(t *testing.T) {
	registry, _, _ := local(t)
	digest := mustPush(t, registry.Client, "acme/web:1.0", registryserver.PushOptions{Created: time.Unix(1_700_000_000, 0)})
	for request, uri := range map[string]string{"tag": `/manifests/1\.0$`, "manifest": "/manifests/" + digest, "config": "/blobs/"} {
		for name, fault := range map[string]proxy.Fault{
			"429":       {Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"3600"}}},
			"429 alone": {Status: http.StatusTooManyRequests},
			"500":       {Status: http.StatusInternalServerError},
			"503":       {Status: http.StatusServiceUnavailable},
			"403":       {Status: http.StatusForbidden},
			"cut":       {Cut: proxy.CutBefore},
			"drip":      {Drip: 1},
			"truncated": {TruncateBody: 20},
			"empty":     {EmptyBody: true},
		} {
			if request == "tag" && (name == "drip" || name == "truncated" || name == "empty") {
				continue // HEAD has no body
			}
			t.Run(request+" "+name, func(t *testing.T) {
				t.Parallel()
				p := faultsBefore(t, registry.URL())
				src := plain(p.Addr(), "acme/web")
				src.Image.Timeout = bump.Duration(2 * time.Second)
				p.Play(proxy.Rule{URI: regexp.MustCompile(uri), Fault: fault})
				if err := inspectError(t, newScanner(t, Options{}), src, "1.0", everything, "look up "); errors.Is(err, ErrNotFound) {
					t.Errorf("%v is an ErrNotFound", err)
				}
				p.Play()
				if a := mustInspect(t, newScanner(t, Options{}), src, "1.0", everything); a.Digest != digest || a.Created.IsZero() {
					t.Errorf("afterwards: %+v, want %s with its build time", a, digest)
				}
			})
		}
	}
}

// faultsBefore returns a proxy before a registry.
func faultsBefore(t *testing.T, registry string) *proxy.Proxy {
	t.Helper()
	target, err := url.Parse(registry)
	if err != nil {
		t.Fatal(err)
	}
	p := proxy.New(target, nil)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}
