package scanner

import (
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
	"strings"
	"time"
	"unicode"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// blame says who else a failure concerns.
type blame int

const (
	blameImage  blame = iota // this image alone
	blameHost                // every image of the host: it is down, overloaded or cannot be reached
	blameLogin               // every image with these credentials
	blamePause               // nobody: nothing was sent
	blameCaller              // nobody: the caller's context ended
)

// failure is an error with the one it is to be blamed on. Its text names no
// credential and no token.
type failure struct {
	blame  blame
	status int // HTTP status, 0 where there was none
	text   string
	err    error // what it wraps for errors.Is and errors.As; may be nil

	endpoint *endpoint // that was asked; nil where none was
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.err }

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
	var answer *transport.Error
	if errors.As(err, &answer) {
		return e.explainAnswer(answer)
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, context.DeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return &failure{blame: blameHost, text: fmt.Sprintf("no complete answer from %s within %s", e.wire.registry, timeout), err: context.DeadlineExceeded}
	case cause != nil:
		return &failure{blame: blameCaller, text: cause.Error(), err: cause}
	}
	return e.explainNetwork(err)
}

// explainAnswer is for an answer of an unexpected status that the library met:
// on its ping, or from the token server.
func (e *endpoint) explainAnswer(answer *transport.Error) *failure {
	where := e.wire.registry
	if answer.Request != nil {
		where = answer.Request.URL.Host
	}
	var said string
	if len(answer.Errors) > 0 {
		said = fmt.Sprintf("%s: %s", answer.Errors[0].Code, answer.Errors[0].Message)
	}
	f := e.explainStatus(answer.StatusCode, where, said)
	if answer.StatusCode == http.StatusNotFound {
		f.text = fmt.Sprintf("404 not found: %s does not answer as a registry", where)
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
	if text, err := io.ReadAll(io.LimitReader(resp.Body, maxSaid)); err == nil {
		if json.Unmarshal(text, &body) == nil && len(body.Errors) > 0 {
			said = strings.TrimSuffix(fmt.Sprintf("%s: %s", body.Errors[0].Code, body.Errors[0].Message), ": ")
		}
	}
	return e.explainStatus(resp.StatusCode, resp.Request.URL.Host, said)
}

// explainStatus says what a status means for a person and what to do.
func (e *endpoint) explainStatus(status int, where, said string) *failure {
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
	case status == http.StatusForbidden:
		add("%s forbids this: allow the credentials to pull from this repository", where)
	case status == http.StatusNotFound:
		add("%s has no such repository or tag, or hides it from these credentials", where)
	case status == http.StatusBadRequest && e.wire.insecure:
		add("if %s has TLS, take insecure: true away", where)
	case status == http.StatusTooManyRequests:
		f.blame = blameHost
		add("%s asks to be left alone", where)
	case status >= 500:
		f.blame = blameHost
		add("%s is in trouble", where)
	}
	return f
}

// explainNetwork is for everything that is not an answer.
func (e *endpoint) explainNetwork(err error) *failure {
	host := e.wire.registry
	var sent *sendError
	if errors.As(err, &sent) {
		err = sent.err
	}
	f := &failure{blame: blameHost, err: rootError(err)}
	var unknown x509.UnknownAuthorityError
	var wrongHost x509.HostnameError
	var invalid x509.CertificateInvalidError
	var notTLS tls.RecordHeaderError
	var dns *net.DNSError
	switch {
	case errors.As(err, &unknown):
		f.text = fmt.Sprintf("%s shows a certificate of an unknown authority: give the authority as ca.crt through certSecretRef or certSecretDir", host)
	case errors.As(err, &wrongHost), errors.As(err, &invalid):
		f.text = fmt.Sprintf("the certificate of %s is not valid: %v", host, f.err)
	case errors.As(err, &notTLS), strings.Contains(err.Error(), "HTTP response to HTTPS client"):
		f.text = fmt.Sprintf("%s speaks plain http: set insecure: true on the image to allow that", host)
	case errors.Is(err, errPlainHTTP):
		f.text = fmt.Sprintf("%s sends from https to plain http, which is not spoken", host)
	case errors.Is(err, errTooLarge):
		f.blame, f.text = blameImage, fmt.Sprintf("an answer of %s is larger than %d bytes", host, e.wire.maxBytes)
	case errors.As(err, &dns):
		f.text = fmt.Sprintf("look up %s: %s", dns.Name, dns.Err)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		f.text = fmt.Sprintf("%s closed the connection in the middle of its answer", host)
	case strings.Contains(err.Error(), "no token in bearer response"):
		f.blame, f.text = blameImage, fmt.Sprintf("the token server of %s answered without a token", host)
	case strings.Contains(err.Error(), "private or link-local"), strings.Contains(err.Error(), "invalid realm"):
		f.blame, f.text = blameImage, fmt.Sprintf("%s sends for its tokens to a private address or without TLS: nothing was sent there; let it name its token server by host name and https", host)
	default:
		f.text = e.strike(clean(f.err.Error()))
	}
	return f
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
