package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hoist/bump"
	"hoist/config"
	"hoist/setter"
)

func TestInitNamesPolicies(t *testing.T) {
	image := func(name, tag string) setter.Image {
		return setter.Image{File: "a.yaml", Line: 1, Name: name, Tag: tag}
	}
	for _, row := range []struct {
		images []setter.Image
		want   string
	}{
		{[]setter.Image{image("ghcr.io/acme/Web_Shop", "1.0.0")}, "not an image"},
		{[]setter.Image{image("ghcr.io/acme/web_shop", "1.0.0")}, "web-shop"},
		{[]setter.Image{image("a/web", "1.0.0"), image("b/web", "1.0.0"), image("b/web", "2.0.0")}, "web b-web web-1"},
		{[]setter.Image{image("a/web", "1.0.0-alpine"), image("a/web", "1.0.0"), image("a/web", "1.0.0-rc.1")}, "web web-alpine web-rc"},
		{[]setter.Image{image("taken", "1.0.0")}, "taken-1"},
		{[]setter.Image{image("a/marked", "1.4.0"), {Name: "a/marked", Tag: "1.5.0", Marked: true, Policy: bump.Name{Namespace: "flux-system", Name: "web"}}}, "flux-system:web"},
	} {
		p := proposeFor(row.images, []bump.Site{{Policy: bump.Name{Namespace: "hoist", Name: "taken"}}}, &config.Config{})
		var got []string
		for _, n := range p.policies {
			got = append(got, n.name.Name)
		}
		for _, r := range p.rows {
			if r.policy.Namespace == "flux-system" {
				got = append(got, r.policy.String())
			}
			if r.why != "" {
				got = append(got, "not an image")
			}
		}
		if s := strings.Join(got, " "); s != row.want {
			t.Errorf("%v: policies are named %q, want %q", row.images, s, row.want)
		}
	}
}

// initIn runs init in a directory with one Pod and answers its question.
func initIn(t *testing.T, answer bool, meanwhile func(dir string)) (dir string, question string, err error) {
	t.Helper()
	dir = t.TempDir()
	pod := "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - image: ghcr.io/acme/web:1.0.0\n"
	if err := os.WriteFile(filepath.Join(dir, "pod.yaml"), []byte(pod), 0o600); err != nil {
		t.Fatal(err)
	}
	r := initRun{dir: dir, config: filepath.Join(dir, "hoist.yaml"), out: new(bytes.Buffer), err: new(bytes.Buffer)}
	r.ask = func(_ context.Context, q string) (bool, error) {
		question = strings.ReplaceAll(q, dir+string(filepath.Separator), "")
		if meanwhile != nil {
			meanwhile(dir)
		}
		return answer, nil
	}
	return dir, question, r.run(t.Context())
}

func TestInitAsksBeforeItWrites(t *testing.T) {
	dir, question, err := initIn(t, false, nil)
	if want := "write 1 marker in 1 file and hoist.yaml?"; question != want {
		t.Errorf("question %q, want %q", question, want)
	}
	if err == nil || err.Error() != "nothing was written" {
		t.Errorf("after a no: %v", err)
	}
	if pod, _ := os.ReadFile(filepath.Join(dir, "pod.yaml")); bytes.Contains(pod, []byte("#")) {
		t.Errorf("after a no the file is %q", pod)
	}
	if _, err := os.Stat(filepath.Join(dir, "hoist.yaml")); err == nil {
		t.Error("after a no there is a configuration")
	}
}

func TestInitKeepsTheModeOfFiles(t *testing.T) {
	dir, _, err := initIn(t, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(filepath.Join(dir, "pod.yaml"))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode of a marked file: %v, %v, want -rw-------", fi.Mode(), err)
	}
}

func TestInitDoesNotOverwriteWhatChanged(t *testing.T) {
	const theirs = "kind: Pod # somebody was faster\n"
	dir, _, err := initIn(t, true, func(dir string) {
		if err := os.WriteFile(filepath.Join(dir, "pod.yaml"), []byte(theirs), 0o600); err != nil {
			t.Error(err)
		}
	})
	if err == nil || !strings.Contains(err.Error(), "pod.yaml has changed while it was looked at") {
		t.Errorf("a file that changed: %v", err)
	}
	if pod, _ := os.ReadFile(filepath.Join(dir, "pod.yaml")); string(pod) != theirs {
		t.Errorf("the file is %q, want %q", pod, theirs)
	}
}

func TestInitSource(t *testing.T) {
	for _, row := range []struct{ remote, url string }{
		{"https://git.example.com/org/fleet.git", "https://git.example.com/org/fleet.git"},
		{"https://me:secret@git.example.com/org/fleet.git", "https://git.example.com/org/fleet.git"},
		{"git@git.example.com:org/fleet.git", "git@git.example.com:org/fleet.git"},
		{"/srv/git/fleet.git", "file:///srv/git/fleet.git"},
		{"../fleet.git", "https://git.example.com/org/apps.git"},
	} {
		dir := t.TempDir()
		apps := filepath.Join(dir, "clusters", "apps")
		if err := os.MkdirAll(apps, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"init", "-q", "-b", "trunk", dir}, {"-C", dir, "remote", "add", "origin", row.remote}} {
			if err := runGit(args...); err != nil {
				t.Fatal(err)
			}
		}
		s, folder := sourceOf(apps)
		if s.URL != row.url || s.Branch != "trunk" || folder != "clusters/apps" {
			t.Errorf("remote %s: %s on %s in %s, want %s on trunk in clusters/apps", row.remote, s.URL, s.Branch, folder, row.url)
		}
		if text := fmt.Sprint(s); strings.Contains(text, "secret@") || strings.Contains(text, "me:") {
			t.Errorf("remote %s: a credential is left in %s", row.remote, text)
		}
	}
}
