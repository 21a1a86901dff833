package daemon

import (
	"time"

	"hoist/bump"
)

// Event is one step of a bump's way, for whoever watches the daemon. Exactly one
// of the pointers is set.
type Event struct {
	Time      time.Time
	Selection *bump.Selection // a policy selected another tag than before
	Commit    *bump.Commit    // a commit is on the remote branch
	Applied   *bump.Result    // an app was applied; its health may still be waited for
	Ready     *bump.Result    // an app is healthy at a revision
}
