package scanner

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// dockerHub holds the names under which Docker Hub is known in docker config
// files. They share one set of credentials.
var dockerHub = []string{name.DefaultRegistry, "docker.io", "registry-1.docker.io", "registry.hub.docker.com"}

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

// credentialsFor chooses the credentials of a repository: the image's own
// secret where it names one, the docker config file otherwise. A secret
// without an entry for this registry means anonymous, as for a pod.
func (s *Scanner) credentialsFor(ctx context.Context, src Source, repo name.Repository) (credentials, error) {
	if src.Secret == nil {
		return s.fromDockerConfig(ctx, repo)
	}
	secret, err := src.Secret(ctx)
	if err != nil {
		return credentials{}, fmt.Errorf("read the secret: %w", err)
	}
	if file, ok := secret[".dockerconfigjson"]; ok {
		cfg, err := parseDockerConfig(file)
		if err != nil {
			return credentials{}, fmt.Errorf("secret key .dockerconfigjson: %w", err)
		}
		return cfg.find(repo, "the secret")
	}
	user, pass := string(secret["username"]), string(secret["password"])
	if user == "" || pass == "" {
		return credentials{}, errors.New("the secret has neither .dockerconfigjson nor both of username and password")
	}
	return credentials{
		config: authn.AuthConfig{Username: trimLine(user), Password: trimLine(pass)},
		origin: "the secret",
	}, nil
}

// trimLine takes the line end off that editors and echo leave in mounted files.
func trimLine(s string) string { return strings.TrimRight(s, "\r\n") }

// fromDockerConfig asks the file that Options.DockerConfig names, or the
// standard one with its helpers.
func (s *Scanner) fromDockerConfig(ctx context.Context, repo name.Repository) (credentials, error) {
	if s.opts.DockerConfig == "" {
		return s.keychain.find(ctx, repo)
	}
	file, err := os.ReadFile(s.opts.DockerConfig)
	if errors.Is(err, os.ErrNotExist) {
		return credentials{origin: "there is no file " + s.opts.DockerConfig}, nil
	}
	if err != nil {
		return credentials{}, fmt.Errorf("read the docker config file: %w", err)
	}
	cfg, err := parseDockerConfig(file)
	if err != nil {
		return credentials{}, fmt.Errorf("%s: %w", s.opts.DockerConfig, err)
	}
	if len(cfg.CredHelpers) > 0 || cfg.CredsStore != "" {
		return credentials{}, fmt.Errorf("%s names credential helpers: these work only through the standard place, so point DOCKER_CONFIG at its folder", s.opts.DockerConfig)
	}
	return cfg.find(repo, s.opts.DockerConfig)
}

// dockerConfig is what Hoist reads of a docker config file.
type dockerConfig struct {
	Auths       map[string]authn.AuthConfig `json:"auths"`
	CredHelpers map[string]string           `json:"credHelpers"`
	CredsStore  string                      `json:"credsStore"`
}

// parseDockerConfig reads .docker/config.json. Errors never quote the file.
func parseDockerConfig(file []byte) (dockerConfig, error) {
	var cfg dockerConfig
	if len(strings.TrimSpace(string(file))) == 0 {
		return cfg, nil
	}
	if err := json.Unmarshal(file, &cfg); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return cfg, fmt.Errorf("not JSON: error at byte %d", syntax.Offset)
		}
		return cfg, errors.New(`not a docker config file: expected {"auths": {"registry": {"auth": "<base64 of user:password>"}}}`)
	}
	return cfg, nil
}

// find returns the entry for repo: of those whose host is the registry's own
// and whose path is a leading part of the repository's, the one with the
// longest path; an exact host before one with a "*". An entry is never used
// for a host other than the one it was written for.
func (cfg dockerConfig) find(repo name.Repository, origin string) (credentials, error) {
	best, bestRank := credentials{}, -1
	var hosts []string
	for key, auth := range cfg.Auths {
		host, dir := splitKey(key)
		hosts = append(hosts, host)
		if !pathWithin(dir, repo.RepositoryStr()) {
			continue
		}
		rank := 2 * len(dir)
		switch {
		case host == registryKey(repo.RegistryStr()):
			rank++
		case !globMatches(host, repo.RegistryStr()):
			continue
		}
		if rank > bestRank && auth != (authn.AuthConfig{}) {
			best, bestRank = credentials{config: auth, origin: origin}, rank
		}
	}
	if bestRank < 0 {
		slices.Sort(hosts)
		best.origin = fmt.Sprintf("%s has credentials only for %s", origin, strings.Join(slices.Compact(hosts), ", "))
		if len(hosts) == 0 {
			best.origin = origin + " has no credentials"
		}
	}
	return best, nil
}

// splitKey reads a key of "auths": host, host/path, or the URL that docker
// login writes (https://index.docker.io/v1/).
func splitKey(key string) (host, dir string) {
	_, rest, ok := strings.Cut(key, "://")
	if !ok {
		rest = key
	}
	host, dir, _ = strings.Cut(rest, "/")
	dir = strings.Trim(dir, "/")
	for _, version := range []string{"v1", "v2"} {
		if dir == version || strings.HasPrefix(dir, version+"/") {
			dir = strings.TrimPrefix(strings.TrimPrefix(dir, version), "/")
			break
		}
	}
	return registryKey(host), dir
}

func registryKey(host string) string {
	host = strings.ToLower(host)
	if slices.Contains(dockerHub, host) {
		return name.DefaultRegistry
	}
	return host
}

// pathWithin tells whether dir is repo or a folder above it.
func pathWithin(dir, repo string) bool {
	return dir == "" || repo == dir || strings.HasPrefix(repo, dir+"/")
}

// globMatches matches host patterns as kubelet does: a "*" stands within one
// label, ports must be equal.
func globMatches(pattern, host string) bool {
	if !strings.Contains(pattern, "*") {
		return false
	}
	want, have := strings.Split(pattern, "."), strings.Split(strings.ToLower(host), ".")
	if len(want) != len(have) {
		return false
	}
	for i := range want {
		if ok, err := path.Match(want[i], have[i]); err != nil || !ok {
			return false
		}
	}
	return true
}
