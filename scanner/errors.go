package scanner

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// blame says who else a failure concerns.
type blame int

const (
	blameImage  blame = iota // this image alone
	blameHost                // every image of the host: it is down, overloaded or cannot be reached
	blameWay                 // images that go the same way: through this token server or proxy, with these certificates
	blameLogin               // every image with these credentials
	blameLender              // every image whose credentials come from the same helper or cloud
	blamePause               // nobody: nothing was sent
	blameCaller              // nobody: the caller's context ended
)

// failure is an error with the one it is to be blamed on. Its text names no
// credential and no token.
type failure struct {
	blame  blame
	status int  // HTTP status, 0 where there was none
	barred bool // the answer is a web page that forbids, as firewalls give
	text   string
	err    error // what it wraps for errors.Is and errors.As; may be nil

	endpoint *endpoint // that was asked; nil where none was
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.err }

// explainOpening is for a scan that did not come as far as its registry.
func explainOpening(err error) *failure {
	var known *failure
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &failure{blame: blameCaller, text: err.Error(), err: err}
	}
	return &failure{text: err.Error(), err: err}
}

// explain turns whatever came out of the libraries into our words. timeout is
// the scan's own.
func (e *endpoint) explain(ctx context.Context, err error, timeout time.Duration) *failure {
	var known *failure
	if errors.As(err, &known) {
		return known
	}
	var paused *PausedError
	if errors.As(err, &paused) {
		return &failure{blame: blamePause, text: paused.Error(), err: paused}
	}
	if errors.Is(err, errOverBudget) {
		return &failure{blame: blamePause, text: err.Error() + fmt.Sprintf(": no turn came within %s; give images a longer timeout, or the host more requestsPerSecond under registries", timeout), err: err}
	}
	var answer *transport.Error
	if errors.As(err, &answer) {
		return e.explainAnswer(answer)
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, context.DeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		at, blame := e.whose(err)
		return &failure{blame: blame, text: fmt.Sprintf("no complete answer from %s within %s", e.wire.spell(at), timeout), err: context.DeadlineExceeded}
	case cause != nil:
		return &failure{blame: blameCaller, text: cause.Error(), err: cause}
	}
	return e.explainNetwork(err)
}

// whose tells where the request was for that a failure without answer is of,
// and who else that concerns. What fails behind a proxy of the image's own may
// be the proxy's fault.
func (e *endpoint) whose(err error) (*url.URL, blame) {
	var sent *sendError
	switch {
	case e.wire.ownProxy:
		errors.As(err, &sent)
		return sent.where(), blameWay
	case errors.As(err, &sent):
		return sent.at, e.blameFor(sent.at)
	}
	return nil, blameHost
}

// blameFor returns who bears the trouble of the server at u.
func (e *endpoint) blameFor(u *url.URL) blame {
	if u != nil && u.Host != e.wire.registry && e.wire.isRealm(u.Host) {
		return blameWay
	}
	return blameHost
}

// explainAnswer is for an answer of an unexpected status that the library met:
// on its ping, or from the token server.
func (e *endpoint) explainAnswer(answer *transport.Error) *failure {
	var at *url.URL
	if answer.Request != nil {
		at = answer.Request.URL
	}
	var said string
	if len(answer.Errors) > 0 {
		said = fmt.Sprintf("%s: %s", answer.Errors[0].Code, answer.Errors[0].Message)
	}
	f := e.explainStatus(answer.StatusCode, at, said, said == "")
	if answer.StatusCode == http.StatusNotFound {
		f.text = fmt.Sprintf("404 not found: %s does not answer as one", e.wire.spell(at))
		if at == nil || !e.wire.isTokenRequest(at) {
			f.text = fmt.Sprintf("404 not found: %s does not answer as a registry", e.wire.spell(at))
		}
	}
	if answer.StatusCode == http.StatusUnauthorized && !e.creds.anonymous() {
		f.blame = blameLogin // the token server knows credentials, not repositories
	}
	return f
}

// maxSaid is how much of an error's body is read, in bytes.
const maxSaid = 64 << 10

