package reconcile

import (
	"path/filepath"

	"k8s.io/apimachinery/pkg/util/validation"

	"hoist/bump"
)

// ClusterRef says where the kubeconfig of another cluster is.
type ClusterRef struct {
	// KubeconfigSecretRef names a Secret of the cluster where Hoist runs, in the namespace of the entry.
	KubeconfigSecretRef *KeyRef `json:"kubeconfigSecretRef,omitempty"`
	// KubeconfigSecretDir is a directory with the same keys as files, instead.
	KubeconfigSecretDir string `json:"kubeconfigSecretDir,omitempty"`
	// Context is the one of the kubeconfig that is meant, its current one when empty.
	Context string `json:"context,omitempty"`
}

// KeyRef names a key of a Secret.
type KeyRef struct {
	Name string `json:"name"`
	// Key holds the kubeconfig; value or value.yaml when empty.
	Key string `json:"key,omitempty"`
}

// ClusterName is what people call the cluster of the app: the name of its Secret
// or directory, with namespace and context where they are not the usual ones;
// empty for the cluster where Hoist runs.
func (a App) ClusterName() string {
	c := a.Cluster
	if c == nil {
		return ""
	}
	name := filepath.Base(c.KubeconfigSecretDir)
	if ref := c.KubeconfigSecretRef; ref != nil {
		name = ref.Name
		if a.Name.Namespace != bump.DefaultNamespace {
			name = a.Name.Namespace + ":" + name
		}
		if ref.Key != "" {
			name += "/" + ref.Key
		}
	}
	if c.Context != "" {
		name += " (" + c.Context + ")"
	}
	return name
}

// Account is who touches the objects of the app in its cluster: the
// ServiceAccount that it names, in the namespace of its own name; empty for
// whoever Hoist is there.
func (a App) Account() string {
	if a.ServiceAccountName == "" {
		return ""
	}
	return "system:serviceaccount:" + a.Name.Namespace + ":" + a.ServiceAccountName
}

// checkCluster reports what is wrong with where and as whom the app is applied.
func (a App) checkCluster(fault func(field, format string, args ...any)) {
	if a.ServiceAccountName != "" {
		for _, m := range validation.IsDNS1123Subdomain(a.ServiceAccountName) {
			fault("serviceAccountName", "%q: %s", a.ServiceAccountName, m)
		}
	}
	c := a.Cluster
	switch {
	case c == nil:
	case c.KubeconfigSecretRef == nil && c.KubeconfigSecretDir == "":
		fault("cluster", "names no kubeconfig: write kubeconfigSecretRef or kubeconfigSecretDir")
	case c.KubeconfigSecretRef != nil && c.KubeconfigSecretDir != "":
		fault("cluster", "has both kubeconfigSecretRef and kubeconfigSecretDir: write one")
	case c.KubeconfigSecretRef != nil && c.KubeconfigSecretRef.Name == "":
		fault("cluster.kubeconfigSecretRef.name", "is empty")
	}
}
