package scans

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"hoist/bump"
	"hoist/scanner"
)

// task is what a sweeping process is asked to do.
type task struct {
	Registry string
	Images   int
	Tags     int // of each image
	Latency  int // of each request, in milliseconds
}

// cost is what one sweep took.
type cost struct {
	Wall, CPU float64 // seconds
}

// figures are what it answers.
type figures struct {
	Cold   cost // nothing was known
	Steady cost // everything was, and nothing is new
	Peak   float64
}

// sweep scans all images twice through Scanner.Run, as the daemon does: with
// the budgets that are the default, with a cache directory, and keeping every
// list.
func sweep(text string) error {
	var t task
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "hoist-sweep-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := scanner.New(scanner.Options{DockerConfig: filepath.Join(dir, "none.json"), CacheDir: filepath.Join(dir, "scans")})
	var sources []scanner.Source
	for n := range t.Images {
		repo := fmt.Sprintf("t%d-l%d/web%d", t.Tags, t.Latency, n)
		sources = append(sources, scanner.Source{Image: scanner.Image{
			Name: bump.Name{Namespace: "hoist", Name: fmt.Sprint(n)}, Image: t.Registry + "/" + repo, Insecure: true,
			Interval: bump.Duration(24 * time.Hour),
		}})
	}
	ctx, cancel := context.WithCancel(context.Background())
	outcomes, ended := make(chan scanner.Outcome, t.Images), make(chan struct{})
	lists := make(map[bump.Name]bump.Tags, t.Images)
	all := func() error {
		for range t.Images {
			o := <-outcomes
			if o.Err != nil || len(o.Tags.List) != t.Tags {
				return fmt.Errorf("%d tags, %w", len(o.Tags.List), o.Err)
			}
			lists[o.Name] = o.Tags
		}
		return nil
	}
	var f figures
	began := now()
	go func() {
		defer close(ended)
		s.Run(ctx, sources, func(o scanner.Outcome) { outcomes <- o })
	}()
	err = all()
	f.Cold = since(began)
	if err == nil {
		began = now()
		for _, src := range sources {
			s.Wake(src.Image.Image, "bench")
		}
		err = all()
		f.Steady = since(began)
	}
	f.Peak = peak()
	cancel()
	<-ended
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(f)
}

type moment struct {
	at  time.Time
	cpu float64
}

func now() moment { return moment{time.Now(), cpu()} }

func since(m moment) cost { return cost{time.Since(m.at).Seconds(), cpu() - m.cpu} }

// cpu is what this process has used, in seconds.
func cpu() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// peak is the most memory that this process ever had resident, in MiB; 0 where
// the system does not say.
func peak() float64 {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib float64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return 0
	}
	return kib / 1024
}
