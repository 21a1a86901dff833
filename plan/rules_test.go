package plan

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hoist/bump"
)

func at(t *testing.T, s string) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

func TestCalendar(t *testing.T) {
	office := Rules{Windows: []Window{{Days: "Mon-Fri", Hours: "09:00-17:00", Timezone: "Europe/Berlin"}}}
	night := Rules{Windows: []Window{{Days: "Sat", Hours: "22:00-04:00"}}}
	holidays := Rules{Windows: office.Windows, Freeze: []Freeze{{From: "2026-12-21", To: "2027-01-03", Timezone: "Europe/Berlin", Reason: "holidays"}}}
	for _, tc := range []struct {
		rules   Rules
		now     string
		closed  string // part of the reason; empty: open
		changes string
	}{
		{Rules{}, "2026-11-27T03:00:00Z", "", ""},
		{office, "2026-11-27T08:00:00Z", "", "2026-11-27T16:00:00Z"},
		{office, "2026-11-27T07:59:59Z", "outside the window Mon-Fri 09:00-17:00 Europe/Berlin, open again Fri 2026-11-27 09:00 CET", "2026-11-27T08:00:00Z"},
		{office, "2026-11-27T16:00:00Z", "open again Mon 2026-11-30 09:00 CET", "2026-11-30T08:00:00Z"},
		{office, "2026-07-01T07:00:00Z", "", "2026-07-01T15:00:00Z"}, // summer time
		{office, "2026-03-29T12:00:00Z", "open again Mon 2026-03-30 09:00 CEST", "2026-03-30T07:00:00Z"},
		{night, "2026-11-28T23:00:00Z", "", "2026-11-29T04:00:00Z"},
		{night, "2026-11-29T03:59:00Z", "", "2026-11-29T04:00:00Z"},
		{night, "2026-11-28T03:00:00Z", "open again Sat 2026-11-28 22:00 UTC", "2026-11-28T22:00:00Z"},
		{holidays, "2026-12-18T12:00:00Z", "", "2026-12-18T16:00:00Z"},
		{holidays, "2026-12-24T12:00:00Z", "frozen until Mon 2027-01-04 00:00 CET: holidays", "2027-01-04T08:00:00Z"},
		{holidays, "2027-01-03T22:59:59Z", "frozen", "2027-01-04T08:00:00Z"},
	} {
		if faults := tc.rules.Check(); len(faults) > 0 {
			t.Fatalf("Check = %v", faults)
		}
		c, now := tc.rules.Calendar(), at(t, tc.now)
		closed := c.Closed(now)
		if (closed == "") != (tc.closed == "") || !strings.Contains(closed, tc.closed) {
			t.Errorf("Closed(%s) = %q, want %q in it", tc.now, closed, tc.closed)
		}
		changes := ""
		if next := c.Changes(now); !next.IsZero() {
			changes = next.UTC().Format(time.RFC3339)
		}
		if changes != tc.changes {
			t.Errorf("Changes(%s) = %s, want %s", tc.now, changes, tc.changes)
		}
	}
}

// What Changes says is when it changes, found the slow way, minute by minute.
func TestCalendarChangesWhenItSays(t *testing.T) {
	rules := Rules{
		Windows: []Window{{Days: "Mon,Wed-Thu", Hours: "23:30-01:15", Timezone: "America/New_York"}, {Days: "Sun", Timezone: "Asia/Kolkata"}},
		Freeze:  []Freeze{{From: "2026-03-10T00:00:00Z", To: "2026-03-11", Reason: "x"}},
	}
	c := rules.Calendar()
	start := at(t, "2026-03-01T00:00:00Z")
	next := c.Changes(start)
	open := c.open(start)
	for now := start; now.Before(start.AddDate(0, 1, 0)); now = now.Add(time.Minute) {
		is := c.open(now)
		if is != open && !now.Equal(next) {
			t.Fatalf("changes at %v, Changes said %v", now, next)
		}
		if is == open && now.Equal(next) {
			t.Fatalf("does not change at %v, as Changes said", now)
		}
		if is != open {
			open, next = is, c.Changes(now)
		}
	}
}

