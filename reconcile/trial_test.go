package reconcile

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hoist/bump"
)

// story plays what happens to an app and prints its trial after each step.
func TestTrialIsStoodInTime(t *testing.T) {
	start := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	const after = 5 * time.Minute
	at := func(minutes int) time.Time { return start.Add(time.Duration(minutes) * time.Minute) }
	show := func(x Trial) string {
		words := []string{x.Proven}
		for _, try := range x.Tries {
			when := "-"
			if !try.Applied.IsZero() {
				when = fmt.Sprint(int(try.Applied.Sub(start).Minutes()))
			}
			words = append(words, try.Revision+":"+when)
		}
		return strings.Join(words, " ")
	}
	var x Trial
	apply := func(head, before string, well, changed bool, minute int) {
		var fresh bool
		x, fresh = x.begun(head, before, well)
		x = x.applied(head, fresh, changed, at(minute))
	}
	for _, step := range []struct {
		what string
		do   func()
		want string
	}{
		{"the first apply is a try", func() { apply("a", "", false, true, 0) }, " a:0"},
		{"well too early proves nothing", func() { x = x.stood("a", after, at(4)) }, " a:0"},
		{"well in time", func() { x = x.stood("a", after, at(5)) }, "a"},
		{"a revision that changes nothing goes along", func() { apply("b", "a", true, false, 6) }, "b"},
		{"the same revision once more", func() { apply("b", "b", true, true, 7) }, "b"},
		{"a bump", func() { apply("c", "b", true, true, 10) }, "b c:10"},
		{"while it is on trial, nothing else goes along", func() { apply("d", "c", true, false, 11) }, "b c:10"},
		{"another bump while it is unwell", func() { apply("e", "d", false, true, 13) }, "b c:10 e:13"},
		{"the first is well in time", func() { x = x.stood("e", after, at(16)) }, "c e:13"},
		{"and the second", func() { x = x.stood("e", after, at(18)) }, "e"},
		{"a kill before the end of an apply", func() { x, _ = x.begun("f", "e", true) }, "e f:-"},
		{"leaves the try, whatever the next start finds", func() { apply("f", "e", true, false, 20) }, "e f:20"},
		{"also when the next start is at another revision", func() { x, _ = x.begun("g", "f", true); apply("h", "f", true, false, 21) }, "e f:20 h:21"},
		{"all of it", func() { x = x.stood("h", after, at(60)) }, "h"},
		{"what was sick before has nothing to go back to", func() { apply("i", "h", false, true, 61) }, " i:61"},
	} {
		step.do()
		if got := show(x); got != step.want {
			t.Fatalf("%s: %q, want %q", step.what, got, step.want)
		}
	}
	if got := x.Next(after, at(61)); !got.Equal(at(66)) {
		t.Errorf("Next = %s, want %s", got, at(66))
	}
	if got := x.Next(after, at(66)); !got.IsZero() {
		t.Errorf("Next after the last = %s", got)
	}
}

func TestTrialIsBounded(t *testing.T) {
	var x Trial
	for i := range 3 * maxTries {
		head := fmt.Sprint(i)
		var fresh bool
		x, fresh = x.begun(head, "", true)
		x = x.applied(head, fresh, true, time.Unix(int64(i), 0))
	}
	if len(x.Tries) != maxTries || x.Tries[maxTries-1].Revision != fmt.Sprint(3*maxTries-1) {
		t.Errorf("%d tries, the last is %+v", len(x.Tries), x.Tries[len(x.Tries)-1])
	}
}

func TestRollbackSection(t *testing.T) {
	for _, c := range []struct {
		app  App
		want string
	}{
		{App{Wait: true, Rollback: &Rollback{After: bump.Duration(5 * time.Minute)}}, ""},
		{App{HealthChecks: []HealthCheck{{"v1", "Pod", "p", ""}}, Rollback: &Rollback{After: bump.Duration(time.Second)}}, ""},
		{App{Wait: true, Rollback: &Rollback{}}, "rollback.after: is missing: say how long a bump may take until the app is ready, such as 5m"},
		{App{Wait: true, Rollback: &Rollback{After: bump.Duration(time.Millisecond)}}, `rollback.after: "1ms" is not between 1s and 24h`},
		{App{Rollback: &Rollback{After: bump.Duration(time.Minute)}}, "rollback: nothing tells whether the app is well: set wait: true, or name objects in healthChecks"},
	} {
		c.app.Repository, c.app.Name = "fleet", bump.Name{Namespace: "hoist", Name: "shop"}
		var got []string
		for _, f := range c.app.Check() {
			got = append(got, f.Field+": "+f.Message)
		}
		if strings.Join(got, "; ") != c.want {
			t.Errorf("%+v: %q, want %q", c.app.Rollback, got, c.want)
		}
	}
}

func TestImagesAndSecretsOfAnObject(t *testing.T) {
	spec := map[string]any{
		"image": "r.test/operand:1.2.0",
		"template": map[string]any{"spec": map[string]any{
			"initContainers": []any{map[string]any{"image": "r.test/init:2"}},
			"containers": []any{map[string]any{"image": "r.test/web:1.4.3", "env": []any{
				map[string]any{"valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": "database", "key": "password"}}},
			}, "envFrom": []any{map[string]any{"secretRef": map[string]any{"name": "all"}}}}},
			"volumes": []any{map[string]any{"secret": map[string]any{"secretName": "mounted"}}},
		}},
	}
	images, secrets := imagesIn(spec, nil), secretNames(spec, nil)
	slices.Sort(images)
	slices.Sort(secrets)
	if got := strings.Join(images, " "); got != "r.test/init:2 r.test/operand:1.2.0 r.test/web:1.4.3" {
		t.Errorf("images %q", got)
	}
	if got := strings.Join(secrets, " "); got != "all database mounted" {
		t.Errorf("secrets %q", got)
	}
	for group, want := range map[string]bool{"v1": false, "apps/v1": false, "networking.k8s.io/v1": false, "example.com/v1": true} {
		if got := (Sick{Object: bump.Object{APIVersion: group}, Applied: true}).Custom(); got != want {
			t.Errorf("%s: custom %t", group, got)
		}
		if (Sick{Object: bump.Object{APIVersion: group}}).Custom() {
			t.Errorf("%s of somebody else counts as custom", group)
		}
	}
}
