package scanner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// helperTTL is how long the answer of a credential helper counts. Helpers are
// programs; a thousand images a minute must not start them each time.
const helperTTL = 5 * time.Minute

// maxHelperAnswer bounds what a helper may say, in bytes.
const maxHelperAnswer = 64 << 10

// fromDockerConfig asks the docker config file that Options.DockerConfig
// names, or the standard one, and the helpers that it names.
func (s *Scanner) fromDockerConfig(ctx context.Context, repo name.Repository) (credentials, error) {
	path, origin := s.opts.DockerConfig, s.opts.DockerConfig
	if path == "" {
		path, origin = standardDockerConfig(), "the docker config file"
	}
	file, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) || path == "" {
		return credentials{origin: "there is no docker config file"}, nil
	}
	if err != nil {
		return credentials{}, fmt.Errorf("read the docker config file: %w", err)
	}
	cfg, err := parseDockerConfig(file)
	if err != nil {
		return credentials{}, fmt.Errorf("%s: %w", path, err)
	}
	for _, helper := range cfg.helpers(repo) {
		found, err := s.wallet.credentials(ctx, helperLender(helper, repo.RegistryStr(), s.now), repo.RegistryStr())
		if err != nil || !found.anonymous() {
			return found, err
		}
	}
	return find(repo, book{dockerConfig: cfg, origin: origin}), nil
}

// standardDockerConfig returns where docker keeps its logins, or podman where
// docker has none; "" where there is no such place.
func standardDockerConfig() string {
	home, _ := os.UserHomeDir()
	docker := filepath.Join(home, ".docker")
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		docker = dir
	}
	places := []string{filepath.Join(docker, "config.json"), os.Getenv("REGISTRY_AUTH_FILE")}
	for _, dir := range []string{os.Getenv("XDG_RUNTIME_DIR"), os.Getenv("XDG_CONFIG_HOME"), filepath.Join(home, ".config")} {
		if dir != "" {
			places = append(places, filepath.Join(dir, "containers", "auth.json"))
		}
	}
	for _, place := range places {
		if found, err := os.Stat(place); err == nil && !found.IsDir() {
			return place
		}
	}
	return ""
}

// helpers returns the credential helpers that may know repo's registry, the
// registry's own first.
func (cfg dockerConfig) helpers(repo name.Repository) []string {
	var helpers []string
	for key, helper := range cfg.CredHelpers {
		if host, _ := splitKey(key); host == registryKey(repo.RegistryStr()) && helper != "" {
			helpers = append(helpers, helper)
			break
		}
	}
	if cfg.CredsStore != "" {
		helpers = append(helpers, cfg.CredsStore)
	}
	return helpers
}

// helperLender speaks the protocol of docker's credential helpers: the program
// docker-credential-NAME is given a registry on its standard input and answers
// with JSON. That it knows none is no failure.
func helperLender(helper, registry string, now func() time.Time) lender {
	program := "docker-credential-" + helper
	return lender{
		name:   program,
		origin: program,
		remedy: "put the helper that the docker config file names on PATH and log in with it, or give the image a secretRef",
		lend: func(ctx context.Context) (loan, error) {
			answer, err := runHelper(ctx, program, registry)
			return loan{config: answer, until: now().Add(helperTTL)}, err
		},
	}
}

func runHelper(ctx context.Context, program, registry string) (authn.AuthConfig, error) {
	if strings.ContainsAny(program, `/\`) {
		return authn.AuthConfig{}, fmt.Errorf("%q is not the name of a helper", program)
	}
	server := registry
	if server == name.DefaultRegistry {
		server = authn.DefaultAuthKey
	}
	var out, said limited
	cmd := exec.CommandContext(ctx, program, "get")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(server), &out, &said
	cmd.WaitDelay = time.Second // a child of the helper may hold its output open
	err := cmd.Run()
	var answer struct{ Username, Secret string }
	notJSON := json.Unmarshal(out.Bytes(), &answer)
	if err != nil {
		text := strings.TrimSpace(out.String() + " " + said.String())
		if answer.Secret != "" {
			text = strings.ReplaceAll(text, answer.Secret, "***")
		}
		if strings.Contains(text, "credentials not found") {
			return authn.AuthConfig{}, nil
		}
		if text == "" {
			return authn.AuthConfig{}, err
		}
		return authn.AuthConfig{}, fmt.Errorf("it says %q (%w)", text, err)
	}
	if notJSON != nil {
		return authn.AuthConfig{}, errors.New(`its answer is not JSON with "Username" and "Secret"`)
	}
	if answer.Username == "<token>" {
		return authn.AuthConfig{IdentityToken: answer.Secret}, nil
	}
	return authn.AuthConfig{Username: answer.Username, Password: answer.Secret}, nil
}

// limited keeps the first of what is written to it.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if room := maxHelperAnswer - l.Len(); room > 0 {
		l.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// secretLike finds what may be a token or a key in an error of a stranger, and
// the value behind a word that announces one.
var secretLike = regexp.MustCompile(`(?i)[A-Za-z0-9+_=-]{40,}|((?:secret|password|token|authorization|key)["']?\s*[:=]\s*)["']?[^\s"',}]+`)

// inOneLine makes what a helper or a cloud said fit for a log, with whatever
// may be a credential struck out.
func inOneLine(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	return clean(secretLike.ReplaceAllString(text, "${1}***"))
}
