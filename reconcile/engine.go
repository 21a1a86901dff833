package reconcile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"hoist/bump"
)

// workers is how many objects of a stage are written at once.
const workers = 16

// Options are what an [Engine] needs beside a cluster. The zero value works.
type Options struct {
	Log          *zap.Logger
	FieldManager string           // "hoist" when empty
	Namespace    string           // where inventories are kept; "hoist-system" when empty
	Now          func() time.Time // time.Now when nil
	// Build renders apps; [Build], in this process, when nil.
	Build BuildFunc
	// Drifted is told of every drift that is put right, reported or given up on. It
	// is called from several goroutines and must not block; nobody is told when nil.
	Drifted func(app bump.Name, d Drift)
	// Account is who touches the objects; whoever the credentials of the cluster
	// are when empty. Inventories are always kept by the latter, so that an account
	// with few rights can neither lack that right nor misuse it.
	Account string
	// Home leads to the ConfigMaps and Secrets that apps name, which are where Hoist
	// runs; this cluster when nil.
	Home func() (*Cluster, error)
	// Neighbours answers with the other apps on the repository of app at h, and with
	// an error where h is not the newest revision. Nil means that there are none.
	Neighbours func(ctx context.Context, app bump.Name, h bump.Head) ([]Neighbour, error)
	// Lineage answers whether applied, a commit of the repository and branch of h
	// or "", is in the history of h. Nil means that nobody asks.
	Lineage func(applied string, h bump.Head) (Lineage, error)
	// Owner is the name of this Hoist among those that keep inventories in Namespace.
	// Without one it deletes nothing for an entry that left the configuration.
	Owner string
	// Pod is the one in which this process runs, in the cluster of Home.
	Pod Pod
}

// Engine keeps one cluster equal to directories of Git trees. It is safe for
// concurrent use; two applies of one app wait for each other.
//
// What it remembers in memory only saves requests: a new engine comes to the
// same result with one more read per object.
type Engine struct {
	log        *zap.Logger
	manager    string
	namespace  string
	now        func() time.Time
	build      BuildFunc
	cluster    *Cluster
	client     dynamic.Interface // of the account
	metadata   metadata.Interface
	home       func() (*Cluster, error)
	drifted    func(bump.Name, Drift)
	watches    *watches
	neighbours func(context.Context, bump.Name, bump.Head) ([]Neighbour, error)
	lineage    func(applied string, h bump.Head) (Lineage, error)
	kinds      *kinds
	owner      string
	self       *ownPod
	maxPart    int // bytes of an inventory that one ConfigMap takes

	mu   sync.Mutex
	apps map[bump.Name]*past
}

// New returns an engine for the cluster that cfg reaches. It sends no request.
func New(cfg *rest.Config, o Options) (*Engine, error) {
	c, err := Connect(cfg, o.Log)
	if err != nil {
		return nil, err
	}
	return c.Engine(o)
}

// Engine returns an engine for the cluster. It sends no request.
func (c *Cluster) Engine(o Options) (*Engine, error) {
	e := &Engine{log: o.Log, manager: o.FieldManager, namespace: o.Namespace, now: o.Now, maxPart: maxPart, owner: o.Owner, self: &ownPod{pod: o.Pod}, build: o.Build, apps: map[bump.Name]*past{}}
	if e.log == nil {
		e.log = zap.NewNop()
	}
	if e.manager == "" {
		e.manager = "hoist"
	}
	if e.namespace == "" {
		e.namespace = "hoist-system"
	}
	if e.now == nil {
		e.now = time.Now
	}
	if e.build == nil {
		e.build = Build
	}
	e.cluster, e.kinds, e.home = c, c.kinds, o.Home
	if e.home == nil {
		e.home = func() (*Cluster, error) { return c, nil }
	}
	e.drifted, e.watches, e.neighbours, e.lineage = o.Drifted, newWatches(), o.Neighbours, o.Lineage
	if e.drifted == nil {
		e.drifted = func(bump.Name, Drift) {}
	}
	var err error
	e.client, e.metadata, err = c.clients(o.Account)
	return e, err
}

// RESTConfig reads how to reach a cluster: from the kubeconfig file and context
// when given, else as kubectl does, else from the pod that we run in. The
// client's own rate limit is off: the API server has its own, and its
// Retry-After is obeyed.
func RESTConfig(kubeconfig, context string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: context}
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	if err != nil {
		if clientcmd.IsEmptyConfig(err) {
			return nil, errors.New("no cluster is known: name one with --kubeconfig FILE or KUBECONFIG, or run in one")
		}
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	cfg.QPS = -1
	cfg.UserAgent = "hoist"
	return cfg, nil
}

// warnings passes the API server's warnings on as debug lines: they repeat at every write.
type warnings struct{ log *zap.Logger }

func (w warnings) HandleWarningHeaderWithContext(_ context.Context, code int, _ string, text string) {
	if code == 299 && text != "" {
		w.log.Debug("warning of the api server", zap.String("text", text))
	}
}

var namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}

// past is what the engine saw of one app's objects when it wrote them last.
type past struct {
	busy chan struct{} // holds the turn of the app

	mu      sync.Mutex
	objects map[key]seen
	fights  map[key]*fight // objects that drifted of late
	told    map[key]string // the drift that was reported, until it is gone
	at      standing
	trial   Trial
	version uint64          // of the inventory as it was written last
	doubted bool            // the API server went back since
	owing   bool            // a deletion was put off
	plain   map[string]bool // what was said of Secrets in plain text
}

// seen is the state of one object after our last look at it.
type seen struct {
	built string // digest of what was built
	live  string // digestLive of what the server held
	ours  string // digestOurs of the same
	held  string // digestHeld of the same
	uid   string

	alone  bool // somebody wrote on it that it is to be left alone
	edited bool // kubectl holds fields of it, or somebody wrote on it that it is to be left alone
	// generation and health are of the newest state that was seen: a watch may be
	// behind our own writes.
	generation int64
	health     health
}

func (p *past) get(k key) (seen, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.objects[k]
	return s, ok
}

func (p *past) put(k key, s seen) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.objects[k] = s
}

func (p *past) forget(k key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.objects, k)
}

// drop forgets an object that is not ours any more.
func (p *past) drop(k key) {
	p.forget(k)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.fights, k)
	delete(p.told, k)
}

// past returns what is remembered of an app.
func (e *Engine) past(name bump.Name) *past {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.apps[name]
	if p == nil {
		p = &past{busy: make(chan struct{}, 1), objects: map[key]seen{}, fights: map[key]*fight{}, told: map[key]string{}, plain: map[string]bool{}}
		e.apps[name] = p
	}
	return p
}

// turn waits until no other apply of the app runs; done gives the turn back.
func (p *past) turn(ctx context.Context) (done func(), err error) {
	select {
	case p.busy <- struct{}{}:
		return func() { <-p.busy }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
