package reconcile

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
)

// Cluster is the way to one cluster. The engines of all accounts there share it:
// its connections, what it knows of the kinds, and its own account, by which
// inventories are kept. It is safe for concurrent use.
type Cluster struct {
	cfg   *rest.Config
	lines http.RoundTripper  // with the credentials of cfg
	own   dynamic.Interface  // under the account of cfg
	marks metadata.Interface // the same
	kinds *kinds

	mu  sync.Mutex
	uid string // of the cluster, once asked for
}

// Connect returns the way to the cluster that cfg reaches. It sends no request.
func Connect(cfg *rest.Config, log *zap.Logger) (*Cluster, error) {
	cfg = rest.CopyConfig(cfg)
	if log == nil {
		log = zap.NewNop()
	}
	if cfg.WarningHandlerWithContext == nil && cfg.WarningHandler == nil {
		cfg.WarningHandlerWithContext = warnings{log}
	}
	cfg.Wrap(impatient)
	lines, err := rest.TransportFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	c := &Cluster{cfg: cfg, lines: lines}
	if c.own, c.marks, err = c.clients(""); err != nil {
		return nil, err
	}
	c.kinds, err = newKinds(cfg, &http.Client{Transport: lines})
	return c, err
}

// Close ends the connections that nobody uses. What still uses one may go on.
func (c *Cluster) Close() { utilnet.CloseIdleConnectionsFor(c.lines) }

// clients returns clients that act for an account; "" is that of the credentials.
// Groups are left to the API server: it knows those of a ServiceAccount.
func (c *Cluster) clients(account string) (dynamic.Interface, metadata.Interface, error) {
	client := &http.Client{Transport: c.lines}
	if account != "" {
		client.Transport = transport.NewImpersonatingRoundTripper(transport.ImpersonationConfig{UserName: account}, c.lines)
	}
	objects, err := dynamic.NewForConfigAndClient(c.cfg, client)
	if err != nil {
		return nil, nil, fmt.Errorf("reach the cluster: %w", err)
	}
	marks, err := metadata.NewForConfigAndClient(c.cfg, client)
	if err != nil {
		return nil, nil, fmt.Errorf("reach the cluster: %w", err)
	}
	return objects, marks, nil
}

// Server is the address of the API server.
func (c *Cluster) Server() string { return c.cfg.Host }

// Identity returns what tells this cluster from all others, asked for once.
func (c *Cluster) Identity(ctx context.Context) (string, error) {
	c.mu.Lock()
	known := c.uid
	c.mu.Unlock()
	if known != "" {
		return known, nil
	}
	return c.askIdentity(ctx)
}

// askIdentity is Identity, asked for now.
func (c *Cluster) askIdentity(ctx context.Context) (string, error) {
	ns, err := c.own.Resource(namespaces).Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("read the cluster's identity from namespace %s: %w", metav1.NamespaceSystem, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.uid = string(ns.GetUID())
	return c.uid, nil
}

// whereabouts is the identity of the pass's cluster. Where objects are remembered
// and the inventory is gone, its address may lead to another cluster than before:
// it is asked again then.
func (p *pass) whereabouts(ctx context.Context) (string, error) {
	if p.inv.live == nil && p.past.any() {
		return p.e.cluster.askIdentity(ctx)
	}
	return p.e.cluster.Identity(ctx)
}

func (p *past) any() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.objects) > 0
}
