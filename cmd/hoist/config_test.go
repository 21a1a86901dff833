package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// runConfig runs the config verb with the arguments and returns what it prints.
func runConfig(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := newConfig()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	code = run(t.Context(), cmd, args)
	return code, out.String(), errs.String()
}

const goodConfig = `apiVersion: hoist/v1
kind: Config
repositories:
  - {name: fleet, url: "https://git.example.com/acme/fleet", branch: main}
images:
  - {name: web, image: registry.example.com/acme/web, policy: {semver: {range: "1.x"}}, filterTags: {pattern: "1"}}
updates:
  - {name: all, repository: fleet, commit: {author: {email: hoist@example.com}}}
`

func writeConfig(t *testing.T, text string) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("hoist.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestConfigCheckGood(t *testing.T) {
	writeConfig(t, goodConfig)
	code, stdout, stderr := runConfig(t, "check")
	if want := "hoist.yaml: 1 repository, 1 image, 1 policy, 1 update\n"; code != 0 || stdout != want {
		t.Errorf("check: exit %d, stdout %q, want 0 and %q\n%s", code, stdout, want, stderr)
	}
	if want := "hoist: warning: hoist.yaml:6: images[0].filterTags.pattern: \"1\" matches anywhere in a tag: write ^ before and $ behind it to match whole tags\n"; stderr != want {
		t.Errorf("stderr %q, want %q", stderr, want)
	}
}

func TestConfigCheckBad(t *testing.T) {
	writeConfig(t, strings.NewReplacer("main", "1.0", "repository: fleet", "repository: flete").Replace(goodConfig))
	code, stdout, stderr := runConfig(t, "check", "-c", "hoist.yaml", "-c", "gone.yaml")
	if code != 1 || stdout != "" {
		t.Errorf("check: exit %d, stdout %q, want 1 and nothing", code, stdout)
	}
	for _, want := range []string{
		"hoist: hoist.yaml:4: repositories[0].branch: expected a string, got the number 1.0; write \"1.0\"\n",
		"hoist: gone.yaml: no such file\n",
		"hoist: hint: 2 faults",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr lacks %q:\n%s", want, stderr)
		}
	}
}

func TestConfigView(t *testing.T) {
	writeConfig(t, goodConfig)
	code, stdout, stderr := runConfig(t, "view")
	if code != 0 || !strings.Contains(stdout, "images:\n  - name: web\n    image: registry.example.com/acme/web\n    policy:\n      semver:\n        range: 1.x\n") {
		t.Errorf("view: exit %d\n%s%s", code, stdout, stderr)
	}
}

func TestConfigSchema(t *testing.T) {
	code, stdout, stderr := runConfig(t, "schema")
	if code != 0 || !json.Valid([]byte(stdout)) || !strings.Contains(stdout, `"$schema": "http://json-schema.org/draft-07/schema#"`) {
		t.Errorf("schema: exit %d\n%.200s\n%s", code, stdout, stderr)
	}
}
