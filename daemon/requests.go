package daemon

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"
)

// countedRequests returns a copy of cfg whose requests are counted by their verb.
func countedRequests(cfg *rest.Config, requests *prometheus.CounterVec) *rest.Config {
	cfg = rest.CopyConfig(cfg)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return requestCounter{next, requests} })
	return cfg
}

type requestCounter struct {
	next     http.RoundTripper
	requests *prometheus.CounterVec
}

// WrappedRoundTripper serves those who look for the transport below.
func (c requestCounter) WrappedRoundTripper() http.RoundTripper { return c.next }

func (c requestCounter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.requests.WithLabelValues(verbOf(r)).Inc()
	return c.next.RoundTrip(r)
}

func verbOf(r *http.Request) string {
	query := r.URL.Query()
	switch {
	case query.Get("dryRun") != "":
		return "dry run"
	case query.Get("watch") != "":
		return "watch"
	case r.Method == http.MethodGet:
		return "read"
	case r.Method == http.MethodPatch:
		return "apply"
	case r.Method == http.MethodPost:
		return "create"
	case r.Method == http.MethodPut:
		return "update"
	case r.Method == http.MethodDelete:
		return "delete"
	}
	return "other"
}
