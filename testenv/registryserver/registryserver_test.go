package registryserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func start(t *testing.T, o Options) *Server {
	t.Helper()
	if testing.Short() {
		t.Skip("needs the registry program")
	}
	o.Progress = os.Stderr
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestEveryKind pushes to and lists every kind of registry, and knocks without
// what it takes to get in.
func TestEveryKind(t *testing.T) {
	for title, o := range map[string]Options{
		"open":       {},
		"basic":      {Auth: Basic},
		"bearer":     {Auth: Bearer},
		"tls":        {TLS: true},
		"basic tls":  {TLS: true, Auth: Basic},
		"bearer tls": {TLS: true, Auth: Bearer},
		"mtls":       {TLS: true, ClientCA: true},
	} {
		t.Run(title, func(t *testing.T) {
			s := start(t, o)
			first, err := s.Push(t.Context(), "acme/web:1.4.2", PushOptions{})
			must(t, err)
			second, err := s.Push(t.Context(), "acme/web:1.4.3", PushOptions{})
			must(t, err)
			again, err := s.Push(t.Context(), "acme/web:1.4.2", PushOptions{})
			must(t, err)
			if first == second || first != again {
				t.Errorf("digests %s, %s, and %s again", first, second, again)
			}
			tags, err := s.Tags(t.Context(), "acme/web")
			if want := []string{"1.4.2", "1.4.3"}; err != nil || !slices.Equal(tags, want) {
				t.Errorf("tags %v, %v, want %v", tags, err, want)
			}

			stranger := *s.Client
			stranger.auth = authn.Anonymous
			if o.Auth != Open {
				if _, err := stranger.Tags(t.Context(), "acme/web"); err == nil || !strings.Contains(err.Error(), "401") && !strings.Contains(err.Error(), "UNAUTHORIZED") {
					t.Errorf("without a password: %v", err)
				}
				stranger.auth = &authn.Basic{Username: s.User, Password: "wrong"}
				if _, err := stranger.Tags(t.Context(), "acme/web"); err == nil {
					t.Error("a wrong password was let in")
				}
			}
			if o.TLS {
				stranger = *s.Client
				stranger.transport = &http.Transport{}
				if _, err := stranger.Tags(t.Context(), "acme/web"); err == nil || !strings.Contains(err.Error(), "certificate signed by unknown authority") {
					t.Errorf("without the authority: %v", err)
				}
			}
			if o.ClientCA {
				ca, err := os.ReadFile(s.CAFile)
				must(t, err)
				roots := x509.NewCertPool()
				roots.AppendCertsFromPEM(ca)
				stranger.transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
				if _, err := stranger.Tags(t.Context(), "acme/web"); err == nil || !strings.Contains(err.Error(), "certificate required") {
					t.Errorf("without a certificate: %v", err)
				}
			}
			if got := s.TokensGiven(); (got > 0) != (o.Auth == Bearer) {
				t.Errorf("%d tokens given", got)
			}
		})
	}
}

func TestAnonymousPullOfABearerRegistry(t *testing.T) {
	var denied atomic.Bool // the token server asks from its own goroutines
	s := start(t, Options{Auth: Bearer, Anonymous: "public/*", TokenTTL: 2 * time.Minute, OnToken: func(w http.ResponseWriter, _ *http.Request) bool {
		if !denied.Load() {
			return false
		}
		http.Error(w, "down", http.StatusForbidden) // a 503 would be tried again for seconds
		return true
	}})
	for _, ref := range []string{"public/web:1", "private/web:1"} {
		_, err := s.Push(t.Context(), ref, PushOptions{})
		must(t, err)
	}
	anybody := *s.Client
	anybody.auth = authn.Anonymous
	if tags, err := anybody.Tags(t.Context(), "public/web"); err != nil || len(tags) != 1 {
		t.Errorf("public: %v, %v", tags, err)
	}
	if _, err := anybody.Tags(t.Context(), "private/web"); err == nil {
		t.Error("private: let in")
	}
	if _, err := anybody.Push(t.Context(), "public/web:2", PushOptions{}); err == nil {
		t.Error("anybody could push")
	}
	denied.Store(true)
	if _, err := s.Tags(t.Context(), "public/web"); err == nil {
		t.Error("listed while the token server was down")
	}
}

func TestWhatIsPushed(t *testing.T) {
	s := start(t, Options{})
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	index, err := s.Push(t.Context(), "acme/web:1", PushOptions{Platforms: []string{"linux/amd64", "linux/arm64/v8"}, Labels: map[string]string{"a": "b"}, Created: created})
	must(t, err)
	chart, err := s.PushChart(t.Context(), "acme/chart:1")
	must(t, err)
	attested, err := s.Push(t.Context(), "acme/web:2", PushOptions{Attested: true})
	must(t, err)
	moved, err := s.Push(t.Context(), "acme/web:1", PushOptions{Content: "other"})
	must(t, err)
	if index == moved {
		t.Error("other content has the same digest")
	}
	get := func(ref string) *remote.Descriptor {
		r, err := name.ParseReference(s.Image(ref))
		must(t, err)
		d, err := remote.Get(r)
		must(t, err)
		return d
	}
	both, err := get("acme/web@" + index).ImageIndex()
	must(t, err)
	list, err := both.IndexManifest()
	must(t, err)
	var platforms []string
	for _, m := range list.Manifests {
		platforms = append(platforms, m.Platform.String())
		image, err := both.Image(m.Digest)
		must(t, err)
		config, err := image.ConfigFile()
		must(t, err)
		if config.Architecture != m.Platform.Architecture || config.Config.Labels["a"] != "b" || !config.Created.Equal(created) {
			t.Errorf("%s: config %+v", m.Platform, config)
		}
	}
	if want := []string{"linux/amd64", "linux/arm64/v8"}; !slices.Equal(platforms, want) {
		t.Errorf("platforms %v, want %v", platforms, want)
	}
	image, err := get("acme/chart@" + chart).Image()
	must(t, err)
	if m, err := image.Manifest(); err != nil || m.Config.MediaType != HelmConfig || len(m.Layers) != 1 || m.Layers[0].MediaType != HelmChart {
		t.Errorf("chart: %v, %v", m, err)
	}
	beside, err := get("acme/web@" + attested).ImageIndex()
	must(t, err)
	list, err = beside.IndexManifest()
	must(t, err)
	if len(list.Manifests) != 2 || list.Manifests[1].Annotations["vnd.docker.reference.digest"] != list.Manifests[0].Digest.String() {
		t.Errorf("an attested image: %+v, want the image and its attestation", list.Manifests)
	}
}

func TestDeleteAndTag(t *testing.T) {
	distribution := start(t, Options{})
	local, err := InProcess(InProcessOptions{})
	must(t, err)
	t.Cleanup(func() { must(t, local.Close()) })
	for title, c := range map[string]*Client{"distribution": distribution.Client, "in process": local.Client} {
		t.Run(title, func(t *testing.T) {
			_, err := c.Push(t.Context(), "acme/web:1", PushOptions{})
			must(t, err)
			must(t, c.Tag(t.Context(), "acme/web:1", "2", "3", "4"))
			must(t, c.Delete(t.Context(), "acme/web:3"))
			tags, err := c.Tags(t.Context(), "acme/web")
			if want := []string{"1", "2", "4"}; err != nil || !slices.Equal(tags, want) {
				t.Errorf("tags %v, %v, want %v", tags, err, want)
			}
			if err := c.Tag(t.Context(), "acme/web:1", "not a tag", "5"); err == nil {
				t.Error("a bad tag was taken")
			}
		})
	}
}

// TestNotifications: the envelope that a real registry posts.
func TestNotifications(t *testing.T) {
	type event struct {
		Action string
		Target struct{ Repository, Tag, Digest string }
	}
	events := make(chan event, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var envelope struct{ Events []event }
		if r.Header.Get("Authorization") != "Bearer hook" {
			t.Errorf("Authorization %q", r.Header.Get("Authorization"))
		}
		if err := json.NewDecoder(r.Body).Decode(&envelope); err != nil {
			t.Error(err)
		}
		for _, e := range envelope.Events {
			events <- e
		}
	}))
	defer hook.Close()
	s := start(t, Options{Notify: []Endpoint{{URL: hook.URL, Header: http.Header{"Authorization": {"Bearer hook"}}}}})
	digest, err := s.Push(t.Context(), "acme/web:1", PushOptions{})
	must(t, err)
	limit := time.After(10 * time.Second)
	for {
		select {
		case e := <-events:
			if e.Action == "push" && e.Target.Tag == "1" && e.Target.Repository == "acme/web" && e.Target.Digest == digest {
				return
			}
		case <-limit:
			t.Fatal("no event for the push")
		}
	}
}

