package scanner

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"

	"hoist/bump"
)

// N5: an entry is used for the host it was written for, and for no other.
func TestDockerConfigFind(t *testing.T) {
	for _, c := range []struct {
		keys  string // of auths, blank between; the user of each is its key
		image string
		want  string // user; "" for anonymous
	}{
		{"ghcr.io", "ghcr.io/acme/web", "ghcr.io"},
		{"https://ghcr.io", "ghcr.io/acme/web", "https://ghcr.io"},
		{"ghcr.io", "evil.ghcr.io/acme/web", ""},
		{"ghcr.io", "ghcr.io.evil.example/acme/web", ""},
		{"ghcr.io", "ghcr.io:8443/acme/web", ""},
		{"reg.example:5000", "reg.example:5000/a/b", "reg.example:5000"},
		{"reg.example:5000", "reg.example/a/b", ""},
		{"ghcr.io ghcr.io/acme ghcr.io/acme/web", "ghcr.io/acme/web", "ghcr.io/acme/web"},
		{"ghcr.io ghcr.io/acme ghcr.io/acme/web", "ghcr.io/acme/api", "ghcr.io/acme"},
		{"ghcr.io ghcr.io/acme", "ghcr.io/acmeevil/web", "ghcr.io"},
		{"https://index.docker.io/v1/", "nginx", "https://index.docker.io/v1/"},
		{"docker.io", "docker.io/acme/web", "docker.io"},
		{"registry-1.docker.io", "acme/web", "registry-1.docker.io"},
		{"docker.io docker.io/acme", "acme/web", "docker.io/acme"},
		{"*.example.com", "reg.example.com/a", "*.example.com"},
		{"*.example.com reg.example.com", "reg.example.com/a", "reg.example.com"},
		{"*.example.com", "a.reg.example.com/a", ""},
		{"*.example.com", "example.com/a", ""},
		{"*.com", "ghcr.io/a", ""},
		{"", "ghcr.io/a", ""},
	} {
		var auths []string
		for key := range strings.FieldsSeq(c.keys) {
			auths = append(auths, fmt.Sprintf(`%q: {"auth": %q}`, key, base64.StdEncoding.EncodeToString([]byte(key+":pw"))))
		}
		cfg, err := parseDockerConfig([]byte(`{"auths": {` + strings.Join(auths, ",") + `}}`))
		if err != nil {
			t.Fatal(err)
		}
		repo, err := name.NewRepository(c.image)
		if err != nil {
			t.Fatal(err)
		}
		if got := find(repo, book{dockerConfig: cfg}); got.config.Username != user(c.want) {
			t.Errorf("find(%q) among %q = %q, want %q", c.image, c.keys, got.config.Username, c.want)
		}
	}
}

// user is how a key comes back through base64(user:password), which ends the
// user at the first colon.
func user(key string) string {
	before, _, _ := strings.Cut(key, ":")
	return before
}

// N5: a secret that cannot be read is not quoted.
func TestBadDockerConfigIsNotQuoted(t *testing.T) {
	for _, file := range []string{`{"auths": {"ghcr.io": {"auth": "hunter2`, `{"auths": {"ghcr.io": {"auth": "hunter2"}}}`, `{"auths": "hunter2"}`, `hunter2`} {
		_, err := parseDockerConfig([]byte(file))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("parseDockerConfig(%s) = %v, want an error that does not quote it", file, err)
		}
	}
}

// pullSecrets is a ServiceAccount that names these; a value of "" is a Secret
// that does not exist.
func pullSecrets(keysAndConfigs ...string) func(context.Context) ([]PullSecret, error) {
	return func(context.Context) ([]PullSecret, error) {
		var all []PullSecret
		for i := 0; i < len(keysAndConfigs); i += 2 {
			secret := PullSecret{Name: fmt.Sprintf("apps/pull%d", i/2)}
			if keysAndConfigs[i+1] != "" {
				secret.Keys = bump.Secret{keysAndConfigs[i]: []byte(keysAndConfigs[i+1])}
			}
			all = append(all, secret)
		}
		return all, nil
	}
}

// login returns a docker config entry of a user for a registry or a part of it.
func login(key, user string) string {
	return fmt.Sprintf(`{%q: {"auth": %q}}`, key, base64.StdEncoding.EncodeToString([]byte(user+":pw")))
}

