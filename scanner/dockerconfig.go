package scanner

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// dockerHub holds the names under which Docker Hub is known in docker config
// files. They share one set of credentials.
var dockerHub = []string{name.DefaultRegistry, "docker.io", "registry-1.docker.io", "registry.hub.docker.com"}

// dockerConfig is what Hoist reads of a docker config file.
type dockerConfig struct {
	Auths       map[string]authn.AuthConfig `json:"auths"`
	CredHelpers map[string]string           `json:"credHelpers"`
	CredsStore  string                      `json:"credsStore"`
}

// parseDockerConfig reads .docker/config.json. Errors never quote the file.
func parseDockerConfig(file []byte) (dockerConfig, error) {
	var cfg dockerConfig
	err := decodeConfig(file, &cfg, `{"auths": {"registry": {"auth": "<base64 of user:password>"}}}`)
	return cfg, err
}

// parseLegacyConfig reads .dockercfg, the form before docker 1.7: what is
// "auths" today is the whole file.
func parseLegacyConfig(file []byte) (dockerConfig, error) {
	var cfg dockerConfig
	err := decodeConfig(file, &cfg.Auths, `{"registry": {"auth": "<base64 of user:password>"}}`)
	return cfg, err
}

func decodeConfig(file []byte, into any, form string) error {
	if len(bytes.TrimSpace(file)) == 0 {
		return nil
	}
	err := json.Unmarshal(file, into)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("not JSON: error at byte %d", syntax.Offset)
	}
	if err != nil {
		return errors.New("not a docker config file: expected " + form)
	}
	return nil
}

// book is a docker config and where it came from, for a person.
type book struct {
	dockerConfig
	origin string // "the secret", "pull secret apps/registry"
	fault  string // what is wrong with it: "does not exist"
}

// lack says why a book without an entry for a registry has none.
func (b book) lack() string {
	if b.fault != "" {
		return b.origin + " " + b.fault
	}
	var hosts []string
	for key := range b.Auths {
		host, _ := splitKey(key)
		hosts = append(hosts, host)
	}
	if len(hosts) == 0 {
		return b.origin + " has no credentials"
	}
	slices.Sort(hosts)
	return fmt.Sprintf("%s has credentials only for %s", b.origin, strings.Join(slices.Compact(hosts), ", "))
}

// find returns the entry for repo among all books: of those whose host is the
// registry's own and whose path is a leading part of the repository's, the one
// with the longest path; an exact host before one with a "*"; among equals that
// of the first book. An entry is never used for a host other than the one it
// was written for.
func find(repo name.Repository, books ...book) credentials {
	best, bestRank := credentials{}, -1
	var lacks, faults []string
	for _, b := range books {
		auth, rank := b.best(repo)
		if rank > bestRank {
			best, bestRank = credentials{config: auth, origin: b.origin}, rank
		}
		lacks = append(lacks, b.lack())
		if b.fault != "" {
			faults = append(faults, b.lack())
		}
	}
	if bestRank < 0 {
		best.origin = strings.Join(lacks, "; ")
	} else if len(faults) > 0 {
		best.origin += " (" + strings.Join(faults, "; ") + ")"
	}
	return best
}

// best returns the entry that fits repo best and how well it does, -1 for none.
func (cfg dockerConfig) best(repo name.Repository) (best authn.AuthConfig, bestRank int) {
	bestRank = -1
	for key, auth := range cfg.Auths {
		host, dir := splitKey(key)
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
			best, bestRank = auth, rank
		}
	}
	return best, bestRank
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
