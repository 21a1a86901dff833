package gitserver

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// sshEnv makes git use ssh strictly: with this key, and these known hosts only.
func sshEnv(t *testing.T, key []byte, knownHosts string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "key"), key, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "known_hosts"), []byte(knownHosts), 0o600))
	return "GIT_SSH_COMMAND=ssh -F none -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes -o BatchMode=yes" +
		" -i " + filepath.Join(dir, "key") + " -o UserKnownHostsFile=" + filepath.Join(dir, "known_hosts")
}

func TestSSH(t *testing.T) {
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Fatal("the ssh client is needed (Debian: openssh-client)")
	}
	s := start(t, Options{})
	must(t, s.Init("team/fleet", map[string]string{"a": "b"}))
	c := newClient(t, sshEnv(t, s.ClientKey(), s.KnownHosts()))
	c.clone(s.SSHURL("team/fleet"))
	c.commit("big", bytes.Repeat([]byte("0123456789"), 300_000))
	c.git("push", "-q")
	if log, err := s.Git("team/fleet", "log", "--format=%s", "main"); err != nil || log != "change big\nstart" {
		t.Errorf("main has %q, %v", log, err)
	}
	if out, err := c.try("-c", "protocol.version=2", "ls-remote", s.SSHURL("nosuch")); err == nil || !strings.Contains(out, `repository "/nosuch.git" not found`) {
		t.Errorf("ls-remote of nothing: %v, %s", err, out)
	}

	other := start(t, Options{})
	stranger := newClient(t, sshEnv(t, other.ClientKey(), s.KnownHosts()))
	if out, err := stranger.try("ls-remote", s.SSHURL("team/fleet")); err == nil || !strings.Contains(out, "Permission denied (publickey)") {
		t.Errorf("with a stranger's key: %v, %s", err, out)
	}
	must(t, s.ChangeHostKey())
	if out, err := c.try("fetch"); err == nil || !strings.Contains(out, "REMOTE HOST IDENTIFICATION HAS CHANGED") {
		t.Errorf("with a changed host key: %v, %s", err, out)
	}
	newClient(t, sshEnv(t, s.ClientKey(), s.KnownHosts())).git("ls-remote", s.SSHURL("team/fleet"))
}

// TestSSHRunsNothingElse goes past git: what a session may ask for.
func TestSSHRunsNothingElse(t *testing.T) {
	s := start(t, Options{})
	must(t, s.Init("fleet", map[string]string{"a": "b"}))
	outside := t.TempDir()
	must(t, os.Symlink(outside, filepath.Join(s.Root, "link.git")))
	signer, err := ssh.ParsePrivateKey(s.ClientKey())
	must(t, err)
	conn, err := ssh.Dial("tcp", s.ssh.addr().String(), &ssh.ClientConfig{User: "git", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: ssh.FixedHostKey(s.ssh.host.PublicKey()), Timeout: 10 * time.Second})
	must(t, err)
	defer conn.Close()
	for _, line := range []string{
		"sh", "git-upload-archive '/fleet.git'", "git-upload-pack /fleet.git", "git-upload-pack '/fleet.git'; id",
		"git-upload-pack '/../../etc'", "git-upload-pack '/'", "git-upload-pack '/link.git'", "git-receive-pack '/no'\\''ne'",
	} {
		session, err := conn.NewSession()
		must(t, err)
		out, err := session.CombinedOutput(line)
		if exit, ok := err.(*ssh.ExitError); !ok || exit.ExitStatus() != 128 {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
	session, err := conn.NewSession()
	must(t, err)
	if err := session.Shell(); err == nil {
		t.Error("a shell was opened")
	}
	if err := session.RequestPty("xterm", 24, 80, nil); err == nil {
		t.Error("a terminal was opened")
	}
	if _, err := conn.Dial("tcp", s.httpAddr.String()); err == nil {
		t.Error("a port was forwarded")
	}
}

func TestUnquote(t *testing.T) {
	for in, want := range map[string]string{`'/a.git'`: "/a.git", `'/it'\''s'`: "/it's", `'/a'\!'b'`: "/a!b"} {
		if got, err := unquote(in); err != nil || got != want {
			t.Errorf("unquote(%s) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "a", "'a", "'a' 'b'"} {
		if got, err := unquote(in); err == nil {
			t.Errorf("unquote(%s) = %q, want an error", in, got)
		}
	}
}
