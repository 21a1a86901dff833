package daemon

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"hoist/scanner"
)

// Metrics is what /metrics shows. One lives as long as the process, over all
// reloads of the configuration.
type Metrics struct {
	registry    *prometheus.Registry
	scans       *prometheus.CounterVec
	hints       *prometheus.CounterVec
	bumps       prometheus.Counter
	flips       prometheus.Counter
	applies     *prometheus.CounterVec
	drift       *prometheus.CounterVec
	undone      *prometheus.CounterVec
	breakers    *prometheus.GaugeVec
	requests    *prometheus.CounterVec
	reloads     *prometheus.CounterVec
	panics      prometheus.Counter
	sites       *prometheus.GaugeVec
	ready       *prometheus.GaugeVec
	held        *prometheus.GaugeVec
	refused     prometheus.Gauge
	passSeconds prometheus.Histogram
	hosts       hostCollector
}

// NewMetrics returns metrics in a registry of their own.
func NewMetrics() *Metrics {
	r := prometheus.NewRegistry()
	m := &Metrics{
		registry: r,
		scans:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hoist_scans_total", Help: "Tag lists asked for, by result."}, []string{"result"}),
		hints:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hoist_hints_total", Help: "Webhook hints taken, by what they are about."}, []string{"about"}),
		bumps:    prometheus.NewCounter(prometheus.CounterOpts{Name: "hoist_bumps_total", Help: "Fields set in pushed commits."}),
		flips:    prometheus.NewCounter(prometheus.CounterOpts{Name: "hoist_flips_total", Help: "Fields left alone because somebody else set them back again and again."}),
		applies:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hoist_applies_total", Help: "Applies of apps, by result."}, []string{"app", "result"}),
		drift:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hoist_drift_total", Help: "Objects of apps that somebody else changed, by what was done about it."}, []string{"app", "action"}),
		undone:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hoist_rollbacks_total", Help: "Policies whose bumps were taken back in Git because an app did not become healthy."}, []string{"app", "policy"}),
		breakers: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "hoist_breaker_open", Help: "1 while a policy is left alone because it was rolled back too often, else 0."}, []string{"repository", "policy"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hoist_cluster_requests_total", Help: "Requests to API servers, by what they ask for."}, []string{"verb"}),
		reloads:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hoist_config_reloads_total", Help: "Reloads of the configuration, by result."}, []string{"result"}),
		panics:   prometheus.NewCounter(prometheus.CounterOpts{Name: "hoist_panics_total", Help: "Tasks that ended in an internal error."}),
		sites:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "hoist_sites", Help: "Marked fields in the newest pass, by verdict."}, []string{"repository", "outcome"}),
		ready:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "hoist_app_ready", Help: "1 when the app is applied and healthy at the newest revision, else 0. The cluster is empty for the one where Hoist runs."}, []string{"app", "cluster"}),
		held:     prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "hoist_app_refused", Help: "1 while a guard holds back the newest revision of an app, else 0."}, []string{"app", "guard"}),
		refused:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "hoist_config_refused", Help: "1 while the newest configuration is refused and an older one runs, else 0."}),
		passSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "hoist_pass_seconds", Help: "Duration of a pass over a repository.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 14)}),
	}
	r.MustRegister(m.scans, m.hints, m.bumps, m.flips, m.applies, m.drift, m.undone, m.breakers, m.requests, m.reloads, m.panics, m.sites, m.ready, m.held, m.refused, m.passSeconds, &m.hosts,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// watch makes /metrics show how registry hosts stand. hosts is asked at every
// scrape.
func (m *Metrics) watch(hosts func() []scanner.HostStatus) { m.hosts.ask.Store(&hosts) }

var (
	hostPaused   = prometheus.NewDesc("hoist_registry_paused", "1 while a registry host or token server is left alone, else 0.", []string{"host"}, nil)
	hostInFlight = prometheus.NewDesc("hoist_registry_scans_in_flight", "Scans of a registry host that are under way.", []string{"host"}, nil)
)

// hostCollector reads the registry hosts when it is asked.
type hostCollector struct {
	ask atomic.Pointer[func() []scanner.HostStatus]
}

func (c *hostCollector) Describe(ch chan<- *prometheus.Desc) { ch <- hostPaused; ch <- hostInFlight }

func (c *hostCollector) Collect(ch chan<- prometheus.Metric) {
	ask := c.ask.Load()
	if ask == nil {
		return
	}
	for _, h := range (*ask)() {
		paused := 0.0
		if h.Paused() {
			paused = 1
		}
		ch <- prometheus.MustNewConstMetric(hostPaused, prometheus.GaugeValue, paused, h.Host)
		ch <- prometheus.MustNewConstMetric(hostInFlight, prometheus.GaugeValue, float64(h.InFlight), h.Host)
	}
}
