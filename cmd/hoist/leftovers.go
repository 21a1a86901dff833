package main

import (
	"fmt"
	"io"
	"strings"

	"hoist/bump"
	"hoist/daemon"
)

// manyOrphans is how many apps are told one by one that stay as they ought to:
// they may be those of another Hoist.
const manyOrphans = 3

// printLeftovers writes a line for each app that is in the cluster and not in the
// configuration, and returns how many objects were deleted.
func printLeftovers(out, stderr io.Writer, all []daemon.Leftover) (deleted int, failed []error) {
	var orphans []string
	for _, l := range all {
		if l.Orphaned() {
			orphans = append(orphans, daemon.On(l.App.String(), l.Cluster))
		}
	}
	many := len(orphans) > manyOrphans
	if many {
		fmt.Fprintf(stderr, "hoist: %d apps are not in the configuration and stay (%s, …); hoist status has them all\n", len(orphans), strings.Join(orphans[:manyOrphans], ", "))
	}
	for _, l := range all {
		if many && l.Orphaned() {
			continue
		}
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
