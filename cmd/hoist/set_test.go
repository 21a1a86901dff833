package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// runSet runs "hoist set" in this process and returns what it printed and its exit code.
func runSet(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	root := &cobra.Command{Use: "hoist", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(newSet())
	var out, err bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&err)
	code = run(t.Context(), root, append([]string{"set"}, args...))
	return out.String(), err.String(), code
}

// filesIn writes files into a new directory.
func filesIn(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func contentOf(t *testing.T, name ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(name...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const markedPod = `apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec:
  containers:
  - image: ghcr.io/acme/web:1.4.2 # {"$imagepolicy": "flux-system:web"}
`

func TestSetWritesChangedFilesOnly(t *testing.T) {
	other := strings.ReplaceAll(markedPod, "flux-system:web", "flux-system:db")
	dir := filesIn(t, map[string]string{"apps/web.yaml": markedPod, "apps/db.yaml": other, "apps/plain.yaml": "a: b\n", ".git/x.yaml": markedPod, ".flux/web.yml": markedPod})
	before, err := os.Stat(filepath.Join(dir, "apps/db.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := runSet(t, dir, "--image", "flux-system:web=ghcr.io/acme/web:1.4.3")
	if code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	want := ".flux/web.yml:6 flux-system:web ghcr.io/acme/web:1.4.2 -> ghcr.io/acme/web:1.4.3\n" +
		"apps/web.yaml:6 flux-system:web ghcr.io/acme/web:1.4.2 -> ghcr.io/acme/web:1.4.3\n"
	if stdout != want {
		t.Errorf("stdout = %q, want %q", stdout, want)
	}
	if want := "apps/db.yaml:6: marker names unknown policy \"flux-system:db\"\n"; stderr != want {
		t.Errorf("stderr = %q, want %q", stderr, want)
	}
	if got, want := contentOf(t, dir, "apps/web.yaml"), strings.ReplaceAll(markedPod, "1.4.2", "1.4.3"); got != want {
		t.Errorf("apps/web.yaml = %q, want %q", got, want)
	}
	if got := contentOf(t, dir, ".git/x.yaml"); got != markedPod {
		t.Errorf(".git was touched: %q", got)
	}
	after, err := os.Stat(filepath.Join(dir, "apps/db.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) {
		t.Error("apps/db.yaml did not change but was written")
	}
	fi, err := os.Stat(filepath.Join(dir, "apps/web.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode().Perm() != 0o640 {
		t.Errorf("mode of the changed file = %v, want -rw-r-----", fi.Mode())
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "apps", ".*")); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

// Y21: what already holds the value is neither listed nor written.
func TestSetTwiceIsOnce(t *testing.T) {
	dir := filesIn(t, map[string]string{"web.yaml": markedPod})
	runSet(t, dir, "--image", "flux-system:web=ghcr.io/acme/web:1.4.3")
	first, err := os.Stat(filepath.Join(dir, "web.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := runSet(t, dir, "--image", "flux-system:web=ghcr.io/acme/web:1.4.3")
	if stdout+stderr != "" || code != 0 {
		t.Errorf("second run: %q, %q, exit code %d, want nothing", stdout, stderr, code)
	}
	second, err := os.Stat(filepath.Join(dir, "web.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(first, second) {
		t.Error("the second run wrote the file")
	}
}

func TestSetDiffWritesNothing(t *testing.T) {
	dir := filesIn(t, map[string]string{"apps/web.yaml": markedPod})
	stdout, _, code := runSet(t, dir, "--diff", "--image", "flux-system:web=ghcr.io/acme/web:1.4.3")
	want := `--- a/apps/web.yaml
+++ b/apps/web.yaml
@@ -3,4 +3,4 @@
 metadata: {name: web, namespace: shop}
 spec:
   containers:
-  - image: ghcr.io/acme/web:1.4.2 # {"$imagepolicy": "flux-system:web"}
+  - image: ghcr.io/acme/web:1.4.3 # {"$imagepolicy": "flux-system:web"}
`
	if stdout != want || code != 0 {
		t.Errorf("stdout = %s, exit code %d, want %s", stdout, code, want)
	}
	if got := contentOf(t, dir, "apps/web.yaml"); got != markedPod {
		t.Errorf("--diff wrote: %s", got)
	}
}

func TestSetJSON(t *testing.T) {
	dir := filesIn(t, map[string]string{"apps/web.yaml": markedPod, "bad.yaml": "a: b # {$imagepolicy: \"flux-system:web\"}\n"})
	stdout, stderr, code := runSet(t, dir, "-o", "json", "--image", "flux-system:web=ghcr.io/acme/web:1.4.3")
	want := `{"files":{"apps/web.yaml":[{"line":6,"object":{"apiVersion":"v1","kind":"Pod","namespace":"shop","name":"web"},` +
		`"policy":"flux-system:web","old":"ghcr.io/acme/web:1.4.2","new":"ghcr.io/acme/web:1.4.3"}]},` +
		`"problems":[{"file":"bad.yaml","line":1,"message":"marker {$imagepolicy: \"flux-system:web\"} is not JSON: write # {\"$imagepolicy\": \"flux-system:web\"}"}]}`
	var got bytes.Buffer
	if err := json.Compact(&got, []byte(stdout)); err != nil {
		t.Fatal(err)
	}
	if got.String() != want || stderr != "" || code != 0 {
		t.Errorf("stdout = %s, stderr %q, exit code %d, want %s", got.String(), stderr, code, want)
	}
	stdout, _, _ = runSet(t, filesIn(t, nil), "-o", "json")
	got.Reset()
	if err := json.Compact(&got, []byte(stdout)); err != nil {
		t.Fatal(err)
	}
	if want := `{"files":{},"problems":[]}`; got.String() != want {
		t.Errorf("empty directory: %s, want %s", got.String(), want)
	}
}

func TestSetOneFile(t *testing.T) {
	dir := filesIn(t, map[string]string{"web.conf": markedPod, "web.yaml": markedPod})
	stdout, stderr, code := runSet(t, filepath.Join(dir, "web.conf"), "--image", "flux-system:web=ghcr.io/acme/web:1.4.3")
	if want := "web.conf:6 flux-system:web ghcr.io/acme/web:1.4.2 -> ghcr.io/acme/web:1.4.3\n"; stdout != want || stderr != "" || code != 0 {
		t.Errorf("stdout = %q, stderr %q, exit code %d, want %q", stdout, stderr, code, want)
	}
	if contentOf(t, dir, "web.yaml") != markedPod {
		t.Error("another file was written")
	}
}

// Y8: the file that cannot be edited makes the exit code 1; the others are written.
func TestSetGoesOnAfterABadFile(t *testing.T) {
	dir := filesIn(t, map[string]string{"a.yaml": "a:\n\t- b: {{ x }} # {\"$imagepolicy\": \"flux-system:web\"}\n", "b.yaml": markedPod})
	stdout, stderr, code := runSet(t, dir, "--image", "flux-system:web=ghcr.io/acme/web:1.4.3")
	if code != 1 || !strings.HasPrefix(stdout, "b.yaml:6 ") || !strings.HasPrefix(stderr, "a.yaml:2: file has a marker but is not valid YAML: ") {
		t.Errorf("stdout = %q, stderr = %q, exit code %d, want b.yaml changed, a.yaml:2 named and 1", stdout, stderr, code)
	}
	if got := contentOf(t, dir, "b.yaml"); !strings.Contains(got, "1.4.3") {
		t.Errorf("b.yaml = %q, want it changed", got)
	}
}

// A symbolic link leads nowhere: neither its target outside of the directory nor
// the link itself is rewritten.
func TestSetFollowsNoSymbolicLink(t *testing.T) {
	outside := filesIn(t, map[string]string{"web.yaml": markedPod})
	dir := filesIn(t, nil)
	for _, link := range [][2]string{{filepath.Join(outside, "web.yaml"), "web.yaml"}, {outside, "apps"}} {
		if err := os.Symlink(link[0], filepath.Join(dir, link[1])); err != nil {
			t.Fatal(err)
		}
	}
	stdout, stderr, code := runSet(t, dir, "--image", "flux-system:web=ghcr.io/acme/web:1.4.3")
	const notice = "notice: web.yaml: is a symbolic link that leads out of what is looked at, and is not followed: markers behind it do not count\n"
	if stdout != "" || stderr != notice || code != 0 || contentOf(t, outside, "web.yaml") != markedPod {
		t.Errorf("stdout = %q, stderr = %q, exit code %d, outside = %q, want nothing but a notice", stdout, stderr, code, contentOf(t, outside, "web.yaml"))
	}
}

// Y24: when the file cannot be replaced, the old one stays whole and nothing is left behind.
func TestY24SetReplaceFails(t *testing.T) {
	dir := filesIn(t, map[string]string{"web.yaml": markedPod, "d/x.yaml": ""})
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := replaceFile(root, "d", []byte("x")); err == nil {
		t.Error("replace of a directory: no error")
	}
	if err := replaceFile(root, "no.yaml", []byte("x")); err == nil {
		t.Error("replace of a missing file: no error")
	}
	if list, _ := os.ReadDir(dir); len(list) != 2 {
		t.Errorf("left behind: %v", list)
	}
}

func TestSetImageFlag(t *testing.T) {
	for _, tc := range []struct{ arg, want, err string }{
		{"a:b=nginx:1", "a:b nginx:1", ""},
		{"a:b=registry.example.com:5000/x/y:1.2", "a:b registry.example.com:5000/x/y:1.2", ""},
		{"a:b=localhost:5000/y:1", "a:b localhost:5000/y:1", ""},
		{"a:b=[::1]:5000/y:1", "a:b [::1]:5000/y:1", ""},
		{"a:b=x/y:1@sha256:0123456789abcdef0123456789abcdef", "a:b x/y:1@sha256:0123456789abcdef0123456789abcdef", ""},
		{"a:b", "", `expected NS:NAME=IMAGE:TAG[@DIGEST]`},
		{"ab=nginx:1", "", `"ab" is not of the form namespace:name`},
		{"a:b:tag=nginx:1", "", `"a:b:tag" is not of the form namespace:name`},
		{"a:b=nginx", "", `"nginx" has no tag`},
		{"a:b=localhost:5000/nginx", "", `"localhost:5000/nginx" has no tag`},
		{"a:b=nginx:1@sha256", "", `"sha256" is not a digest such as sha256:0123…`},
		{"a:b=nginx:1 # x", "", `"1 # x" is not a tag`},
		{"a:b=x/Web:1", "", `"x/Web" is not the name of an image`},
		{"a:b=x y:1", "", `"x y" is not the name of an image`},
		{"a:b=:1", "", `"" is not the name of an image`},
	} {
		s, err := parseImage(tc.arg)
		got := ""
		if err == nil {
			got = s.Policy.String() + " " + s.Reference()
		}
		if got != tc.want || (err == nil) != (tc.err == "") || err != nil && err.Error() != tc.err {
			t.Errorf("parseImage(%q) = %q, %v, want %q, %s", tc.arg, got, err, tc.want, tc.err)
		}
	}
}

// All faults of the command line are named at once.
func TestSetBadUsage(t *testing.T) {
	dir := filesIn(t, map[string]string{"web.yaml": markedPod})
	_, stderr, code := runSet(t, dir, "--image", "x", "--image", "a:b=y", "--image", "a:c=z:1", "--image", "a:c=z:2")
	want := "hoist: --image \"x\": expected NS:NAME=IMAGE:TAG[@DIGEST]\n" +
		"hoist: --image \"a:b=y\": \"y\" has no tag\n" +
		"hoist: --image \"a:c=z:2\": policy a:c is already set to z:1\n"
	if stderr != want || code != 1 {
		t.Errorf("stderr = %q, exit code %d, want %q", stderr, code, want)
	}
	for _, args := range [][]string{{}, {dir, dir}, {dir, "-o", "yaml"}, {filepath.Join(dir, "nothing")}} {
		if _, stderr, code := runSet(t, args...); code != 1 || stderr == "" {
			t.Errorf("set %q: exit code %d, stderr %q, want 1 and a reason", args, code, stderr)
		}
	}
}
