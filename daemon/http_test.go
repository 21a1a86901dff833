package daemon

import (
	"strings"
	"testing"
	"time"

	"hoist/scanner"
)

// R1, R21: what is not as it should be is said, with its end.
func TestHealthNamesWhatIsNotWell(t *testing.T) {
	var b strings.Builder
	health(&b, Status{
		Leading: true,
		Registries: []scanner.HostStatus{
			{Host: "ghcr.io"},
			{Host: "quay.io", Until: time.Date(2026, 11, 27, 14, 0, 0, 0, time.UTC), Cause: "it answered 429 and asked for this pause"},
		},
		Images: []ImageStatus{
			{Name: "hoist:api"},
			{Name: "hoist:web", Suspicion: "lists 1 of 5 known tags"},
			{Name: "hoist:old", Suspicion: "lists 1 of 5 known tags", Error: "401 unauthorized"},
		},
	})
	const want = `leading: true
configuration: ok
registry ghcr.io: ok
registry quay.io: left alone until 2026-11-27T14:00:00Z: it answered 429 and asked for this pause
image hoist:api: ok
image hoist:web: lists 1 of 5 known tags
image hoist:old: 401 unauthorized
`
	if b.String() != want {
		t.Errorf("got %s\nwant %s", b.String(), want)
	}
}
