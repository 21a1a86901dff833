package daemon

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"hoist/bump"
)

// maxSecretFile bounds one file of a secretDir, in bytes; Kubernetes bounds a whole Secret at the same size.
const maxSecretFile = 1 << 20

// oneLine are the keys whose values cannot hold a line break. Files written by
// hand end in one.
var oneLine = []string{"username", "password", "token", "bearerToken"}

// secretFunc reads a secret at every call, so that a rotated one is used without restart.
type secretFunc = func(context.Context) (bump.Secret, error)

// secretStore finds the secrets that the configuration names.
type secretStore struct {
	client func() (kubernetes.Interface, error) // called at the first secretRef; its error says how to name a cluster
}

// source returns the reader of one entry's secret, or nil where the entry names none.
func (s secretStore) source(entry bump.Name, ref *bump.LocalRef, dir string) secretFunc {
	switch {
	case dir != "":
		return func(context.Context) (bump.Secret, error) { return readSecretDir(dir) }
	case ref != nil:
		return func(ctx context.Context) (bump.Secret, error) {
			return s.fromCluster(ctx, entry.Namespace, ref.Name)
		}
	}
	return nil
}

func (s secretStore) fromCluster(ctx context.Context, namespace, name string) (bump.Secret, error) {
	client, err := s.client()
	if err != nil {
		return nil, fmt.Errorf("read secret %s/%s: %w", namespace, name, err)
	}
	secret, err := client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read secret %s/%s: %w", namespace, name, err)
	}
	return bump.Secret(secret.Data), nil
}

// readSecretDir reads a directory in which every file is a key, as Kubernetes
// mounts a Secret: names that start with ".." belong to the mount.
func readSecretDir(dir string) (bump.Secret, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	secret := bump.Secret{}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "..") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path) // through the mount's symlinks
		if err != nil {
			return nil, fmt.Errorf("read secret: %w", err)
		}
		if !info.Mode().IsRegular() {
			continue
		}
		if info.Size() > maxSecretFile {
			return nil, fmt.Errorf("read secret: %s has %d bytes, more than the %d that a key may have", path, info.Size(), maxSecretFile)
		}
		value, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read secret: %w", err)
		}
		if slices.Contains(oneLine, e.Name()) {
			value = bytes.TrimRight(value, "\r\n")
		}
		secret[e.Name()] = value
	}
	if len(secret) == 0 {
		return nil, fmt.Errorf("read secret: %s holds no files", dir)
	}
	return secret, nil
}
