package reconcile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"hoist/bump"
)

// kubeconfigKeys are where a Secret has its kubeconfig when nobody says, as in Flux.
var kubeconfigKeys = []string{"value", "value.yaml"}

// Kubeconfig returns the kubeconfig that a secret holds under key, or under one
// of the usual keys when key is empty.
func Kubeconfig(secret bump.Secret, key string) ([]byte, error) {
	keys := kubeconfigKeys
	if key != "" {
		keys = []string{key}
	}
	for _, k := range keys {
		if text, ok := secret[k]; ok {
			return text, nil
		}
	}
	return nil, fmt.Errorf("has no key %s", strings.Join(keys, " or "))
}

// RemoteConfig reads a kubeconfig that came out of a secret, and the context of
// that name in it, or its current one. Whoever may write the secret must not
// become able to run programs where Hoist runs, or to send its files elsewhere:
// what names a program or a file is refused, and so is a connection that is not
// verified.
func RemoteConfig(kubeconfig []byte, context string) (*rest.Config, error) {
	file, err := clientcmd.Load(kubeconfig)
	if err != nil {
		return nil, errors.New("is not a kubeconfig (what is wrong is not repeated, it may hold credentials)")
	}
	if context == "" {
		context = file.CurrentContext
	}
	at, ok := file.Contexts[context]
	if !ok {
		if context == "" {
			return nil, fmt.Errorf("has no current-context: set one there, or name the context in the configuration%s", among(file.Contexts))
		}
		return nil, fmt.Errorf("has no context %q%s", context, among(file.Contexts))
	}
	cluster, user := file.Clusters[at.Cluster], file.AuthInfos[at.AuthInfo]
	if cluster == nil || cluster.Server == "" {
		return nil, fmt.Errorf("context %q names cluster %q, of which it does not say where it is", context, at.Cluster)
	}
	if user == nil {
		return nil, fmt.Errorf("context %q names user %q, which it does not have", context, at.AuthInfo)
	}
	if err := selfContained(cluster, user); err != nil {
		return nil, err
	}
	cfg, err := clientcmd.NewNonInteractiveClientConfig(*file, context, &clientcmd.ConfigOverrides{}, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("cannot be used: %w", err)
	}
	cfg.QPS = -1
	cfg.UserAgent = "hoist"
	return cfg, nil
}

func among(contexts map[string]*api.Context) string {
	if len(contexts) == 0 {
		return ""
	}
	return "; it has " + strings.Join(slices.Sorted(maps.Keys(contexts)), ", ")
}

// selfContained refuses everything in a kubeconfig that is not in the kubeconfig.
func selfContained(cluster *api.Cluster, user *api.AuthInfo) error {
	const file = "names a file where Hoist runs: put its content into "
	for _, f := range []struct {
		set         bool
		field, what string
	}{
		{user.Exec != nil, "exec", "would run a program where Hoist runs: use a token, or client-certificate-data and client-key-data"},
		{user.AuthProvider != nil, "auth-provider", "is of a plug-in that Hoist does not have: use a token, or client-certificate-data and client-key-data"},
		{user.TokenFile != "", "tokenFile", file + "token"},
		{user.ClientCertificate != "", "client-certificate", file + "client-certificate-data"},
		{user.ClientKey != "", "client-key", file + "client-key-data"},
		{cluster.CertificateAuthority != "", "certificate-authority", file + "certificate-authority-data"},
		{cluster.InsecureSkipTLSVerify, "insecure-skip-tls-verify", "would give the credentials to anybody who answers: put the authority into certificate-authority-data"},
	} {
		if f.set {
			return fmt.Errorf("%s %s", f.field, f.what)
		}
	}
	return nil
}
