package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // an image without time zones knows them all the same

	"hoist/bump"
)

// Calendar says when bumps may be pushed. The zero value says: always.
type Calendar struct {
	windows []window
	freezes []freeze
}

// Closed says why nothing may be pushed at an instant; "" when something may.
func (c Calendar) Closed(at time.Time) string {
	for _, f := range c.freezes {
		if f.holds(at) {
			return fmt.Sprintf("frozen until %s: %s", stamp(f.to, f.zone), f.reason)
		}
	}
	if c.inWindow(at) {
		return ""
	}
	reason := "outside the window " + c.windows[0].String()
	if len(c.windows) > 1 {
		reason = fmt.Sprintf("outside all %d windows", len(c.windows))
	}
	if opens := c.Changes(at); !opens.IsZero() {
		reason += ", open again " + stamp(opens, c.windows[0].zone)
	}
	return reason
}

// Changes returns the next instant after at when Closed begins or ceases to be
// empty; zero where it never does.
func (c Calendar) Changes(at time.Time) time.Time {
	open := c.open(at)
	for _, edge := range c.edges(at) {
		if c.open(edge) != open {
			return edge
		}
	}
	return time.Time{}
}

func (c Calendar) open(at time.Time) bool {
	for _, f := range c.freezes {
		if f.holds(at) {
			return false
		}
	}
	return c.inWindow(at)
}

func (c Calendar) inWindow(at time.Time) bool {
	for _, w := range c.windows {
		if w.holds(at) {
			return true
		}
	}
	return len(c.windows) == 0
}

// edges returns the instants after at, in their order, when a window or a
// freeze begins or ends: those of the next eight days, and of the eight days
// after each end of a freeze, when a window may meet it.
func (c Calendar) edges(at time.Time) []time.Time {
	starts := []time.Time{at}
	var edges []time.Time
	for _, f := range c.freezes {
		edges = append(edges, f.from, f.to)
		if f.to.After(at) {
			starts = append(starts, f.to)
		}
	}
	for _, w := range c.windows {
		for _, start := range starts {
			for day := -1; day <= 8; day++ {
				edges = append(edges, w.from.on(start.In(w.zone), day), w.to.on(start.In(w.zone), w.nextDay(day)))
			}
		}
	}
	return after(at, edges)
}

// window is a Window that can be asked.
type window struct {
	days     [7]bool // by time.Weekday
	from, to clock
	zone     *time.Location
	spelling string
}

func (w window) String() string { return w.spelling }

// overnight tells whether the window ends on the day after it begins.
func (w window) overnight() bool { return w.to <= w.from }

func (w window) nextDay(day int) int {
	if w.overnight() {
		return day + 1
	}
	return day
}

func (w window) holds(at time.Time) bool {
	local := at.In(w.zone)
	for _, day := range []int{0, -1} { // one that began yesterday may still be open
		begin, end := w.from.on(local, day), w.to.on(local, w.nextDay(day))
		if w.days[begin.Weekday()] && !at.Before(begin) && at.Before(end) {
			return true
		}
	}
	return false
}

// clock is a time of the day, in minutes.
type clock int

// on returns when the clock shows this time, so many days after a local day.
func (c clock) on(local time.Time, days int) time.Time {
	return time.Date(local.Year(), local.Month(), local.Day()+days, int(c)/60, int(c)%60, 0, 0, local.Location())
}

// freeze is a Freeze that can be asked.
type freeze struct {
	from, to time.Time // to is the first instant that is free again
	zone     *time.Location
	reason   string
}

func (f freeze) holds(at time.Time) bool { return !at.Before(f.from) && at.Before(f.to) }

// after returns the instants after at, in their order.
func after(at time.Time, all []time.Time) []time.Time {
	var later []time.Time
	for _, t := range all {
		if t.After(at) {
			later = append(later, t)
		}
	}
	slices.SortFunc(later, time.Time.Compare)
	return later
}

// compile reads a window. message says what is wrong with which field.
func (w Window) compile() (window, []bump.Fault) {
	zone, faults := zoneOf(w.Timezone)
	c := window{zone: zone, spelling: strings.Join(strings.Fields(w.Days+" "+w.Hours+" "+zone.String()), " ")}
	var err error
	if c.days, err = parseDays(w.Days); err != nil {
		faults = append(faults, bump.Fault{Field: "days", Message: err.Error()})
	}
	if c.from, c.to, err = parseHours(w.Hours); err != nil {
		faults = append(faults, bump.Fault{Field: "hours", Message: err.Error()})
	}
	return c, faults
}

