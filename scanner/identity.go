package scanner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"hoist/bump"
)

// generic is Flux's word for no cloud at all.
const generic = "generic"

// Providers returns the values of Image.Provider.
func Providers() []string { return []string{generic, "aws", "azure", "gcp"} }

// cloud is one whose registries are asked with the identity that this process
// has in it: that of its pod or machine, or one from files and the environment.
type cloud struct {
	name   string // for a person
	hosts  string // that are its registries, for a person
	owns   func(host string) bool
	lend   func(context.Context, asking) (loan, error)
	remedy string
}

// asking is who asks a cloud for which registry, and the ways that are open to it.
type asking struct {
	registry string
	now      func() time.Time
	proxy    func(*http.Request) (*url.URL, error) // to the services of the cloud
	home     *http.Client                          // to the registry itself
}

// cloudOf returns the cloud of a provider; nil for generic and what is none.
func cloudOf(provider string) *cloud {
	switch provider {
	case "aws":
		return &cloud{
			name: "AWS", hosts: "ACCOUNT.dkr.ecr.REGION.amazonaws.com and public.ecr.aws", owns: ownedByAWS, lend: lendAWS,
			remedy: "give the pod an AWS identity (a role for its ServiceAccount, Pod Identity, the node's role, or AWS_… variables) that may call GetAuthorizationToken, and pull",
		}
	case "azure":
		return &cloud{
			name: "Azure", hosts: "NAME.azurecr.io, .cn and .us", owns: ownedByAzure, lend: lendAzure,
			remedy: "give the pod an Azure identity (workload identity, a managed identity, or AZURE_… variables) with the role AcrPull",
		}
	case "gcp":
		return &cloud{
			name: "Google Cloud", hosts: "gcr.io, *.gcr.io and *.pkg.dev", owns: ownedByGoogle, lend: lendGoogle,
			remedy: "give the pod a Google identity (workload identity, the node's service account, or a file that GOOGLE_APPLICATION_CREDENTIALS names) that may read artifacts",
		}
	}
	return nil
}

// checkProvider refuses a cloud for a registry that is not its own, since
// credentials go only to the host that they are for, and a second source of
// credentials. With a secret beside the provider older releases of Flux take
// the secret and newer ones the provider, in silence; a ServiceAccount there is
// one to pull secrets of, or one to be in the cloud.
func (i Image) checkProvider(fault func(field, format string, args ...any)) {
	c := cloudOf(i.Provider)
	if c == nil {
		if i.Provider != "" && i.Provider != generic {
			fault("provider", "%q is not one of %s", i.Provider, strings.Join(Providers(), ", "))
		}
		return
	}
	if repo, err := parseImage(i.Image, false); err == nil && !c.owns(repo.RegistryStr()) {
		fault("provider", "%q has credentials for %s, and not for %s: remove it, and name credentials with secretRef or secretDir", i.Provider, c.hosts, repo.RegistryStr())
	}
	if i.Insecure {
		fault("insecure", "plain http would show the credentials of provider %q: remove one of them", i.Provider)
	}
	for _, other := range []struct {
		field string
		given bool
	}{{"secretRef", i.SecretRef != nil}, {"secretDir", i.SecretDir != ""}} {
		if other.given {
			fault("provider", "%q stands beside %s, and which of the two counts differs between releases of Flux: keep the one that is meant", i.Provider, other.field)
		}
	}
	if i.ServiceAccountName != "" {
		fault("provider", "%q is the identity of this program, not that of a ServiceAccount: remove serviceAccountName, or the provider to use its pull secrets", i.Provider)
	}
}

// fromCloud asks a cloud for the credentials of a registry, over connections
// that go to its services and to the registry only.
func (s *Scanner) fromCloud(ctx context.Context, c *cloud, repo name.Repository, insecure bool, certs bump.Secret, through *url.URL) (credentials, error) {
	registry := repo.RegistryStr()
	if !c.owns(registry) || insecure {
		return credentials{}, fmt.Errorf("%s is no registry for the credentials of %s", registry, c.name)
	}
	tlsConfig, err := newTLSConfig(certs)
	if err != nil {
		return credentials{}, err
	}
	lend := func(ctx context.Context) (loan, error) {
		home := s.newTransport(tlsConfig, through)
		defer home.CloseIdleConnections()
		got, err := c.lend(ctx, asking{
			registry: registry, now: s.now, proxy: beyond(home.Proxy),
			home: &http.Client{Transport: home, CheckRedirect: stay},
		})
		return got, strikeVariables(err)
	}
	return s.wallet.credentials(ctx, lender{
		name: c.name, origin: "the identity in " + c.name, remedy: c.remedy, lend: lend,
		way: certsFingerprint(certs) + proxyFingerprint(through),
	}, registry)
}

// stay keeps a client from following redirects: what it sends is secret.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// secretVariables are those that clouds are told who we are with.
var secretVariables = []string{
	"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN",
	"AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "AZURE_PASSWORD", "IDENTITY_HEADER",
}

// strikeVariables removes them from what a cloud says back.
func strikeVariables(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, name := range secretVariables {
		if secret := os.Getenv(name); secret != "" {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return errors.New(text)
}

// beyond is a proxy for what is far: the services that give an identity to a
// machine or pod speak plain http, and a proxy would read it.
func beyond(proxy func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	return func(req *http.Request) (*url.URL, error) {
		if req.URL.Scheme == "http" {
			return nil, nil
		}
		return proxy(req)
	}
}

// services returns a client for the services of a cloud. They are asked a few
// times a day: no connection outlives its request.
func (a asking) services() *http.Client {
	return &http.Client{CheckRedirect: stay, Transport: &http.Transport{
		Proxy:                  a.proxy,
		OnProxyConnectResponse: proxyAnswered,
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:    tlsTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: headerBytes,
		DisableKeepAlives:      true,
	}}
}
