package scanner

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
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
		got, err := cfg.find(repo, "the secret")
		if err != nil || got.config.Username != user(c.want) {
			t.Errorf("find(%q) among %q = %q, %v, want %q", c.image, c.keys, got.config.Username, err, c.want)
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