// explainResponse reads the error out of an answer and closes it. The form is
// the OCI distribution spec's; of other bodies nothing is quoted.
func (e *endpoint) explainResponse(resp *http.Response) *failure {
	defer resp.Body.Close()
	var body struct {
		Errors []transport.Diagnostic `json:"errors"`
	}
	var said string
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxSaid))
	if err == nil && json.Unmarshal(text, &body) == nil && len(body.Errors) > 0 {
		said = strings.TrimSuffix(fmt.Sprintf("%s: %s", body.Errors[0].Code, body.Errors[0].Message), ": ")
	}
	page := strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") || bytes.HasPrefix(bytes.TrimSpace(text), []byte("<"))
	return e.explainStatus(resp.StatusCode, resp.Request.URL, said, page)
}

// explainStatus says what a status means for a person and what to do. page is
// set where the answer is not in the form that registries give errors.
func (e *endpoint) explainStatus(status int, at *url.URL, said string, page bool) *failure {
	where := e.wire.spell(at)
	f := &failure{status: status, text: fmt.Sprintf("%d %s", status, strings.ToLower(http.StatusText(status)))}
	add := func(format string, args ...any) { f.text += ": " + fmt.Sprintf(format, args...) }
	if said != "" {
		add("%s says %q", where, e.strike(clean(said)))
	}
	switch {
	case status == http.StatusUnauthorized && e.creds.anonymous():
		add("asked without credentials (%s): set secretRef or secretDir; a repository that does not exist may get the same answer", e.creds.origin)
	case status == http.StatusUnauthorized:
		add("%s rejects the credentials from %s: renew them", where, e.creds.origin)
	case status == http.StatusForbidden && page:
		f.barred = true
		add("%s answers with a web page, as a firewall does that blocks this address: ask who runs it", where)
	case status == http.StatusForbidden:
		add("%s forbids this: allow the credentials to pull from this repository", where)
	case status == http.StatusNotFound:
		add("%s has no such repository or tag, or hides it from these credentials", where)
	case status == http.StatusBadRequest && e.wire.insecure:
		add("if %s has TLS, take insecure: true away", where)
	case status == http.StatusProxyAuthRequired:
		f.blame = blameWay
		add("a proxy on the way asks for it: give it username and password, in the proxy secret or in HTTP_PROXY")
	case status == http.StatusTooManyRequests:
		f.blame = e.blameFor(at)
		add("%s asks to be left alone", where)
	case status >= 500:
		f.blame = e.blameFor(at)
		add("%s is in trouble", where)
	}
	return f
}

// wantsCertificate is what a registry may mean that ends a TLS connection.
const wantsCertificate = "if it asks for a client certificate, give a valid tls.crt and tls.key through certSecretRef or certSecretDir"

// explainNetwork is for everything that is not an answer.
func (e *endpoint) explainNetwork(err error) *failure {
	at, blame := e.whose(err)
	where := e.wire.spell(at)
	var sent *sendError
	if errors.As(err, &sent) {
		err = sent.err
	}
	f := &failure{blame: blame, err: rootError(err)}
	var stranger *strangerError
	var plain *plainRealmError
	var proxy *proxyError
	var dns *net.DNSError
	switch {
	case errors.As(err, &stranger):
		f.blame, f.text, f.err = blameImage, stranger.Error(), stranger
	case errors.As(err, &plain):
		f.blame, f.text, f.err = blameImage, plain.Error(), plain
	case errors.As(err, &proxy):
		f.blame, f.text = blameWay, proxy.text
	case sent != nil && sent.proxy != nil && atProxy(err):
		f.blame, f.text = blameWay, fmt.Sprintf("the proxy %s does not let through to %s: %s", sent.proxy.Host, where, clean(f.err.Error()))
	case e.explainTLS(f, err, at):
	case errors.Is(err, errPlainHTTP):
		f.text = fmt.Sprintf("%s sends from https to plain http, which is not spoken", where)
	case errors.Is(err, errTooLarge):
		f.blame, f.text = blameImage, fmt.Sprintf("an answer of %s is larger than %d bytes", where, e.wire.maxBytes)
	case errors.As(err, &dns):
		f.text = fmt.Sprintf("look up %s: %s", dns.Name, dns.Err)
		if dns.IsNotFound {
			f.text += ": the name does not exist here; check its spelling and the cluster's DNS"
		}
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		f.text = fmt.Sprintf("%s closed the connection in the middle of its answer", where)
	case strings.Contains(err.Error(), "no token in bearer response"):
		f.blame, f.text = blameImage, fmt.Sprintf("the token server of %s answered without a token", e.wire.registry)
	case strings.Contains(err.Error(), "token-server redirect"), strings.Contains(err.Error(), "invalid realm"):
		f.blame, f.text = blameImage, fmt.Sprintf("%s sends for its tokens to a place that cannot be trusted with them: nothing was sent there; let it name its token server by host name and https", e.wire.registry)
	default:
		f.text = e.strike(clean(f.err.Error()))
		if at != nil && at.Host != e.wire.registry {
			f.text = where + ": " + f.text
		}
	}
	return f
}

