// Package registryserver runs registries on loopback, and pushes to them what a
// build would.
//
// [Start] runs the CNCF distribution registry as a process of its own: open,
// with passwords or with a token server, with TLS and client certificates, and
// posting its notifications. [InProcess] is a smaller one in this process, for
// the demo and for tests of large numbers.
//
// The trap that bites first: go-containerregistry refuses a token realm that is
// a loopback address other than the registry's own, so the realm says localhost
// unless it is told to say the address.
package registryserver

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"golang.org/x/crypto/bcrypt"

	"hoist/testenv/internal/certs"
	"hoist/testenv/internal/process"
	"hoist/testenv/programs"
)

// Auth says whom a registry lets in.
type Auth int

// Open lets everybody in, Basic those with a password, Bearer those with a token
// that the registry's token server gives for a password.
const (
	Open Auth = iota
	Basic
	Bearer
)

// Options say what registry to start. The zero value is an open one over plain
// HTTP, in a temporary folder, on a free port.
type Options struct {
	Dir      string // data; kept. Empty: a temporary folder, removed by Close
	Addr     string // empty: a free port on 127.0.0.1
	Auth     Auth
	TLS      bool // HTTPS, with a certificate signed by CAFile
	ClientCA bool // with TLS: only for clients that show ClientCert
	Notify   []Endpoint

	// With Bearer: whether the realm names 127.0.0.1 and not localhost, the repositories that anybody may pull (a pattern of
	// path.Match), how long a token lasts (0 means a minute), and a handler that
	// may answer a request for a token itself, returning true.
	TokensByAddress bool
	Anonymous       string
	TokenTTL        time.Duration
	OnToken         func(w http.ResponseWriter, r *http.Request) bool

	Progress io.Writer // told about the building of the program, if it has to be built
}

// Endpoint is where a registry posts its notifications. Header is sent with them.
type Endpoint struct {
	URL    string
	Header http.Header
}

// Server is a running distribution registry.
type Server struct {
	*Client
	Addr                  string // 127.0.0.1:PORT
	User, Password        string // with Basic and Bearer
	CAFile                string // with TLS
	ClientCert, ClientKey string // files, with ClientCA
	Pid                   int

	dir       string
	temporary bool
	process   *process.Process
	tokens    *tokenServer
	cert      *tls.Certificate // with TLS
	transport *http.Transport
}

const startLimit = 30 * time.Second

// Start returns when the registry answers. The registry ends with Close, or with
// this process; ctx bounds the start only.
func Start(ctx context.Context, o Options) (*Server, error) {
	program, err := programs.Path(ctx, programs.Registry, o.Progress)
	if err != nil {
		return nil, err
	}
	s := &Server{dir: o.Dir, transport: http.DefaultTransport.(*http.Transport).Clone()}
	s.transport.Proxy = nil
	if err := s.start(ctx, program, o); err != nil {
		return nil, errors.Join(fmt.Errorf("start registry: %w", err), s.Close())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, program string, o Options) (err error) {
	if s.dir == "" {
		s.temporary = true
		if s.dir, err = os.MkdirTemp("", "hoist-registry-"); err != nil {
			return err
		}
	} else if s.dir, err = filepath.Abs(s.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return err
	}
	defer listener.Close()
	s.Addr = listener.Addr().String()

	c := config{
		"version": 0.1,
		"log":     config{"level": "warn", "accesslog": config{"disabled": true}},
		"storage": config{"filesystem": config{"rootdirectory": filepath.Join(s.dir, "data")}, "delete": config{"enabled": true}},
		"http":    config{"addr": s.Addr, "secret": rand.Text()},
	}
	for _, step := range []func(config, Options) error{s.configureTLS, s.configureAuth, s.configureNotify} {
		if err := step(c, o); err != nil {
			return err
		}
	}
	s.Client = &Client{Host: s.Addr, auth: s.authenticator(), transport: s.transport}
	if o.TokensByAddress {
		s.Client.transport = localRealm{s.transport}
	}
	file, err := s.write("config.json", c) // the registry reads YAML, which JSON is
	if err != nil {
		return err
	}
	handed, err := listener.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	defer handed.Close()
	s.process, err = process.Start(process.Options{
		Path: program, Args: []string{"serve", file}, Files: []*os.File{handed},
		Env: []string{"LISTEN_FDS=1", fmt.Sprintf("HOIST_TESTENV_PARENT=%d", os.Getpid()),
			"OTEL_TRACES_EXPORTER=none"}, // else it dials for a collector every few seconds
	})
	if err != nil {
		return err
	}
	s.Pid = s.process.PID()
	return s.wait(ctx)
}

// wait asks once: the listener is there already, so the question waits in line
// until the registry answers.
func (s *Server) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("no answer within %v", startLimit))
	defer cancel()
	asked := make(chan error, 1)
	go func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"/v2/", nil)
		if err != nil {
			asked <- err
			return
		}
		res, err := s.transport.RoundTrip(req)
		if err == nil {
			err = res.Body.Close()
		}
		asked <- err
	}()
	select {
	case <-s.process.Done():
		return s.process.Err()
	case err := <-asked:
		return err
	}
}

