package reconcile

import "context"

// called is the name of this Hoist in inventories, "" without one. In a cluster
// other than its own it says where it runs as well: the Hoist of that cluster may
// have the same name, as deploy/ gives one to all, and must not take these
// inventories for its own.
func (e *Engine) called(ctx context.Context) (string, error) {
	if e.owner == "" {
		return "", nil
	}
	home, err := e.home()
	if err != nil || home == e.cluster {
		return e.owner, err
	}
	uid, err := home.Identity(ctx)
	return e.owner + " of cluster " + uid, err
}
