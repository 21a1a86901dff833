package webhook

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"hoist/bump"
)

// The types of receivers.
const (
	// GenericHMAC is a small JSON body of our own, signed as Flux's generic-hmac:
	// "X-Signature: sha256=HEX" is the HMAC of the body under the key "token".
	GenericHMAC = "generic-hmac"
	// Distribution is the notification envelope of the CNCF registry, with a bearer
	// token (key "token") or basic authentication (keys "username" and "password").
	Distribution = "distribution"
)

// Receiver is a section of the configuration: one address that others may call.
type Receiver struct {
	Name bump.Name `json:"-"`
	// Path is where the receiver listens. The default is /hook/NAME, and
	// /hook/NAMESPACE/NAME outside the namespace "hoist".
	Path string `json:"path,omitempty"`
	// Type is "generic-hmac" or "distribution".
	Type string `json:"type"`
	// SecretRef or SecretDir holds what callers have to know; one of them is needed.
	SecretRef *bump.LocalRef `json:"secretRef,omitempty"`
	SecretDir string         `json:"secretDir,omitempty"`
	// Images and Repositories restrict what the receiver may hint at: image
	// repositories without tag, and the names or URLs of Git repositories. When both
	// are empty it may hint at anything.
	Images       []string `json:"images,omitempty"`
	Repositories []string `json:"repositories,omitempty"`
}

// Check returns what is wrong with r, all at once.
func (r Receiver) Check() []bump.Fault {
	var faults []bump.Fault
	fault := func(field, format string, args ...any) {
		faults = append(faults, bump.Fault{Field: field, Message: fmt.Sprintf(format, args...)})
	}
	switch r.Type {
	case GenericHMAC, Distribution:
	case "":
		fault("type", "missing: expected %s or %s", GenericHMAC, Distribution)
	default:
		fault("type", "%q is not a type of receiver: expected %s or %s", r.Type, GenericHMAC, Distribution)
	}
	if r.Path != "" {
		if why := badPath(r.Path); why != "" {
			fault("path", "%q %s", r.Path, why)
		}
	}
	switch {
	case r.SecretRef == nil && r.SecretDir == "":
		fault("secretRef", "missing: a receiver needs secretRef or secretDir")
	case r.SecretRef != nil && r.SecretDir != "":
		fault("secretDir", "set besides secretRef: expected one of them")
	case r.SecretRef != nil && r.SecretRef.Name == "":
		fault("secretRef.name", "missing")
	}
	for i, image := range r.Images {
		if repo, err := repositoryOf(image); err != nil || repo != image {
			fault(fmt.Sprintf("images[%d]", i), "%q is not an image repository without tag", image)
		}
	}
	for i, repo := range r.Repositories {
		if gitKey(repo) == "" {
			fault(fmt.Sprintf("repositories[%d]", i), "%q is not the name or URL of a Git repository", repo)
		}
	}
	return faults
}

// URLPath returns where the receiver listens.
func (r Receiver) URLPath() string {
	if r.Path != "" {
		return r.Path
	}
	if r.Name.Namespace == "" || r.Name.Namespace == bump.DefaultNamespace {
		return "/hook/" + r.Name.Name
	}
	return "/hook/" + r.Name.Namespace + "/" + r.Name.Name
}

// trigger is how a scan or fetch names this receiver as its cause.
func (r Receiver) trigger() string {
	if r.Name.Namespace == "" || r.Name.Namespace == bump.DefaultNamespace {
		return "webhook " + r.Name.Name
	}
	return "webhook " + r.Name.String()
}

// badPath says why a path cannot be one that a request asks for as it is.
func badPath(path string) string {
	if path[0] != '/' {
		return "does not begin with a slash"
	}
	for part := range strings.SplitSeq(path[1:], "/") {
		if part == "" || part == "." || part == ".." {
			return "has an empty part, . or .. in it"
		}
	}
	for _, c := range []byte(path) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune("/-._~", rune(c)) {
			return "has more in it than letters, digits and -._~"
		}
	}
	return ""
}

// repositoryOf cuts tag and digest off an image, and keeps the spelling of the rest.
func repositoryOf(image string) (string, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return "", err
	}
	repo, _, _ := strings.Cut(image, "@")
	if slash := strings.LastIndex(repo, "/"); strings.Contains(repo[slash+1:], ":") {
		repo = repo[:strings.LastIndex(repo, ":")]
	}
	if again, err := name.NewRepository(repo); err != nil || again.Name() != ref.Context().Name() {
		return "", fmt.Errorf("%q is not an image", image)
	}
	for part := range strings.SplitSeq(repo, "/") {
		if strings.Trim(part, ".") == "" {
			return "", fmt.Errorf("%q is not an image", image)
		}
	}
	return repo, nil
}

// imageKey is the same for all spellings of an image repository: "nginx" and
// "docker.io/library/nginx".
func imageKey(image string) string {
	repo, err := name.NewRepository(image)
	if err != nil {
		return ""
	}
	return repo.Name()
}

// maxRepository is the longest name or URL of a Git repository, in bytes.
const maxRepository = 2048

// gitKey is the same for the usual spellings of a Git repository, without the
// user part of its URL; empty when s cannot be one.
func gitKey(s string) string {
	if len(s) > maxRepository {
		return ""
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f {
			return ""
		}
	}
	s = withoutUser(s)
	for {
		short := strings.TrimSuffix(strings.TrimRight(s, "/"), ".git")
		if short == s {
			return s
		}
		s = short
	}
}

// withoutUser takes the user part off a URL; credentials go no further than here.
// It returns "" for a URL that cannot be read or has more than scheme, host and
// path: Git needs no more, and a query could hold a token.
func withoutUser(s string) string {
	if !strings.Contains(s, "://") {
		return s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#") {
		return ""
	}
	u.User = nil
	return u.String()
}
