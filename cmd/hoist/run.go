package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"hoist/daemon"
)

func newRun() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Keep repository and cluster fresh until told to stop",
		Long: `run is the daemon. It scans the registries on their intervals, pushes what the
policies allow, applies every commit of the repositories to the cluster and puts
drift right. Webhooks make it look earlier.

SIGHUP, or a changed file, reloads the configuration; one that cannot be
understood is reported and the old one keeps running.`,
		Args: cobra.NoArgs,
	}
	s := newSettings(cmd, "info")
	f := cmd.Flags()
	o := daemon.RunOptions{}
	f.StringVar(&o.WebhookAddr, "webhook-addr", ":9292", "where webhooks are served; empty for nowhere")
	f.StringVar(&o.HealthAddr, "health-addr", ":8080", "where metrics and health are served; empty for nowhere")
	f.StringVar(&o.APIAddr, "api-addr", "127.0.0.1:9080", "where status and plan are served, read only; empty for nowhere")
	f.BoolVar(&o.DryRun, "dry-run", false, "plan only: push nothing, apply nothing, and serve the plan")
	f.StringVar(&o.Lease, "lease", "", "name of the Lease that several replicas share; empty: this one leads")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		options, err := s.options(cmd)
		if err != nil {
			return err
		}
		o.Options = options
		o.Load = s.load
		o.Fingerprint = func() (string, error) { return fingerprint(s.config) }
		o.Doors = daemon.OpenDoors()
		if o.DryRun {
			o.Doors = daemon.ClosedDoors(options.Log.Named("daemon"))
		}
		host, err := os.Hostname()
		if err != nil {
			return err
		}
		o.Identity = host + "_" + rand.Text() // two processes on one host are two replicas
		o.Reload = hangups(cmd)
		options.Log.Info("hoist starts", zap.String("version", version), zap.Bool("dryRun", o.DryRun))
		defer options.Log.Info("hoist has stopped")
		return daemon.Run(cmd.Context(), o)
	}
	return cmd
}

// hangups turns SIGHUP into reloads until the command's context ends.
func hangups(cmd *cobra.Command) <-chan struct{} {
	signals, reload := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-cmd.Context().Done():
				return
			case <-signals:
				select {
				case reload <- struct{}{}:
				case <-cmd.Context().Done():
				}
			}
		}
	}()
	return reload
}

// fingerprint changes when the content of the configuration's files does, or
// which files there are. It follows symlinks, as a mounted ConfigMap has them.
func fingerprint(paths []string) (string, error) {
	sum := sha256.New()
	for _, path := range paths {
		files := []string{path}
		if info, err := os.Stat(path); err != nil {
			return "", err
		} else if info.IsDir() {
			entries, err := os.ReadDir(path) // sorted by name
			if err != nil {
				return "", err
			}
			files = yamlFiles(path, entries)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				return "", err
			}
			_, _ = io.WriteString(sum, file+"\x00")
			part := sha256.Sum256(content)
			_, _ = sum.Write(part[:])
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func yamlFiles(dir string, entries []fs.DirEntry) []string {
	var files []string
	for _, e := range entries {
		if !e.IsDir() && strings.HasSuffix(e.Name(), ".yaml") {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files
}
