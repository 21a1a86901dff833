package daemon

import (
	"strings"
	"testing"
	"time"

	"hoist/bump"
	"hoist/gitpush"
	"hoist/reconcile"
)

func TestGuiltyIsWhatASickObjectRuns(t *testing.T) {
	start := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	at := func(minutes int) time.Time { return start.Add(time.Duration(minutes) * time.Minute) }
	bumped := func(image, to string, minute int) suspect {
		policy := bump.Name{Namespace: "hoist", Name: image[strings.LastIndexByte(image, '/')+1:]}
		s := suspect{bump: gitpush.Entry{Image: image, To: to, Policy: policy}}
		s.Policy = policy
		if minute >= 0 {
			s.applied = at(minute)
		}
		return s
	}
	sick := func(kind string, images ...string) reconcile.Sick {
		version := map[string]string{"Deployment": "apps/v1", "Job": "batch/v1", "Service": "v1", "Cache": "example.com/v1"}[kind]
		return reconcile.Sick{Object: bump.Object{APIVersion: version, Kind: kind, Namespace: "shop", Name: "x"}, Images: images, Failed: kind == "Job", Applied: len(images) == 0 || images[0] != ""}
	}
	digested := bumped("r.test/web", "stable", 0)
	digested.bump.Digest = "sha256:bb"
	both := []suspect{bumped("r.test/web", "1.4.3", 0), bumped("r.test/api", "2.0.0", 0)}
	const trial = "what was bumped is on trial until 2026-11-27T12:"
	for _, c := range []struct {
		what     string
		suspects []suspect
		sick     []reconcile.Sick
		fixed    time.Time
		now      int
		want     string // policies, or why there are none
	}{
		{"by its image", both, []reconcile.Sick{sick("Deployment", "r.test/web:1.4.3")}, time.Time{}, 5, "web"},
		{"both", both, []reconcile.Sick{sick("Deployment", "r.test/web:1.4.3", "r.test/api:2.0.0")}, time.Time{}, 5, "web api"},
		{"another version of it runs there", both, []reconcile.Sick{sick("Deployment", "r.test/web:1.4.2")}, time.Time{}, 5, "no bump since it was last well is in Deployment/shop/x"},
		{"from a mirror", both, []reconcile.Sick{sick("Deployment", "mirror.test:5000/x/web:1.4.3")}, time.Time{}, 5, "web"},
		{"the same tag of something else", both, []reconcile.Sick{sick("Deployment", "r.test/database:1.4.3")}, time.Time{}, 5, "no bump since it was last well is in Deployment/shop/x"},
		{"the repository goes before the mirror", append(both, bumped("other.test/web", "1.4.3", 0)), []reconcile.Sick{sick("Deployment", "other.test/web:1.4.3")}, time.Time{}, 5, "web"},
		{"by its digest", []suspect{digested}, []reconcile.Sick{sick("Deployment", "r.test/web@sha256:bb")}, time.Time{}, 5, "web"},
		{"the tag with another digest", []suspect{digested}, []reconcile.Sick{sick("Deployment", "r.test/web:stable@sha256:aa")}, time.Time{}, 5, "no bump since it was last well is in Deployment/shop/x"},
		{"of a custom object without image, every one", both, []reconcile.Sick{sick("Cache")}, time.Time{}, 5, "web api"},
		{"a custom object of another app", both, []reconcile.Sick{sick("Cache", "")}, time.Time{}, 5, "no bump since it was last well is in Cache/shop/x"},
		{"an image goes before a custom object", both, []reconcile.Sick{sick("Cache"), sick("Deployment", "r.test/api:2.0.0")}, time.Time{}, 5, "api"},
		{"a service has no image", both, []reconcile.Sick{sick("Service")}, time.Time{}, 5, "no bump since it was last well is in Service/shop/x"},
		{"its time is not over", both, []reconcile.Sick{sick("Deployment", "r.test/web:1.4.3")}, time.Time{}, 4, trial + "05:00Z"},
		{"the later one has time left", []suspect{both[0], bumped("r.test/api", "2.0.0", 3)}, []reconcile.Sick{sick("Deployment", "r.test/web:1.4.3", "r.test/api:2.0.0")}, time.Time{}, 6, "web"},
		{"what failed for good takes no time", both, []reconcile.Sick{sick("Job", "r.test/web:1.4.3")}, time.Time{}, 1, "web"},
		{"a person's change gets time", both, []reconcile.Sick{sick("Deployment", "r.test/web:1.4.3")}, at(4), 6, trial + "09:00Z"},
		{"and no more than that", both, []reconcile.Sick{sick("Deployment", "r.test/web:1.4.3")}, at(4), 9, "web"},
		{"the cluster has not got it", []suspect{bumped("r.test/web", "1.4.3", -1)}, []reconcile.Sick{sick("Cache")}, time.Time{}, 60, "what was bumped is not applied yet"},
		{"nothing was bumped", nil, []reconcile.Sick{sick("Cache")}, time.Time{}, 60, "nothing that was bumped since it was last well is there any more"},
	} {
		guilty, why, _ := evidence{suspects: c.suspects, sick: c.sick, after: 5 * time.Minute, fixed: c.fixed, now: at(c.now)}.guilty()
		var names []string
		for _, g := range guilty {
			names = append(names, g.Policy.Name)
		}
		if got := strings.Join(names, " ") + why; got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

func TestRollbackQuotesLittle(t *testing.T) {
	c := complaint{app: rolledBackApp("shop")}
	for range 20 {
		c.sick = append(c.sick, reconcile.Sick{Object: bump.Object{Kind: "Pod", Name: "x"}, Message: strings.Repeat("ä\n", 5000)})
	}
	reason, story := c.tell("0123456789")
	if len(reason) > 2*maxQuoted || strings.Contains(reason, "\n") || !strings.HasPrefix(reason, "app shop was not ready 5m after it got 0123456: Pod/x: ä ä") {
		t.Errorf("reason %d bytes: %s", len(reason), reason)
	}
	if n := strings.Count(story, "\n"); n != 12 || !strings.HasSuffix(story, "\n    and 10 more") {
		t.Errorf("story of %d lines: %s", n, story)
	}
}
