package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"hoist/bump"
	"hoist/reconcile"
)

// lineage answers from the mirror. A commit that the mirror does not have is not
// in the history of any that it has: it holds all of the branch.
func (h *House) lineage(applied string, now bump.Head) (reconcile.Lineage, error) {
	r, ok := h.Config.Repository(now.Repository)
	if !ok {
		return reconcile.Lineage{}, fmt.Errorf("repository %s is not in the configuration", now.Repository)
	}
	url := strings.ToLower(strings.TrimSuffix(strings.TrimSuffix(r.URL, "/"), ".git"))
	sum := sha256.Sum256([]byte(url + "#" + r.Branch)) // the URL may name a user
	l := reconcile.Lineage{Source: hex.EncodeToString(sum[:8]), Follows: applied == "" || applied == now.Hash}
	if l.Follows {
		return l, nil
	}
	m, err := h.Mirror(r)
	if err == nil {
		l.Follows, err = m.Contains(now, bump.Head{Repository: now.Repository, Branch: now.Branch, Hash: applied})
	}
	return l, err
}

// refusalOf returns the refusal in an error, or nil.
func refusalOf(err error) *reconcile.Refusal {
	var r *reconcile.Refusal
	errors.As(err, &r)
	return r
}
