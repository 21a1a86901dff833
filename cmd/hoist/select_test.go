package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"hoist/bump"
	"hoist/policy"
	"hoist/scanner"
)

// stall is a shop that calls itself.
type stall struct {
	list    func(context.Context, string, bool) ([]string, error)
	inspect func(tag string) (bump.Artifact, error)
}

func (s stall) List(ctx context.Context, image string, insecure bool) ([]string, error) {
	return s.list(ctx, image, insecure)
}

func (s stall) Inspect(_ context.Context, _ string, _ bool, tag string, _ policy.Asks) (bump.Artifact, error) {
	return s.inspect(tag)
}

// selecting runs "hoist select args…" in this process.
func selecting(stdin string, list func(context.Context, string, bool) ([]string, error), args ...string) (stdout, stderr string, code int) {
	return selectingAt(stall{list: list}, stdin, args...)
}

func selectingAt(s stall, stdin string, args ...string) (stdout, stderr string, code int) {
	root := &cobra.Command{Use: "hoist", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(newSelect(func() (shop, func()) { return s, func() {} }))
	var out, errs bytes.Buffer
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&errs)
	code = run(context.Background(), root, append([]string{"select"}, args...))
	return out.String(), errs.String(), code
}

func TestSelect(t *testing.T) {
	const versions = "1.0.0\n1.10.0\n1.9.0\nlatest\n2.0.0-rc.1\n"
	const builds = "main-aa-9\nmain-bb-10\ndev-cc-99\n"
	for _, row := range []struct {
		args  string // separated by white space
		stdin string
		out   string
		err   string
		code  int
	}{
		{args: "--semver >=1.0.0 --tags -", stdin: versions, out: "1.10.0\n"},
		{args: "--semver=>=1.0.0-0 --tags=-", stdin: versions, out: "2.0.0-rc.1\n"},
		{args: "--semver ^1 --tags - registry.example.com/org/app", stdin: versions, out: "1.10.0\n"},
		{args: "--alphabetical asc --tags -", stdin: "a\nc\nb\n", out: "c\n"},
		{args: "--alphabetical=asc --tags -", stdin: "a\nc\nb\n", out: "c\n"},
		{args: "--alphabetical desc --tags -", stdin: "b\na\nc\n", out: "a\n"},
		{args: "--alphabetical=desc --tags -", stdin: "b\na\nc\n", out: "a\n"},
		{args: "--numerical asc --tags -", stdin: "9\n10\nlatest\n", out: "10\n"},
		{args: "--numerical=desc --tags -", stdin: "9\n10\n", out: "9\n"},
		{args: "--numerical asc --tags - --pattern ^main-[a-f]+-(?P<ts>[0-9]+)$ --extract $ts", stdin: builds, out: "main-bb-10\n"},
		{args: "--alphabetical asc --tags - --pattern ^main-", stdin: builds, out: "main-bb-10\n"},
		{args: "--semver * --tags -", stdin: "\r\n1.0.0\r\n\n  v1.2.0  \r\n\r\n", out: "v1.2.0\n"},
		{args: "--semver * --tags -", stdin: "1.0.0", out: "1.0.0\n"},

		{args: "--semver * --loose --tags -", stdin: "1.27\n1.26.9\n1.27.0.1\n", out: "1.27.0.1\n"},
		{args: "--semver >=1.0.0 --pre-release rc --tags -", stdin: versions, out: "2.0.0-rc.1\n"},
		{args: "--semver >=1.0.0 --pre-release beta,alpha --tags -", stdin: versions, out: "1.10.0\n"},
		{args: "--calver YYYY.0M.MICRO --tags -", stdin: "2024.01.9\n2024.01.10\n2023.12.99\nlatest\n", out: "2024.01.10\n"},
		{args: "--semver * --suffix -alpine --tags -", stdin: "1.2.0\n1.1.0-alpine\n", out: "1.1.0-alpine\n"},

		{args: "--semver >=9 --tags -", stdin: versions, code: 1,
			err: "hoist: no tag qualifies: of 5, 1 without a place in the order, 4 outside the range\n"},
		{args: "--semver * --tags - registry.example.com/org/app", stdin: "\n\n", code: 1,
			err: "hoist: registry.example.com/org/app: no tag qualifies: the list is empty\n"},
		{args: "--semver * --tags nowhere.txt", code: 1,
			err: "hoist: open nowhere.txt: no such file or directory\n"},

		{args: "--tags -", code: 2, err: "hoist: expected exactly one of --semver, --alphabetical, --numerical, --calver, --newest-build\n"},
		{args: "--semver * --numerical asc --tags -", code: 2, err: "hoist: expected exactly one of --semver, --alphabetical, --numerical, --calver, --newest-build\n"},
		{args: "--semver *", code: 2, err: "hoist: nothing to select from: expected --tags or an image\n"},
		{args: "--semver= --tags -", code: 2, err: "hoist: --semver: the range is empty: \"*\" allows every release\n"},
		{args: "--semver >=1.x,< --tags -", code: 2, err: "hoist: --semver: \">=1.x,<\": expected a version after \"<\"\n"},
		{args: "--alphabetical= --tags -", code: 2, err: "hoist: an order is empty: expected asc or desc\n"},
		{args: "--alphabetical up --tags -", code: 2, err: "hoist: --alphabetical: \"up\" is not an order: expected asc or desc\n"},
		{args: "--numerical ASC --tags -", code: 2, err: "hoist: --numerical: \"ASC\" is not an order: expected asc or desc\n"},
		{args: "--numerical asc --extract $1 --tags -", code: 2, err: "hoist: --extract needs --pattern\n"},
		{args: "--numerical up --pattern ( --tags -", code: 2,
			err: "hoist: --numerical: \"up\" is not an order: expected asc or desc\nhoist: --pattern: \"(\": missing closing )\n"},
		{args: "--numerical asc --loose --tags -", code: 2, err: "hoist: --loose and --pre-release need --semver\n"},
		{args: "--semver * --pre-release rc1 --tags -", code: 2, err: "hoist: --pre-release: \"rc1\" is not a channel: expected letters such as rc, or *\n"},
		{args: "--calver YYYY.QQ --tags -", code: 2,
			err: "hoist: --calver: \"YYYY.QQ\": expected one of YYYY, YY, 0Y, MM, 0M, WW, 0W, DD, 0D, MAJOR, MINOR, MICRO, got \"QQ\"\n"},
		{args: "--semver * --suffix a/b --tags -", code: 2, err: "hoist: --suffix: \"a/b\": no tag ends in that: expected letters, digits, _, . and -\n"},
		{args: "--semver * --minimum-age soon r.example/app", code: 2, err: "hoist: --minimum-age: \"soon\" is not a duration such as 30s, 5m or 1h30m\n"},
		{args: "--semver * --platform amd64 r.example/app", code: 2,
			err: "hoist: --platform: \"amd64\" is not a platform: expected os/architecture, such as linux/amd64 or linux/arm/v7\n"},
		{args: "--newest-build --tags -", stdin: versions, code: 2,
			err: "hoist: nothing to look up: --newest-build, --minimum-age and --platform need an image\n"},
		{args: "--semver * --tags - -o csv", code: 2, err: "hoist: --output: \"csv\" is not a format: expected json or yaml\n"},
		{args: "--semver * --tags - one two", code: 2, err: "hoist: accepts at most 1 arg(s), received 2\n"},
		{args: "--semver * --tag -", code: 2, err: "hoist: unknown flag: --tag\n"},
		{args: "--tags - --alphabetical", code: 2, err: "hoist: flag needs an argument: --alphabetical\n"},
	} {
		t.Run(row.args, func(t *testing.T) {
			out, errs, code := selecting(row.stdin, nil, strings.Fields(row.args)...)
			if out != row.out || errs != row.err || code != row.code {
				t.Errorf("select %s\ngot  %q, %q, exit %d\nwant %q, %q, exit %d", row.args, out, errs, code, row.out, row.err, row.code)
			}
		})
	}
}

func TestSelectReadsAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tags")
	if err := os.WriteFile(file, []byte("v1.0.0\r\nv1.1.0\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := selecting("v9.0.0", nil, "--semver", "*", "--tags", file); out != "v1.1.0\n" || errs != "" || code != 0 {
		t.Errorf("got %q, %q, exit %d", out, errs, code)
	}
}

// TestSelectFromManyTags has the newest of 100,000 in the middle of the stream.
func TestSelectFromManyTags(t *testing.T) {
	tags := make([]string, 100_000)
	for i := range tags {
		tags[i] = fmt.Sprintf("v%d.%d.%d", i/2500, i/50%50, i%50)
	}
	rand.Shuffle(len(tags), func(i, j int) { tags[i], tags[j] = tags[j], tags[i] })
	out, errs, code := selecting(strings.Join(tags, "\n"), nil, "--semver", ">=1.0.0 <38", "--tags", "-")
	if out != "v37.49.49\n" || errs != "" || code != 0 {
		t.Errorf("got %q, %q, exit %d", out, errs, code)
	}
}

func TestSelectAsksTheRegistry(t *testing.T) {
	var asked []string
	list := func(_ context.Context, image string, insecure bool) ([]string, error) {
		asked = append(asked, fmt.Sprint(image, " ", insecure))
		if strings.HasPrefix(image, "down") {
			return nil, errors.New("scan down.example/app: 401 unauthorized")
		}
		return []string{"1.0.0", "1.1.0"}, nil
	}
	for _, row := range []struct {
		args      []string
		out, errs string
		code      int
	}{
		{[]string{"--semver", "*", "r.example/app"}, "1.1.0\n", "", 0},
		{[]string{"--semver", "*", "--insecure", "r.example/app"}, "1.1.0\n", "", 0},
		{[]string{"--semver", "*", "down.example/app"}, "", "hoist: scan down.example/app: 401 unauthorized\n", 1},
		{[]string{"--semver", "<", "r.example/app"}, "", "hoist: --semver: \"<\": expected a version after \"<\"\n", 2},
		{[]string{"--semver", "*", "--tags", "-", "r.example/app"}, "2.0.0\n", "", 0},
	} {
		if out, errs, code := selecting("2.0.0", list, row.args...); out != row.out || errs != row.errs || code != row.code {
			t.Errorf("select %q: got %q, %q, exit %d", row.args, out, errs, code)
		}
	}
	if got, want := strings.Join(asked, "|"), "r.example/app false|r.example/app true|down.example/app false"; got != want {
		t.Errorf("asked for %s, want %s", got, want)
	}
}

