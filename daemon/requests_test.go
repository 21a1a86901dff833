package daemon

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/client-go/rest"
)

func TestRequestsAreCountedByVerb(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	m := NewMetrics()
	base := &rest.Config{Host: server.URL}
	client, err := rest.HTTPClientFor(countedRequests(base, m.requests))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct{ method, query string }{
		{"GET", ""}, {"GET", "?watch=true"}, {"PATCH", ""}, {"PATCH", "?dryRun=All"}, {"POST", ""}, {"PUT", ""}, {"PUT", ""}, {"DELETE", ""},
	} {
		q, err := http.NewRequest(r.method, server.URL+"/api/v1/configmaps"+r.query, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	for verb, want := range map[string]float64{"read": 1, "watch": 1, "apply": 1, "dry run": 1, "create": 1, "update": 2, "delete": 1} {
		if got := testutil.ToFloat64(m.requests.WithLabelValues(verb)); got != want {
			t.Errorf("%s = %v, want %v", verb, got, want)
		}
	}
	if base.WrapTransport != nil {
		t.Error("the caller's configuration was changed")
	}
}
