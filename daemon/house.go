package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"hoist/bump"
	"hoist/config"
	"hoist/gitpush"
	"hoist/plan"
	"hoist/reconcile"
	"hoist/scanner"
	"hoist/setter"
)

// Options says where a house stands in the world. Log is required.
type Options struct {
	DataDir    string // for caches; every one may be deleted
	Kubeconfig string // path; "" means the cluster we run in, or kubectl's default
	Context    string // of the kubeconfig; "" means its current one
	Namespace  string // of the inventories; "" means "hoist"
	Log        *zap.Logger
	Now        func() time.Time // nil means time.Now
	Observe    func(Event)      // called from several goroutines, must not block; nil means nobody watches
	Instance   string           // name of this Hoist among those that keep inventories in Namespace; "" where it has none
	Reader     bool             // for verbs that only read: where another process holds a mirror, use a temporary one
	Scanner    *scanner.Scanner // nil means a new one
	// Builds says how apps are built in processes of their own; without Command they
	// are built in this one.
	Builds  reconcile.BuilderOptions
	Metrics *Metrics // nil means new ones
}

// defaultSystemNamespace holds inventories and the Lease where nothing else is said.
const defaultSystemNamespace = "hoist"

// House is a configuration with its rooms opened: what every verb works with.
// Opening one touches neither network nor cluster; both are asked at first use.
type House struct {
	Config *config.Config

	opt      Options
	log      *zap.Logger
	scanner  *scanner.Scanner
	images   map[bump.Name]scanner.Image
	board    *board
	elector  *elector
	orders   map[bump.Name]plan.Order
	sites    *setter.Cache
	secrets  *secretStore
	clusters *clusters
	status   *statusBoard
	controls *controls
	metrics  *Metrics
	build    reconcile.BuildFunc
	builder  *reconcile.Builder // nil where this process builds

	restOnce sync.Once
	rest     *rest.Config
	restErr  error

	mu      sync.Mutex
	mirrors map[bump.Name]*gitpush.Mirror
	census  *census
	scratch string // temporary data directory of a Reader, removed by Close
}

// Open opens the rooms of a checked configuration.
func Open(cfg *config.Config, o Options) *House {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Observe == nil {
		o.Observe = func(Event) {}
	}
	if o.Scanner == nil {
		o.Scanner = newScanner(o)
	}
	o.Scanner.SetRegistries(cfg.Registries)
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	h := &House{
		Config:   cfg,
		opt:      o,
		log:      o.Log,
		scanner:  o.Scanner,
		images:   make(map[bump.Name]scanner.Image),
		board:    newBoard(cfg.Policies),
		elector:  newElector(o.Scanner, o.Now),
		orders:   make(map[bump.Name]plan.Order),
		sites:    setter.NewCache(),
		status:   newStatusBoard(cfg, o.Metrics),
		controls: newControls(o.Now),
		metrics:  o.Metrics,
		build:    reconcile.Build,
		mirrors:  make(map[bump.Name]*gitpush.Mirror),
	}
	if len(o.Builds.Command) > 0 {
		o.Builds.Log = h.log.Named("reconcile")
		h.builder = reconcile.NewBuilder(o.Builds)
		h.build = reconcile.Unsealing(h.builder.Build)
	}
	for _, i := range cfg.Images {
		h.images[i.Name] = i
	}
	for _, p := range cfg.Policies {
		h.orders[p.Name] = order{p, h.elector}
	}
	h.secrets = newSecretStore(func() (kubernetes.Interface, error) {
		rc, err := h.cluster()
		if err != nil {
			return nil, err
		}
		return kubernetes.NewForConfig(rc)
	}, o.Now)
	h.Config = h.secrets.withKeys(cfg)
	h.clusters = newClusters(h)
	h.census = newCensus(h.Config.Apply, h.near, h.build)
	return h
}

