package daemon

import (
	"context"

	"hoist/bump"
	"hoist/gitpush"
)

// warmed is push, and meanwhile a build process starts for what is pushed: a
// bump does not wait for one.
func (h *House) warmed(push pushFunc) pushFunc {
	if h.builder == nil || len(h.Config.Apply) == 0 {
		return push
	}
	return func(ctx context.Context, base bump.Head, drafts []gitpush.Draft) ([]bump.Commit, error) {
		h.builder.Warm()
		return push(ctx, base, drafts)
	}
}