// The entry with the longest path wins over all secrets, an exact host before a
// pattern, the image's own secret before a pull secret.
func TestSecretsAreMerged(t *testing.T) {
	auths := func(entry string) string { return `{"auths": ` + entry + `}` }
	const modern, legacy = ".dockerconfigjson", ".dockercfg"
	for _, c := range []struct {
		name        string
		secret      string // of the image; "" for none
		pull        []string
		user, where string
	}{
		{"only the account", "", []string{modern, auths(login("reg.example.com", "a"))}, "a", "pull secret apps/pull0"},
		{"second of two", "", []string{modern, auths(login("ghcr.io", "a")), modern, auths(login("reg.example.com", "b"))}, "b", "pull secret apps/pull1"},
		{"longest path", auths(login("reg.example.com", "own")), []string{modern, auths(login("reg.example.com/acme", "a"))}, "a", "pull secret apps/pull0"},
		{"exact before pattern", auths(login("*.example.com", "own")), []string{modern, auths(login("reg.example.com", "a"))}, "a", "pull secret apps/pull0"},
		{"equals: own secret", auths(login("reg.example.com", "own")), []string{modern, auths(login("reg.example.com", "a"))}, "own", "the secret"},
		{"legacy", "", []string{legacy, login("https://reg.example.com", "old")}, "old", "pull secret apps/pull0"},
		{"missing beside found", "", []string{modern, "", modern, auths(login("reg.example.com", "b"))}, "b", "pull secret apps/pull1 (pull secret apps/pull0 does not exist)"},
		{"missing", auths(login("ghcr.io", "own")), []string{modern, ""}, "", "the secret has credentials only for ghcr.io; pull secret apps/pull0 does not exist"},
		{"not JSON", "", []string{modern, "hunter2"}, "", "pull secret apps/pull0 cannot be read as a docker config"},
		{"no docker config", "", []string{"token", "hunter2"}, "", "pull secret apps/pull0 cannot be read as a docker config"},
		{"none", "", nil, "", "the ServiceAccount names no pull secrets"},
	} {
		src := Source{PullSecrets: pullSecrets(c.pull...)}
		if c.secret != "" {
			src.Secret = secretOf(map[string]string{modern: c.secret})
		}
		repo, err := name.NewRepository("reg.example.com/acme/web")
		if err != nil {
			t.Fatal(err)
		}
		got, err := newScanner(t, Options{}).credentialsFor(t.Context(), src, repo)
		if err != nil || got.config.Username != c.user || got.origin != c.where {
			t.Errorf("%s: got %q from %q, %v; want %q from %q", c.name, got.config.Username, got.origin, err, c.user, c.where)
		}
	}
}

// A missing pull secret keeps nobody from asking, and is told with the refusal.
func TestMissingPullSecretIsTold(t *testing.T) {
	var tried int
	address := serve(t, basic("alice", "s3cret", &tagList{tags: []string{"1.0"}}, &tried))
	src := plain(address, "acme/web")
	src.PullSecrets = pullSecrets(".dockerconfigjson", "")
	scanError(t, newScanner(t, Options{}), src, "401 unauthorized", "pull secret apps/pull0 does not exist")
	open := serve(t, &tagList{tags: []string{"1.0"}})
	src = plain(open, "acme/web")
	src.PullSecrets = pullSecrets(".dockerconfigjson", "")
	mustScan(t, newScanner(t, Options{}), src)
}

// Who remembers credentials is told at once when they are rejected.
func TestRejectionIsTold(t *testing.T) {
	var tried int
	address := serve(t, basic("alice", "s3cret", &tagList{tags: []string{"1.0"}}, &tried))
	forgotten := 0
	src := with(plain(address, "acme/web"), "alice", "old")
	src.Forget = func() { forgotten++ }
	scanError(t, newScanner(t, Options{}), src, "401")
	if forgotten != 1 {
		t.Errorf("Forget was called %d times by a rejection, want once", forgotten)
	}
	src = with(src, "alice", "s3cret")
	mustScan(t, newScanner(t, Options{}), src)
	if forgotten != 1 {
		t.Error("Forget was called without a rejection")
	}
}
