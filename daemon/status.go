package daemon

import (
	"maps"
	"slices"
	"sync"
	"time"

	"hoist/bump"
	"hoist/config"
	"hoist/plan"
	"hoist/reconcile"
	"hoist/scanner"
)

// Status is what the daemon knows about itself, as served at /api/v1/status.
type Status struct {
	Started      time.Time          `json:"started"`
	ConfigError  string             `json:"configError,omitempty"` // why the newest configuration is not the one in use
	Leading      bool               `json:"leading"`
	DryRun       bool               `json:"dryRun,omitempty"`
	Images       []ImageStatus      `json:"images"`
	Repositories []RepositoryStatus `json:"repositories"`
	Apps         []AppStatus        `json:"apps"`
	Leftovers    []LeftoverStatus   `json:"leftovers,omitempty"` // apps in the cluster that have no entry

	Registries []scanner.HostStatus `json:"registries"` // hosts asked so far, token servers included
}

// ImageStatus is the last scan of an image and what its policies selected.
type ImageStatus struct {
	Name      string            `json:"name"`
	Image     string            `json:"image"`
	Tags      int               `json:"tags"`
	Scanned   time.Time         `json:"scanned,omitzero"`
	Next      time.Time         `json:"next,omitzero"`
	Error     string            `json:"error,omitempty"`     // of the last scan; Tags are of the last good one
	Dropped   int               `json:"dropped,omitempty"`   // tags outside the OCI grammar
	Suspicion string            `json:"suspicion,omitempty"` // why the newest list does not count yet; Tags are of the one before
	Selected  map[string]string `json:"selected,omitempty"`
	// PassedOver holds, by policy, the newer tags that failed a check, the newest first.
	PassedOver map[string][]PassedOverLine `json:"passedOver,omitempty"`
}

// PassedOverLine is a tag that failed a check, and until when if time alone mends that.
type PassedOverLine struct {
	Tag    string    `json:"tag"`
	Reason string    `json:"reason"`
	Until  time.Time `json:"until,omitzero"`
}

// RepositoryStatus is the last pass over a repository.
type RepositoryStatus struct {
	Name     string         `json:"name"`
	Head     string         `json:"head,omitempty"`
	Passed   time.Time      `json:"passed,omitzero"`
	Error    string         `json:"error,omitempty"`
	Verdicts []VerdictLine  `json:"verdicts,omitempty"`
	Counts   map[string]int `json:"counts,omitempty"`
	Breakers []string       `json:"breakers,omitempty"` // policies that are left alone, and why

	Suspended *reconcile.Suspension `json:"suspended,omitempty"`
}

