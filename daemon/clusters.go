package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"hoist/bump"
	"hoist/config"
	"hoist/reconcile"
)

// clusters are those that the configuration names: the one where we run, and
// every kubeconfig of an app. None of them is asked anything before an app needs it.
type clusters struct {
	home  *site
	sites map[siteKey]*site // all of them; not changed after newClusters
	log   *zap.Logger
	every time.Duration // between two looks at a kubeconfig
}

// siteKey is a cluster as the configuration names it: two entries that name the
// same kubeconfig share one. The zero key is the cluster where we run.
type siteKey struct{ namespace, secret, key, dir, context string }

func siteOf(a config.App) siteKey {
	c := a.Cluster
	if c == nil {
		return siteKey{}
	}
	k := siteKey{dir: c.KubeconfigSecretDir, context: c.Context}
	if ref := c.KubeconfigSecretRef; ref != nil {
		k.namespace, k.secret, k.key = a.Name.Namespace, ref.Name, ref.Key
	}
	return k
}

// site is one cluster: the way to it as long as its kubeconfig stays the same,
// and an engine for each account there.
type site struct {
	name   string // "" where we run
	key    siteKey
	secret secretFunc // of the kubeconfig; nil where we run
	house  *House

	reading sync.Mutex // one reads the kubeconfig at a time

	mu      sync.Mutex
	digest  string // of the kubeconfig in use
	cluster *reconcile.Cluster
	engines map[string]*reconcile.Engine // by account
	tried   time.Time                    // when the cluster was found not to answer
	silent  error
}

func newClusters(h *House) *clusters {
	c := &clusters{home: &site{house: h}, sites: map[siteKey]*site{}, log: h.log.Named("daemon"), every: kubeconfigInterval}
	c.sites[siteKey{}] = c.home
	for _, a := range h.Config.Apply {
		k := siteOf(a)
		if c.sites[k] == nil {
			c.sites[k] = &site{name: a.ClusterName(), key: k, secret: h.secrets.source(a.Name, secretRef(k), k.dir), house: h}
		}
	}
	return c
}

func secretRef(k siteKey) *bump.LocalRef {
	if k.secret == "" {
		return nil
	}
	return &bump.LocalRef{Name: k.secret}
}

func (c *clusters) of(a config.App) *site { return c.sites[siteOf(a)] }

// engine returns the engine for an account, "" being that of the credentials.
// A kubeconfig that was read before is not read again: [clusters.follow] does that.
func (s *site) engine(ctx context.Context, account string) (*reconcile.Engine, error) {
	if _, err := s.reach(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cluster == nil { // it went this moment
		return nil, s.about(errors.New("its kubeconfig has just changed"))
	}
	if e := s.engines[account]; e != nil {
		return e, nil
	}
	e, err := s.house.openEngine(s.cluster, account)
	if err != nil {
		return nil, s.about(err)
	}
	s.engines[account] = e
	return e, nil
}

// reach returns the way to the cluster.
func (s *site) reach(ctx context.Context) (*reconcile.Cluster, error) {
	if c := s.now(); c != nil {
		return c, nil
	}
	if s.secret == nil {
		rc, err := s.house.cluster()
		if err != nil {
			return nil, err
		}
		c, err := s.house.connect(rc)
		if err != nil {
			return nil, err
		}
		s.become(c, "")
		return s.now(), nil
	}
	if _, err := s.refresh(ctx); err != nil {
		return nil, err
	}
	if c := s.now(); c != nil {
		return c, nil
	}
	return nil, s.about(errors.New("its kubeconfig has just changed"))
}

func (s *site) now() *reconcile.Cluster {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cluster
}

// become replaces the way to the cluster. What the engines of the old one knew
// goes with them.
func (s *site) become(c *reconcile.Cluster, digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.secret == nil && s.cluster != nil {
		return // two found the way at once
	}
	if s.cluster != nil {
		s.cluster.Close()
	}
	s.cluster, s.digest, s.engines, s.silent = c, digest, map[string]*reconcile.Engine{}, nil
}

// refresh reads the kubeconfig again and tells whether it is another one than
// before. One that cannot be read just now leaves all as it is, so that a cluster
// is kept while the one with the Secrets is away; one that was deleted, or that
// cannot be used, is an end.
func (s *site) refresh(ctx context.Context) (changed bool, err error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	secret, err := s.secret(ctx)
	if err != nil {
		if gone := apierrors.IsNotFound(err) || errors.Is(err, fs.ErrNotExist); gone && s.now() != nil {
			s.become(nil, "")
			changed = true
		}
		return changed, s.about(err)
	}
	text, err := reconcile.Kubeconfig(secret, s.key.key)
	sum := sha256.Sum256(text)
	digest := hex.EncodeToString(sum[:])
	s.mu.Lock()
	same := s.digest == digest && err == nil
	s.mu.Unlock()
	if same {
		return false, nil
	}
	var c *reconcile.Cluster
	if err == nil {
		c, err = s.remote(text)
	}
	changed = s.now() != nil || err == nil
	if err != nil {
		s.become(nil, "")
		return changed, s.about(fmt.Errorf("%s: %w", s.key, err))
	}
	s.become(c, digest)
	return changed, nil
}

func (s *site) remote(kubeconfig []byte) (*reconcile.Cluster, error) {
	rc, err := reconcile.RemoteConfig(kubeconfig, s.key.context)
	if err != nil {
		return nil, err
	}
	return s.house.connect(countedRequests(rc, s.house.metrics.requests))
}

// String is where the kubeconfig is.
func (k siteKey) String() string {
	where := "secret " + k.namespace + "/" + k.secret
	if k.secret == "" {
		where = k.dir
	}
	if k.key != "" {
		where += ", key " + k.key
	}
	return where
}

// about says which cluster an error is about.
func (s *site) about(err error) error {
	if err == nil || s.name == "" {
		return err
	}
	return fmt.Errorf("cluster %s: %w", s.name, err)
}

// How often kubeconfigs are read again, and how long a cluster may take to say
// who it is where somebody waits for the answer.
const (
	kubeconfigInterval = 15 * time.Second
	reachTimeout       = 15 * time.Second
	neighbourTimeout   = 3 * time.Second // where an apply of another cluster waits
	neighbourRest      = 5 * time.Minute
)

// follow reads every kubeconfig again and again until ctx ends, and calls moved
// for a site that has another one.
func (c *clusters) follow(ctx context.Context, moved func(*site)) {
	var all sync.WaitGroup
	defer all.Wait()
	for _, s := range c.sites {
		if s.secret != nil {
			all.Go(func() { c.followOne(ctx, s, moved) })
		}
	}
}

func (c *clusters) followOne(ctx context.Context, s *site, moved func(*site)) {
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		known := s.now() != nil
		changed, err := s.refresh(ctx)
		if ctx.Err() != nil {
			return
		}
		if text(err) != told {
			if told = text(err); err != nil {
				c.log.Warn("kubeconfig not usable", zap.String("cluster", s.name), zap.Error(err))
			}
		}
		if !changed {
			continue
		}
		if known && err == nil {
			c.log.Info("kubeconfig changed", zap.String("cluster", s.name))
		}
		moved(s)
	}
}