func TestRulesCheck(t *testing.T) {
	two := -2
	bad := Rules{
		Windows: []Window{
			{Days: "Mon-Fun"}, {Hours: "9-17"}, {Hours: "09:00-09:00"}, {Hours: "24:00-09:00"}, {Timezone: "Europe/Atlantis"},
			{Days: "Fun", Hours: "9", Timezone: "Mars"},
		},
		Freeze: []Freeze{
			{From: "20.12.2026", To: "2026-12-24", Reason: "x"}, {From: "2026-12-24", To: "soon", Reason: "x"},
			{From: "2026-12-24", To: "2026-12-20", Reason: "x"}, {From: "2026-12-24", To: "2026-12-24"},
			{From: "today", To: "soon"},
		},
		MaxBumps:  &MaxBumps{},
		MaxMajors: &two,
		Settle:    bump.Duration(2 * time.Hour),
	}
	want := []string{
		`windows[0].days: "Mon-Fun" is not a day or a range of days such as Mon-Fri`,
		`windows[1].hours: "9-17" is not a span of hours such as 09:00-17:00`,
		`windows[2].hours: "09:00-09:00" begins when it ends: leave hours out for the whole day`,
		`windows[3].hours: "24:00-09:00" is not a span of hours such as 09:00-17:00`,
		`windows[4].timezone: "Europe/Atlantis" is not a time zone such as Europe/Berlin`,
		`windows[5].timezone: "Mars" is not a time zone such as Europe/Berlin`,
		`windows[5].days: "Fun" is not a day or a range of days such as Mon-Fri`,
		`windows[5].hours: "9" is not a span of hours such as 09:00-17:00`,
		`freeze[0].from: "20.12.2026" is not a day such as 2026-12-20 or a time such as 2026-12-20T18:00:00Z`,
		`freeze[1].to: "soon" is not a day such as 2026-12-20 or a time such as 2026-12-20T18:00:00Z`,
		`freeze[2].to: "2026-12-20" is not after "2026-12-24"`,
		`freeze[3].reason: is missing: people will ask why nothing moves`,
		`freeze[4].from: "today" is not a day such as 2026-12-20 or a time such as 2026-12-20T18:00:00Z`,
		`freeze[4].to: "soon" is not a day such as 2026-12-20 or a time such as 2026-12-20T18:00:00Z`,
		`freeze[4].reason: is missing: people will ask why nothing moves`,
		`maxBumps: bounds nothing: set perPass, perHour or both`,
		`maxMajors: -2 is negative`,
		`settle: "2h0m0s" is not between 0s and 1h`,
	}
	got := bad.Check()
	for i, f := range got {
		if line := f.Field + ": " + f.Message; i >= len(want) || line != want[i] {
			t.Errorf("fault %d = %s", i, line)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d faults, want %d", len(got), len(want))
	}
}

func TestRulesHoldBumpsBack(t *testing.T) {
	name := func(i int) bump.Name { return bump.Name{Namespace: "hoist", Name: fmt.Sprint("p", i)} }
	many := func(r Rules, recent int) string {
		in := Input{Orders: map[bump.Name]Order{}, Selections: map[bump.Name]bump.Selection{}, Value: value, Rules: r, Recent: recent}
		for i := range 4 {
			in.Orders[name(i)] = numbers{}
			in.Selections[name(i)] = bump.Selection{Policy: name(i), Tag: "7", Proven: i%2 == 0}
			in.Sites = append(in.Sites, bump.Site{Policy: name(i), Part: bump.Tag, Value: "6"}, bump.Site{Policy: name(i), Part: bump.Tag, Value: "6"})
		}
		text := ""
		for _, v := range Decide(in) {
			switch {
			case v.Outcome == bump.Bump:
				text += "b"
			case v.LookUp:
				text += "l"
			case strings.HasPrefix(v.Reason, "waits its turn: maxBumps."):
				text += "w"
			default:
				text += "?"
			}
		}
		return text
	}
	for _, tc := range []struct {
		max    *MaxBumps
		recent int
		want   string
	}{
		{nil, 0, "bbllbbll"},
		{&MaxBumps{PerPass: 3}, 0, "bbllbbww"},
		{&MaxBumps{PerHour: 5}, 3, "bbllwwww"},
		{&MaxBumps{PerHour: 5}, 9, "wwwwwwww"},
		{&MaxBumps{PerPass: 1, PerHour: 5}, 0, "bbwwwwww"},
	} {
		if got := many(Rules{MaxBumps: tc.max}, tc.recent); got != tc.want {
			t.Errorf("%+v with %d in the last hour: %s, want %s (bump, look up, wait)", tc.max, tc.recent, got, tc.want)
		}
	}
}

func TestMaxMajorsAndDowngrades(t *testing.T) {
	one := 1
	in := input("7", bump.Site{Policy: web, Part: bump.Tag, Value: "5"})
	in.Rules.MaxMajors = &one
	if v := Decide(in)[0]; v.Outcome != bump.Held || v.Reason != "7 is more than 1 major version away, and maxMajors of the update allows no more" {
		t.Errorf("5 to 7: %s %q, want held", v.Outcome, v.Reason)
	}
	in.Sites[0].Value = "6"
	if v := Decide(in)[0]; v.Outcome != bump.Bump {
		t.Errorf("6 to 7: %s %q, want a bump", v.Outcome, v.Reason)
	}
	in.Sites[0].Value, in.Rules.AllowDowngrade = "8", true
	if v := Decide(in)[0]; v.Outcome != bump.Bump || v.Reason != "goes back from 8, since allowDowngrade is set" {
		t.Errorf("8 to 7: %s %q, want a bump that says why", v.Outcome, v.Reason)
	}
	in.Calendar = Rules{Windows: []Window{{Days: "Mon"}}}.Calendar()
	in.Now = at(t, "2026-11-27T12:00:00Z")
	if v := Decide(in)[0]; v.Outcome != bump.Held || !strings.HasPrefix(v.Reason, "outside the window Mon UTC") {
		t.Errorf("on a Friday: %s %q, want held by the window", v.Outcome, v.Reason)
	}
}
