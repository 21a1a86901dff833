package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	kwokconfig "sigs.k8s.io/kwok/pkg/config"
	kwok "sigs.k8s.io/kwok/pkg/kwok/cmd"
	kwoklog "sigs.k8s.io/kwok/pkg/log"
)

const leaseNamespace = "kube-node-lease"

// startNodes registers the simulated nodes and starts what plays them.
func startNodes(ctx context.Context, o options, client kubernetes.Interface, creds credentials, log *os.File, ended chan<- error) error {
	yaml, err := stages(o.resolveImages)
	if err != nil {
		return err
	}
	file := filepath.Join(o.dir, "stages.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		return err
	}
	for i := range o.nodes {
		name := fmt.Sprintf("node-%d", i)
		// A lease held by the process before would keep this one idle for 40 s.
		err := client.CoordinationV1().Leases(leaseNamespace).Delete(ctx, name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("node %s: drop old lease: %w", name, err)
		}
		if err := createNode(ctx, client, name); err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
	}
	if o.resolveImages {
		go resolveImages(ctx, client)
	}
	go func() { ended <- stopped("kwok", runKwok(ctx, creds.kubeconfig, file, log)) }()
	return nil
}

func createNode(ctx context.Context, client kubernetes.Interface, name string) error {
	_, err := client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name:        name,
		Annotations: map[string]string{"kwok.x-k8s.io/node": "fake"},
		Labels: map[string]string{
			corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64", "type": "kwok",
		},
	}}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// runKwok runs kwok's own command. That one reads its configuration from
// os.Args, and cobra would hand it the process-wide flags that the Kubernetes
// packages registered; so both are replaced first.
func runKwok(ctx context.Context, kubeconfig, stagesFile string, log *os.File) error {
	pflag.CommandLine = pflag.NewFlagSet("kwok", pflag.ContinueOnError)
	os.Args = []string{"kwok", "--config=" + stagesFile}
	fs := pflag.NewFlagSet("global", pflag.ContinueOnError)
	fs.ParseErrorsAllowlist.UnknownFlags = true
	ctx = kwoklog.NewContext(ctx, kwoklog.NewLogger(log, kwoklog.LevelWarn))
	ctx, err := kwokconfig.InitFlags(ctx, fs)
	if err != nil {
		return err
	}
	cmd := kwok.NewCommand(ctx)
	cmd.SetArgs([]string{"--kubeconfig=" + kubeconfig, "--manage-all-nodes=true",
		"--node-lease-duration-seconds=40", "--cidr=10.0.0.0/16", "--node-ip=10.0.0.1"})
	return cmd.ExecuteContext(ctx)
}

// waitUsable waits for what a first apply needs: the ServiceAccount of the
// default namespace, and ready nodes without taints.
func waitUsable(ctx context.Context, client kubernetes.Interface, nodes int, ended <-chan error) error {
	return poll(ctx, "nodes and the default service account", time.Minute, ended, func() bool {
		if _, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{}); err != nil {
			return false
		}
		list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false
		}
		usable := 0
		for _, n := range list.Items {
			if isReady(n) && len(n.Spec.Taints) == 0 {
				usable++
			}
		}
		return usable >= nodes
	})
}

func isReady(n corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
