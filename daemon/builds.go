package daemon

import (
	"context"

	"hoist/bump"
	"hoist/gitpush"
)

// warm has a build process started if there is none: there may soon be something to build.
func (h *House) warm() {
	if h.builder != nil && len(h.Config.Apply) > 0 {
		h.builder.Warm()
	}
}

// warmed is push, and meanwhile a build process starts for what is pushed: a
// bump does not wait for one.
func (h *House) warmed(push pushFunc) pushFunc {
	return func(ctx context.Context, base bump.Head, drafts []gitpush.Draft) ([]bump.Commit, error) {
		h.warm()
		return push(ctx, base, drafts)
	}
}
