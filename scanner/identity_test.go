package scanner

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hoist/bump"
)

// sky is a registry of a cloud on loopback, under its real name and with TLS,
// and an environment without any identity. Whatever would leave loopback is
// refused and fails the test.
type sky struct {
	*Scanner
	clock *clock
	host  string
	ca    string
}

func newSky(t *testing.T, host string, registry http.Handler) *sky {
	t.Helper()
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if part, _, _ := strings.Cut(name, "_"); slices.Contains([]string{"AWS", "AZURE", "GOOGLE", "GCE", "CLOUDSDK", "IDENTITY", "MSI", "IMDS"}, part) {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", home)
	t.Setenv("PATH", home) // no az, no gcloud
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")

	var mu sync.Mutex
	var strays []string
	stray := func(where string) {
		mu.Lock()
		defer mu.Unlock()
		strays = append(strays, where)
	}
	for _, name := range []string{"HTTPS_PROXY", "https_proxy"} {
		t.Setenv(name, "http://"+serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			stray(r.Host)
			w.WriteHeader(http.StatusForbidden)
		})))
	}
	t.Setenv("NO_PROXY", host)
	t.Setenv("no_proxy", host)

	cert, ca, _ := pairFor(t, -time.Hour, time.Hour, host)
	address := serveTLS(t, registry, &tls.Config{Certificates: []tls.Certificate{cert}})
	s := &sky{clock: newClock(), host: host, ca: ca}
	s.Scanner = newScanner(t, Options{Now: s.clock.now})
	s.SetRegistries([]Registry{{Host: host, RequestsPerSecond: 1000}})
	s.dial = func(ctx context.Context, network, to string) (net.Conn, error) {
		if to != host+":443" {
			stray(to)
			return nil, fmt.Errorf("%s is not the registry", to)
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	t.Cleanup(func() {
		if len(strays) > 0 {
			t.Errorf("asked besides the stand-ins: %q", strays)
		}
	})
	return s
}

// image is one of the registry that is asked with the provider's identity.
func (s *sky) image(provider, repo string) Source {
	return Source{
		Image: Image{Name: bump.Name{Namespace: "hoist", Name: repo}, Image: s.host + "/" + repo, Provider: provider},
		Certs: secretOf(map[string]string{"ca.crt": s.ca}),
	}
}

// scanTwice scans twenty images at once and one of them again.
func (s *sky) scanTwice(t *testing.T, provider string) {
	t.Helper()
	var all sync.WaitGroup
	for n := range 20 {
		all.Go(func() {
			src := s.image(provider, fmt.Sprintf("acme/web%d", n))
			if tags, err := s.Scan(t.Context(), src, "once"); err != nil || len(tags.List) != 1 {
				t.Errorf("Scan(%q) = %q, %v", src.Image.Image, tags.List, err)
			}
		})
	}
	all.Wait()
	mustScan(t, s.Scanner, s.image(provider, "acme/web0"))
}

// refuse wants an error with the parts, without the secrets, and that twenty
// other images ask nobody: asked tells how often the cloud was.
func (s *sky) refuse(t *testing.T, provider string, asked func() int, secrets []string, parts ...string) {
	t.Helper()
	errs := []error{scanError(t, s.Scanner, s.image(provider, "acme/web"), parts...)}
	before := asked()
	if before == 0 {
		t.Error("the cloud was not asked")
	}
	for n := range 20 {
		errs = append(errs, scanError(t, s.Scanner, s.image(provider, fmt.Sprintf("acme/web%d", n)), "is left alone until"))
	}
	if got := asked(); got != before {
		t.Errorf("20 more images asked the cloud %d times, want none", got-before)
	}
	for _, err := range errs {
		for _, secret := range secrets {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%v shows %q", err, secret)
			}
		}
	}
	s.clock.pass(2 * firstShrug)
	scanError(t, s.Scanner, s.image(provider, "acme/web"), parts...)
	if asked() == before {
		t.Error("the cloud is not asked again after the pause")
	}
}

// tally counts requests and hands out what is asked for.
type tally struct {
	mu    sync.Mutex
	count int
	serve http.HandlerFunc
}

func (c *tally) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	c.serve(w, r)
}

func (c *tally) asked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

func refuseWith(status int, format string, args ...any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, format, args...)
	}
}