// URL returns where the registry is, without a slash at the end.
func (s *Server) URL() string {
	scheme := "http"
	if s.CAFile != "" {
		scheme = "https"
	}
	return scheme + "://" + s.Addr
}

// TokenURL returns the realm of a Bearer registry.
func (s *Server) TokenURL() string {
	if s.tokens == nil {
		return ""
	}
	return s.tokens.realm
}

// TokensGiven returns how many tokens were asked for and given so far.
func (s *Server) TokensGiven() int {
	if s.tokens == nil {
		return 0
	}
	return int(s.tokens.given.Load())
}

// Done is closed when the registry has ended.
func (s *Server) Done() <-chan struct{} { return s.process.Done() }

// Close ends the registry.
func (s *Server) Close() error {
	var err error
	if s.process != nil {
		err = s.process.Stop(5 * time.Second)
	}
	if s.tokens != nil {
		err = errors.Join(err, s.tokens.close())
	}
	s.transport.CloseIdleConnections()
	if s.temporary {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// DockerConfig returns a docker config file, or the value of a pull secret's
// .dockerconfigjson, that lets in. Without authentication it is an empty one.
func (s *Server) DockerConfig() []byte {
	auths := config{}
	if s.User != "" {
		auths[s.Addr] = config{"username": s.User, "password": s.Password}
	}
	text, err := json.Marshal(config{"auths": auths})
	if err != nil {
		panic(err) // strings only
	}
	return text
}

// config is a part of the registry's configuration file.
type config map[string]any

func (s *Server) configureTLS(c config, o Options) error {
	if !o.TLS {
		return nil
	}
	authority, err := certs.New("hoist test registry")
	if err != nil {
		return err
	}
	pair, err := authority.Server()
	if err != nil {
		return err
	}
	cert, err := pair.TLS()
	if err != nil {
		return err
	}
	s.cert = &cert
	crt, err1 := s.writeFile("tls.crt", pair.Cert)
	key, err2 := s.writeFile("tls.key", pair.Key)
	ca, err3 := s.writeFile("ca.crt", authority.PEM)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	s.CAFile = ca
	section := config{"certificate": crt, "key": key}
	s.transport.TLSClientConfig = &tls.Config{RootCAs: authority.Pool(), MinVersion: tls.VersionTLS12}
	if o.ClientCA {
		client, err := authority.Client("hoist test client")
		if err != nil {
			return err
		}
		s.ClientCert, err1 = s.writeFile("client.crt", client.Cert)
		s.ClientKey, err2 = s.writeFile("client.key", client.Key)
		cert, err := client.TLS()
		if err := errors.Join(err, err1, err2); err != nil {
			return err
		}
		s.transport.TLSClientConfig.Certificates = []tls.Certificate{cert}
		section["clientcas"] = []string{ca}
	}
	c["http"].(config)["tls"] = section
	return nil
}

func (s *Server) configureAuth(c config, o Options) error {
	if o.Auth == Open {
		return nil
	}
	s.User, s.Password = "robot", rand.Text()
	if o.Auth == Basic {
		hash, err := bcrypt.GenerateFromPassword([]byte(s.Password), bcrypt.MinCost)
		if err != nil {
			return err
		}
		file, err := s.writeFile("htpasswd", fmt.Appendf(nil, "%s:%s\n", s.User, hash))
		c["auth"] = config{"htpasswd": config{"realm": "hoist test registry", "path": file}}
		return err
	}
	var err error
	if s.tokens, err = startTokenServer(o, s.User, s.Password, s.cert); err != nil {
		return err
	}
	bundle, err := s.writeFile("token.crt", s.tokens.certPEM)
	c["auth"] = config{"token": config{"realm": s.tokens.realm, "service": tokenService, "issuer": tokenIssuer, "rootcertbundle": bundle}}
	return err
}

func (s *Server) configureNotify(c config, o Options) error {
	var endpoints []config
	for i, e := range o.Notify {
		if _, err := url.Parse(e.URL); err != nil {
			return err
		}
		endpoints = append(endpoints, config{"name": fmt.Sprintf("endpoint-%d", i), "url": e.URL, "headers": e.Header,
			"timeout": "2s", "threshold": 3, "backoff": "1s"})
	}
	if len(endpoints) > 0 {
		c["notifications"] = config{"endpoints": endpoints}
	}
	return nil
}

func (s *Server) authenticator() authn.Authenticator {
	if s.User == "" {
		return authn.Anonymous
	}
	return &authn.Basic{Username: s.User, Password: s.Password}
}

func (s *Server) write(name string, v any) (string, error) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return "", err
	}
	return s.writeFile(name, text)
}

func (s *Server) writeFile(name string, text []byte) (string, error) {
	path := filepath.Join(s.dir, name)
	return path, os.WriteFile(path, text, 0o600)
}
