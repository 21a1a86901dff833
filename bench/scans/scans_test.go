// Package scans measures scans of many images. The registry is a process of its
// own and so is every sweep, so that processor time and memory are those of the
// scanner alone; and it is a package of its own, because the other benchmarks
// link half of Kubernetes.
package scans

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// The roles that this test program plays when it starts itself.
const (
	roleRegistry = "HOIST_BENCH_REGISTRY"
	roleSweep    = "HOIST_BENCH_SWEEP"
)

func TestMain(m *testing.M) {
	var err error
	switch {
	case os.Getenv(roleRegistry) != "":
		err = serveRegistry()
	case os.Getenv(roleSweep) != "":
		err = sweep(os.Getenv(roleSweep))
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// startRegistry starts the registry's process and returns its host:port.
func startRegistry(tb testing.TB) string {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleRegistry+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait() // it has nothing to say
	})
	var address string
	if _, err := fmt.Fscanln(stdout, &address); err != nil {
		tb.Fatalf("the registry did not start: %v", err)
	}
	return address
}

// askedOf returns how many requests the registry has had.
func askedOf(tb testing.TB, address string) int {
	resp, err := http.Get("http://" + address + "/asked")
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	n, failed := strconv.Atoi(string(text))
	if err != nil || failed != nil {
		tb.Fatalf("the registry counts %q, %v", text, err)
	}
	return n
}

// startSweep runs one sweep in a process of its own.
func startSweep(tb testing.TB, t task) figures {
	text, err := json.Marshal(t)
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleSweep+"="+string(text))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var f figures
	if err == nil {
		err = json.Unmarshal(out, &f)
	}
	if err != nil {
		tb.Fatalf("sweep: %v\n%s", err, strings.TrimSpace(stderr.String()))
	}
	return f
}

// bench reports the means of the sweeps, and the highest of their peaks.
func bench(b *testing.B, t task) {
	t.Registry = startRegistry(b)
	var sum figures
	before, sweeps := askedOf(b, t.Registry), 0
	for b.Loop() {
		f := startSweep(b, t)
		sweeps++
		sum.Cold.Wall, sum.Cold.CPU = sum.Cold.Wall+f.Cold.Wall, sum.Cold.CPU+f.Cold.CPU
		sum.Steady.Wall, sum.Steady.CPU = sum.Steady.Wall+f.Steady.Wall, sum.Steady.CPU+f.Steady.CPU
		sum.Peak = max(sum.Peak, f.Peak)
	}
	n := float64(sweeps)
	b.ReportMetric(0, "ns/op") // two sweeps and the start of a process: no figure of interest
	b.ReportMetric(sum.Cold.Wall/n, "cold-s")
	b.ReportMetric(sum.Cold.CPU/n, "cold-cpu-s")
	b.ReportMetric(sum.Steady.Wall/n, "steady-s")
	b.ReportMetric(sum.Steady.CPU/n, "steady-cpu-s")
	b.ReportMetric(float64(askedOf(b, t.Registry)-before)/n/2, "requests")
	b.ReportMetric(sum.Peak, "peak-MiB")
}

// BenchmarkScan1000x1000 scans 1,000 images of 1,000 tags each, on loopback and
// with 50 ms for each answer.
func BenchmarkScan1000x1000(b *testing.B) {
	b.Run("loopback", func(b *testing.B) { bench(b, task{Images: 1000, Tags: 1000}) })
	b.Run("50ms", func(b *testing.B) { bench(b, task{Images: 1000, Tags: 1000, Latency: 50}) })
}

// BenchmarkScan100000Tags is R9: one list of 100,000 tags over 100 pages, in at
// most 5 s and 64 MiB.
func BenchmarkScan100000Tags(b *testing.B) { bench(b, task{Images: 1, Tags: 100_000}) }

// BenchmarkScan5000x400 is 2,000,000 tags, in at most 256 MiB.
func BenchmarkScan5000x400(b *testing.B) { bench(b, task{Images: 5000, Tags: 400}) }