func TestCheckProvider(t *testing.T) {
	const ecr = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/web"
	ref := &bump.LocalRef{Name: "s"}
	for _, c := range []struct {
		image Image
		want  string
	}{
		{Image{Image: "ghcr.io/acme/web", Provider: "generic", SecretRef: ref}, ""},
		{Image{Image: ecr, Provider: "aws"}, ""},
		{Image{Image: "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com/web", Provider: "aws"}, ""},
		{Image{Image: "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/web", Provider: "aws"}, ""},
		{Image{Image: "public.ecr.aws/acme/web", Provider: "aws"}, ""},
		{Image{Image: "eu.gcr.io/acme/web", Provider: "gcp"}, ""},
		{Image{Image: "europe-docker.pkg.dev/acme/apps/web", Provider: "gcp"}, ""},
		{Image{Image: "acme.azurecr.io/web", Provider: "azure"}, ""},
		{Image{Image: "acme.azurecr.cn/web", Provider: "azure", CertSecretRef: ref}, ""},
		{Image{Image: "ghcr.io/acme/web", Provider: "amazon"}, `provider: "amazon" is not one of generic, aws, azure, gcp`},
		{Image{Image: "ghcr.io/acme/web", Provider: "aws"},
			`provider: "aws" has credentials for ACCOUNT.dkr.ecr.REGION.amazonaws.com and public.ecr.aws, and not for ghcr.io: remove it, and name credentials with secretRef or secretDir`},
		{Image{Image: "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.test/web", Provider: "aws"},
			`provider: "aws" has credentials for ACCOUNT.dkr.ecr.REGION.amazonaws.com and public.ecr.aws, and not for 123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.test: remove it, and name credentials with secretRef or secretDir`},
		{Image{Image: "gcr.io.evil.test/web", Provider: "gcp"}, `provider: "gcp" has credentials for gcr.io, *.gcr.io and *.pkg.dev, and not for gcr.io.evil.test: remove it, and name credentials with secretRef or secretDir`},
		{Image{Image: "acme.azurecr.io:8443/web", Provider: "azure"}, `provider: "azure" has credentials for NAME.azurecr.io, .cn and .us, and not for acme.azurecr.io:8443: remove it, and name credentials with secretRef or secretDir`},
		{Image{Image: ecr, Provider: "aws", Insecure: true}, `insecure: plain http would show the credentials of provider "aws": remove one of them`},
		{Image{Image: ecr, Provider: "aws", SecretRef: ref}, `provider: "aws" stands beside secretRef, and which of the two counts differs between releases of Flux: keep the one that is meant`},
		{Image{Image: ecr, Provider: "aws", SecretDir: "/s"}, `provider: "aws" stands beside secretDir, and which of the two counts differs between releases of Flux: keep the one that is meant`},
		{Image{Image: ecr, Provider: "aws", ServiceAccountName: "web"}, `provider: "aws" is the identity of this program, not that of a ServiceAccount: remove serviceAccountName, or the provider to use its pull secrets`},
		{Image{Provider: "aws"}, `image: an image is needed, such as registry.example.com/org/app`},
	} {
		var got []string
		for _, f := range c.image.Check() {
			got = append(got, fmt.Sprintf("%s: %s", f.Field, f.Message))
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("Check(%+v)\n got %s\nwant %s", c.image, s, c.want)
		}
	}
}

// A provider that nobody checked still gives nothing to a stranger.
func TestProviderOfAnotherHost(t *testing.T) {
	registry := &tally{serve: func(http.ResponseWriter, *http.Request) {}}
	s := newSky(t, "registry.example.com", registry)
	for _, provider := range []string{"aws", "azure", "gcp"} {
		scanError(t, s.Scanner, s.image(provider, "acme/web"), "registry.example.com is no registry for the credentials of")
	}
	if n := registry.asked(); n > 0 {
		t.Errorf("the registry was asked %d times", n)
	}
}

// Images of different identities do not share a scan.
func TestProvidersDoNotShare(t *testing.T) {
	src := func(provider string) Source {
		return Source{Image: Image{Image: "public.ecr.aws/acme/web", Provider: provider}}
	}
	if shareKey(src("aws")) == shareKey(src("")) {
		t.Error("an image with an identity shares the scan of one without")
	}
	if shareKey(src("generic")) != shareKey(src("")) {
		t.Error("generic is not the same as no provider")
	}
}

// However wrong a clock is, a token is kept for a while.
func TestRenewal(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		expires time.Time
		want    time.Duration
	}{
		{now.Add(12 * time.Hour), 12*time.Hour - 5*time.Minute},
		{now.Add(10 * time.Minute), 9 * time.Minute},
		{time.Time{}, 55 * time.Minute},
		{now.Add(-time.Hour), 54 * time.Second},
	} {
		if got := renewal(c.expires, now).Sub(now); got != c.want {
			t.Errorf("a token that ends in %s is renewed in %s, want %s", c.expires.Sub(now), got, c.want)
		}
	}
}
