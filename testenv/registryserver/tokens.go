package registryserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	tokenService = "hoist test registry"
	tokenIssuer  = "hoist test tokens"
)

// tokenServer speaks the token protocol of the distribution project, both ways:
// GET with basic auth, and POST with the OAuth2 password grant.
type tokenServer struct {
	realm   string // URL
	certPEM []byte // what the registry checks tokens by
	given   atomic.Int64

	user, password string
	anonymous      string
	ttl            time.Duration
	on             func(http.ResponseWriter, *http.Request) bool
	key            *ecdsa.PrivateKey
	cert           []byte // DER
	http           *http.Server
	gone           chan struct{}
}

// startTokenServer serves HTTPS when there is a certificate: clients refuse a
// realm over plain HTTP from a registry with TLS.
func startTokenServer(o Options, user, password string, cert *tls.Certificate) (*tokenServer, error) {
	s := &tokenServer{user: user, password: password, anonymous: o.Anonymous, ttl: o.TokenTTL, on: o.OnToken, gone: make(chan struct{})}
	if s.ttl == 0 {
		s.ttl = time.Minute
	}
	if _, err := path.Match(s.anonymous, ""); err != nil {
		return nil, fmt.Errorf("pattern %q: %w", s.anonymous, err)
	}
	if err := s.makeKey(); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	scheme := "http"
	if cert != nil {
		scheme = "https"
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12})
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, err
	}
	name := "localhost"
	if o.TokensByAddress {
		name = "127.0.0.1"
	}
	s.realm = fmt.Sprintf("%s://%s:%s/token", scheme, name, port)
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(s.gone)
		_ = s.http.Serve(l)
	}()
	return s, nil
}

func (s *tokenServer) makeKey() (err error) {
	if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	now := time.Now()
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: tokenIssuer},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IsCA: true, BasicConstraintsValid: true}
	s.cert, err = x509.CreateCertificate(rand.Reader, t, t, &s.key.PublicKey, s.key)
	s.certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert})
	return err
}

func (s *tokenServer) close() error {
	err := s.http.Close()
	<-s.gone
	return err
}

// access is one entry of a token: what its bearer may do with what.
type access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.on != nil && s.on(w, r) {
		return
	}
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	user, password, tried := r.BasicAuth()
	if r.Method == http.MethodPost && r.Form.Get("grant_type") == "password" {
		user, password, tried = r.Form.Get("username"), r.Form.Get("password"), true
	}
	known := user == s.user && subtle.ConstantTimeCompare([]byte(password), []byte(s.password)) == 1
	if tried && !known {
		w.Header().Set("WWW-Authenticate", `Basic realm="`+tokenService+`"`)
		http.Error(w, `{"details":"incorrect username or password"}`, http.StatusUnauthorized)
		return
	}
	now := time.Now()
	token, err := s.sign(map[string]any{
		"iss": tokenIssuer, "sub": user, "aud": r.Form.Get("service"), "jti": rand.Text(),
		"iat": now.Unix(), "nbf": now.Add(-10 * time.Second).Unix(), "exp": now.Add(s.ttl).Unix(),
		"access": s.grant(r.Form["scope"], known),
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.given.Add(1)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "access_token": token,
		"expires_in": int(s.ttl.Seconds()), "issued_at": now.UTC().Format(time.RFC3339)})
}

// grant reads scopes, "repository:acme/web:pull,push", several in one value or
// in many, and keeps what is allowed.
func (s *tokenServer) grant(scopes []string, known bool) []access {
	granted := []access{}
	for _, scope := range strings.Fields(strings.Join(scopes, " ")) {
		first, last := strings.Index(scope, ":"), strings.LastIndex(scope, ":")
		if first == last {
			continue
		}
		a := access{Type: scope[:first], Name: scope[first+1 : last], Actions: strings.Split(scope[last+1:], ",")}
		if !known {
			public, _ := path.Match(s.anonymous, a.Name)
			a.Actions = slices.DeleteFunc(a.Actions, func(action string) bool { return !public || action != "pull" })
		}
		if len(a.Actions) > 0 {
			granted = append(granted, a)
		}
	}
	return granted
}

// sign makes a JWT with ES256, whose header carries the certificate.
func (s *tokenServer) sign(claims map[string]any) (string, error) {
	header, err1 := encode(map[string]any{"alg": "ES256", "typ": "JWT", "x5c": []string{base64.StdEncoding.EncodeToString(s.cert)}})
	body, err2 := encode(claims)
	if err := errors.Join(err1, err2); err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(header + "." + body))
	r, v, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	if err != nil {
		return "", err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	v.FillBytes(signature[32:])
	return header + "." + body + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func encode(v any) (string, error) {
	text, err := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(text), err
}

// localRealm lets our own client in where the realm is an address, which
// go-containerregistry refuses: it reads localhost instead.
type localRealm struct{ next http.RoundTripper }

func (l localRealm) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := l.next.RoundTrip(r)
	if err == nil {
		for i, challenge := range res.Header.Values("WWW-Authenticate") {
			res.Header["Www-Authenticate"][i] = strings.Replace(challenge, "://127.0.0.1:", "://localhost:", 1)
		}
	}
	return res, err
}
