package daemon

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// newServer returns a server for small, quick answers.
func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
}

// healthHandler serves /metrics, /healthz and /readyz. Nothing outside the
// process makes it unhealthy: a registry or cluster that is down is in the
// status and the metrics, and a restart would not help.
func (d *Daemon) healthHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(d.opt.Metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if !r.URL.Query().Has("verbose") {
			fmt.Fprintln(w, "ok")
			return
		}
		health(w, d.Status())
	})
	return mux
}

// health writes a line per thing: ok, or what a person should know about it.
func health(w io.Writer, s Status) {
	fmt.Fprintf(w, "leading: %t\nconfiguration: %s\n", s.Leading, okOr(s.ConfigError))
	for _, h := range s.Registries {
		reason := h.Cause
		if reason != "" {
			reason = fmt.Sprintf("left alone until %s: %s", h.Until.UTC().Format(time.RFC3339), reason)
		}
		fmt.Fprintf(w, "registry %s: %s\n", h.Host, okOr(reason))
	}
	for _, i := range s.Images {
		fmt.Fprintf(w, "image %s: %s\n", i.Name, okOr(cmp.Or(i.Error, i.Suspicion)))
	}
	for _, p := range s.Repositories {
		fmt.Fprintf(w, "repository %s: %s\n", p.Name, okOr(cmp.Or(p.Error, strings.Join(p.Breakers, "; "))))
	}
	for _, a := range s.Apps {
		fmt.Fprintf(w, "app %s: %s\n", On(a.Name, a.Cluster), okOr(a.Reason))
	}
	for _, l := range s.Leftovers {
		fmt.Fprintf(w, "app %s: %s\n", l.Name, l.Reason)
	}
}

func okOr(reason string) string {
	if reason == "" {
		return "ok"
	}
	return reason
}

// apiHandler serves what can be read. Nothing here changes anything.
func (d *Daemon) apiHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, d.Status()) })
	mux.HandleFunc("GET /api/v1/plan", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, View(d.live.Load().house.status.plan()))
	})
	return mux
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // the client is gone
}

// Status returns what the daemon knows now.
func (d *Daemon) Status() Status {
	s := d.live.Load().house.status.snapshot()
	s.Registries = d.opt.Scanner.Hosts()
	s.Started, s.Leading, s.DryRun = d.started, d.leading.Load(), d.opt.DryRun
	d.mu.Lock()
	s.ConfigError = text(d.badLoad)
	d.mu.Unlock()
	return s
}
