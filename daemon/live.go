package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"go.uber.org/zap"

	"hoist/bump"
	"hoist/config"
	"hoist/gitpush"
	"hoist/scanner"
	"hoist/webhook"
)

// maxApplies is how many apps are written to one cluster at once.
const maxApplies = 16

// Doors are the two ways out into the world. They are chosen once, by the verb.
type Doors struct {
	Push  func(*gitpush.Mirror) pushFunc
	Apply func(context.Context, *House, config.App) (engine, error)
}

// OpenDoors let everything through: pushes and applies.
func OpenDoors() Doors {
	return Doors{
		Push: func(m *gitpush.Mirror) pushFunc { return m.Push },
		Apply: func(ctx context.Context, h *House, app config.App) (engine, error) {
			e, err := h.engineOf(ctx, app)
			if err != nil {
				return nil, err
			}
			return e, nil
		},
	}
}

// ClosedDoors let nothing through: what would be pushed is in the status, and in
// the log when it changes; nothing is applied.
func ClosedDoors(log *zap.Logger) Doors {
	return Doors{
		Push: func(*gitpush.Mirror) pushFunc {
			var told string
			return func(_ context.Context, _ bump.Head, drafts []gitpush.Draft) ([]bump.Commit, error) {
				if news := messages(drafts); news != told {
					told = news
					tellPlanned(log, drafts)
				}
				return nil, nil
			}
		},
	}
}

func messages(drafts []gitpush.Draft) string {
	var b strings.Builder
	for _, d := range drafts {
		b.WriteString(d.Message)
		b.WriteByte(0)
	}
	return b.String()
}

// tellPlanned logs the fields that drafts would set.
func tellPlanned(log *zap.Logger, drafts []gitpush.Draft) {
	for _, d := range drafts {
		for _, v := range verdictsOf(d.Changes) {
			log.Info("image would be bumped",
				zap.String("image", v.Selection.Image()), zap.String("policy", v.Site.Policy.String()),
				zap.String("from", v.Site.Value), zap.String("to", v.New),
				zap.String("file", v.Site.File), zap.Int("line", v.Site.Line))
		}
	}
}

// live is a house at work: a goroutine per repository, one per app, and the scans.
type live struct {
	house    *House
	branches map[bump.Name]*branch
	appliers []*applier
	vote     *elections
	hooks    http.Handler
	engine   func(context.Context, config.App) (engine, error)
	lookout  *lookout
}

// bring opens the mirrors and wires branches and appliers. A repository whose
// mirror cannot be opened is an error: without disk nothing works.
func (h *House) bring(doors Doors) (*live, error) {
	l := &live{house: h, branches: make(map[bump.Name]*branch), lookout: newLookout()}
	l.vote = newElections(h, l.wakeBranches)
	for _, r := range h.awake() {
		w, m, err := h.walker(r)
		if err != nil {
			return nil, err
		}
		l.branches[r.Name] = &branch{
			walker: w, house: h, push: h.warmed(doors.Push(m)), lookUp: l.vote.ask, wakes: make(chan struct{}, 1),
			log: h.log.Named("daemon").With(zap.String("repository", r.Name.String()), zap.String("branch", r.Branch)),
		}
	}
	if doors.Apply != nil {
		l.bringAppliers(doors)
	}
	l.hooks = webhook.Handler(h.routes(), l.hint, h.log.Named("webhook"))
	return l, nil
}

func (l *live) bringAppliers(doors Doors) {
	h := l.house
	l.engine = func(ctx context.Context, app config.App) (engine, error) { return doors.Apply(ctx, h, app) }
	slots := make(map[siteKey]chan struct{})
	byName := make(map[bump.Name]*applier)
	for _, app := range h.Config.Apply {
		if h.rests(app) {
			continue
		}
		at := siteOf(app)
		if slots[at] == nil {
			slots[at] = make(chan struct{}, maxApplies)
		}
		a := &applier{
			app: app, house: h, slots: slots[at], lookout: l.lookout, moves: make(chan struct{}, 1), wakes: make(chan struct{}, 1), drifts: make(chan struct{}, 1),
			controls: make(chan struct{}, 1), fetched: make(chan error, 1), trials: make(chan struct{}, 1), grace: healthGrace, branch: l.branches[app.RepositoryName],
			engine: l.engine,
			log:    h.log.Named("daemon").With(appFields(app)...),
		}
		byName[app.Name] = a
		l.appliers = append(l.appliers, a)
		b := l.branches[app.RepositoryName]
		b.apps = append(b.apps, a)
	}
	for _, a := range l.appliers {
		for i, d := range dependencies(a.app) {
			if n, ok := byName[d]; ok {
				a.needs = append(a.needs, need{n, a.app.DependsOn[i].ReadyExpr})
				n.feeds = append(n.feeds, a)
			}
		}
	}
}

