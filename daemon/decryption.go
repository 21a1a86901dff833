package daemon

import (
	"context"
	"slices"

	"hoist/bump"
	"hoist/config"
)

// withKeys returns a configuration whose apps can read the keys to their encrypted
// files. A Secret is read anew for every build that needs it: who added a key
// because a build failed shall not wait.
func (s *secretStore) withKeys(cfg *config.Config) *config.Config {
	with := *cfg
	with.Apply = slices.Clone(cfg.Apply)
	for i := range with.Apply {
		a := &with.Apply[i]
		if d := a.Decryption; d != nil {
			a.Keys = s.fresh(a.Name, d.SecretRef, d.SecretDir)
		}
	}
	return &with
}

func (s *secretStore) fresh(entry bump.Name, ref *bump.LocalRef, dir string) secretFunc {
	read := s.source(entry, ref, dir)
	return func(ctx context.Context) (bump.Secret, error) {
		if read == nil { // services alone
			return nil, nil
		}
		if ref != nil {
			s.secrets.forget(entry.Namespace + "/" + ref.Name)
		}
		return read(ctx)
	}
}
