package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"hoist/config"
	"hoist/webhook"
)

// RunOptions says how a daemon runs. An empty address means: do not listen.
type RunOptions struct {
	Options
	Load        func() (*config.Config, error)
	Fingerprint func() (string, error) // changes when the configuration's content does
	Reload      <-chan struct{}        // asks for a reload, content changed or not; may be nil
	Doors       Doors
	DryRun      bool // for the status; the doors make it true

	WebhookAddr string // "/hook/…"
	HealthAddr  string // "/metrics", "/healthz", "/readyz"
	APIAddr     string // "/api/v1/status", "/api/v1/plan"
	Lease       string // name of the Lease that replicas share; "" means: always lead
	Identity    string // of this replica in the Lease
	Ready       func(Addresses)
}

// Addresses are where the daemon listens, "" where it does not.
type Addresses struct{ Webhook, Health, API string }

// Daemon runs one configuration after the other until its context ends.
type Daemon struct {
	opt     RunOptions
	log     *zap.Logger
	started time.Time
	live    atomic.Pointer[live]
	leading atomic.Bool
	mu      sync.Mutex
	loaded  string // fingerprint of the newest configuration that was tried; used by work only
	badLoad error  // why the newest configuration is not in use
}

// Run loads the configuration and works until ctx ends. A first configuration
// that cannot be understood is an error; a later one is reported and left.
func Run(ctx context.Context, o RunOptions) error {
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Scanner == nil {
		o.Scanner = newScanner(o.Options)
	}
	o.Instance = cmp.Or(o.Instance, o.Lease) // two that share a Lease are never at work at once
	o.Metrics.watch(o.Scanner.Hosts)
	loaded, _ := o.Fingerprint() // before Load: a change in between is loaded again
	cfg, err := o.Load()
	if err != nil {
		return err
	}
	d := &Daemon{opt: o, log: o.Log.Named("daemon"), started: o.Now(), loaded: loaded}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	first, err := d.open(cfg)
	if err != nil {
		return err
	}
	if o.WebhookAddr != "" {
		if err := first.house.checkWebhooks(ctx); err != nil {
			return errors.Join(err, first.house.Close())
		}
	}
	wait, err := d.listen(ctx, cancel)
	if err != nil {
		return err
	}
	defer func() { // the listeners end with ctx, also when work ended by itself
		cancel(nil)
		wait()
		_ = d.live.Load().house.Close() // the locks go with the process at the latest
	}()
	if o.Lease != "" {
		err = d.lead(ctx, func(ctx context.Context) error { return d.work(ctx, first) })
	} else {
		d.leading.Store(true)
		err = d.work(ctx, first)
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// open opens a house for cfg and makes it the current one.
func (d *Daemon) open(cfg *config.Config) (*live, error) {
	h := Open(cfg, d.opt.Options)
	l, err := h.bring(d.opt.Doors)
	if err != nil {
		return nil, errors.Join(err, h.Close()) // or its mirrors stay held
	}
	d.live.Store(l)
	return l, nil
}

// work runs configurations: when a new one is good, the old one ends first.
func (d *Daemon) work(ctx context.Context, l *live) error {
	for {
		inner, end := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() { l.run(inner) })
		next := d.nextConfig(ctx)
		end()
		wg.Wait()
		before := l.house.Config
		if err := l.house.Close(); err != nil || next == nil {
			return err
		}
		var err error
		if l, err = d.open(next); err == nil {
			continue
		}
		d.noteLoad(err)
		if l, err = d.open(before); err != nil {
			return err
		}
	}
}

// nextConfig waits for a new configuration that is good. It returns nil when ctx ends.
func (d *Daemon) nextConfig(ctx context.Context) *config.Config {
	poll := time.NewTicker(2 * time.Second)
	defer poll.Stop()
	for {
		forced := false
		select {
		case <-ctx.Done():
			return nil
		case <-d.opt.Reload:
			forced = true
		case <-poll.C:
		}
		now, err := d.opt.Fingerprint()
		if err != nil {
			now = err.Error() // a file is gone: told once
		}
		if now == d.loaded && !forced {
			continue
		}
		d.loaded = now
		cfg, err := d.opt.Load()
		d.noteLoad(err)
		if err == nil {
			return cfg
		}
	}
}

// noteLoad keeps, counts and logs the outcome of a reload.
func (d *Daemon) noteLoad(err error) {
	d.mu.Lock()
	d.badLoad = err
	d.mu.Unlock()
	if err != nil {
		d.opt.Metrics.reloads.WithLabelValues("refused").Inc()
		d.opt.Metrics.refused.Set(1)
		d.log.Error("configuration refused, the old one keeps running", zap.Error(err))
		return
	}
	d.opt.Metrics.reloads.WithLabelValues("taken").Inc()
	d.opt.Metrics.refused.Set(0)
	d.log.Info("configuration reloaded")
}

// listen opens the listeners; wait returns when they are closed, which the end of ctx begins.
func (d *Daemon) listen(ctx context.Context, fail context.CancelCauseFunc) (wait func(), err error) {
	var wg sync.WaitGroup
	var at Addresses
	serve := func(addr string, server *http.Server) (string, error) {
		if addr == "" {
			return "", nil
		}
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			return "", fmt.Errorf("listen on %s: %w", addr, err)
		}
		wg.Go(func() {
			if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
				fail(fmt.Errorf("serve %s: %w", addr, err))
			}
		})
		wg.Go(func() {
			<-ctx.Done()
			grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
			defer cancel()
			if server.Shutdown(grace) != nil {
				_ = server.Close() // what is still open has had its time
			}
		})
		return ln.Addr().String(), nil
	}
	if at.Webhook, err = serve(d.opt.WebhookAddr, webhook.NewServer(d.opt.WebhookAddr, http.HandlerFunc(d.hook))); err != nil {
		return nil, err
	}
	if at.Health, err = serve(d.opt.HealthAddr, newServer(d.healthHandler())); err != nil {
		return nil, err
	}
	if at.API, err = serve(d.opt.APIAddr, newServer(d.apiHandler())); err != nil {
		return nil, err
	}
	if d.opt.Ready != nil {
		d.opt.Ready(at)
	}
	d.log.Info("listening", zap.String("webhook", at.Webhook), zap.String("health", at.Health), zap.String("api", at.API))
	return wg.Wait, nil
}

// hook serves webhooks with the receivers of the current configuration. A
// standby has nobody to tell: the sender tries again and meets the leader.
func (d *Daemon) hook(w http.ResponseWriter, r *http.Request) {
	if !d.leading.Load() {
		w.Header().Set("Retry-After", "5")
		http.Error(w, "another replica leads; try again", http.StatusServiceUnavailable)
		return
	}
	d.live.Load().hooks.ServeHTTP(w, r)
}
