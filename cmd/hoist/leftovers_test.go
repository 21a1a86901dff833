package main

import (
	"strings"
	"testing"

	"hoist/bump"
	"hoist/daemon"
	"hoist/reconcile"
)

// Apps of other Hoists in the same namespace are no wall of text.
func TestManyOrphansAreOneLine(t *testing.T) {
	left := []daemon.Leftover{{App: bump.Name{Namespace: "hoist", Name: "stuck"}, Objects: 2, Stay: "this Hoist has no name"}}
	for _, n := range []string{"a", "b", "c", "d"} {
		left = append(left, daemon.Leftover{App: bump.Name{Namespace: "hoist", Name: n}, Objects: 1, Stay: reconcile.Orphaned})
	}
	print := func(all []daemon.Leftover) string {
		var out, errs strings.Builder
		if _, failed := printLeftovers(&out, &errs, all); failed != nil || out.Len() > 0 {
			t.Errorf("%v, %q", failed, out.String())
		}
		return errs.String()
	}
	want := "hoist: 4 apps are not in the configuration and stay (hoist:a, hoist:b, hoist:c, …); hoist status has them all\n" +
		"hoist: app hoist:stuck left the configuration, its 2 objects stay: this Hoist has no name\n"
	if got := print(left); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := print(left[:3]); strings.Count(got, "\n") != 3 {
		t.Errorf("few are told one by one, got\n%s", got)
	}
}
