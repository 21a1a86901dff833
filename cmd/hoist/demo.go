package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"hoist/config"
	"hoist/daemon"
	"hoist/reconcile"
	"hoist/testenv/cluster"
	"hoist/testenv/gitserver"
	"hoist/testenv/registryserver"
)

// demoOptions are the flags of the demo.
type demoOptions struct {
	kubeconfig string
	webhook    bool
	bumps      int
	every      time.Duration
	verbose    bool
}

func newDemo() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole loop on loopback: registry, Git server, cluster, and Hoist",
		Long: `demo starts a registry and a Git server in its own process and a Kubernetes
control plane beside it, runs Hoist on an example repository, pushes images and
shows each one's way into the cluster. Ctrl-C ends everything that it started.

The control plane is built from the source tree that the demo is started in.
With --kubeconfig a cluster that is already there is used instead; the demo
writes to its namespaces dev, staging and production.`,
		Args: cobra.NoArgs,
	}
	var o demoOptions
	f := cmd.Flags()
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "use this cluster instead of starting one")
	f.BoolVar(&o.webhook, "webhook", true, "the registry tells Hoist of each push; without, Hoist polls every 5 s")
	f.IntVar(&o.bumps, "bumps", 0, "end after so many bumps; 0 goes on until Ctrl-C")
	f.DurationVar(&o.every, "every", 10*time.Second, "time between two pushed images")
	f.BoolVar(&o.verbose, "verbose", false, "show Hoist's log")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		d := &demo{opt: o, say: newStoryteller(cmd.OutOrStdout())}
		err := d.run(cmd)
		if errors.Is(err, context.Canceled) {
			err = nil // Ctrl-C is how a demo ends
		}
		return errors.Join(err, d.close())
	}
	return cmd
}

// demo is a running demonstration. What it opened is closed in reverse.
type demo struct {
	opt     demoOptions
	say     *storyteller
	dir     string
	closers []func() error

	registry   *registryserver.Local
	git        *gitserver.Server
	kubeconfig string
}

const (
	demoUser     = "hoist"
	demoPassword = "demo"
	demoToken    = "demo-webhook"
)

func (d *demo) run(cmd *cobra.Command) error {
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	if err := d.start(ctx, cmd); err != nil {
		return err
	}
	configFile, err := d.writeConfig()
	if err != nil {
		return err
	}
	ready := make(chan daemon.Addresses, 1)
	ended := make(chan error, 1)
	go func() { ended <- daemon.Run(ctx, d.daemonOptions(cmd, configFile, ready)) }()
	var at daemon.Addresses
	select {
	case at = <-ready:
	case err := <-ended:
		return err
	}
	d.say.lookAround(lookAround{
		kubeconfig: d.kubeconfig, clone: d.cloneURL(), config: configFile, dataDir: filepath.Join(d.dir, "plan-data"), status: "http://" + at.API + "/api/v1/status",
		registry: d.registry.Addr, webhook: at.Webhook,
	})
	pushed := make(chan error, 1)
	go func() { pushed <- d.pushImages(ctx, at.Webhook) }()
	select {
	case err = <-pushed:
		cancel()
		return errors.Join(err, <-ended)
	case err = <-ended:
		return err
	}
}

// start brings up the world around Hoist.
func (d *demo) start(ctx context.Context, cmd *cobra.Command) error {
	var err error
	if d.dir, err = os.MkdirTemp("", "hoist-demo-"); err != nil {
		return err
	}
	d.closing(func() error { return os.RemoveAll(d.dir) })
	if err := d.startCluster(ctx, cmd); err != nil {
		return err
	}
	if d.registry, err = registryserver.InProcess(registryserver.InProcessOptions{}); err != nil {
		return err
	}
	d.closing(d.registry.Close)
	for _, ref := range []string{"org/api-service:2.3.0", "org/web-frontend:1.0.0"} {
		if _, err := d.registry.Push(ctx, ref, registryserver.PushOptions{}); err != nil {
			return err
		}
	}
	if d.git, err = gitserver.Start(gitserver.Options{Root: filepath.Join(d.dir, "git"), Users: map[string]string{demoUser: demoPassword}}); err != nil {
		return err
	}
	d.closing(d.git.Close)
	files, err := exampleFiles(d.registry.Addr)
	if err != nil {
		return err
	}
	return d.git.Init("infrastructure", files)
}

func (d *demo) startCluster(ctx context.Context, cmd *cobra.Command) error {
	if d.opt.kubeconfig != "" {
		d.kubeconfig = d.opt.kubeconfig
		return nil
	}
	c, err := cluster.Start(ctx, cluster.Options{
		Dir: filepath.Join(d.dir, "cluster"), Nodes: 2, ResolveImages: true, Progress: cmd.ErrOrStderr(),
	})
	if err != nil {
		return &exitError{code: 1, err: fmt.Errorf("start a control plane: %w", err),
			hints: []string{"run the demo in Hoist's source tree (make demo), or give a cluster with --kubeconfig"}}
	}
	d.closing(c.Stop)
	d.kubeconfig = c.Kubeconfig
	return nil
}

func (d *demo) closing(f func() error) { d.closers = append(d.closers, f) }

func (d *demo) close() error {
	var failed []error
	for i := len(d.closers) - 1; i >= 0; i-- {
		failed = append(failed, d.closers[i]())
	}
	return errors.Join(failed...)
}

// daemonOptions are those of `hoist run`, with free ports and an observer.
func (d *demo) daemonOptions(cmd *cobra.Command, configFile string, ready chan<- daemon.Addresses) daemon.RunOptions {
	log := zap.NewNop()
	s := &settings{config: []string{configFile}, logLevel: "info", logFormat: "console"}
	if l, err := s.logger(cmd); d.opt.verbose && err == nil {
		log = l
	}
	return daemon.RunOptions{
		Options: daemon.Options{
			DataDir: filepath.Join(d.dir, "data"), Kubeconfig: d.kubeconfig, Namespace: "hoist", Log: log, Observe: d.say.observe,
			Builds: reconcile.BuilderOptions{Command: []string{"", workerVerb}},
		},
		Load:        func() (*config.Config, error) { return config.Load(configFile) },
		Fingerprint: func() (string, error) { return fingerprint([]string{configFile}) },
		Doors:       daemon.OpenDoors(),
		WebhookAddr: "127.0.0.1:0", APIAddr: "127.0.0.1:0",
		Ready: func(at daemon.Addresses) { ready <- at },
	}
}

func (d *demo) cloneURL() string {
	return withUser(d.git.URL("infrastructure"), demoUser, demoPassword)
}