// run works until ctx ends and everything it started has stopped.
func (l *live) run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, b := range l.branches {
		wg.Go(func() { b.run(ctx) })
	}
	for _, a := range l.appliers {
		wg.Go(func() { a.run(ctx) })
	}
	wg.Go(func() { l.vote.run(ctx) })
	wg.Go(func() { l.house.clusters.follow(ctx, l.moved) })
	wg.Go(func() { l.control(ctx) })
	wg.Go(func() { l.settle(ctx) })
	var sources []scanner.Source
	for _, i := range l.house.Config.Images {
		if !i.Suspend {
			sources = append(sources, l.house.Source(i))
		}
	}
	l.house.scanner.Run(ctx, sources, l.scanned)
	wg.Wait()
	l.lookout.wait()
}

// moved tells the apps of a cluster that it is reached in another way now.
func (l *live) moved(s *site) {
	for _, a := range l.appliers {
		if siteOf(a.app) == s.key {
			signal(a.moves)
		}
	}
}

// appFields name an app in the log.
func appFields(app config.App) []zap.Field {
	fields := []zap.Field{zap.String("app", app.Name.String())}
	if name := app.ClusterName(); name != "" {
		fields = append(fields, zap.String("cluster", name))
	}
	return fields
}

// scanned takes the outcome of a scan in, and wakes the repositories whose
// plan it may change.
func (l *live) scanned(o scanner.Outcome) {
	log := l.house.log.Named("daemon")
	if o.Err != nil {
		log.Warn("scan", zap.String("image", o.Tags.Image), zap.Error(o.Err))
	}
	if o.Err == nil && !o.Changed {
		l.house.status.scanned(o)
		if o.Tags.Trigger != "poll" {
			l.vote.ask(l.house.movable(o.Name)...) // somebody says that something was pushed: an old tag, perhaps
		}
		return
	}
	changed, open := l.house.scanned(o)
	l.vote.ask(open...)
	if changed {
		l.wakeBranches()
	}
}

// wakeBranches asks for a pass over every repository that has an update.
func (l *live) wakeBranches() {
	for _, b := range l.branches {
		if len(b.updates) > 0 {
			b.wake()
		}
	}
}

// hint follows the word of a webhook: look at this image or repository now. One
// that names nothing means everything.
func (l *live) hint(h webhook.Hint) {
	if h.Image == "" && h.Repository == "" {
		for _, i := range l.house.Config.Images {
			l.hint(webhook.Hint{Image: i.Image, Trigger: h.Trigger})
		}
		for _, r := range l.house.Config.Repositories {
			l.hint(webhook.Hint{Repository: r.URL, Trigger: h.Trigger})
		}
		return
	}
	if h.Image != "" {
		l.house.metrics.hints.WithLabelValues("image").Inc()
		if l.house.scanner.Hint(h.Image, h.Trigger) == 0 {
			l.house.log.Named("webhook").Debug("hint names an image that is not in the configuration", zap.String("image", h.Image))
		}
	}
	if h.Repository == "" {
		return
	}
	l.house.metrics.hints.WithLabelValues("repository").Inc()
	for _, b := range l.branches {
		if b.repository.Name.Name == h.Repository || b.repository.Name.String() == h.Repository || sameURL(b.repository.URL, h.Repository) {
			l.house.warm()
			b.wake()
		}
	}
}

// sameURL compares clone URLs without a trailing ".git" or slash.
func sameURL(a, b string) bool {
	trim := func(s string) string { return strings.TrimSuffix(strings.TrimSuffix(s, "/"), ".git") }
	return strings.EqualFold(trim(a), trim(b))
}

// checkWebhooks refuses receivers that anybody could call because their secret
// is empty. A secret that cannot be read now is only told: it may come.
func (h *House) checkWebhooks(ctx context.Context) error {
	var failed []error
	for _, r := range h.routes() {
		secret, err := r.Secret(ctx)
		if err != nil {
			h.log.Named("webhook").Warn("secret cannot be read; the receiver answers 503 until it can", zap.String("receiver", r.Receiver.Name.String()), zap.Error(err))
			continue
		}
		filled := func(key string) bool { return len(bytes.TrimSpace(secret[key])) > 0 }
		if !filled("token") && !(filled("username") && filled("password")) {
			failed = append(failed, fmt.Errorf("webhook %s: its secret has no token; write one, or remove the receiver", r.Receiver.Name.Name))
		}
	}
	return errors.Join(failed...)
}

// routes returns the webhook receivers with the readers of their secrets.
func (h *House) routes() []webhook.Route {
	var routes []webhook.Route
	for _, r := range h.Config.Webhooks {
		routes = append(routes, webhook.Route{Receiver: r, Secret: h.secrets.source(r.Name, r.SecretRef, r.SecretDir)})
	}
	return routes
}