// TestSelectLooksTagsUp passes over what fails a check, and asks no more than it has to.
func TestSelectLooksTagsUp(t *testing.T) {
	now := time.Now()
	images := map[string]bump.Artifact{
		"1.0.0": {Image: true, Digest: "sha256:aa", Platforms: []string{"linux/amd64", "linux/arm64"}, Created: now.Add(-9 * time.Hour), Seen: now},
		"1.1.0": {Image: true, Digest: "sha256:bb", Platforms: []string{"linux/amd64"}, Created: now.Add(-5 * time.Hour), Seen: now},
		"1.2.0": {Image: true, Digest: "sha256:cc", Platforms: []string{"linux/amd64", "linux/arm64"}, Created: now.Add(-time.Minute), Seen: now},
		"1.3.0": {Type: "application/vnd.cncf.helm.config.v1+json", Seen: now},
		"0.9.0": {Image: true, Created: time.Unix(0, 0), Seen: now},
	}
	list := []string{"0.9.0", "1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0"}
	for _, row := range []struct {
		args, out, err string
		asked          string
	}{
		{"--semver *", "1.4.0\n", "", ""},
		{"--semver * --minimum-age 1s", "1.2.0\n", "", "1.4.0 1.3.0 1.2.0"},
		{"--semver * --minimum-age 1h", "1.1.0\n", "", "1.4.0 1.3.0 1.2.0 1.1.0"},
		{"--semver * --minimum-age 1h --platform linux/arm64", "1.0.0\n", "", "1.4.0 1.3.0 1.2.0 1.1.0 1.0.0"},
		{"--newest-build --pattern ^(1.0|1.1|0.9)", "1.1.0\n", "", "0.9.0 1.0.0 1.1.0"},
		{"--newest-build --pattern ^0.9", "", "hoist: r.example/app: no tag qualifies: none of 1 images says believably when it was built\n", "0.9.0"},
		{"--semver ^1.3 --minimum-age 1h", "", "hoist: r.example/app: no tag passes the checks: of 2 looked up, the newest is 1.4.0: is on the list, but not in the registry\n", "1.4.0 1.3.0"},
	} {
		var asked []string
		s := stall{
			list: func(context.Context, string, bool) ([]string, error) { return list, nil },
			inspect: func(tag string) (bump.Artifact, error) {
				asked = append(asked, tag)
				if a, ok := images[tag]; ok {
					return a, nil
				}
				return bump.Artifact{}, fmt.Errorf("look up r.example/app:%s: %w", tag, scanner.ErrNotFound)
			},
		}
		out, errs, _ := selectingAt(s, "", append(strings.Fields(row.args), "r.example/app")...)
		if got := strings.Join(asked, " "); out != row.out || errs != row.err || got != row.asked {
			t.Errorf("select %s: got %q, %q, asked for %q\nwant %q, %q, asked for %q", row.args, out, errs, got, row.out, row.err, row.asked)
		}
	}
	down := stall{
		list:    func(context.Context, string, bool) ([]string, error) { return list, nil },
		inspect: func(tag string) (bump.Artifact, error) { return bump.Artifact{}, errors.New("look up: 503") },
	}
	if out, errs, code := selectingAt(down, "", "--semver", "*", "--minimum-age", "1h", "r.example/app"); out != "" || errs != "hoist: look up: 503\n" || code != 1 {
		t.Errorf("with the registry down: %q, %q, exit %d", out, errs, code)
	}
}

