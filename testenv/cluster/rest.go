package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// StatusError is an answer of the API server that is not a success.
type StatusError struct {
	Code    int
	Message string
}

func (e *StatusError) Error() string { return fmt.Sprintf("%d %s", e.Code, e.Message) }

// Client returns a client that trusts the API server and carries the token of
// an admin to it, and to nothing else.
func (c *Cluster) Client() *http.Client { return c.client }

// Do sends a request as an admin and decodes the answer into out unless that is
// nil. path starts at the server's root, "/api/v1/…". A body of type string is
// sent as it is (YAML or JSON), nil means none, anything else is marshalled. A
// PATCH is a server-side apply; its path has to name the fieldManager. The error
// of a refusal is a [*StatusError].
func (c *Cluster) Do(ctx context.Context, method, path string, body, out any) error {
	var payload []byte
	var err error
	switch b := body.(type) {
	case nil:
	case string:
		payload = []byte(b)
	default:
		if payload, err = json.Marshal(b); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.Server+path, bytes.NewReader(payload))
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	switch {
	case method == http.MethodPatch:
		req.Header.Set("Content-Type", "application/apply-patch+yaml")
	case payload != nil && json.Valid(payload):
		req.Header.Set("Content-Type", "application/json")
	case payload != nil:
		req.Header.Set("Content-Type", "application/yaml")
	}
	res, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if res.StatusCode >= 300 {
		var status struct{ Message string }
		if json.Unmarshal(text, &status) != nil || status.Message == "" {
			status.Message = strings.TrimSpace(string(text))
		}
		return fmt.Errorf("%s %s: %w", method, path, &StatusError{Code: res.StatusCode, Message: status.Message})
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// CreateNamespace creates a namespace with a name of its own that begins with
// prefix, and waits until pods can be made in it. Characters that a name cannot
// have become dashes.
func (c *Cluster) CreateNamespace(ctx context.Context, prefix string) (string, error) {
	name := namespaceName(prefix)
	if err := c.Do(ctx, http.MethodPost, "/api/v1/namespaces", map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name},
	}, nil); err != nil {
		return "", err
	}
	if c.APIOnly {
		return name, nil // nobody there to make the ServiceAccount
	}
	// Without its ServiceAccount a pod is refused, and controllers back off.
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, fmt.Errorf("namespace %s got no default ServiceAccount within 30s", name))
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		err := c.Do(ctx, http.MethodGet, "/api/v1/namespaces/"+name+"/serviceaccounts/default", nil, nil)
		var status *StatusError
		if err == nil || ctx.Err() == nil && !(errors.As(err, &status) && status.Code == http.StatusNotFound) {
			return name, err
		}
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-again.C:
		}
	}
}

// DeleteNamespace begins the deletion and does not wait for its end.
func (c *Cluster) DeleteNamespace(ctx context.Context, name string) error {
	return c.Do(ctx, http.MethodDelete, "/api/v1/namespaces/"+name, nil, nil)
}

func namespaceName(prefix string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, prefix)
	clean = strings.Trim(clean[:min(len(clean), 40)], "-")
	if clean == "" {
		clean = "test"
	}
	return clean + "-" + strings.ToLower(rand.Text()[:8])
}

// connect makes the client. It keeps the one it has: a restarted cluster has the
// same certificate and token.
func (c *Cluster) connect() error {
	if c.client != nil {
		return nil
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(c.CAData) {
		return fmt.Errorf("no certificate of the API server in %s", c.Kubeconfig)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	c.client = &http.Client{Transport: &bearer{server: c.Server, token: c.Token, next: transport}}
	return nil
}

// bearer adds the token, to requests for its server only.
type bearer struct {
	server, token string
	next          *http.Transport
}

func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme+"://"+r.URL.Host == b.server {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.next.RoundTrip(r)
}

// CloseIdleConnections lets http.Client reach the transport's method.
func (b *bearer) CloseIdleConnections() { b.next.CloseIdleConnections() }
