package main

import (
	"fmt"
	"io"

	"hoist/bump"
	"hoist/daemon"
)

// printLeftovers writes a line for each app that is in the cluster and not in the
// configuration, and returns how many objects were deleted.
func printLeftovers(out, stderr io.Writer, all []daemon.Leftover) (deleted int, failed []error) {
	for _, l := range all {
		app := daemon.On(l.App.String(), l.Cluster)
		switch n := l.Result.Counts()[bump.Deleted]; {
		case l.Err != nil:
			failed = append(failed, fmt.Errorf("app %s left the configuration: %w", app, l.Err))
		case n > 0:
			deleted += n
			fmt.Fprintf(out, "%s: %s\n", app, l)
		default:
			fmt.Fprintf(stderr, "hoist: app %s %s\n", app, l)
		}
	}
	return deleted, failed
}