// VerdictLine is a verdict for people and programs.
type VerdictLine struct {
	Outcome string `json:"outcome"`
	File    string `json:"file"`
	Line    int    `json:"line"`
	Policy  string `json:"policy,omitempty"`
	Field   string `json:"field,omitempty"`
	Now     string `json:"now,omitempty"`
	New     string `json:"new,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// AppStatus is the last apply of an app.
type AppStatus struct {
	Name    string         `json:"name"`
	Cluster string         `json:"cluster,omitempty"` // empty for the one where we run
	Head    string         `json:"head,omitempty"`
	Ready   bool           `json:"ready"`
	Reason  string         `json:"reason,omitempty"`
	Applied time.Time      `json:"applied,omitzero"`
	Objects map[string]int `json:"objects,omitempty"` // how many objects met each action
	// Drift holds what drifted last of each object, the newest first, at most 20.
	Drift []reconcile.Drift `json:"drift,omitempty"`
	// Proven is the last revision that the app stood its trial with, and OnTrial when
	// it is looked whether what came after it is well.
	Proven  string    `json:"proven,omitempty"`
	OnTrial time.Time `json:"onTrial,omitzero"`
	// Rollback is what came of the last time that the app was not well in time.
	Rollback string `json:"rollback,omitempty"`
	// Suspended is since when, why and until when the app is left alone.
	Suspended *reconcile.Suspension `json:"suspended,omitempty"`
}

// LeftoverStatus is an app that is in the cluster and not in the configuration.
type LeftoverStatus struct {
	Name    string `json:"name"`
	Objects int    `json:"objects"`
	Reason  string `json:"reason"` // what became of them
}

// Lines returns verdicts in the form of status and plan.
func Lines(verdicts []bump.Verdict) []VerdictLine {
	lines := make([]VerdictLine, len(verdicts))
	for i, v := range verdicts {
		policy := ""
		if v.Site.Policy != (bump.Name{}) {
			policy = v.Site.Policy.String()
		}
		lines[i] = VerdictLine{
			Outcome: string(v.Outcome), File: v.Site.File, Line: v.Site.Line, Policy: policy,
			Field: v.Site.Field, Now: v.Site.Value, New: v.New, Reason: v.Reason,
		}
	}
	return lines
}

// statusBoard gathers the status of one configuration. It is safe for several goroutines.
type statusBoard struct {
	metrics      *Metrics
	mu           sync.Mutex
	images       map[bump.Name]*ImageStatus
	repositories map[bump.Name]*RepositoryStatus
	apps         map[bump.Name]*AppStatus
	planned      map[bump.Name]Planned   // by repository
	imageOf      map[bump.Name]bump.Name // by policy
	leftovers    []LeftoverStatus
}

func newStatusBoard(cfg *config.Config, m *Metrics) *statusBoard {
	b := &statusBoard{
		metrics:      m,
		images:       make(map[bump.Name]*ImageStatus),
		repositories: make(map[bump.Name]*RepositoryStatus),
		apps:         make(map[bump.Name]*AppStatus),
		planned:      make(map[bump.Name]Planned),
		imageOf:      make(map[bump.Name]bump.Name),
	}
	for _, i := range cfg.Images {
		b.images[i.Name] = &ImageStatus{Name: i.Name.String(), Image: i.Image, Selected: make(map[string]string), PassedOver: make(map[string][]PassedOverLine)}
	}
	for _, p := range cfg.Policies {
		b.imageOf[p.Name] = p.Image
	}
	for _, r := range cfg.Repositories {
		b.repositories[r.Name] = &RepositoryStatus{Name: r.Name.String()}
	}
	for _, a := range cfg.Apply {
		b.apps[a.Name] = &AppStatus{Name: a.Name.String(), Cluster: a.ClusterName(), Reason: "not applied yet"}
	}
	return b
}

func (b *statusBoard) scanned(o scanner.Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.images[o.Name]
	if !ok {
		return
	}
	s.Next, s.Error, s.Suspicion = o.Next, text(o.Err), o.Suspicion
	if o.Err != nil {
		b.metrics.scans.WithLabelValues("failed").Inc()
		return
	}
	b.metrics.scans.WithLabelValues("read").Inc()
	s.Tags, s.Scanned, s.Dropped = len(o.Tags.List), o.Tags.Scanned, o.Dropped
}

func (b *statusBoard) selected(sel bump.Selection) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.images[b.imageOf[sel.Policy]]
	if !ok {
		return
	}
	policy := sel.Policy.String()
	s.Selected[policy] = sel.Tag
	if sel.Err != nil {
		s.Selected[policy] = sel.Err.Error()
	}
	delete(s.PassedOver, policy)
	for _, over := range sel.PassedOver {
		s.PassedOver[policy] = append(s.PassedOver[policy], PassedOverLine(over))
	}
}

func (b *statusBoard) passed(repository bump.Name, p Pass, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.repositories[repository]
	s.Error, s.Passed = text(err), time.Now()
	b.planned[repository] = pending(repository, p, err)
	if p.Head.Hash == "" {
		return
	}
	s.Head, s.Verdicts, s.Counts = p.Newest().String(), Lines(p.Verdicts), make(map[string]int)
	counts := plan.Count(p.Verdicts)
	for _, outcome := range []bump.Outcome{bump.Bump, bump.Current, bump.Held, bump.Problem} {
		s.Counts[string(outcome)] = counts[outcome]
		b.metrics.sites.WithLabelValues(repository.Name, string(outcome)).Set(float64(counts[outcome]))
	}
}

func (b *statusBoard) applied(r bump.Result, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.apps[r.App]
	s.Head, s.Ready, s.Reason, s.Applied, s.Objects = r.Head.String(), r.Ready && err == nil, r.Reason, r.Applied, make(map[string]int)
	if err != nil {
		s.Reason = err.Error()
	}
	b.metrics.ready.WithLabelValues(r.App.Name, s.Cluster).Set(0)
	if s.Ready {
		b.metrics.ready.WithLabelValues(r.App.Name, s.Cluster).Set(1)
	}
	b.refused(r.App.Name, refusalOf(err))
	for action, n := range r.Counts() {
		s.Objects[string(action)] = n
	}
}

// refused shows which guard holds an app back; nil for none.
func (b *statusBoard) refused(app string, r *reconcile.Refusal) {
	for _, guard := range []string{reconcile.GuardPrune, reconcile.GuardRewind} {
		held := 0.0
		if r != nil && r.Guard == guard {
			held = 1
		}
		b.metrics.held.WithLabelValues(app, guard).Set(held)
	}
}

// left notes the apps without an entry.
func (b *statusBoard) left(all []Leftover) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leftovers = nil // snapshots share the old one
	for _, l := range all {
		b.leftovers = append(b.leftovers, LeftoverStatus{On(l.App.String(), l.Cluster), l.Objects, l.String()})
	}
}

// rests notes that an app is left alone; nil that it is not.
func (b *statusBoard) rests(app bump.Name, at *reconcile.Suspension) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.apps[app]; ok {
		s.Suspended = at
	}
}

// breakers notes which policies of a repository are left alone.
func (b *statusBoard) breakers(repository bump.Name, lines []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.repositories[repository]; ok {
		s.Breakers = lines
	}
}

// onTrial notes what an app has proven, and until when what came after it is on
// trial; the zero time for not at all.
func (b *statusBoard) onTrial(app bump.Name, proven string, until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.apps[app]; ok {
		s.Proven, s.OnTrial = proven, until
	}
}

// rollsBack notes what came of an app's trial.
func (b *statusBoard) rollsBack(app bump.Name, outcome string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.apps[app]; ok {
		s.Rollback = outcome
	}
}

func (b *statusBoard) restsRepository(repository bump.Name, at *reconcile.Suspension) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.repositories[repository]; ok {
		s.Suspended = at
	}
}

// maxDrift is how many drifts of an app are kept for the status.
const maxDrift = 20

// drifted takes in what somebody changed in the cluster.
func (b *statusBoard) drifted(app bump.Name, d reconcile.Drift) {
	if d.Action != reconcile.DriftSettled {
		b.metrics.drift.WithLabelValues(app.Name, d.Action).Inc()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.apps[app]
	if !ok {
		return
	}
	// a new slice: snapshots share the old one
	kept := slices.DeleteFunc(slices.Clone(s.Drift), func(o reconcile.Drift) bool { return o.Object == d.Object })
	if d.Action != reconcile.DriftSettled {
		kept = slices.Insert(kept, 0, d)
	}
	s.Drift = kept[:min(len(kept), maxDrift)]
}

// suspicions returns a line for each image whose newest list does not count yet.
func (b *statusBoard) suspicions() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []string
	for _, name := range sortedNames(b.images) {
		if i := b.images[name]; i.Suspicion != "" {
			all = append(all, "scan "+i.Image+": "+i.Suspicion)
		}
	}
	return all
}

// pending is what a pass proposed and did not push.
func pending(repository bump.Name, p Pass, err error) Planned {
	left := Planned{Repository: repository, Proposal: p.Proposal, Err: err}
	if len(p.Commits) > 0 {
		left.Proposal.Head, left.Proposal.Drafts = p.Newest(), nil
	}
	return left
}

// plan returns what is proposed and not pushed, in a stable order.
func (b *statusBoard) plan() []Planned {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []Planned
	for _, name := range sortedNames(b.planned) {
		all = append(all, b.planned[name])
	}
	return all
}

// snapshot returns a copy in a stable order.
func (b *statusBoard) snapshot() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	var s Status
	for _, name := range sortedNames(b.images) {
		image := *b.images[name]
		image.Selected, image.PassedOver = maps.Clone(image.Selected), maps.Clone(image.PassedOver)
		s.Images = append(s.Images, image)
	}
	for _, name := range sortedNames(b.repositories) {
		s.Repositories = append(s.Repositories, *b.repositories[name])
	}
	for _, name := range sortedNames(b.apps) {
		s.Apps = append(s.Apps, *b.apps[name])
	}
	s.Leftovers = b.leftovers
	return s
}
