// Command up builds the programs of the test environment, all or those that are
// named, so that no test has to wait for a compiler. With -serve it also starts
// one of each part and tells how to reach them, until Ctrl-C: for looking around,
// and for tests run one by one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"hoist/testenv"
	"hoist/testenv/cluster"
	"hoist/testenv/gitserver"
	"hoist/testenv/programs"
	"hoist/testenv/registryserver"
)

func main() {
	serve := flag.Bool("serve", false, "start the parts, too, and serve until interrupted")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	names := flag.Args()
	if len(names) == 0 {
		names = programs.Names()
	}
	err := build(ctx, names)
	if err == nil && *serve {
		err = run(ctx)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "up: %v\n", err)
		os.Exit(1)
	}
}

func build(ctx context.Context, names []string) error {
	for _, name := range names {
		path, err := programs.Path(ctx, name, os.Stderr)
		if err != nil {
			return err
		}
		fmt.Println(path)
	}
	return nil
}

func run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "hoist-up-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c, err := cluster.Start(ctx, cluster.Options{Nodes: 2})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	r, err := registryserver.Start(ctx, registryserver.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	g, err := gitserver.Start(gitserver.Options{Users: map[string]string{"bot": "pw"}, AnonymousRead: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	if err := g.Init("fleet", map[string]string{"README.md": "An empty fleet.\n"}); err != nil {
		return err
	}
	key, known := filepath.Join(dir, "id_ed25519"), filepath.Join(dir, "known_hosts")
	err = errors.Join(os.WriteFile(key, g.ClientKey(), 0o600), os.WriteFile(known, []byte(g.KnownHosts()), 0o600))
	if err != nil {
		return err
	}
	fmt.Printf(`
export KUBECONFIG=%s
export %s=%[1]s
registry: %[3]s
git:      %[4]s   (bot:pw may push)
          %[5]s   (key %[6]s, known hosts %[7]s)
Ctrl-C ends them.
`, c.Kubeconfig, testenv.KubeconfigVariable, r.Addr, g.URL("fleet"), g.SSHURL("fleet"), key, known)
	select {
	case <-ctx.Done():
		return nil
	case <-c.Done():
		return errors.New("the cluster ended by itself")
	case <-r.Done():
		return errors.New("the registry ended by itself")
	}
}
