package scanner

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"hoist/bump"
)

// credentials is what a repository is asked with. The zero value is anonymous.
type credentials struct {
	config authn.AuthConfig
	origin string // for a person: where they come from, or why there are none
}

func (c credentials) anonymous() bool { return c.config == authn.AuthConfig{} }

func (c credentials) authenticator() authn.Authenticator {
	if c.anonymous() {
		return authn.Anonymous
	}
	return authn.FromConfig(c.config)
}

// fingerprint tells one set of credentials from another without holding any.
func (c credentials) fingerprint() string {
	h := sha256.New()
	for _, s := range []string{c.config.Username, c.config.Password, c.config.Auth, c.config.IdentityToken, c.config.RegistryToken} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// secrets returns every spelling of the secret halves, to be struck out of
// what a registry says about them.
func (c credentials) secrets() []string {
	var all []string
	for _, s := range []string{c.config.Password, c.config.Auth, c.config.IdentityToken, c.config.RegistryToken} {
		if s != "" {
			all = append(all, s, base64.StdEncoding.EncodeToString([]byte(c.config.Username+":"+s)))
		}
	}
	return all
}

// PullSecret is a Secret that a ServiceAccount names for pulling images.
type PullSecret struct {
	Name string      // for a person: "apps/registry"
	Keys bump.Secret // nil where the Secret does not exist
}

// credentialsFor chooses the credentials of a repository: those of the image's
// own secret and of its ServiceAccount's pull secrets where it names any, and
// of the docker config file otherwise. Secrets without an entry for this
// registry mean anonymous, as for a pod.
func (s *Scanner) credentialsFor(ctx context.Context, src Source, repo name.Repository) (credentials, error) {
	if src.Secret == nil && src.PullSecrets == nil {
		return s.fromDockerConfig(ctx, repo)
	}
	var books []book
	if src.Secret != nil {
		secret, err := src.Secret(ctx)
		if err != nil {
			return credentials{}, fmt.Errorf("read the secret: %w", err)
		}
		if login := passwordOf(secret); !login.anonymous() {
			return login, nil
		}
		b, err := bookOf(secret, "the secret")
		if err != nil {
			return credentials{}, err
		}
		books = append(books, b)
	}
	if src.PullSecrets != nil {
		pulls, err := pullBooks(ctx, src.PullSecrets)
		if err != nil {
			return credentials{}, err
		}
		books = append(books, pulls...)
	}
	return find(repo, books...), nil
}

// forgetCredentials is called when the registry did not take them: whoever
// remembers them looks anew.
func (s *Scanner) forgetCredentials(src Source, repo name.Repository) {
	if src.Forget != nil {
		src.Forget()
	}
	s.wallet.forget(repo.RegistryStr())
}

// passwordOf returns the user and password of a secret that holds both, for
// whatever registry the image is in; else the zero value.
func passwordOf(secret bump.Secret) credentials {
	user, pass := trimLine(string(secret["username"])), trimLine(string(secret["password"]))
	if user == "" || pass == "" || secret[".dockerconfigjson"] != nil || secret[".dockercfg"] != nil {
		return credentials{}
	}
	return credentials{config: authn.AuthConfig{Username: user, Password: pass}, origin: "the secret"}
}

// trimLine takes the line end off that editors and echo leave in mounted files.
func trimLine(s string) string { return strings.TrimRight(s, "\r\n") }

// bookOf reads the docker config in a secret.
func bookOf(secret bump.Secret, origin string) (book, error) {
	for _, form := range []struct {
		key   string
		parse func([]byte) (dockerConfig, error)
	}{{".dockerconfigjson", parseDockerConfig}, {".dockercfg", parseLegacyConfig}} {
		file, ok := secret[form.key]
		if !ok {
			continue
		}
		cfg, err := form.parse(file)
		if err != nil {
			return book{}, fmt.Errorf("key %s of %s: %w", form.key, origin, err)
		}
		return book{dockerConfig: cfg, origin: origin}, nil
	}
	return book{}, fmt.Errorf("%s has neither .dockerconfigjson nor both of username and password", origin)
}

// pullBooks reads the pull secrets of a ServiceAccount. As for a pod, one that
// is missing or is no docker config keeps the others from nothing; what is
// wrong with it is told when the registry then refuses.
func pullBooks(ctx context.Context, read func(context.Context) ([]PullSecret, error)) ([]book, error) {
	secrets, err := read(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the pull secrets: %w", err)
	}
	if len(secrets) == 0 {
		return []book{{origin: "the ServiceAccount", fault: "names no pull secrets"}}, nil
	}
	var books []book
	for _, secret := range secrets {
		origin := "pull secret " + secret.Name
		if secret.Keys == nil {
			books = append(books, book{origin: origin, fault: "does not exist"})
			continue
		}
		b, err := bookOf(secret.Keys, origin)
		if err != nil {
			b = book{origin: origin, fault: "cannot be read as a docker config"}
		}
		books = append(books, b)
	}
	return books, nil
}
