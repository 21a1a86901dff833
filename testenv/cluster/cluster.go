// Package cluster starts and stops a real Kubernetes control plane with
// simulated nodes: the program of hoist/testenv/controlplane, as a process of
// its own on loopback.
//
// A cluster is usable some three seconds after [Start], takes about 300 MiB and
// ends with the process that started it, however that ends. What a pod does is
// decided by a word in its image's tag (crash, pullerr, notready, slow, flap).
//
// The trap that bites first: deleting a namespace takes five seconds even when
// it is empty. Take a new one for each test and do not wait for the old one.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"hoist/testenv/internal/process"
	"hoist/testenv/kubeconfig"
	"hoist/testenv/programs"
)

// Options say what cluster to start. The zero value is one with one node in a
// temporary folder, on a free port.
type Options struct {
	Dir           string // state; kept after Stop. Empty: a temporary folder, removed by Stop
	Nodes         int    // simulated nodes; 0 means 1
	ResolveImages bool   // pods become ready only when a registry has their images
	RegistryCA    string // file of certificates that the nodes trust in a registry, instead of the system's
	APIOnly       bool   // no controllers, no scheduler, no nodes
	Port          int    // 0: a free one, kept in Dir
	Tokens        []Token
	Progress      io.Writer // told about the building of the program, if it has to be built
}

// Token lets a bearer in as User. Without a role binding it may do nothing.
type Token struct {
	Token, User string
	Groups      []string
}

// Cluster is a control plane. Its exported fields do not change, but for Pid
// after Restart.
type Cluster struct {
	Server     string // https://127.0.0.1:PORT
	Kubeconfig string // path
	Token      string // of a member of system:masters
	CAData     []byte // PEM
	Pid        int    // 0 for a cluster that Open found running
	APIOnly    bool

	options   Options
	program   string
	temporary bool
	process   *process.Process
	client    *http.Client
}

const (
	startLimit = 2 * time.Minute
	stopGrace  = 20 * time.Second
)

// Start returns when the cluster is usable: nodes ready, the default
// ServiceAccount there. Taking up a folder again gives the same cluster, with
// its data, port and credentials. ctx bounds the start, not the cluster's life.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	program, err := programs.Path(ctx, programs.ControlPlane, o.Progress)
	if err != nil {
		return nil, err
	}
	c := &Cluster{options: o, program: program}
	if o.Dir == "" {
		// A short path: the control plane keeps a Unix socket in it.
		if c.options.Dir, err = os.MkdirTemp("", "hoist-cluster-"); err != nil {
			return nil, err
		}
		c.temporary = true
	}
	if err := c.start(ctx); err != nil {
		c.removeTemporary()
		return nil, fmt.Errorf("start cluster: %w", err)
	}
	return c, nil
}

// Open returns the running cluster that a kubeconfig of Start tells of. Stop,
// Kill and Restart are not for it: Stop does nothing, the others are errors.
func Open(path string) (*Cluster, error) {
	k, err := kubeconfig.Read(path)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Server: k.Server, Kubeconfig: path, Token: k.Token, CAData: k.CAData}
	return c, c.connect()
}

func (c *Cluster) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("not ready after %v", startLimit))
	defer cancel()
	first := process.NewFirstLine()
	var env []string
	if c.options.RegistryCA != "" {
		env = []string{"SSL_CERT_FILE=" + c.options.RegistryCA}
	}
	p, err := process.Start(process.Options{Path: c.program, Args: c.args(), Env: env, Stdout: first})
	if err != nil {
		return err
	}
	select {
	case line := <-first.Line():
		c.process = p
		return c.ready(line)
	case <-p.Done():
		return p.Err()
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("%w; %w; its log is %s", context.Cause(ctx), p.Err(), filepath.Join(c.options.Dir, "controlplane.log"))
	}
}

func (c *Cluster) args() []string {
	o := c.options
	args := []string{"-exit-with-parent", "-dir", o.Dir, "-nodes", strconv.Itoa(max(o.Nodes, 1)), "-port", strconv.Itoa(o.Port)}
	if c.temporary {
		args = append(args, "-temporary")
	}
	if o.APIOnly {
		args = append(args, "-api-only")
	}
	if o.ResolveImages {
		args = append(args, "-resolve-images")
	}
	if len(o.Tokens) > 0 {
		var lines []string
		for _, t := range o.Tokens {
			lines = append(lines, fmt.Sprintf("%s,%s,%s,%q", t.Token, t.User, t.User, strings.Join(t.Groups, ",")))
		}
		args = append(args, "-tokens", strings.Join(lines, ";"))
	}
	return args
}

// ready takes in the line that the program says when it is.
func (c *Cluster) ready(line string) error {
	var r struct {
		Server     string
		Kubeconfig string
		CAFile     string `json:"ca_file"`
		Token      string
	}
	err := json.Unmarshal([]byte(line), &r)
	if err == nil {
		c.CAData, err = os.ReadFile(r.CAFile)
	}
	if err != nil {
		c.process.Kill()
		return fmt.Errorf("ready line %q: %w", line, err)
	}
	c.Server, c.Kubeconfig, c.Token = r.Server, r.Kubeconfig, r.Token
	c.Pid, c.APIOnly = c.process.PID(), c.options.APIOnly
	return c.connect()
}

// Done is closed when the process of the cluster has ended; nil, so never, for
// a cluster from Open.
func (c *Cluster) Done() <-chan struct{} {
	if c.process == nil {
		return nil
	}
	return c.process.Done()
}

// Stop ends the cluster and waits; some two seconds. A second Stop does nothing.
func (c *Cluster) Stop() error {
	if c.process == nil {
		return nil
	}
	err := c.process.Stop(stopGrace)
	c.client.CloseIdleConnections()
	c.removeTemporary()
	return err
}

// Kill ends the cluster as a crash would. Restart brings it back with what it
// had been told.
func (c *Cluster) Kill() error {
	if c.process == nil {
		return errNotOurs
	}
	c.process.Kill()
	c.client.CloseIdleConnections()
	return nil
}

// Restart stops the cluster if it runs, and starts it again: same server, same
// credentials, same data.
func (c *Cluster) Restart(ctx context.Context) error {
	if c.process == nil {
		return errNotOurs
	}
	if err := c.process.Stop(stopGrace); err != nil {
		return err
	}
	c.client.CloseIdleConnections()
	if err := c.start(ctx); err != nil {
		return fmt.Errorf("restart cluster: %w", err)
	}
	return nil
}

var errNotOurs = errors.New("this cluster was started by another process")

func (c *Cluster) removeTemporary() {
	if c.temporary {
		_ = os.RemoveAll(c.options.Dir)
	}
}