// answers asks a cluster who it is and waits for patience at most. One that did
// not answer is not asked again before rest is over: who goes through many apps
// waits for it once.
func (s *site) answers(ctx context.Context, patience, rest time.Duration) error {
	c, err := s.reach(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	silent, since := s.silent, time.Since(s.tried)
	s.mu.Unlock()
	if silent != nil && since < rest {
		return silent
	}
	bounded, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%s does not answer within %s", c.Server(), patience))
	defer cancel()
	_, err = c.Identity(bounded)
	var said apierrors.APIStatus
	switch {
	case errors.As(err, &said):
		err = nil // no is an answer
	case err != nil && bounded.Err() != nil:
		err = context.Cause(bounded)
	}
	err = s.about(err)
	if ctx.Err() == nil {
		s.mu.Lock()
		s.tried, s.silent = time.Now(), err
		s.mu.Unlock()
	}
	return err
}

// ready returns the engine of an app for a verb that ends soon, which does not
// wait long for a cluster that is away.
func (c *clusters) ready(ctx context.Context, a config.App) (*reconcile.Engine, error) {
	s := c.of(a)
	if s.secret != nil {
		if err := s.answers(ctx, reachTimeout, time.Hour); err != nil {
			return nil, err
		}
	}
	return s.engine(ctx, a.Account())
}

// sameAs tells of the sites of apps which are the same cluster as at. They are
// asked at the same time, each once.
func (c *clusters) sameAs(ctx context.Context, at *site, apps []config.App) map[siteKey]bool {
	same := map[siteKey]bool{}
	for _, a := range apps {
		same[siteOf(a)] = false
	}
	var mu sync.Mutex
	var asked sync.WaitGroup
	for _, k := range slices.Collect(maps.Keys(same)) {
		asked.Go(func() {
			is := at.same(ctx, c.sites[k])
			mu.Lock()
			defer mu.Unlock()
			same[k] = is
		})
	}
	asked.Wait()
	return same
}

// same tells whether two sites are one cluster, also where two kubeconfigs name
// it. One that does not answer is taken for another: it may not hold up those
// that do.
func (s *site) same(ctx context.Context, other *site) bool {
	if s == other {
		return true
	}
	here, err := s.reach(ctx)
	if err != nil {
		return false
	}
	there, err := other.reach(ctx)
	if err != nil {
		return false
	}
	if here.Server() == there.Server() {
		return true
	}
	if s.answers(ctx, neighbourTimeout, neighbourRest) != nil || other.answers(ctx, neighbourTimeout, neighbourRest) != nil {
		return false
	}
	this, _ := here.Identity(ctx)
	that, _ := there.Identity(ctx)
	return this != "" && this == that
}

// close ends what is open.
func (c *clusters) close() {
	for _, s := range c.sites {
		if s.secret == nil {
			continue // client-go keeps it for all who reach it
		}
		s.become(nil, "")
	}
}