// atProxy tells whether a connection failed on the way through a proxy.
func atProxy(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "proxyconnect" || strings.HasPrefix(op.Op, "socks")) || strings.Contains(err.Error(), "socks connect")
}

// answered tells whether anything was ever had from the registry in this way.
func (e *endpoint) answered() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.proven
}

// brokenOff tells whether a connection was closed by the other side, in any of
// the ways in which that comes to light.
func brokenOff(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) ||
		strings.Contains(err.Error(), "client conn could not be established") // of net/http's HTTP/2, which does not export it
}

// explainTLS fills f where err is of TLS, and tells whether it is. None of
// them is ever a reason to speak plain http. What another image of the host may
// have right, an authority or a certificate of its own, does not concern it.
func (e *endpoint) explainTLS(f *failure, err error, at *url.URL) bool {
	where := e.wire.spell(at)
	var unknown x509.UnknownAuthorityError
	var wrongHost x509.HostnameError
	var invalid x509.CertificateInvalidError
	var notTLS tls.RecordHeaderError
	var alert tls.AlertError
	var op *net.OpError
	switch {
	case errors.As(err, &unknown):
		f.blame, f.text = blameWay, fmt.Sprintf("%s shows a certificate of an unknown authority: give the authority as ca.crt through certSecretRef or certSecretDir", where)
	case errors.As(err, &wrongHost):
		f.text = fmt.Sprintf("the certificate of %s is not valid for that name, but for %s: name the image so, or have the certificate renewed with the name in it", where, clean(namesOf(wrongHost.Certificate)))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		f.text = fmt.Sprintf("the certificate of %s is valid from %s to %s, which is not now: have it renewed, or put the clock here right",
			where, invalid.Cert.NotBefore.UTC().Format(time.RFC3339), invalid.Cert.NotAfter.UTC().Format(time.RFC3339))
	case errors.As(err, &invalid):
		f.text = fmt.Sprintf("the certificate of %s is not valid: %s: have it made anew", where, clean(invalid.Error()))
	case errors.As(err, &notTLS), strings.Contains(err.Error(), "HTTP response to HTTPS client"):
		f.blame, f.text = blameWay, fmt.Sprintf("%s speaks plain http: set insecure: true on the image to allow that", where)
	case errors.As(err, &alert), errors.As(err, &op) && op.Op == "remote error":
		f.blame, f.text = blameWay, fmt.Sprintf("%s ended the TLS handshake: %s; "+wantsCertificate, where, clean(f.err.Error()))
	case e.wire.asked.Load() && !e.answered() && brokenOff(err):
		f.blame, f.text = blameWay, fmt.Sprintf("%s ended the TLS handshake: it asked for a client certificate and closed the connection; "+wantsCertificate, where)
	default:
		return false
	}
	return true
}

// namesOf returns what a certificate is for.
func namesOf(c *x509.Certificate) string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no name at all"
	}
	return strings.Join(names, ", ")
}

// rootError takes off the layers that repeat method and URL.
func rootError(err error) error {
	for {
		var u *url.Error
		if !errors.As(err, &u) {
			return err
		}
		err = u.Err
	}
}

// strike removes every spelling of the credentials from what a stranger said.
func (e *endpoint) strike(s string) string {
	for _, secret := range e.creds.secrets() {
		s = strings.ReplaceAll(s, secret, "***")
	}
	return s
}

// clean makes what a stranger said fit for one line of a log.
func clean(s string) string {
	const most = 200
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
