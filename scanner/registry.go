package scanner

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"hoist/bump"
)

// maxConcurrency and maxPerSecond bound what a configuration may ask of one host.
const (
	maxConcurrency = 256
	maxPerSecond   = 10_000
)

// Registry is a section of the configuration: how much a registry host is
// asked, and who else may see its credentials. What it leaves out is the
// default of that host.
type Registry struct {
	Host              string   `json:"host"`                        // host[:port] as images spell it; "*.example.com" is every host below example.com
	Concurrency       int      `json:"concurrency,omitempty"`       // scans under way at once, each with one request at a time; 0 means the default
	RequestsPerSecond int      `json:"requestsPerSecond,omitempty"` // and the burst; 0 means the default
	TokenServers      []string `json:"tokenServers,omitempty"`      // host[:port] of token servers that may get the credentials of this registry
}

// defaultBudget is for hosts that are in no table: registries of one's own,
// which are asked as much as a thousand images with a thousand tags need.
var defaultBudget = Registry{Concurrency: 16, RequestsPerSecond: 500}

// knownRegistries are the budgets of public hosts, and their token servers
// where these have another host than the registry. The first that matches
// counts. Budgets stay well below what the host publishes, since the nodes of
// the cluster pull from the same address.
var knownRegistries = []Registry{
	// "In the order of thousands of requests per minute" for each address, all
	// requests together: docs.docker.com/docker-hub/usage, abuse rate limit.
	// Lists and HEADs are no pulls, so the limit on pulls is not touched.
	{Host: "index.docker.io", Concurrency: 4, RequestsPerSecond: 10, TokenServers: []string{"auth.docker.io"}},
	{Host: "auth.docker.io", Concurrency: 4, RequestsPerSecond: 10},
	// Publishes none; GitHub's API takes 900 points a minute:
	// docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api, secondary limits.
	{Host: "ghcr.io", Concurrency: 8, RequestsPerSecond: 15},
	// "A few requests per second" for each address and endpoint, with bursts:
	// access.redhat.com/solutions/6218921.
	{Host: "quay.io", Concurrency: 4, RequestsPerSecond: 5},
	// Pulls are counted at 1 a second without and 10 with credentials:
	// docs.aws.amazon.com/AmazonECR/latest/public/public-service-quotas.html.
	{Host: "public.ecr.aws", Concurrency: 2, RequestsPerSecond: 5},
	// Quotas are by account, region and call, the least of those for pulling 200
	// a second: docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html.
	{Host: "*.amazonaws.com", Concurrency: 16, RequestsPerSecond: 50},
	{Host: "*.amazonaws.com.cn", Concurrency: 16, RequestsPerSecond: 50},
	// 50,000 requests in 10 minutes for each address, 83 a second:
	// cloud.google.com/container-registry/quotas. Artifact Registry has more.
	{Host: "gcr.io", Concurrency: 16, RequestsPerSecond: 40},
	{Host: "*.gcr.io", Concurrency: 16, RequestsPerSecond: 40},
	{Host: "*.pkg.dev", Concurrency: 16, RequestsPerSecond: 40},
	// 1,000 reads a minute for the smallest plan:
	// learn.microsoft.com/azure/container-registry/container-registry-skus.
	{Host: "*.azurecr.io", Concurrency: 8, RequestsPerSecond: 15},
	// 500 requests a minute for each address:
	// docs.gitlab.com/user/gitlab_com, rate limits. Tokens come from the site itself.
	{Host: "registry.gitlab.com", Concurrency: 4, RequestsPerSecond: 8, TokenServers: []string{"gitlab.com"}},
	{Host: "gitlab.com", Concurrency: 4, RequestsPerSecond: 8},
	// Publish none. The first is paid for by donations: registry.k8s.io asks for restraint.
	{Host: "registry.k8s.io", Concurrency: 4, RequestsPerSecond: 10},
	{Host: "mcr.microsoft.com", Concurrency: 8, RequestsPerSecond: 20},
	// Token servers as these registries name them in their WWW-Authenticate.
	{Host: "docker.elastic.co", TokenServers: []string{"docker-auth.elastic.co"}},
	{Host: "registry.redhat.io", TokenServers: []string{"sso.redhat.com"}},
	{Host: "registry.digitalocean.com", TokenServers: []string{"api.digitalocean.com"}},
	{Host: "*.aliyuncs.com", TokenServers: []string{"dockerauth.aliyuncs.com", "dockerauth.cn-hangzhou.aliyuncs.com"}},
}

var (
	hostForm = regexp.MustCompile(`^([a-z0-9]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[0-9]{1,5})?$`)
	wildcard = "*."
)