// zoneOf returns a time zone by its name, and UTC with a fault where there is none.
func zoneOf(name string) (*time.Location, []bump.Fault) {
	zone, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC, []bump.Fault{{Field: "timezone", Message: fmt.Sprintf("%q is not a time zone such as Europe/Berlin", name)}}
	}
	return zone, nil
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// parseDays reads "Mon-Fri,Sun".
func parseDays(s string) (days [7]bool, err error) {
	if strings.TrimSpace(s) == "" {
		return [7]bool{true, true, true, true, true, true, true}, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		from, to := weekday(first), weekday(last)
		if !isRange {
			to = from
		}
		if from < 0 || to < 0 {
			return days, fmt.Errorf("%q is not a day or a range of days such as Mon-Fri", strings.TrimSpace(part))
		}
		for day := from; ; day = (day + 1) % 7 {
			days[day] = true
			if day == to {
				break
			}
		}
	}
	return days, nil
}

// weekday returns the day of a name of which three letters count, or -1.
func weekday(s string) int {
	s = strings.ToLower(strings.TrimSpace(s))
	for i, short := range weekdays {
		if s == short || s == strings.ToLower(time.Weekday(i).String()) {
			return i
		}
	}
	return -1
}

// parseHours reads "09:00-17:00".
func parseHours(s string) (from, to clock, err error) {
	if strings.TrimSpace(s) == "" {
		return 0, 24 * 60, nil
	}
	first, last, ok := strings.Cut(s, "-")
	from, okFrom := parseClock(first)
	to, okTo := parseClock(last)
	if !ok || !okFrom || !okTo || from == 24*60 {
		return 0, 0, fmt.Errorf("%q is not a span of hours such as 09:00-17:00", s)
	}
	if from == to {
		return 0, 0, fmt.Errorf("%q begins when it ends: leave hours out for the whole day", s)
	}
	return from, to, nil
}

func parseClock(s string) (clock, bool) {
	s = strings.TrimSpace(s)
	if s == "24:00" {
		return 24 * 60, true
	}
	t, err := time.Parse("15:04", s)
	return clock(t.Hour()*60 + t.Minute()), err == nil
}

// compile reads a freeze. message says what is wrong with which field.
func (f Freeze) compile() (freeze, []bump.Fault) {
	zone, faults := zoneOf(f.Timezone)
	c := freeze{zone: zone, reason: f.Reason}
	instant := func(field, text string) (time.Time, bool, bool) {
		t, day, ok := parseInstant(text, zone)
		if !ok {
			faults = append(faults, bump.Fault{Field: field, Message: fmt.Sprintf("%q is not a day such as 2026-12-20 or a time such as 2026-12-20T18:00:00Z", text)})
		}
		return t, day, ok
	}
	var begins, ends, day bool
	c.from, _, begins = instant("from", f.From)
	c.to, day, ends = instant("to", f.To)
	if day {
		c.to = clock(0).on(c.to, 1)
	}
	if begins && ends && !c.to.After(c.from) {
		faults = append(faults, bump.Fault{Field: "to", Message: fmt.Sprintf("%q is not after %q", f.To, f.From)})
	}
	if strings.TrimSpace(f.Reason) == "" {
		faults = append(faults, bump.Fault{Field: "reason", Message: "is missing: people will ask why nothing moves"})
	}
	return c, faults
}

// parseInstant reads a day, which begins at midnight, or a time.
func parseInstant(s string, zone *time.Location) (t time.Time, day, ok bool) {
	if t, err := time.ParseInLocation(time.DateOnly, s, zone); err == nil {
		return t, true, true
	}
	t, err := time.Parse(time.RFC3339, s)
	return t, false, err == nil
}

// stamp writes an instant for people who live by a time zone.
func stamp(t time.Time, zone *time.Location) string {
	if zone == nil {
		zone = time.UTC
	}
	return t.In(zone).Format("Mon 2006-01-02 15:04 MST")
}
