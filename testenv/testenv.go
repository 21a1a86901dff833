// Package testenv gives tests the real parts that Hoist works with: a Kubernetes
// control plane, registries, Git servers, and a proxy that plays faults before
// any of them. What a test takes here ends with the test.
//
// The helpers are thin. What the parts can do is told by their own packages:
// [cluster], [registryserver], [gitserver], [proxy].
//
// With go test -short the helpers that need a built program (a cluster, a real
// registry) skip the test. Without it a missing program is built, never skipped;
// that can take minutes, so make test builds them ahead.
package testenv

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"hoist/testenv/cluster"
	"hoist/testenv/gitserver"
	"hoist/testenv/proxy"
	"hoist/testenv/registryserver"
)

// KubeconfigVariable names the kubeconfig of a control plane that is shared by
// all test processes of a run. make test sets it.
const KubeconfigVariable = "HOIST_TESTENV_KUBECONFIG"

// shared is the control plane of this test process.
var shared struct {
	sync.Mutex
	cluster *cluster.Cluster
	err     error
}

// Cluster returns the shared control plane, with two nodes: the one of the whole
// run when there is one, else one of this test process, started at the first
// call. Take a [Namespace] in it, and leave what has no namespace as it was.
//
// A package that uses it without make test's should call [Main] in its TestMain;
// else the control plane is told of the end only by the end of the process.
func Cluster(t testing.TB) *cluster.Cluster {
	t.Helper()
	needsPrograms(t)
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster == nil && shared.err == nil {
		if path := os.Getenv(KubeconfigVariable); path != "" {
			shared.cluster, shared.err = cluster.Open(path)
		} else {
			shared.cluster, shared.err = cluster.Start(context.Background(), cluster.Options{Nodes: 2, Progress: os.Stderr})
		}
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.cluster
}

// Main runs the tests of a package and then stops the shared control plane, if
// this process started it. It is for TestMain, and does not return.
func Main(m *testing.M) {
	code := m.Run()
	if err := Stop(); err != nil {
		_, _ = os.Stderr.WriteString("testenv: " + err.Error() + "\n")
		code = max(code, 1)
	}
	os.Exit(code)
}

// Stop does the second half of Main, for a TestMain that does the first itself.
func Stop() error {
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster == nil {
		return nil
	}
	defer func() { shared.cluster = nil }()
	return shared.cluster.Stop()
}

// NewCluster returns a control plane for this test alone: to crash it, to put it
// behind faults, or to have a second one.
func NewCluster(t testing.TB, o cluster.Options) *cluster.Cluster {
	t.Helper()
	needsPrograms(t)
	if o.Progress == nil {
		o.Progress = os.Stderr
	}
	c, err := cluster.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, c.Stop()) })
	return c
}

// Namespace returns a new namespace, named after the test. Its deletion begins
// with the test's end and is not waited for.
func Namespace(t testing.TB, c *cluster.Cluster) string {
	t.Helper()
	name, err := c.CreateNamespace(t.Context(), t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = c.DeleteNamespace(ctx, name) // it may be gone, and the cluster too
	})
	return name
}

// Registry returns a running distribution registry.
func Registry(t testing.TB, o registryserver.Options) *registryserver.Server {
	t.Helper()
	needsPrograms(t)
	if o.Progress == nil {
		o.Progress = os.Stderr
	}
	s, err := registryserver.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

// LocalRegistry returns a registry in this process; it needs no program.
func LocalRegistry(t testing.TB, o registryserver.InProcessOptions) *registryserver.Local {
	t.Helper()
	s, err := registryserver.InProcess(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

// Git returns a running Git server, over HTTP and SSH. It needs git only.
func Git(t testing.TB, o gitserver.Options) *gitserver.Server {
	t.Helper()
	s, err := gitserver.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

// Proxy returns a proxy before a target, over plain HTTP. caPEM is what a target
// with TLS is trusted by, nil for one without.
func Proxy(t testing.TB, target string, caPEM []byte) *proxy.Proxy {
	t.Helper()
	p := newProxy(t, target, caPEM)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// ClusterProxy returns a proxy before a cluster's API server, and the path of a
// kubeconfig that leads through it.
func ClusterProxy(t testing.TB, c *cluster.Cluster) (p *proxy.Proxy, kubeconfig string) {
	t.Helper()
	p = newProxy(t, c.Server, c.CAData)
	if err := p.StartTLS(); err != nil {
		t.Fatal(err)
	}
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := p.Kubeconfig(kubeconfig, c.Kubeconfig); err != nil {
		t.Fatal(err)
	}
	return p, kubeconfig
}

func newProxy(t testing.TB, target string, caPEM []byte) *proxy.Proxy {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := proxy.Transport(caPEM)
	if err != nil {
		t.Fatal(err)
	}
	p := proxy.New(u, transport)
	t.Cleanup(func() {
		check(t, p.Close())
		transport.CloseIdleConnections()
	})
	return p
}

func needsPrograms(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a built program; run without -short")
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
