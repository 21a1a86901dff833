package gitpush

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"hoist/bump"
	"hoist/testenv/gitserver"
)

func startGit(t *testing.T, o gitserver.Options) *gitserver.Server {
	t.Helper()
	s, err := gitserver.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Init("fleet", fleet); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fsck(t, s.Path("fleet")) })
	return s
}

// roundTrip fetches and pushes, and returns the first error.
func roundTrip(t *testing.T, m *Mirror) error {
	t.Helper()
	h, err := m.Fetch(t.Context())
	if err != nil {
		return err
	}
	_, err = m.Push(t.Context(), h, []Draft{write(t, m, h, web, fmt.Sprintf("at %s\n", h.Hash))})
	return err
}

// HTTPS with a CA of its own and a password; what is missing is said, and no
// secret is.
func TestHTTPS(t *testing.T) {
	s := startGit(t, gitserver.Options{TLS: true, Users: map[string]string{"bot": "hunter2"}})
	good := bump.Secret{"username": []byte("bot\n"), "password": []byte("hunter2\n"), "ca.crt": s.CAData}
	without := func(key string, value []byte) bump.Secret {
		out := bump.Secret{}
		for k, v := range good {
			out[k] = v
		}
		if out[key] = value; value == nil {
			delete(out, key)
		}
		return out
	}
	for name, tt := range map[string]struct {
		secret bump.Secret
		want   string // of the error; empty for success
	}{
		"good":           {good, ""},
		"no secret":      {nil, "certificate"},
		"no CA":          {without("ca.crt", nil), "certificate"},
		"broken CA":      {without("ca.crt", []byte("x")), "ca.crt holds no certificate"},
		"wrong password": {without("password", []byte("hunter3")), "401 unauthorized"},
		"no password":    {without("password", nil), "username without password"},
		"anonymous":      {bump.Secret{"ca.crt": s.CAData}, "401 unauthorized"},
		"wrong keys":     {bump.Secret{"ca.crt": s.CAData, "identity": []byte("x")}, "the URL is https"},
		"client key":     {without("tls.crt", []byte("x")), "not a key pair"},
	} {
		t.Run(name, func(t *testing.T) {
			err := roundTrip(t, openIn(t, t.TempDir(), s.URL("fleet"), tt.secret))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("error = %v, want %q", err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), "hunter") || strings.Contains(err.Error(), "bot")) {
				t.Errorf("the error shows credentials: %v", err)
			}
		})
	}
}

// D9: a rotated secret is used at the next operation.
func TestRotatedSecret(t *testing.T) {
	s := startGit(t, gitserver.Options{Users: map[string]string{"bot": "new"}})
	secret := bump.Secret{"username": []byte("bot"), "password": []byte("old")}
	m := openIn(t, t.TempDir(), s.URL("fleet"), secret)
	if err := roundTrip(t, m); err == nil {
		t.Fatal("the old password works")
	}
	secret["password"] = []byte("new")
	if err := roundTrip(t, m); err != nil {
		t.Fatalf("with the new password: %v", err)
	}
}

// G24 and the rest of SSH: the host has to be known, the key has to fit.
func TestSSH(t *testing.T) {
	s := startGit(t, gitserver.Options{})
	known, key := []byte(s.KnownHosts()), s.ClientKey()
	other, locked := newKey(t, ""), newKey(t, "open sesame")
	foreign := bytes.ReplaceAll(known, []byte("127.0.0.1"), []byte("10.9.9.9"))
	for name, tt := range map[string]struct {
		secret bump.Secret
		want   string
	}{
		"good":                {bump.Secret{"identity": key, "known_hosts": known}, ""},
		"no known_hosts":      {bump.Secret{"identity": key}, "known_hosts is missing"},
		"no identity":         {bump.Secret{"known_hosts": known}, "identity is missing"},
		"broken identity":     {bump.Secret{"identity": []byte("x"), "known_hosts": known}, "not a private key"},
		"unknown host":        {bump.Secret{"identity": key, "known_hosts": foreign}, "is not in known_hosts: it showed ssh-ed25519 SHA256:"},
		"wrong key":           {bump.Secret{"identity": other, "known_hosts": known}, "unable to authenticate"},
		"locked":              {bump.Secret{"identity": locked, "known_hosts": known}, "has no password"},
		"locked, wrong word":  {bump.Secret{"identity": locked, "known_hosts": known, "password": []byte("x")}, "does not open"},
		"unlocked, not known": {bump.Secret{"identity": locked, "known_hosts": known, "password": []byte("open sesame")}, "unable to authenticate"},
	} {
		t.Run(name, func(t *testing.T) {
			err := roundTrip(t, openIn(t, t.TempDir(), s.SSHURL("fleet"), tt.secret))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("error = %v, want %q", err, tt.want)
			}
		})
	}
	t.Run("no repository", func(t *testing.T) {
		err := roundTrip(t, openIn(t, t.TempDir(), s.SSHURL("nothing"), bump.Secret{"identity": key, "known_hosts": known}))
		if err == nil || !strings.Contains(err.Error(), "the server says") {
			t.Errorf("error = %v, want the server's words", err)
		}
	})
	t.Run("changed host key", func(t *testing.T) {
		if err := s.ChangeHostKey(); err != nil {
			t.Fatal(err)
		}
		err := roundTrip(t, openIn(t, t.TempDir(), s.SSHURL("fleet"), bump.Secret{"identity": key, "known_hosts": known}))
		want := regexp.MustCompile(`host key of .* has changed.*showed ssh-ed25519 SHA256:.*known_hosts has ssh-ed25519 SHA256:`)
		if err == nil || !want.MatchString(err.Error()) {
			t.Errorf("error = %v, want both fingerprints", err)
		}
	})
}

func newKey(t *testing.T, passphrase string) []byte {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(key, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block)
}

// N6: a host that takes the connection and says nothing.
func TestSSHHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	secret := bump.Secret{"identity": newKey(t, ""), "known_hosts": []byte("x " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(publicKey(t)))))}
	m := openIn(t, t.TempDir(), "ssh://git@"+l.Addr().String()+"/fleet.git", secret,
		func(r *Repository) { r.Timeout = bump.Duration(200 * time.Millisecond) })
	begun := time.Now()
	if _, err := m.Fetch(t.Context()); err == nil || time.Since(begun) > 5*time.Second {
		t.Errorf("Fetch = %v after %v, want an error in time", err, time.Since(begun))
	}
}

func publicKey(t *testing.T) ssh.PublicKey {
	t.Helper()
	signer, err := ssh.ParsePrivateKey(newKey(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	return signer.PublicKey()
}

// A repository on this machine.
func TestFileURL(t *testing.T) {
	s := newServer(t, fleet)
	m := openIn(t, t.TempDir(), "file://"+s.bare, nil)
	if err := roundTrip(t, m); err != nil {
		t.Fatal(err)
	}
	if s.count() != 2 {
		t.Errorf("%d commits, want 2", s.count())
	}
	gone := openIn(t, t.TempDir(), "file:///nowhere/x.git", nil)
	if _, err := gone.Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "the server says") {
		t.Errorf("Fetch of nothing = %v", err)
	}
}
