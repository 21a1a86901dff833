package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	Reader     bool             // for verbs that only read: where another process holds a mirror, use a temporary one
	Scanner    *scanner.Scanner // nil means a new one
	Metrics    *Metrics         // nil means new ones
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
	status   *statusBoard
	controls *controls
	metrics  *Metrics

	restOnce sync.Once
	rest     *rest.Config
	restErr  error

	mu      sync.Mutex
	mirrors map[bump.Name]*gitpush.Mirror
	engine  *reconcile.Engine
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
		census:   newCensus(cfg.Apply),
		mirrors:  make(map[bump.Name]*gitpush.Mirror),
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

// Close gives the mirrors back. Nothing of the house may be used any more.
func (h *House) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
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
	h.restOnce.Do(func() { h.rest, h.restErr = reconcile.RESTConfig(h.opt.Kubeconfig, h.opt.Context) })
	return h.rest, h.restErr
}

// Engine returns the reconciler of the cluster.
func (h *House) Engine() (*reconcile.Engine, error) {
	rc, err := h.cluster()
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.engine == nil {
		h.engine, err = reconcile.New(rc, reconcile.Options{Log: h.log.Named("reconcile"), Namespace: cmp.Or(h.opt.Namespace, defaultSystemNamespace), Now: h.opt.Now, Drifted: h.status.drifted, Neighbours: h.census.neighbours})
	}
	return h.engine, err
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

// inUse returns the tags of an image that its policies select now; before its
// first scan, those that they select from what the last process knew.
func (h *House) inUse(i scanner.Image) []string {
	if tags, ok := h.board.inUse(i.Name); ok {
		return tags
	}
	before := newBoard(h.Config.Policies)
	before.update(i.Name, bump.Tags{Image: i.Image, List: h.scanner.Known(scanner.Source{Image: i})})
	tags, _ := before.inUse(i.Name)
	return tags
}

// Scan reads every image's tags once, all at the same time: the scanner has a
// budget for each registry, and one limit over all would let a registry that
// hangs keep the others waiting. Images that could not be read are in the
// error, joined; the others are on the board.
func (h *House) Scan(ctx context.Context, trigger string) error {
	var all sync.WaitGroup
	failed := make([]error, len(h.Config.Images))
	for i, image := range h.Config.Images {
		if image.Suspend {
			continue
		}
		all.Go(func() {
			o := h.scanner.Once(ctx, h.Source(image), trigger)
			failed[i] = o.Err
			_, open := h.scanned(o)
			h.electAll(ctx, open)
		})
	}
	all.Wait()
	return errors.Join(failed...)
}

// Tags returns the newest complete tag list of an image, and false where none
// was read. Scan comes first.
func (h *House) Tags(image bump.Name) (bump.Tags, bool) { return h.board.list(image) }

// Suspicions returns a line for each image whose newest tag list does not count
// yet, because it lost too much. Scan comes first.
func (h *House) Suspicions() []string { return h.status.suspicions() }

// scanned takes the outcome of a scan in. It tells whether a selection changed,
// and which policies have to hold an election before it is known whether theirs does.
func (h *House) scanned(o scanner.Outcome) (changed bool, open []bump.Name) {
	h.status.scanned(o)
	if o.Err != nil {
		h.board.failed(o.Name, o.Err)
		return false, nil
	}
	selections, open := h.board.update(o.Name, o.Tags)
	for _, s := range selections {
		h.selected(s)
	}
	return len(selections) > 0, open
}

// elect holds an election of one policy on the newest list of its image. It
// returns false where there is no such policy or list.
func (h *House) elect(ctx context.Context, policy bump.Name) (bump.Selection, bool) {
	p, tags, ok := h.board.ballot(policy)
	if !ok {
		return bump.Selection{}, false
	}
	return h.elector.elect(ctx, p, h.Source(h.images[p.Image]), tags), true
}

// elected takes the result of an election in and tells whether it changed anything.
func (h *House) elected(s bump.Selection) bool {
	changed, news := h.board.elected(s)
	h.status.selected(s)
	if news {
		h.opt.Observe(Event{Time: h.opt.Now(), Selection: &s})
	}
	return changed
}

func (h *House) selected(s bump.Selection) {
	h.status.selected(s)
	h.opt.Observe(Event{Time: h.opt.Now(), Selection: &s})
}

// movable returns the policies of an image whose choice may change although no
// list does: those that follow what a tag points to.
func (h *House) movable(image bump.Name) []bump.Name {
	var names []bump.Name
	for _, p := range h.board.policies[image] {
		if reflection, _ := p.Policy.DigestReflection(); reflection == "Always" || p.Policy.Asks().Every {
			names = append(names, p.Name)
		}
	}
	return names
}

// electAll holds the elections of several policies, all at the same time as
// Scan does, and waits for them. What goes wrong is in the selections.
func (h *House) electAll(ctx context.Context, policies []bump.Name) {
	var all sync.WaitGroup
	for _, name := range policies {
		all.Go(func() {
			if s, ok := h.elect(ctx, name); ok {
				h.elected(s)
			}
		})
	}
	all.Wait()
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

// Planned is the proposal for one repository, or what stopped it.
type Planned struct {
	Repository bump.Name
	Proposal   Proposal
	Err        error
}

// Plan proposes for every repository that has an update. It writes nothing but
// the mirror, which is a cache. Scan comes first.
func (h *House) Plan(ctx context.Context) []Planned {
	var all []Planned
	for _, r := range h.awake() {
		w, _, err := h.walker(r)
		if err == nil && len(w.updates) == 0 {
			continue
		}
		p := Planned{Repository: r.Name, Err: err}
		if err == nil {
			w.lookUp = h.electAll
			p.Proposal, p.Err = w.propose(ctx, h.board.current)
		}
		all = append(all, p)
	}
	return all
}

// PassOf is a pass over one repository, or what stopped it.
type PassOf struct {
	Repository bump.Name
	Pass       Pass
	Err        error
}

// Push walks every repository once: proposes, commits and pushes. Scan comes first.
func (h *House) Push(ctx context.Context) []PassOf {
	var all []PassOf
	for _, r := range h.awake() {
		p := PassOf{Repository: r.Name}
		w, m, err := h.walker(r)
		if err == nil {
			w.lookUp = h.electAll
			p.Pass, err = w.pass(ctx, h.board.current, m.Push)
		}
		p.Err = err
		all = append(all, p)
	}
	return all
}

// Carry pushes exactly what was planned. Where the remote has moved since, the
// error is gitpush.ErrMoved and nothing was pushed there.
func (h *House) Carry(ctx context.Context, planned []Planned) []PassOf {
	var all []PassOf
	for _, p := range planned {
		done := PassOf{Repository: p.Repository, Pass: Pass{Proposal: p.Proposal}, Err: p.Err}
		if p.Err == nil && len(p.Proposal.Drafts) > 0 {
			done.Pass.Commits, done.Err = h.push(ctx, p)
		}
		all = append(all, done)
	}
	return all
}

func (h *House) push(ctx context.Context, p Planned) ([]bump.Commit, error) {
	r, _ := h.Config.Repository(p.Repository)
	m, err := h.Mirror(r)
	if err != nil {
		return nil, err
	}
	return m.Push(ctx, p.Proposal.Head, p.Proposal.Drafts)
}

// AppOf is the outcome of one app, or what stopped it.
type AppOf struct {
	App    bump.Name
	Result bump.Result
	Err    error
}

// Apply applies every app at the given heads and waits for the health that it
// asks for, an app after those it depends on. A failing app stops its
// dependents and nobody else.
func (h *House) Apply(ctx context.Context, heads map[bump.Name]bump.Head) []AppOf {
	var all []AppOf
	ready := make(map[bump.Name]bool)
	asked, err := h.Controls(ctx)
	for _, app := range inOrder(h.Config.Apply) {
		if err != nil { // it could be suspended
			all = append(all, AppOf{App: app.Name, Err: fmt.Errorf("apply %s: %w", app.Name.Name, err)})
			continue
		}
		if h.rests(app) || asked[appSubject(app.Name)].Suspended.At(h.opt.Now()) {
			ready[app.Name] = true // who depends on it does not wait for it
			continue
		}
		result, err := h.applyOnce(ctx, app, heads, ready)
		ready[app.Name] = err == nil && result.Ready
		all = append(all, AppOf{App: app.Name, Result: result, Err: err})
	}
	return all
}

func (h *House) applyOnce(ctx context.Context, app config.App, heads map[bump.Name]bump.Head, ready map[bump.Name]bool) (bump.Result, error) {
	for _, dep := range dependencies(app) {
		if !ready[dep] {
			return bump.Result{App: app.Name}, fmt.Errorf("apply %s: waits for %s, which is not ready", app.Name.Name, dep.Name)
		}
	}
	revision, err := h.revision(app, heads)
	if err != nil {
		return bump.Result{App: app.Name}, fmt.Errorf("apply %s: %w", app.Name.Name, err)
	}
	engine, err := h.Engine()
	if err != nil {
		return bump.Result{App: app.Name}, fmt.Errorf("apply %s: %w", app.Name.Name, err)
	}
	h.census.arrived(revision)
	result, err := engine.Apply(ctx, app.App, revision.tree, revision.head)
	if err != nil || !asksForHealth(app.App) {
		return result, err
	}
	return engine.Health(ctx, app.App, result)
}

// revision opens the tree that an app is to be applied from.
func (h *House) revision(app config.App, heads map[bump.Name]bump.Head) (revision, error) {
	head, ok := heads[app.RepositoryName]
	if !ok {
		return revision{}, fmt.Errorf("repository %s could not be read", app.RepositoryName.Name)
	}
	h.mu.Lock()
	m := h.mirrors[app.RepositoryName]
	h.mu.Unlock()
	tree, err := m.Tree(head)
	return revision{head, tree}, err
}

// Heads fetches every repository and returns the heads of those that answered.
func (h *House) Heads(ctx context.Context) (map[bump.Name]bump.Head, error) {
	heads := make(map[bump.Name]bump.Head)
	var failed []error
	for _, r := range h.awake() {
		m, err := h.Mirror(r)
		if err == nil {
			heads[r.Name], err = m.Fetch(ctx)
		}
		if err != nil {
			delete(heads, r.Name)
			failed = append(failed, err)
		}
	}
	return heads, errors.Join(failed...)
}

// Difference is what an apply of an app would change.
type Difference struct {
	App         bump.Name
	Head        bump.Head
	Differences []reconcile.Difference
	Err         error
}

// Diff compares every app's newest revision with the cluster. Only dry runs
// reach the API server.
func (h *House) Diff(ctx context.Context, heads map[bump.Name]bump.Head) []Difference {
	var all []Difference
	for _, app := range inOrder(h.Config.Apply) {
		if h.rests(app) {
			continue
		}
		d := Difference{App: app.Name, Head: heads[app.RepositoryName]}
		engine, err := h.Engine()
		if err == nil {
			var r revision
			if r, err = h.revision(app, heads); err == nil {
				d.Differences, err = engine.Diff(ctx, app.App, r.tree)
			}
		}
		d.Err = err
		all = append(all, d)
	}
	return all
}

// DiffPlanned compares the cluster with what the repositories would hold after
// the pushes of a plan. Only dry runs reach the API server.
func (h *House) DiffPlanned(ctx context.Context, planned []Planned) []Difference {
	var all []Difference
	for _, app := range inOrder(h.Config.Apply) {
		i := slices.IndexFunc(planned, func(p Planned) bool { return p.Repository == app.RepositoryName })
		if i < 0 || planned[i].Err != nil || len(planned[i].Proposal.Drafts) == 0 || h.rests(app) {
			continue
		}
		proposal := planned[i].Proposal
		d := Difference{App: app.Name, Head: proposal.Head}
		engine, err := h.Engine()
		if err == nil {
			d.Differences, err = engine.Diff(ctx, app.App, newOverlay(proposal.Tree, proposal.Drafts))
		}
		d.Err = err
		all = append(all, d)
	}
	return all
}

// dependencies returns the apps that app waits for.
func dependencies(app config.App) []bump.Name {
	var names []bump.Name
	for _, d := range app.DependsOn {
		names = append(names, bump.Name{Namespace: cmp.Or(d.Namespace, app.Name.Namespace), Name: d.Name})
	}
	return names
}

// inOrder returns apps so that each stands behind those it depends on; the
// configuration has been checked for cycles.
func inOrder(apps []config.App) []config.App {
	byName := make(map[bump.Name]config.App, len(apps))
	for _, a := range apps {
		byName[a.Name] = a
	}
	var ordered []config.App
	done := make(map[bump.Name]bool)
	var visit func(a config.App)
	visit = func(a config.App) {
		if done[a.Name] {
			return
		}
		done[a.Name] = true
		for _, d := range dependencies(a) {
			visit(byName[d])
		}
		ordered = append(ordered, a)
	}
	for _, a := range apps {
		visit(a)
	}
	return ordered
}

// Elect scans the image of a policy and holds its election, for whoever asks
// why. Builds is what is known of the candidates of a policy that goes by build
// time. Nothing is noted anywhere.
func (h *House) Elect(ctx context.Context, p config.Policy) (s bump.Selection, builds func(tag string) (bump.Artifact, bool), err error) {
	src := h.Source(h.images[p.Image])
	tags, err := h.scanner.Scan(ctx, src, "explain")
	if err != nil {
		return bump.Selection{}, nil, err
	}
	s = h.elector.elect(ctx, p, src, tags)
	return s, h.elector.buildsOf(p.Name), nil
}

// Controls reads what people asked of the entries at run time.
func (h *House) Controls(ctx context.Context) (map[reconcile.Subject]reconcile.Control, error) {
	if len(h.Config.Apply) == 0 && !h.controlled() {
		return nil, nil
	}
	e, err := h.Engine()
	if err != nil {
		return nil, err
	}
	return e.Controls(ctx)
}

// Recorded is what the cluster remembers of an app.
type Recorded struct {
	App       config.App
	Inventory reconcile.Inventory
}

// Recorded reads the inventory of every app.
func (h *House) Recorded(ctx context.Context) ([]Recorded, error) {
	if len(h.Config.Apply) == 0 {
		return nil, nil
	}
	engine, err := h.Engine()
	if err != nil {
		return nil, err
	}
	var all []Recorded
	var failed []error
	for _, app := range h.Config.Apply {
		i, err := engine.Inventory(ctx, app.Name)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		all = append(all, Recorded{app, i})
	}
	return all, errors.Join(failed...)
}