// newScanner returns a scanner that remembers in the data directory, where
// there is one. Verbs that only read leave the memory as it is.
func newScanner(o Options) *scanner.Scanner {
	so := scanner.Options{Log: o.Log.Named("scanner"), Now: o.Now, CacheReadOnly: o.Reader}
	if o.DataDir != "" {
		so.CacheDir = filepath.Join(o.DataDir, "scans")
	}
	return scanner.New(so)
}

// Close gives the mirrors back and ends the build processes. Nothing of the house may be used any more.
func (h *House) Close() error {
	if h.builder != nil {
		h.builder.Close()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clusters.close()
	var failed []error
	for name, m := range h.mirrors {
		failed = append(failed, m.Close())
		delete(h.mirrors, name)
	}
	if h.scratch != "" {
		failed = append(failed, os.RemoveAll(h.scratch))
	}
	return errors.Join(failed...)
}

// cluster returns how to reach the cluster, found once.
func (h *House) cluster() (*rest.Config, error) {
	h.restOnce.Do(func() {
		if h.rest, h.restErr = reconcile.RESTConfig(h.opt.Kubeconfig, h.opt.Context); h.restErr == nil {
			h.rest = countedRequests(h.rest, h.metrics.requests)
		}
	})
	return h.rest, h.restErr
}

// Mirror returns the mirror of a repository, opened once.
func (h *House) Mirror(r gitpush.Repository) (*gitpush.Mirror, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m, ok := h.mirrors[r.Name]; ok {
		return m, nil
	}
	open := func(dir string) (*gitpush.Mirror, error) {
		return gitpush.Open(filepath.Join(dir, "git"), r, h.secrets.source(r.Name, r.SecretRef, r.SecretDir), h.log.Named("gitpush"))
	}
	m, err := open(h.opt.DataDir)
	if errors.Is(err, gitpush.ErrHeld) && h.opt.Reader {
		if h.scratch == "" {
			if h.scratch, err = os.MkdirTemp("", "hoist-"); err != nil {
				return nil, err
			}
		}
		m, err = open(h.scratch)
	}
	if err == nil {
		h.mirrors[r.Name] = m
	}
	return m, err
}

// Source returns an image of the configuration with the readers of its secrets.
func (h *House) Source(i scanner.Image) scanner.Source {
	src := scanner.Source{
		Image:       i,
		Secret:      h.secrets.source(i.Name, i.SecretRef, i.SecretDir),
		PullSecrets: h.secrets.pullSecrets(i.Name.Namespace, i.ServiceAccountName),
		Certs:       h.secrets.source(i.Name, i.CertSecretRef, i.CertSecretDir),
		Proxy:       h.secrets.source(i.Name, i.ProxySecretRef, i.ProxySecretDir),
		Forget:      h.secrets.forgetter(i),
		InUse:       func() []string { return h.inUse(i) },
	}
	if i.Verify != nil && i.Verify.Cosign != nil {
		src.Keys = h.secrets.source(i.Name, i.Verify.Cosign.SecretRef, i.Verify.Cosign.SecretDir)
	}
	return src
}

// walker returns the walker of a repository.
func (h *House) walker(r gitpush.Repository) (*walker, *gitpush.Mirror, error) {
	m, err := h.Mirror(r)
	if err != nil {
		return nil, nil, err
	}
	w := &walker{
		repository: r, orders: h.orders, images: h.Config.ImageNames(), mirror: m, history: m, sites: h.sites,
		memory: newMemory(m, h.orders, h.opt.Now), now: h.opt.Now,
	}
	for _, u := range h.Config.Updates {
		if u.Repository == r.Name && !u.Suspend {
			w.updates = append(w.updates, u)
		}
	}
	return w, m, nil
}

// awake returns the repositories that are not suspended.
func (h *House) awake() []gitpush.Repository {
	return slices.DeleteFunc(slices.Clone(h.Config.Repositories), func(r gitpush.Repository) bool { return r.Suspend })
}

// rests tells whether an app is suspended, or its repository is.
func (h *House) rests(app config.App) bool {
	r, _ := h.Config.Repository(app.RepositoryName)
	return app.Suspend || r.Suspend
}
