package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"hoist"
	"hoist/daemon"
	"hoist/testenv/registryserver"
)

// exampleFiles returns the example repository with its images in the demo's registry.
func exampleFiles(registry string) (map[string]string, error) {
	files := make(map[string]string)
	example := hoist.ExampleRepository()
	err := fs.WalkDir(example, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(example, path)
		files[path] = strings.ReplaceAll(string(content), "registry.example.com", registry)
		return err
	})
	return files, err
}

// writeConfig writes the configuration and the secrets that it names.
func (d *demo) writeConfig() (string, error) {
	poll := "1h" // only the webhook is so quick
	if !d.opt.webhook {
		poll = "5s"
	}
	text := fmt.Sprintf(`apiVersion: hoist/v1
kind: Config
repositories:
  - name: infrastructure
    url: %[1]s
    branch: main
    interval: 5s
    secretDir: %[2]s/git-secret
images:
  - name: api-service
    image: %[3]s/org/api-service
    insecure: true
    interval: %[4]s
    policy: {semver: {range: ">=1.0.0-0"}} # pre-releases too, so that you can push 2.5.0-crash
  - name: web-frontend
    image: %[3]s/org/web-frontend
    insecure: true
    interval: %[4]s
    policy: {semver: {range: ">=1.0.0"}}
updates:
  - name: environments
    repository: infrastructure
    path: environments
    commit:
      author: {name: Hoist, email: hoist@example.com}
      messageTemplate: "chore: update {{.AutomatedResource.Name}} to {{.NewImage}}"
apply:
  - {name: dev, repository: infrastructure, path: environments/dev, prune: true, wait: true, interval: 1m}
  - {name: staging, repository: infrastructure, path: environments/staging, prune: true, wait: true, interval: 1m}
  - {name: production, repository: infrastructure, path: environments/production, prune: true, wait: true, interval: 1m}
webhooks:
  - {name: registry, type: distribution, secretDir: %[2]s/hook-secret}
`, d.git.URL("infrastructure"), d.dir, d.registry.Addr, poll)
	files := map[string]string{
		"hoist.yaml": text, "git-secret/username": demoUser, "git-secret/password": demoPassword, "hook-secret/token": demoToken,
	}
	for name, content := range files {
		path := filepath.Join(d.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return "", err
		}
	}
	return filepath.Join(d.dir, "hoist.yaml"), nil
}

// pushImages pushes one version after the other, each when the one before has arrived.
func (d *demo) pushImages(ctx context.Context, webhook string) error {
	if err := d.say.settled(ctx); err != nil {
		return err
	}
	for n := 1; d.opt.bumps == 0 || n <= d.opt.bumps; n++ {
		tag := demoTag(n)
		d.say.pushed(tag)
		if _, err := d.registry.Push(ctx, "org/api-service:"+tag, registryserver.PushOptions{}); err != nil {
			return err
		}
		if d.opt.webhook {
			if err := d.notify(ctx, webhook, "org/api-service", tag); err != nil {
				return err
			}
		}
		if err := d.say.arrived(ctx, tag); err != nil {
			return err
		}
		if n == d.opt.bumps {
			break
		}
		if err := daemon.Pause(ctx, d.opt.every); err != nil {
			return err
		}
	}
	d.say.finished(d.opt.bumps)
	return nil
}

// demoTag is 2.3.1, 2.4.0, 2.4.1, 2.4.2, …
func demoTag(n int) string {
	if n == 1 {
		return "2.3.1"
	}
	return fmt.Sprintf("2.4.%d", n-2)
}

// notify does what a registry does after a push: it posts the notification envelope.
func (d *demo) notify(ctx context.Context, webhook, repository, tag string) error {
	event := map[string]any{
		"action":  "push",
		"target":  map[string]any{"mediaType": "application/vnd.oci.image.manifest.v1+json", "repository": repository, "tag": tag},
		"request": map[string]any{"host": d.registry.Addr},
	}
	body, err := json.Marshal(map[string]any{"events": []any{event}})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+webhook+"/hook/registry", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/vnd.docker.distribution.events.v1+json")
	req.Header.Set("Authorization", "Bearer "+demoToken)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("webhook: %s", res.Status)
	}
	return nil
}

func withUser(raw, user, password string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	u.User = url.UserPassword(user, password)
	return u.String()
}