func TestSelectJSON(t *testing.T) {
	out, errs, code := selecting("1.0.0\nv1.1.0\n2.0.0\nlatest\n", nil, "--semver", ">=1.0.0 <2.0.0", "--tags", "-", "-o", "json", "r.example/app")
	want := `{
  "image": "r.example/app",
  "listed": 4,
  "afterExclusion": 4,
  "afterSuffix": 4,
  "afterFilter": 4,
  "parsed": 3,
  "inRange": 2,
  "afterChecks": 2,
  "selected": "v1.1.0",
  "losers": [
    {
      "tag": "2.0.0",
      "reason": "outside >=1.0.0 <2.0.0"
    },
    {
      "tag": "1.0.0",
      "reason": "older than v1.1.0"
    },
    {
      "tag": "latest",
      "reason": "not a version of three parts"
    }
  ]
}
`
	if out != want || errs != "" || code != 0 {
		t.Errorf("got %s, %q, exit %d, want %s", out, errs, code, want)
	}

	out, _, code = selecting("1.0.0\n1.1.0\n", nil, "--semver", "*", "--tags", "-", "-o", "yaml")
	if !strings.Contains(out, "\nselected: 1.1.0\n") || code != 0 {
		t.Errorf("-o yaml: got %s, exit %d", out, code)
	}

	out, errs, code = selecting("latest\n", nil, "--semver", "*", "--tags", "-", "-o", "json")
	var r policy.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	const none = "no tag qualifies: of 1, 1 without a place in the order"
	if r.Error != none || r.Selected != "" || len(r.Losers) != 1 || errs != "hoist: "+none+"\n" || code != 1 {
		t.Errorf("got %+v, %q, exit %d", r, errs, code)
	}
}
