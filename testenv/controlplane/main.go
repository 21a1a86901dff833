// Command controlplane is a real Kubernetes control plane in one process: an
// embedded etcd, kube-apiserver, kube-controller-manager and kube-scheduler
// (all upstream code, started through their exported options and Run
// functions), and kwok's simulated nodes.
//
// Only the nodes are pretend. A Deployment becomes Available because the real
// controllers say so, but no container ever runs: stages.go decides what each
// pod's life looks like, by a word in its image's tag.
//
// Everything listens on loopback. One line of JSON on stdout says that the
// cluster is usable and where; see [ready]. A folder that was used before is
// taken up again, with its data, its port and its credentials.
//
// The trap that bites first: the version that the API server reports comes from
// the linker flags that hoist/testenv/programs sets. A plain go build makes one
// that reports v0.0.0, which clients cannot parse.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/klog/v2"
)

type options struct {
	dir            string
	port           int
	nodes          int
	apiOnly        bool
	resolveImages  bool
	tokens         string
	verbosity      string
	exitWithParent bool
	temporary      bool
}

// ready is the line on stdout, and DIR/ready.json.
type ready struct {
	Server     string `json:"server"`
	Kubeconfig string `json:"kubeconfig"`
	CAFile     string `json:"ca_file"`
	Token      string `json:"token"` // of a member of system:masters
	PID        int    `json:"pid"`
	APIOnly    bool   `json:"api_only"`
	EtcdMS     int64  `json:"etcd_ms"`
	APIMS      int64  `json:"apiserver_ms"`
	ReadyMS    int64  `json:"ready_ms"`
}

func main() {
	o, err := parseFlags(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "controlplane: %v\n", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	var orphaned atomic.Bool
	if o.exitWithParent {
		go watchParent(ctx, func() { orphaned.Store(true); stop() })
	}
	// The API server holds much garbage in its first seconds; half the usual
	// growth keeps the process under 300 MiB.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	err = run(ctx, o)
	stop()
	if o.temporary && orphaned.Load() {
		err = errors.Join(err, os.RemoveAll(o.dir))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "controlplane: %v\n", err)
		os.Exit(1)
	}
}

func parseFlags(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("controlplane", flag.ContinueOnError)
	fs.StringVar(&o.dir, "dir", "", "state `folder`: etcd data, certificates, kubeconfig, controlplane.log (required)")
	fs.IntVar(&o.port, "port", 0, "API server `port` on 127.0.0.1; 0 picks a free one and keeps it in the state folder")
	fs.IntVar(&o.nodes, "nodes", 1, "number of simulated nodes")
	fs.BoolVar(&o.apiOnly, "api-only", false, "etcd and kube-apiserver only")
	fs.BoolVar(&o.resolveImages, "resolve-images", false, "ask the registry for every pod's image: a missing one ends in ImagePullBackOff, a found one gives the imageID")
	fs.StringVar(&o.tokens, "tokens", "", "more `lines` for the API server's token file, separated by semicolons: token,user,uid,\"group1,group2\"")
	fs.StringVar(&o.verbosity, "v", "0", "verbosity `level` of controlplane.log")
	fs.BoolVar(&o.exitWithParent, "exit-with-parent", false, "exit when the parent process is gone")
	fs.BoolVar(&o.temporary, "temporary", false, "with -exit-with-parent: then remove the state folder, which nobody else will")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if o.dir == "" {
		return o, errors.New("-dir is required")
	}
	var err error
	o.dir, err = filepath.Abs(o.dir)
	return o, err
}

// run starts the parts in the order of their dependence and stops them in the
// reverse one: an API server whose etcd is gone hangs in its graceful stop.
func run(ctx context.Context, o options) error {
	begin := time.Now()
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	logFile, err := openLog(o)
	if err != nil {
		return err
	}
	defer logFile.Close()

	store, err := startEtcd(ctx, o.dir)
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	defer store.stop()
	etcdTook := time.Since(begin)

	creds, err := loadCredentials(o.dir, o.tokens)
	if err != nil {
		return err
	}
	// Each part runs until it is told to stop; whatever arrives here earlier is a failure.
	ended := make(chan error, 4)
	api, err := startAPIServer(ctx, o, store.url, creds, ended)
	if err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	defer api.stop()
	apiTook := time.Since(begin)

	if !o.apiOnly {
		startControllers(ctx, creds, ended)
		if err := startNodes(ctx, o, api.client, creds, logFile, ended); err != nil {
			return err
		}
		if err := waitUsable(ctx, api.client, o.nodes, ended); err != nil {
			return err
		}
	}
	if err := announce(o.dir, ready{
		Server: api.url, Kubeconfig: creds.kubeconfig, CAFile: creds.caFile, Token: creds.token,
		PID: os.Getpid(), APIOnly: o.apiOnly,
		EtcdMS: etcdTook.Milliseconds(), APIMS: apiTook.Milliseconds(), ReadyMS: time.Since(begin).Milliseconds(),
	}); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
}

// openLog sends the log of every part to one file. The parts would otherwise
// each try to set up logging for the whole process.
func openLog(o options) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(o.dir, "controlplane.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	fs := flag.NewFlagSet("klog", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	klog.InitFlags(fs)
	if err := fs.Parse([]string{"-logtostderr=false", "-alsologtostderr=false", "-stderrthreshold=FATAL", "-one_output=true", "-v=" + o.verbosity}); err != nil {
		return nil, fmt.Errorf("-v %q: %w", o.verbosity, err)
	}
	klog.SetOutput(f)
	logsapi.ReapplyHandling = logsapi.ReapplyHandlingIgnoreUnchanged
	return f, nil
}

func announce(dir string, r ready) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if err := os.WriteFile(filepath.Join(dir, "ready.json"), line, 0o600); err != nil {
		return err
	}
	_, err = os.Stdout.Write(line)
	return err
}

// watchParent calls stop once the process that started this one is gone.
func watchParent(ctx context.Context, stop func()) {
	parent := os.Getppid()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if os.Getppid() != parent {
				stop()
				return
			}
		}
	}
}

// stopped gives the end of a part its name. A part that ends without an error
// has still ended.
func stopped(part string, err error) error {
	if err == nil {
		err = errors.New("stopped by itself")
	}
	return fmt.Errorf("%s: %w", part, err)
}

// poll asks done until it says yes, a part ends, or the time is up. The error
// says what was waited for.
func poll(ctx context.Context, what string, limit time.Duration, ended <-chan error, done func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%s not ready after %v", what, limit))
	defer cancel()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}