// TestPages: a real registry links its pages too.
func TestPages(t *testing.T) {
	s := start(t, Options{})
	_, err := s.Push(t.Context(), "acme/web:0", PushOptions{})
	must(t, err)
	must(t, s.Tag(t.Context(), "acme/web:0", "1", "2"))
	checkPages(t, s.URL())
}

func TestPagesInProcess(t *testing.T) {
	s := local(t, InProcessOptions{PageSize: 2})
	s.SetTags("acme/web", []string{"2", "0", "1", "1"})
	checkPages(t, s.URL())
	tags, err := s.Tags(t.Context(), "acme/web") // asks for 1000 and gets two at a time
	if want := []string{"0", "1", "2"}; err != nil || !slices.Equal(tags, want) {
		t.Errorf("tags %v, %v, want %v", tags, err, want)
	}
	if _, err := s.Tags(t.Context(), "acme/nosuch"); err == nil || !strings.Contains(err.Error(), "NAME_UNKNOWN") {
		t.Errorf("tags of nothing: %v", err)
	}
}

func local(t *testing.T, o InProcessOptions) *Local {
	t.Helper()
	s, err := InProcess(o)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// checkPages reads the list 0, 1, 2 in pages of two.
func checkPages(t *testing.T, url string) {
	t.Helper()
	page := func(path string) (body, link string) {
		res, err := http.Get(url + path)
		must(t, err)
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		must(t, err)
		return strings.TrimSpace(string(text)), res.Header.Get("Link")
	}
	body, link := page("/v2/acme/web/tags/list?n=2")
	if want := `{"name":"acme/web","tags":["0","1"]}`; body != want {
		t.Errorf("first page %s, want %s", body, want)
	}
	next, rel, _ := strings.Cut(link, ">")
	next = strings.TrimPrefix(next, "<")
	if rel != `; rel="next"` || !strings.HasPrefix(next, "/v2/acme/web/tags/list?") {
		t.Fatalf("link %q", link)
	}
	if body, link = page(next); body != `{"name":"acme/web","tags":["2"]}` || link != "" {
		t.Errorf("second page %s, link %q", body, link)
	}
}

func TestInProcess(t *testing.T) {
	pushed := make(chan Push, 10)
	s := local(t, InProcessOptions{User: "u", Password: "p", OnPush: func(p Push) { pushed <- p }})
	digest, err := s.Push(t.Context(), "acme/web:1", PushOptions{Platforms: []string{"linux/amd64", "linux/arm64"}})
	must(t, err)
	var tags, all []string
	for range 3 { // two images by digest, then the index by tag
		p := <-pushed
		all = append(all, p.Repository+" "+p.Digest)
		if p.Tag != "" {
			tags = append(tags, fmt.Sprintf("%s:%s@%s", p.Repository, p.Tag, p.Digest))
		}
	}
	if want := "acme/web:1@" + digest; len(tags) != 1 || tags[0] != want {
		t.Errorf("pushed with a tag %v, want %s; in all %v", tags, want, all)
	}
	stranger := *s.Client
	stranger.auth = authn.Anonymous
	if _, err := stranger.Tags(t.Context(), "acme/web"); err == nil {
		t.Error("a stranger was let in")
	}
}

// TestDirAndAddrOutlastTheServer: what was pushed is there after a restart.
func TestDirAndAddrOutlastTheServer(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the registry program")
	}
	dir := t.TempDir()
	s, err := Start(t.Context(), Options{Dir: dir})
	must(t, err)
	_, err = s.Push(t.Context(), "acme/web:1", PushOptions{})
	must(t, err)
	must(t, s.Close())
	if err := syscall.Kill(s.Pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d is still there: %v", s.Pid, err)
	}
	again := start(t, Options{Dir: dir, Addr: s.Addr})
	if tags, err := again.Tags(t.Context(), "acme/web"); err != nil || !slices.Equal(tags, []string{"1"}) {
		t.Errorf("tags %v, %v", tags, err)
	}
}

func TestStartErrors(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the registry program")
	}
	taken := start(t, Options{})
	if _, err := Start(t.Context(), Options{Addr: taken.Addr}); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("on a taken address: %v", err)
	}
	if _, err := Start(t.Context(), Options{Auth: Bearer, Anonymous: "["}); err == nil || !strings.Contains(err.Error(), `pattern "["`) {
		t.Errorf("with a bad pattern: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	t.Setenv("TMPDIR", t.TempDir())
	if _, err := Start(ctx, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "hoist-registry-*")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
