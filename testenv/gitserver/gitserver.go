// Package gitserver is a real Git server on loopback: git's own http-backend
// behind HTTP(S) with passwords, and git's own upload-pack and receive-pack
// behind an SSH server in this process. It needs the git program.
//
// Repositories are bare ones below a folder. Their branch is main.
//
// The trap that bites first: a repository is private unless AnonymousRead is
// set, so reading takes a password too.
package gitserver

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"hoist/testenv/internal/certs"
)

// Options say how to serve. The zero value serves a new temporary folder, to
// nobody over HTTP and to the holder of ClientKey over SSH.
type Options struct {
	Root          string            // folder of the repositories; kept. Empty: temporary, removed by Close
	Users         map[string]string // user to password: may pull and push over HTTP
	AnonymousRead bool              // anybody may pull over HTTP
	Addr          string            // of HTTP; empty: a free port on 127.0.0.1
	SSHAddr       string            // of SSH; empty: a free port on 127.0.0.1
	TLS           bool              // HTTPS, with a certificate signed by CAData
}

// Server is a running Git server. Its methods are safe from several goroutines.
type Server struct {
	Root   string
	CAData []byte // PEM, when Options.TLS was set

	options   Options
	temporary bool
	backend   string // git-http-backend
	env       []string
	http      *http.Server
	httpAddr  net.Addr
	ssh       *sshServer

	// life ends with Close. Git processes hang on it and not on a request: a
	// push goes on when its client is gone.
	life   context.Context
	end    context.CancelFunc
	active sync.WaitGroup
	mu     sync.Mutex // orders the start of a process before or after the end of life
}

// Start starts both servers.
func Start(o Options) (*Server, error) {
	s := &Server{Root: o.Root, options: o}
	if err := s.findGit(); err != nil {
		return nil, err
	}
	var err error
	if s.Root == "" {
		if s.Root, err = os.MkdirTemp("", "hoist-git-"); err != nil {
			return nil, err
		}
		s.temporary = true
	} else if s.Root, err = filepath.Abs(s.Root); err != nil {
		return nil, err
	}
	s.life, s.end = context.WithCancel(context.Background())
	if err := s.startHTTP(); err != nil {
		_ = s.Close()
		return nil, err
	}
	if s.ssh, err = startSSH(s, o.SSHAddr); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) findGit() error {
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		return fmt.Errorf("git --exec-path: %w", err)
	}
	s.backend = filepath.Join(strings.TrimSpace(string(out)), "git-http-backend")
	if _, err := os.Stat(s.backend); err != nil {
		return fmt.Errorf("git has no http-backend here: %w", err)
	}
	// Nothing of this machine's configuration may show, neither hooks nor names.
	s.env = []string{
		"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "HOME=" + os.DevNull,
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_TERMINAL_PROMPT=0",
		"GIT_CONFIG_COUNT=3",
		"GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		"GIT_CONFIG_KEY_1=http.receivepack", "GIT_CONFIG_VALUE_1=true",
		"GIT_CONFIG_KEY_2=gc.auto", "GIT_CONFIG_VALUE_2=0", // leaves processes behind
	}
	return nil
}

func (s *Server) startHTTP() error {
	l, err := net.Listen("tcp", addr(s.options.Addr))
	if err != nil {
		return err
	}
	s.httpAddr = l.Addr()
	s.http = &http.Server{Handler: http.HandlerFunc(s.serveHTTP), ReadHeaderTimeout: 10 * time.Second}
	serve := func() error { return s.http.Serve(l) }
	if s.options.TLS {
		authority, err := certs.New("hoist test Git server")
		if err != nil {
			return errors.Join(err, l.Close())
		}
		pair, err := authority.Server()
		if err != nil {
			return errors.Join(err, l.Close())
		}
		cert, err := pair.TLS()
		if err != nil {
			return errors.Join(err, l.Close())
		}
		s.CAData = authority.PEM
		s.http.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
		serve = func() error { return s.http.ServeTLS(l, "", "") }
	}
	s.active.Go(func() { _ = serve() })
	return nil
}

// Close ends both servers and every git process that they run.
func (s *Server) Close() error {
	s.mu.Lock()
	s.end()
	s.mu.Unlock()
	var err error
	if s.http != nil {
		err = s.http.Close()
	}
	if s.ssh != nil {
		err = errors.Join(err, s.ssh.close())
	}
	s.active.Wait()
	if s.temporary {
		err = errors.Join(err, os.RemoveAll(s.Root))
	}
	return err
}

// URL returns the address of a repository over HTTP(S), without a user in it.
func (s *Server) URL(repo string) string {
	scheme := "http"
	if s.options.TLS {
		scheme = "https"
	}
	return scheme + "://" + s.httpAddr.String() + "/" + withSuffix(repo)
}

// SSHURL returns the address of a repository over SSH.
func (s *Server) SSHURL(repo string) string {
	return "ssh://git@" + s.ssh.addr().String() + "/" + withSuffix(repo)
}

// ClientKey returns the private key, in OpenSSH's form, that the SSH server lets in.
func (s *Server) ClientKey() []byte { return s.ssh.clientKey }

// ClientPublicKey returns the public half as a line of an authorized_keys file.
func (s *Server) ClientPublicKey() []byte { return ssh.MarshalAuthorizedKey(s.ssh.client) }

// KnownHosts returns the SSH server's line in a known_hosts file.
func (s *Server) KnownHosts() string { return s.ssh.knownHosts() }

// ChangeHostKey gives the SSH server another host key, as a machine in the
// middle would have. Connections that are open stay.
func (s *Server) ChangeHostKey() error { return s.ssh.newHostKey() }

// knows checks a user's password.
func (s *Server) knows(user, password string) bool {
	want, ok := s.options.Users[user]
	return ok && subtle.ConstantTimeCompare([]byte(want), []byte(password)) == 1
}

func addr(a string) string {
	if a == "" {
		return "127.0.0.1:0"
	}
	return a
}

func withSuffix(repo string) string {
	return strings.TrimSuffix(strings.Trim(repo, "/"), ".git") + ".git"
}