// Check returns everything that is wrong with the section.
func (r Registry) Check() []bump.Fault {
	var faults []bump.Fault
	fault := func(field, format string, args ...any) {
		faults = append(faults, bump.Fault{Field: field, Message: fmt.Sprintf(format, args...)})
	}
	if message := wrongHost(strings.TrimPrefix(r.Host, wildcard)); message != "" {
		fault("host", "%q %s", r.Host, message)
	} else if below, wild := strings.CutPrefix(r.Host, wildcard); wild && !strings.Contains(below, ".") {
		fault("host", "%q is too wide: name a domain of two parts at least, such as *.example.com", r.Host)
	} else if !strings.ContainsAny(r.Host, ".:") && r.Host != "localhost" {
		fault("host", "%q is no registry: in an image a host has a dot or a port", r.Host)
	}
	for _, n := range []struct {
		field       string
		value, most int
	}{{"concurrency", r.Concurrency, maxConcurrency}, {"requestsPerSecond", r.RequestsPerSecond, maxPerSecond}} {
		if n.value < 0 || n.value > n.most {
			fault(n.field, "%d is out of bounds: write 1 to %d, or leave it out for the default", n.value, n.most)
		}
	}
	for i, server := range r.TokenServers {
		if message := wrongHost(server); message != "" {
			fault(fmt.Sprintf("tokenServers[%d]", i), "%q %s", server, message)
		}
	}
	return faults
}

// wrongHost says why s is not a host[:port], "" where it is one.
func wrongHost(s string) string {
	switch {
	case strings.Contains(s, "://"):
		return "has a scheme: write the host alone, such as registry.example.com"
	case strings.Contains(s, "@"):
		return "holds a user: write the host alone"
	case strings.Contains(s, "/"):
		return "has a path: a budget is for a whole host, write it alone"
	case strings.ToLower(s) != s:
		return "has capital letters: write it in small ones"
	case strings.Contains(s, "*"):
		return `has a "*" where none may be: it may stand first in the host of an entry, as in *.example.com`
	case !hostForm.MatchString(s):
		return "is not a host or host:port, such as registry.example.com or 10.0.0.5:5000"
	}
	return ""
}

// Key is the same for all spellings of the host.
func (r Registry) Key() string { return registryKey(r.Host) }

// Covers tells whether an image, as an image section spells it, is on this host.
func (r Registry) Covers(image string) bool {
	repo, err := parseImage(image, false)
	return err == nil && r.covers(registryKey(repo.RegistryStr()))
}

func (r Registry) covers(host string) bool {
	if below, wild := strings.CutPrefix(r.Host, wildcard); wild {
		return strings.HasSuffix(host, "."+below)
	}
	return r.Key() == host
}

// among returns the entry for a host: its own before one with "*", of these
// the narrowest. It is the zero Registry where none covers the host.
func among(all []Registry, host string) Registry {
	var best Registry
	for _, r := range all {
		switch {
		case !r.covers(host):
		case !strings.HasPrefix(r.Host, wildcard):
			return r
		case len(r.Host) > len(best.Host):
			best = r
		}
	}
	return best
}

// settled returns what is so for a host: what the configuration says, else
// what o says, else what is known of the host. PerSecond below zero means no
// limit. The token servers of both count.
func settled(all []Registry, o Options, host string) Registry {
	said, known := among(all, host), among(knownRegistries, host)
	return Registry{
		Host:              host,
		Concurrency:       cmp.Or(said.Concurrency, o.Concurrency, known.Concurrency, defaultBudget.Concurrency),
		RequestsPerSecond: cmp.Or(said.RequestsPerSecond, o.PerSecond, known.RequestsPerSecond, defaultBudget.RequestsPerSecond),
		TokenServers:      slices.Concat(said.TokenServers, known.TokenServers),
	}
}

// tokensFrom tells whether the registry's credentials may go to the host of u.
func (r Registry) tokensFrom(u *url.URL) bool {
	return slices.ContainsFunc(r.TokenServers, func(server string) bool { return withPort(server, u.Scheme) == withPort(u.Host, u.Scheme) })
}

// withPort writes the scheme's own port out.
func withPort(host, scheme string) string {
	u := url.URL{Host: strings.ToLower(host)}
	switch {
	case u.Port() != "":
		return u.Host
	case scheme == "http":
		return u.Host + ":80"
	}
	return u.Host + ":443"
}

// privateAddress tells whether a host[:port] is the literal of an address that
// only machines nearby have.
func privateAddress(host string) bool {
	u := url.URL{Host: host}
	addr, err := netip.ParseAddr(u.Hostname())
	addr = addr.Unmap()
	return err == nil && (addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsUnspecified())
}
