package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// historyClone makes a clone with a bump, a person's commit and another bump.
func historyClone(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	git := func(date string, args ...string) {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_DATE="+date, "GIT_COMMITTER_DATE="+date,
			"GIT_AUTHOR_NAME=Hoist", "GIT_AUTHOR_EMAIL=h@example.com", "GIT_COMMITTER_NAME=Hoist", "GIT_COMMITTER_EMAIL=h@example.com")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git("", "init", "-q", "-b", "main")
	git("2026-01-01T00:00:00Z", "commit", "-q", "--allow-empty", "-m", "Update web\n\nBump-Image: example.com/web\nBump-From: 1.0\nBump-To: 1.1\nBump-Policy: hoist:web\nBump-Field: a.yaml:3 spec.image\nBump-Field: b.yaml:4 spec.image\nBump-Trigger: poll")
	git("2026-01-02T00:00:00Z", "commit", "-q", "--allow-empty", "-m", "by hand\n\nBump is a nice word: yes")
	git("2026-01-03T00:00:00Z", "commit", "-q", "--allow-empty", "-m", "Update api, \"quoted\"\n\nBump-Image: example.com/api\nBump-From: 2.0\nBump-To: 2.1\nBump-Digest: sha256:abc\nBump-Policy: hoist:api\nBump-Field: a.yaml:9 spec.image\nBump-Trigger: webhook")
	return dir
}

// historyRun returns the exit code and what was printed.
func historyRun(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	root := &cobra.Command{Use: "hoist", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(newHistory())
	var out, errs bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errs)
	code = run(t.Context(), root, append([]string{"history"}, args...))
	return code, out.String(), errs.String()
}

func TestHistory(t *testing.T) {
	dir := historyClone(t)
	code, out, errs := historyRun(t, "-C", dir)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 0 || len(lines) != 3 || !strings.Contains(lines[1], "hoist:api") || !strings.Contains(lines[2], "hoist:web") {
		t.Errorf("history = %d\n%s%s\nwant api and then web", code, out, errs)
	}
	for args, want := range map[string]string{
		"--policy web":                       "hoist:web",
		"--image *api":                       "hoist:api",
		"--since 2026-01-02T12:00:00Z":       "hoist:api",
		"--policy hoist:* --image *.com/web": "hoist:web",
		"--branch main --policy api":         "hoist:api",
		"--file b.*":                         "hoist:web",
	} {
		code, out, errs := historyRun(t, append([]string{"-C", dir}, strings.Fields(args)...)...)
		if code != 0 || strings.Count(out, "\n") != 2 || !strings.Contains(out, want) {
			t.Errorf("history %s = %d\n%s%s\nwant only %s", args, code, out, errs, want)
		}
	}
	code, out, _ = historyRun(t, "-C", dir, "-o", "json")
	var list []historyEntry
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list) != 2 || len(list[1].Fields) != 2 || list[0].Digest != "sha256:abc" {
		t.Errorf("history -o json = %d %s, %v", code, out, err)
	}
	code, out, _ = historyRun(t, "-C", dir, "-o", "yaml")
	if code != 0 || strings.Count(out, "- author: ") != 2 || !strings.Contains(out, "  digest: sha256:abc\n") {
		t.Errorf("history -o yaml = %d\n%s", code, out)
	}
	code, out, _ = historyRun(t, "-C", dir, "-o", "csv")
	if want := `hoist:web,example.com/web,1.0,1.1,,poll,a.yaml:3 spec.image; b.yaml:4 spec.image,Update web,`; code != 0 || !strings.Contains(out, want) {
		t.Errorf("history -o csv = %d\n%s\nwant %s", code, out, want)
	}
	code, out, _ = historyRun(t, "-C", dir, "-o", "json", "--policy", "none")
	if code != 0 || strings.TrimSpace(out) != "[]" {
		t.Errorf("history of nothing -o json = %d %q, want []", code, out)
	}
}

// What a commit says is not to become a formula in somebody's spreadsheet.
func TestHistoryCSVIsDefused(t *testing.T) {
	for in, want := range map[string]string{"=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\t=1": "'\t=1", "1.4": "1.4", "": ""} {
		if got := defused(in)[0]; got != want {
			t.Errorf("defused(%q) = %q, want %q", in, got, want)
		}
	}
	dir := historyClone(t)
	commit := exec.Command("git", "-c", "user.name==cmd|x", "-c", "user.email=x@example.com", "commit", "-q", "--allow-empty", "-m",
		"=HYPERLINK(1)\n\nBump-Image: @x\nBump-From: -1\nBump-To: +1\nBump-Policy: hoist:web\nBump-Trigger: =1")
	commit.Dir = dir
	if out, err := commit.CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	_, out, _ := historyRun(t, "-C", dir, "-o", "csv")
	if want := "'=cmd|x <x@example.com>,hoist:web,'@x,'-1,'+1,,'=1,,'=HYPERLINK(1),"; !strings.Contains(out, want) {
		t.Errorf("history -o csv =\n%s\nwant %s", out, want)
	}
}

func TestHistoryErrors(t *testing.T) {
	dir := historyClone(t)
	for args, want := range map[string]struct {
		code int
		text string
	}{
		"-C " + dir + " -o xml":        {2, "expected table, json, yaml or csv"},
		"-C " + dir + " --since soon":  {2, "how long ago"},
		"-C " + dir + " --branch none": {1, "does not exist"},
		"-C " + dir + " --policy [":    {1, "pattern"},
		"-C " + t.TempDir():            {1, "is not in a Git repository"},
	} {
		code, out, errs := historyRun(t, strings.Fields(args)...)
		if code != want.code || out != "" || !strings.Contains(errs, want.text) {
			t.Errorf("history %s = %d %q %q, want %d and %q", args, code, out, errs, want.code, want.text)
		}
	}
}

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"":                     {},
		"2026-01-31":           time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC),
		"2026-01-31T01:02:03Z": time.Date(2026, 1, 31, 1, 2, 3, 0, time.UTC),
		"36h":                  time.Date(2026, 3, 9, 0, 0, 0, 0, time.UTC),
		"7d":                   time.Date(2026, 3, 3, 12, 0, 0, 0, time.UTC),
	} {
		if got, err := parseSince(s, now); err != nil || !got.Equal(want) {
			t.Errorf("parseSince(%q) = %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"soon", "-3h", "d", "3dd", "7 d"} {
		if got, err := parseSince(s, now); err == nil {
			t.Errorf("parseSince(%q) = %v, want an error", s, got)
		}
	}
}
