package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// signedClone is a repository in which git itself makes the commits.
type signedClone struct {
	t    *testing.T
	dir  string
	home string
}

func newSignedClone(t *testing.T) *signedClone {
	c := &signedClone{t, t.TempDir(), t.TempDir()}
	if err := os.Chmod(c.home, 0o700); err != nil {
		t.Fatal(err)
	}
	c.run("git", "init", "-q", "-b", "main")
	c.commit("start", 2)
	return c
}

func (c *signedClone) run(name string, args ...string) string {
	c.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "HOME="+c.home, "GNUPGHOME="+c.home, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=Hoist", "GIT_AUTHOR_EMAIL=hoist@example.com", "GIT_COMMITTER_NAME=Hoist", "GIT_COMMITTER_EMAIL=hoist@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit sets the field to 1.n.0 and returns the commit.
func (c *signedClone) commit(message string, n int, options ...string) string {
	c.t.Helper()
	text := "kind: Pod\ntag: 1." + string(rune('0'+n)) + ".0 # {\"$imagepolicy\": \"hoist:web:tag\"}\n"
	if err := os.WriteFile(filepath.Join(c.dir, "web.yaml"), []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
	c.run("git", "add", "-A")
	c.run("git", append(append([]string{}, options...), "commit", "-q", "--allow-empty", "-m", message)...)
	return c.run("git", "rev-parse", "HEAD")
}

func bumpMessage(from, to string) string {
	return "Update web to " + to + "\n\nBump-Image: r.test/web\nBump-From: " + from + "\nBump-To: " + to + "\nBump-Policy: hoist:web\nBump-Field: web.yaml:2 tag\nBump-Trigger: poll"
}

// verify runs history --verify and returns the lines about commits.
func (c *signedClone) verify(want int, args ...string) string {
	c.t.Helper()
	code, out, errs := historyRun(c.t, append([]string{"-C", c.dir, "--verify"}, args...)...)
	if code != want {
		c.t.Fatalf("history --verify %v = %d\n%s%s\nwant %d", args, code, out, errs, want)
	}
	return out
}

func wantLine(t *testing.T, out, commit, fault string) {
	t.Helper()
	for line := range strings.SplitSeq(out, "\n") {
		if strings.HasPrefix(line, commit) && strings.Contains(line, fault) {
			return
		}
	}
	t.Errorf("no line says %s: %s in\n%s", commit, fault, out)
}

// N4: a commit whose trailers do not tell what it does is found.
func TestN4ForgedTrailers(t *testing.T) {
	c := newSignedClone(t)
	c.commit(bumpMessage("1.2.0", "1.3.0"), 3)
	if out := c.verify(0); !strings.Contains(out, "1 commits with trailers, 0 not what they say") {
		t.Errorf("an honest commit: %s", out)
	}
	lie := c.commit(bumpMessage("1.3.0", "1.9.0"), 4)
	idle := c.commit(bumpMessage("1.4.0", "1.5.0"), 4)
	if err := os.WriteFile(filepath.Join(c.dir, "rbac.yaml"), []byte("kind: ClusterRoleBinding\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	smuggled := c.commit(bumpMessage("1.4.0", "1.5.0"), 5)
	noFields := c.commit("x\n\nBump-Image: r.test/web\nBump-From: 1.5.0\nBump-To: 1.6.0\nBump-Policy: hoist:web", 5)
	release := c.commit("squashed\n\nBump-Release: hoist:web", 6)
	c.commit("release\n\nBump-Release: hoist:web", 6)
	out := c.verify(1)
	wantLine(t, out, lie, "web.yaml:2 tag: the trailers say 1.3.0 -> 1.9.0, the commit 1.3.0 -> 1.4.0")
	wantLine(t, out, idle, "the commit does not change it")
	wantLine(t, out, smuggled, "rbac.yaml: the commit changes it, and no trailer names it")
	wantLine(t, out, noFields, "the trailers name no field")
	wantLine(t, out, release, "such a release does not count")
	if !strings.Contains(out, "7 commits with trailers, 5 not what they say") {
		t.Errorf("the sum is wrong:\n%s", out)
	}
	if out := c.verify(1, "--committer", "*@other.example"); strings.Count(out, "its committer hoist@example.com is not allowed") != 7 {
		t.Errorf("committers:\n%s", out)
	}
	if out := c.verify(1, "-o", "json", "--committer", "*@example.com"); strings.Count(out, `"faults": []`) != 2 {
		t.Errorf("json:\n%s", out)
	}
}

// Signatures that git and ssh-keygen made.
func TestVerifySSHSignatures(t *testing.T) {
	c := newSignedClone(t)
	key := func(name string) string {
		file := filepath.Join(c.home, name)
		c.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", file)
		return file
	}
	sign := func(key string) []string {
		return []string{"-c", "gpg.format=ssh", "-c", "user.signingkey=" + key, "-c", "commit.gpgsign=true"}
	}
	ours, other := key("ours"), key("other")
	public, err := os.ReadFile(ours + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	signers := func(text string) string {
		file := filepath.Join(t.TempDir(), "allowed_signers")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	good := signers("# who may\n*@example.com namespaces=\"git\" " + string(public))
	c.commit(bumpMessage("1.2.0", "1.3.0"), 3, sign(ours)...)
	if out := c.verify(0, "--allowed-signers", good, "-o", "json"); !strings.Contains(out, `"signer": "hoist@example.com"`) {
		t.Errorf("signed by the right key:\n%s", out)
	}
	for fault, file := range map[string]string{
		`its key is not allowed for "hoist@example.com"`: signers("*@other.example " + string(public)),
		"not allowed for the namespace git":              signers("* namespaces=\"file\" " + string(public)),
		"its key was not valid then":                     signers("* valid-before=\"20200101Z\" " + string(public)),
	} {
		wantLine(t, c.verify(1, "--allowed-signers", file), c.run("git", "rev-parse", "HEAD"), fault)
	}
	stranger := c.commit(bumpMessage("1.3.0", "1.4.0"), 4, sign(other)...)
	bare := c.commit(bumpMessage("1.4.0", "1.5.0"), 5)
	// The signature of one commit under the content of another.
	object := c.run("git", "cat-file", "commit", "HEAD~2")
	file := filepath.Join(t.TempDir(), "object")
	forgedText := strings.Replace(strings.Replace(object, "1.2.0", "1.3.0", 1), "1.3.0\n", "1.7.0\n", 1) + "\n"
	if err := os.WriteFile(file, []byte(forgedText), 0o600); err != nil {
		t.Fatal(err)
	}
	forged := c.run("git", "hash-object", "-t", "commit", "-w", file)
	c.run("git", "branch", "forged", forged)
	out := c.verify(1, "--allowed-signers", good)
	wantLine(t, out, stranger, "no allowed signer has its key")
	wantLine(t, out, bare, "it is not signed")
	wantLine(t, c.verify(1, "--allowed-signers", good, "--branch", "forged"), forged, "its SSH signature is not good")
}

// Signatures that git and gpg made.
func TestVerifyOpenPGPSignatures(t *testing.T) {
	c := newSignedClone(t)
	for _, who := range []string{"hoist@example.com", "other@example.com"} {
		c.run("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", who, "ed25519", "sign")
	}
	t.Cleanup(func() { c.run("gpgconf", "--kill", "gpg-agent") })
	keyring := filepath.Join(t.TempDir(), "keys.asc")
	c.run("gpg", "--batch", "--quiet", "--armor", "--output", keyring, "--export", "hoist@example.com")
	sign := func(who string) []string {
		return []string{"-c", "user.signingkey=" + who, "-c", "commit.gpgsign=true"}
	}
	c.commit(bumpMessage("1.2.0", "1.3.0"), 3, sign("hoist@example.com")...)
	if out := c.verify(0, "--keyring", keyring, "-o", "json"); !strings.Contains(out, `"signer": "hoist@example.com"`) {
		t.Errorf("signed by the right key:\n%s", out)
	}
	stranger := c.commit(bumpMessage("1.3.0", "1.4.0"), 4, sign("other@example.com")...)
	wantLine(t, c.verify(1, "--keyring", keyring), stranger, "its OpenPGP signature is not good")
}
