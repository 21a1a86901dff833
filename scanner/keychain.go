package scanner

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// keychainTTL is how long an answer of the standard docker config file counts.
// Its helpers are programs; a thousand images a minute must not start them
// each time.
const keychainTTL = 5 * time.Minute

// keychain remembers what the standard docker config file and its helpers said.
// It is safe from several goroutines.
type keychain struct {
	now func() time.Time

	mu    sync.Mutex
	known map[string]keychainEntry
}

type keychainEntry struct {
	creds credentials
	asked time.Time
}

func (k *keychain) find(ctx context.Context, repo name.Repository) (credentials, error) {
	key := repo.Name()
	k.mu.Lock()
	entry, ok := k.known[key]
	k.mu.Unlock()
	if ok && k.now().Sub(entry.asked) < keychainTTL {
		return entry.creds, nil
	}
	auth, err := authn.Resolve(ctx, authn.DefaultKeychain, repo)
	if err != nil {
		return credentials{}, fmt.Errorf("read the docker config file: %w", err)
	}
	cfg, err := authn.Authorization(ctx, auth)
	if err != nil {
		return credentials{}, fmt.Errorf("ask the docker credential helper: %w", err)
	}
	creds := credentials{config: *cfg, origin: "the docker config file"}
	if creds.anonymous() {
		creds.origin = "the docker config file has no credentials for it"
	}
	k.mu.Lock()
	k.known[key] = keychainEntry{creds: creds, asked: k.now()}
	k.mu.Unlock()
	return creds, nil
}

// forget makes the next find ask again: the answer was rejected.
func (k *keychain) forget(repo name.Repository) {
	k.mu.Lock()
	delete(k.known, repo.Name())
	k.mu.Unlock()
}
