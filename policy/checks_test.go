package policy_test

import (
	"testing"
	"time"

	"hoist/bump"
	"hoist/policy"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return noon.Add(-d) }

func TestRefuses(t *testing.T) {
	aged := semVer("*")
	aged.MinimumAge = bump.Duration(30 * time.Minute)
	day := semVer("*")
	day.MinimumAge = bump.Duration(24 * time.Hour)
	on := func(platforms ...string) policy.Spec {
		s := semVer("*")
		s.Platforms = platforms
		return s
	}
	image := func(created, seen time.Time, platforms ...string) bump.Artifact {
		return bump.Artifact{Image: true, Type: "application/vnd.oci.image.config.v1+json", Created: created, Seen: seen, Platforms: platforms}
	}
	never := time.Time{}
	for _, row := range []struct {
		name   string
		spec   policy.Spec
		a      bump.Artifact
		reason string
		until  time.Time
	}{
		{"nothing asked", semVer("*"), image(never, never), "", never},
		{"a chart", semVer("*"), bump.Artifact{Type: "application/vnd.cncf.helm.config.v1+json"}, "not an image but application/vnd.cncf.helm.config.v1+json", never},
		{"what says nothing", semVer("*"), bump.Artifact{}, "not an image", never},

		{"platform there", on("linux/amd64"), image(never, never, "linux/amd64", "linux/arm64"), "", never},
		{"platform missing", on("linux/amd64", "linux/arm64"), image(never, never, "linux/amd64"), "no linux/arm64", never},
		{"platforms missing", on("linux/amd64", "linux/arm64"), image(never, never), "no linux/amd64, no linux/arm64", never},
		{"any variant", on("linux/arm"), image(never, never, "linux/arm/v6"), "", never},
		{"another variant", on("linux/arm/v7"), image(never, never, "linux/arm/v6"), "no linux/arm/v7", never},
		{"not the beginning of a name", on("linux/arm"), image(never, never, "linux/arm64"), "no linux/arm", never},
		{"arm64 is v8", on("linux/arm64/v8"), image(never, never, "linux/arm64"), "", never},
		{"v8 is arm64", on("linux/arm64"), image(never, never, "linux/arm64/v8"), "", never},

		{"old enough", aged, image(ago(time.Hour), ago(time.Minute)), "", never},
		{"to the second", aged, image(ago(30*time.Minute), ago(time.Minute)), "", never},
		{"too young", aged, image(ago(10*time.Minute), ago(time.Minute)), "younger than 30m, eligible 12:20 UTC", noon.Add(20 * time.Minute)},
		{"the minute after", aged, image(ago(10*time.Minute-time.Second), never), "younger than 30m, eligible 12:21 UTC", noon.Add(20*time.Minute + time.Second)},
		{"another day", day, image(ago(time.Hour), never), "younger than 24h, eligible 2026-03-02 11:00 UTC", noon.Add(23 * time.Hour)},
		{"unbelievable: as seen", aged, image(time.Unix(0, 0), ago(time.Minute)), "younger than 30m, eligible 12:29 UTC", noon.Add(29 * time.Minute)},
		{"silent: as seen", aged, image(never, ago(time.Hour)), "", never},
		{"built after now: as seen", aged, image(noon.Add(5*time.Minute), ago(time.Hour)), "", never},
		{"pushed again with another digest", aged, image(ago(72*time.Hour-71*time.Hour-50*time.Minute), noon), "younger than 30m, eligible 12:20 UTC", noon.Add(20 * time.Minute)},
		{"nothing to go by", aged, image(never, never), "its age is not known", never},
	} {
		t.Run(row.name, func(t *testing.T) {
			reason, until := compiled(t, row.spec).Refuses(row.a, noon)
			if reason != row.reason || !until.Equal(row.until) {
				t.Errorf("Refuses(%+v) = %q, %s, want %q, %s", row.a, reason, until, row.reason, row.until)
			}
		})
	}
}

// TestBorn: the time of build counts where it can be true.
func TestBorn(t *testing.T) {
	seen := ago(time.Hour)
	for _, row := range []struct {
		name    string
		created time.Time
		want    time.Time
	}{
		{"believable", ago(48 * time.Hour), ago(48 * time.Hour)},
		{"none", time.Time{}, seen},
		{"the epoch", time.Unix(0, 0), seen},
		{"before 2000", time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC), seen},
		{"2000", time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)},
		{"far in the future", noon.Add(365 * 24 * time.Hour), seen},
		{"just ahead of now", noon.Add(time.Minute), seen},
		{"long after we saw it", ago(time.Minute), seen},
	} {
		if got := policy.Born(bump.Artifact{Created: row.created, Seen: seen}, noon); !got.Equal(row.want) {
			t.Errorf("%s: Born = %s, want %s", row.name, got, row.want)
		}
	}
}

func TestAsks(t *testing.T) {
	aged, on, digests := semVer("*"), semVer("*"), semVer("*")
	aged.MinimumAge = bump.Duration(time.Minute)
	on.Platforms = []string{"linux/amd64"}
	digests.DigestReflectionPolicy = policy.DigestIfNotPresent
	for _, row := range []struct {
		spec policy.Spec
		want policy.Asks
	}{
		{semVer("*"), policy.Asks{}},
		{aged, policy.Asks{Created: true}},
		{on, policy.Asks{Platforms: true}},
		{digests, policy.Asks{Digest: true}},
		{newestBuild(), policy.Asks{Created: true, Every: true}},
	} {
		if got := compiled(t, row.spec).Asks(); got != row.want {
			t.Errorf("Asks of %+v = %+v, want %+v", row.spec, got, row.want)
		}
	}
}

func TestDigestReflection(t *testing.T) {
	for _, row := range []struct {
		says, interval string
		policy         string
		every          time.Duration
	}{
		{"", "0s", policy.DigestNever, 0},
		{"Never", "0s", policy.DigestNever, 0},
		{"IfNotPresent", "0s", policy.DigestIfNotPresent, 0},
		{"Always", "0s", policy.DigestAlways, 10 * time.Minute},
		{"Always", "1h", policy.DigestAlways, time.Hour},
	} {
		s := semVer("*")
		s.DigestReflectionPolicy = row.says
		if err := s.DigestInterval.UnmarshalText([]byte(row.interval)); err != nil {
			t.Fatal(err)
		}
		if got, every := compiled(t, s).DigestReflection(); got != row.policy || every != row.every {
			t.Errorf("%q every %s: %s, %s, want %s, %s", row.says, row.interval, got, every, row.policy, row.every)
		}
	}
}
