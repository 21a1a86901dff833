package reconcile

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// C1: a request that gets no answer ends, and says so; one that is answered may
// go on for as long as it likes.
func TestC1SilenceEndsARequest(t *testing.T) {
	silent := roundTripper(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, context.Cause(r.Context())
	})
	for _, row := range []struct {
		method, query string
		want          time.Duration
	}{{"GET", "", readPatience}, {"GET", "?watch=true", writePatience}, {"PATCH", "", writePatience}} {
		synctest.Test(t, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), row.method, "https://127.0.0.1/api"+row.query, nil)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, err = impatient(silent).RoundTrip(r)
			if err == nil || err.Error() != "the api server gave no answer within "+row.want.String() || time.Since(began) != row.want {
				t.Errorf("%s %s: %v after %v, want the end after %v", row.method, row.query, err, time.Since(began), row.want)
			}
		})
	}
}

func TestAnswersMayBeLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked context.Context
		long := roundTripper(func(r *http.Request) (*http.Response, error) {
			asked = r.Context()
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("all of it"))}, nil
		})
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://127.0.0.1/api?watch=true", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := impatient(long).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if asked.Err() != nil {
			t.Error("the request ended while it was answered")
		}
		if text, err := io.ReadAll(res.Body); string(text) != "all of it" || err != nil {
			t.Errorf("%q, %v", text, err)
		}
		res.Body.Close()
		if asked.Err() == nil {
			t.Error("the request goes on after its answer was closed")
		}
	})
}
