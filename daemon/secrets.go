package daemon

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"hoist/bump"
	"hoist/scanner"
)

// maxSecretFile bounds one file of a secretDir, in bytes; Kubernetes bounds a whole Secret at the same size.
const maxSecretFile = 1 << 20

// oneLine are the keys whose values cannot hold a line break. Files written by
// hand end in one.
var oneLine = []string{"username", "password", "token", "bearerToken"}

// secretFunc reads a secret. It is called at every use, so that a rotated one is
// used without restart.
type secretFunc = func(context.Context) (bump.Secret, error)

// secretStore finds the secrets that the configuration names, in the cluster and
// in directories. What the cluster says is remembered for a moment.
type secretStore struct {
	client   func() (kubernetes.Interface, error) // called at the first secretRef; its error says how to name a cluster
	secrets  *briefly[bump.Secret]
	accounts *briefly[[]string] // ServiceAccounts: the names of their pull secrets
}

func newSecretStore(client func() (kubernetes.Interface, error), now func() time.Time) *secretStore {
	return &secretStore{
		client: sync.OnceValues(client), secrets: newBriefly[bump.Secret](now), accounts: newBriefly[[]string](now),
	}
}

// source returns the reader of one entry's secret, or nil where the entry names none.
func (s *secretStore) source(entry bump.Name, ref *bump.LocalRef, dir string) secretFunc {
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

// pullSecrets returns the reader of a ServiceAccount's pull secrets, or nil
// where none is named. A Secret that does not exist has no keys: kubelet passes
// it over too.
func (s *secretStore) pullSecrets(namespace, account string) func(context.Context) ([]scanner.PullSecret, error) {
	if account == "" {
		return nil
	}
	return func(ctx context.Context) ([]scanner.PullSecret, error) {
		names, err := s.accounts.get(ctx, namespace+"/"+account, func(ctx context.Context) ([]string, error) {
			return s.pullSecretNames(ctx, namespace, account)
		})
		if err != nil {
			return nil, err
		}
		var pulls []scanner.PullSecret
		for _, name := range names {
			keys, err := s.fromCluster(ctx, namespace, name)
			if apierrors.IsNotFound(err) {
				keys = nil
			} else if err != nil {
				return nil, err
			}
			pulls = append(pulls, scanner.PullSecret{Name: namespace + "/" + name, Keys: keys})
		}
		return pulls, nil
	}
}

// forgetter returns what to call when an image's credentials were rejected: its
// secrets are read anew at the next use.
func (s *secretStore) forgetter(i scanner.Image) func() {
	namespace := i.Name.Namespace
	return func() {
		if i.SecretRef != nil {
			s.secrets.forget(namespace + "/" + i.SecretRef.Name)
		}
		if i.ServiceAccountName == "" {
			return
		}
		for _, name := range s.accounts.forget(namespace + "/" + i.ServiceAccountName) {
			s.secrets.forget(namespace + "/" + name)
		}
	}
}

func (s *secretStore) pullSecretNames(ctx context.Context, namespace, account string) ([]string, error) {
	client, err := s.client()
	if err != nil {
		return nil, fmt.Errorf("read serviceaccount %s/%s: %w", namespace, account, err)
	}
	sa, err := client.CoreV1().ServiceAccounts(namespace).Get(ctx, account, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read serviceaccount %s/%s: %w", namespace, account, err)
	}
	var names []string
	for _, ref := range sa.ImagePullSecrets {
		names = append(names, ref.Name)
	}
	return names, nil
}

func (s *secretStore) fromCluster(ctx context.Context, namespace, name string) (bump.Secret, error) {
	return s.secrets.get(ctx, namespace+"/"+name, func(ctx context.Context) (bump.Secret, error) {
		client, err := s.client()
		if err != nil {
			return nil, fmt.Errorf("read secret %s/%s: %w", namespace, name, err)
		}
		secret, err := client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, fmt.Errorf("read secret %s/%s: %w", namespace, name, err)
		}
		if secret.Data == nil {
			return bump.Secret{}, nil // there, and empty
		}
		return bump.Secret(secret.Data), nil
	})
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
