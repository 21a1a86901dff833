package daemon

import (
	"time"

	"hoist/bump"
)

// Event is one step of a bump's way, for whoever watches the daemon. Exactly one
// of Selection, Commit and Result is set.
type Event struct {
	Time      time.Time
	Selection *bump.Selection // a policy selected another tag than before
	Commit    *bump.Commit    // a commit is on the remote branch
	Result    *bump.Result    // an app was applied; with Ready set, it is healthy too
}
