package scanner

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"hoist/bump"
)

// The times of an image that names none. The interval is how long a new tag
// may go unseen without a webhook; the timeout is short and its own, so that a
// registry that hangs is noticed long before the next scan is due.
const (
	DefaultInterval = time.Minute
	DefaultTimeout  = 30 * time.Second
)

// Image is a section of the configuration: one repository of a registry. The
// field names are those of Flux's ImageRepository.
type Image struct {
	Name           bump.Name      `json:"-"`
	Image          string         `json:"image"`                    // registry and repository as the user spelt them, without tag
	Interval       bump.Duration  `json:"interval,omitempty"`       // between scans; 0 means DefaultInterval
	Timeout        bump.Duration  `json:"timeout,omitempty"`        // of a whole scan, all pages; 0 means DefaultTimeout
	SecretRef      *bump.LocalRef `json:"secretRef,omitempty"`      // keys: .dockerconfigjson, .dockercfg, or username and password
	SecretDir      string         `json:"secretDir,omitempty"`      // the same keys as files
	CertSecretRef  *bump.LocalRef `json:"certSecretRef,omitempty"`  // keys: ca.crt, tls.crt and tls.key
	CertSecretDir  string         `json:"certSecretDir,omitempty"`  // the same keys as files
	ProxySecretRef *bump.LocalRef `json:"proxySecretRef,omitempty"` // keys: address, username and password of a proxy
	ProxySecretDir string         `json:"proxySecretDir,omitempty"` // the same keys as files
	Insecure       bool           `json:"insecure,omitempty"`       // plain http, and nothing but
	// ServiceAccountName is that of a ServiceAccount whose pull secrets count
	// too, in the entry's namespace.
	ServiceAccountName string   `json:"serviceAccountName,omitempty"`
	Provider           string   `json:"provider,omitempty"`      // one of Providers; a cloud whose identity stands for secrets
	Verify             *Verify  `json:"verify,omitempty"`        // signatures that a tag needs before it is taken
	ExclusionList      []string `json:"exclusionList,omitempty"` // RE2; absent: signatures, attestations, SBOMs; [] excludes nothing
	MaxLoss            Percent  `json:"maxLoss,omitempty"`       // of its known tags that a list may lose and be believed at once; 0 means DefaultMaxLoss
	Suspend            bool     `json:"suspend,omitempty"`       // not scanned, not even when woken
}

// Source is an image with the way to its secrets. The functions are called at
// every use, so that a rotated secret is used at the next one; nil means none.
type Source struct {
	Image       Image
	Secret      func(context.Context) (bump.Secret, error)
	PullSecrets func(context.Context) ([]PullSecret, error) // of the ServiceAccount, in its order
	Certs       func(context.Context) (bump.Secret, error)
	Keys        func(context.Context) (bump.Secret, error) // of verify.cosign
	Proxy       func(context.Context) (bump.Secret, error)
	// InUse returns the tags that are selected now; nil means none. It is asked
	// where a list lost some tag: one that lost a tag in use is not believed
	// before it is confirmed.
	InUse func() []string
	// Forget is called when the registry rejects the credentials: whoever
	// remembers them for Secret or PullSecrets looks anew. nil: nobody does.
	Forget func()
}

// Check returns everything that is wrong with the section.
func (i Image) Check() []bump.Fault {
	var faults []bump.Fault
	fault := func(field, format string, args ...any) {
		faults = append(faults, bump.Fault{Field: field, Message: fmt.Sprintf(format, args...)})
	}
	if _, err := parseImage(i.Image, false); err != nil {
		fault("image", "%v", err)
	}
	if i.Interval < 0 || (i.Interval > 0 && time.Duration(i.Interval) < time.Second) {
		fault("interval", "%q is too short: the least is 1s", time.Duration(i.Interval))
	}
	if i.Timeout < 0 {
		fault("timeout", "%q is negative", time.Duration(i.Timeout))
	}
	if i.MaxLoss < 0 || i.MaxLoss > 100 {
		fault("maxLoss", "%d%% is no share of a list: write 1%% to 100%%; 100%% believes every list", i.MaxLoss)
	}
	i.checkSecrets(fault)
	i.checkProvider(fault)
	i.Verify.check(fault)
	for n, expr := range i.ExclusionList {
		field := fmt.Sprintf("exclusionList[%d]", n)
		if len(expr) > maxExpression {
			fault(field, "the expression has %d bytes: at most %d are read", len(expr), maxExpression)
		} else if _, err := regexp.Compile(expr); err != nil {
			fault(field, "%q: %v", expr, err)
		}
	}
	return faults
}

func (i Image) checkSecrets(fault func(field, format string, args ...any)) {
	if i.SecretRef != nil && i.SecretRef.Name == "" {
		fault("secretRef.name", "names no secret")
	}
	if i.CertSecretRef != nil && i.CertSecretRef.Name == "" {
		fault("certSecretRef.name", "names no secret")
	}
	if i.ProxySecretRef != nil && i.ProxySecretRef.Name == "" {
		fault("proxySecretRef.name", "names no secret")
	}
	if i.ProxySecretRef != nil && i.ProxySecretDir != "" {
		fault("proxySecretDir", "stands beside proxySecretRef: keep one of them")
	}
	if i.SecretRef != nil && i.SecretDir != "" {
		fault("secretDir", "stands beside secretRef: keep one of them")
	}
	if i.CertSecretRef != nil && i.CertSecretDir != "" {
		fault("certSecretDir", "stands beside certSecretRef: keep one of them")
	}
	if i.Insecure && i.CertSecretRef != nil {
		fault("certSecretRef", "has no use with insecure: true, which speaks plain http")
	}
	if i.Insecure && i.CertSecretDir != "" {
		fault("certSecretDir", "has no use with insecure: true, which speaks plain http")
	}
}

// parseImage reads registry/repository. Docker Hub's short spellings are
// completed as docker does: "nginx" is index.docker.io/library/nginx.
func parseImage(s string, insecure bool) (name.Repository, error) {
	var opts []name.Option
	if insecure {
		opts = append(opts, name.Insecure)
	}
	switch {
	case s == "":
		return name.Repository{}, fmt.Errorf("an image is needed, such as registry.example.com/org/app")
	case strings.Contains(s, "://"):
		return name.Repository{}, fmt.Errorf("%q starts with a scheme: write it without, as docker does", s)
	case strings.Contains(s, "@") && !strings.Contains(s, "@sha"):
		return name.Repository{}, errors.New("holds a user: write the image without, and name its credentials with secretRef or secretDir")
	case strings.Contains(s, "@"):
		return name.Repository{}, fmt.Errorf("%q carries a digest: write it without", s)
	}
	repo, err := name.NewRepository(s, opts...)
	if err == nil {
		return repo, nil
	}
	if ref, terr := name.NewTag(s); terr == nil && strings.HasSuffix(s, ":"+ref.TagStr()) {
		return name.Repository{}, fmt.Errorf("%q carries a tag: write it without, %q", s, strings.TrimSuffix(s, ":"+ref.TagStr()))
	}
	return name.Repository{}, fmt.Errorf("%q is not an image: use lower case letters, digits and . _ - /, such as registry.example.com/org/app", s)
}

// canonical returns the one spelling of an image reference that all spellings
// of the same repository share, without tag and digest; "" where s is none.
func canonical(s string) string {
	ref, err := name.ParseReference(s)
	if err != nil {
		return ""
	}
	registry := ref.Context().RegistryStr()
	if slices.Contains(dockerHub, registry) {
		registry = name.DefaultRegistry
	}
	return registry + "/" + ref.Context().RepositoryStr()
}
