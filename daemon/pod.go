package daemon

import (
	"cmp"
	"os"
	"strings"

	"hoist/reconcile"
)

// ownPod returns the pod in which this process runs, and the zero one outside of
// pods and where another cluster is named. Without the variables that a manifest
// may set, the host's name is the pod's.
func ownPod(o Options) reconcile.Pod {
	if o.Kubeconfig != "" || o.Context != "" || os.Getenv("KUBECONFIG") != "" || os.Getenv("KUBERNETES_SERVICE_HOST") == "" {
		return reconcile.Pod{}
	}
	namespace, _ := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	host, _ := os.Hostname()
	p := reconcile.Pod{
		Namespace: cmp.Or(os.Getenv("POD_NAMESPACE"), strings.TrimSpace(string(namespace))),
		Name:      cmp.Or(os.Getenv("POD_NAME"), host),
	}
	if p.Namespace == "" {
		return reconcile.Pod{}
	}
	return p
}
