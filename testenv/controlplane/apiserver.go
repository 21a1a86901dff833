package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	apiserveroptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

type apiServer struct {
	url    string
	client kubernetes.Interface
	stop   func() // returns when the server has ended
}

// startAPIServer returns when the server answers. It does not end with ctx but
// with stop, which must come after everything that uses it has been told to end.
func startAPIServer(ctx context.Context, o options, etcdURL string, creds credentials, ended chan<- error) (*apiServer, error) {
	listener, err := listen(ctx, o)
	if err != nil {
		return nil, err
	}
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	a := &apiServer{url: "https://127.0.0.1:" + port}

	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	gone := make(chan struct{})
	failed := make(chan error, 1)
	a.stop = func() { cancel(); <-gone }
	go func() {
		defer close(gone)
		err := stopped("kube-apiserver", runAPIServer(own, listener, []string{
			"--etcd-servers=" + etcdURL,
			"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port=" + port,
			"--tls-cert-file=" + creds.caFile, "--tls-private-key-file=" + creds.keyFile,
			"--token-auth-file=" + creds.tokensFile,
			"--authorization-mode=Node,RBAC",
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=" + creds.accountKey, "--service-account-signing-key-file=" + creds.accountKey,
			"--service-cluster-ip-range=10.96.0.0/16",
			"--endpoint-reconciler-type=none",
			"--allow-privileged=true",
			"--enable-priority-and-fairness=false",
			"--shutdown-delay-duration=0s",
			"--event-ttl=1h",
			"--etcd-compaction-interval=10m",
		}))
		failed <- err
		ended <- err
	}()
	if err := a.connect(ctx, creds, failed); err != nil {
		a.stop()
		return nil, err
	}
	return a, nil
}

// connect waits for the server and makes the kubeconfig and the client.
func (a *apiServer) connect(ctx context.Context, creds credentials, failed <-chan error) error {
	if err := creds.writeKubeconfig(a.url); err != nil {
		return err
	}
	c, err := clientcmd.BuildConfigFromFlags("", creds.kubeconfig)
	if err != nil {
		return err
	}
	c.QPS, c.Burst = 200, 400
	if a.client, err = kubernetes.NewForConfig(c); err != nil {
		return err
	}
	return poll(ctx, "server", 2*time.Minute, failed, func() bool {
		asked, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		var status int
		a.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(asked).StatusCode(&status)
		return status == http.StatusOK
	})
}

func runAPIServer(ctx context.Context, listener net.Listener, args []string) error {
	o := apiserveroptions.NewServerRunOptions()
	if err := parseInto("kube-apiserver", o.Flags().FlagSets, args); err != nil {
		return err
	}
	o.SecureServing.Listener = listener
	if err := o.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	complete, err := o.Complete(ctx)
	if err != nil {
		return err
	}
	if errs := complete.Validate(); len(errs) > 0 {
		return errors.Join(errs...)
	}
	return app.Run(ctx, complete)
}

// listen takes the port that was asked for, else the one this folder had before,
// so that kubeconfigs made from it stay good. Just after a restart that port can
// still be held for a moment by the process before.
func listen(ctx context.Context, o options) (net.Listener, error) {
	file := filepath.Join(o.dir, "port")
	if o.port == 0 {
		if text, err := os.ReadFile(file); err == nil {
			port, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			var l net.Listener
			err = poll(ctx, fmt.Sprintf("port %d of the last start", port), 2*time.Second, nil, func() bool {
				l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
				return err == nil
			})
			if err == nil || ctx.Err() != nil {
				return l, err
			}
		}
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(o.port)))
	if err != nil {
		return nil, err
	}
	return l, os.WriteFile(file, []byte(strconv.Itoa(l.Addr().(*net.TCPAddr).Port)), 0o600)
}

// parseInto reads the flags of one part as its own program would.
func parseInto(program string, sets map[string]*pflag.FlagSet, args []string) error {
	all := pflag.NewFlagSet(program, pflag.ContinueOnError)
	all.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	for _, s := range sets {
		all.AddFlagSet(s)
	}
	return all.Parse(args)
}
