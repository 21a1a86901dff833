// Command testrun runs the tests of the module against the real parts: it builds
// what is missing, starts one control plane for all packages, runs go test, stops
// the control plane again, and says what failed, first and once.
//
//	go run ./testenv/cmd/testrun [-race] [-short] [-timeout 30m] [package …]
//
// The last line is "N passed, N failed", with ", N skipped" when tests were. The
// exit status is 0 only if some test ran and none failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"hoist/testenv"
	"hoist/testenv/cluster"
	"hoist/testenv/programs"
)

type options struct {
	race     bool
	short    bool
	timeout  time.Duration
	run      string
	count    int
	packages []string
}

func main() {
	var o options
	flag.BoolVar(&o.race, "race", false, "with the race detector")
	flag.BoolVar(&o.short, "short", false, "only the tests that need no cluster and no built program")
	flag.DurationVar(&o.timeout, "timeout", 30*time.Minute, "for each package")
	flag.StringVar(&o.run, "run", "", "only tests that match this `regexp`")
	flag.IntVar(&o.count, "count", 0, "run each test so often; 0 means once, from the cache when nothing changed")
	flag.Parse()
	if o.packages = flag.Args(); len(o.packages) == 0 {
		o.packages = []string{"./..."}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ok, err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "testrun: %v\n", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run tells whether all is well. An error is something else than a failed test.
func run(ctx context.Context, o options) (ok bool, err error) {
	kubeconfig := os.Getenv(testenv.KubeconfigVariable)
	if !o.short && kubeconfig == "" {
		for _, name := range programs.Names() {
			if _, err := programs.Path(ctx, name, os.Stderr); err != nil {
				return false, err
			}
		}
		c, err := cluster.Start(ctx, cluster.Options{Nodes: 2})
		if err != nil {
			return false, err
		}
		defer func() {
			if stopErr := c.Stop(); stopErr != nil {
				fmt.Fprintf(os.Stderr, "testrun: %v\n", stopErr)
			}
		}()
		kubeconfig = c.Kubeconfig
	}
	begin := time.Now()
	r := newReport(os.Stdout)
	testErr := goTest(ctx, o, kubeconfig, r)
	if ctx.Err() != nil {
		return false, errors.New("interrupted")
	}
	r.finish(time.Since(begin))
	if testErr != nil && r.failed == 0 {
		return false, fmt.Errorf("go test: %w", testErr)
	}
	return r.ok(), nil
}

// goTest feeds the report with what go test says.
func goTest(ctx context.Context, o options, kubeconfig string, r *report) error {
	args := []string{"test", "-json", "-timeout", o.timeout.String()}
	for flag, set := range map[string]bool{
		"-race": o.race, "-short": o.short, "-run=" + o.run: o.run != "", fmt.Sprintf("-count=%d", o.count): o.count > 0,
	} {
		if set {
			args = append(args, flag)
		}
	}
	cmd := exec.CommandContext(ctx, "go", append(args, o.packages...)...)
	cmd.Env = append(os.Environ(), testenv.KubeconfigVariable+"="+kubeconfig)
	// Its group, so that an interrupt ends the tests before their control plane.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := r.read(out)
	return errors.Join(readErr, cmd.Wait())
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
