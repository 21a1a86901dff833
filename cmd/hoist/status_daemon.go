package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"hoist/daemon"
	"hoist/scanner"
)

// maxStatus bounds what is read of a daemon's answer, in bytes.
const maxStatus = 64 << 20

// daemonStatus asks a running daemon for what is in its memory alone: budgets and
// pauses of registries, and what drifted.
func daemonStatus(ctx context.Context, address string) (*daemon.Status, error) {
	url := "http://" + strings.TrimSuffix(strings.TrimPrefix(address, "http://"), "/") + "/api/v1/status"
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("--daemon %q: expected host:port of its --api-addr", address)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the daemon: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask the daemon: %s answers %s: expected host:port of its --api-addr", url, resp.Status)
	}
	var s daemon.Status
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxStatus)).Decode(&s); err != nil {
		return nil, fmt.Errorf("ask the daemon: %s does not answer as one: %w", url, err)
	}
	return &s, nil
}

// printRegistries prints one line for each host.
func printRegistries(w io.Writer, hosts []scanner.HostStatus) error {
	if len(hosts) == 0 {
		return nil
	}
	rows := [][]string{{"REGISTRY", "BUDGET", "IN FLIGHT", "LEFT ALONE UNTIL", "WHY"}}
	for _, h := range hosts {
		budget, until := fmt.Sprintf("%d at once", h.Concurrency), ""
		if h.RequestsPerSecond > 0 {
			budget += fmt.Sprintf(", %d/s", h.RequestsPerSecond)
		}
		if h.Paused() {
			until = h.Until.UTC().Format(time.RFC3339)
		}
		rows = append(rows, []string{h.Host, budget, fmt.Sprint(h.InFlight), until, h.Cause})
	}
	return table(w, rows)
}
