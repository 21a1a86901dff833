// Package kubeconfig reads and writes the simplest kind of kubeconfig: one
// cluster, one user with a token. It is what the test environment makes itself;
// anything beyond is refused, not guessed at.
package kubeconfig

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
)

// Config is where a cluster is and who we are there.
type Config struct {
	Server string
	CAData []byte // PEM; empty means the system's own authorities
	Token  string
}

// Read reads a kubeconfig in the block style that every Kubernetes client
// writes. More than one cluster or user, or a user without a token, is an error.
func Read(path string) (Config, error) {
	var c Config
	f, err := os.Open(path)
	if err != nil {
		return c, err
	}
	defer f.Close()
	seen := map[string]bool{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		key, value, ok := strings.Cut(strings.TrimLeft(lines.Text(), " -"), ":")
		if !ok {
			continue
		}
		value = strings.Trim(strings.TrimSpace(value), `"'`)
		switch key {
		case "server", "certificate-authority-data", "token":
			if seen[key] {
				return c, fmt.Errorf("%s:%d: a second %s; only a kubeconfig of one cluster and one user is understood here", path, n, key)
			}
			seen[key] = true
		case "client-certificate", "client-certificate-data", "exec", "auth-provider", "tokenFile", "certificate-authority", "insecure-skip-tls-verify":
			return c, fmt.Errorf("%s:%d: %s is not understood here; want certificate-authority-data and token", path, n, key)
		}
		switch key {
		case "server":
			c.Server = value
		case "token":
			c.Token = value
		case "certificate-authority-data":
			if c.CAData, err = base64.StdEncoding.DecodeString(value); err != nil {
				return c, fmt.Errorf("%s:%d: certificate-authority-data: %w", path, n, err)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	if c.Server == "" || c.Token == "" {
		return c, fmt.Errorf("%s: no server or no token in it", path)
	}
	return c, nil
}

// Write writes c as a kubeconfig that only the current user can read.
func Write(path string, c Config) error {
	ca := ""
	if len(c.CAData) > 0 {
		ca = "    certificate-authority-data: " + base64.StdEncoding.EncodeToString(c.CAData) + "\n"
	}
	return os.WriteFile(path, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: testenv
  cluster:
%s    server: %s
contexts:
- name: testenv
  context:
    cluster: testenv
    user: testenv
current-context: testenv
users:
- name: testenv
  user:
    token: %q
`, ca, c.Server, c.Token), 0o600)
}
