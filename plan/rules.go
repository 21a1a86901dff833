package plan

import (
	"fmt"
	"time"

	"hoist/bump"
)

// Rules is a section of the configuration: when and how much an update may
// bump. The zero value lets everything through but downgrades.
type Rules struct {
	// Windows are the times at which bumps may be pushed; none means always.
	Windows []Window `json:"windows,omitempty"`
	// Freeze are periods in which nothing is bumped, whatever the windows say.
	Freeze []Freeze `json:"freeze,omitempty"`
	// MaxBumps bounds how many policies move at once. Nil does not.
	MaxBumps *MaxBumps `json:"maxBumps,omitempty"`
	// MaxMajors is how far the major version of a tag may jump; nil means any distance.
	MaxMajors *int `json:"maxMajors,omitempty"`
	// AllowDowngrade lets a selected version replace a newer one.
	AllowDowngrade bool `json:"allowDowngrade,omitempty"`
	// Settle is how long after a push further bumps are gathered into the next
	// one; 0 means DefaultSettle.
	Settle bump.Duration `json:"settle,omitempty"`
}

// DefaultSettle is how long bumps are gathered after a push.
const DefaultSettle = 2 * time.Second

// MaxBumps bounds how many policies an update moves: each becomes a commit.
// Zero fields do not bound.
type MaxBumps struct {
	PerPass int `json:"perPass,omitempty"`
	PerHour int `json:"perHour,omitempty"` // of the branch's last 60 minutes, as its history tells
}

// Window is a time of the week.
type Window struct {
	Days     string `json:"days,omitempty"`     // "Mon-Fri", "Sat,Sun"; empty means every day
	Hours    string `json:"hours,omitempty"`    // "09:00-17:00", "22:00-04:00" into the next day; empty means the whole day
	Timezone string `json:"timezone,omitempty"` // of the IANA database: "Europe/Berlin"; empty means UTC
}

// Freeze is a period without bumps.
type Freeze struct {
	From     string `json:"from"`               // "2026-12-20", or a time as in RFC 3339
	To       string `json:"to"`                 // a day is frozen whole
	Timezone string `json:"timezone,omitempty"` // of days; empty means UTC
	Reason   string `json:"reason"`
}

// Check returns everything that is wrong with the section.
func (r Rules) Check() []bump.Fault {
	_, faults := r.compile()
	if r.MaxBumps != nil {
		if r.MaxBumps.PerPass < 0 {
			faults = append(faults, bump.Fault{Field: "maxBumps.perPass", Message: fmt.Sprintf("%d is negative", r.MaxBumps.PerPass)})
		}
		if r.MaxBumps.PerHour < 0 {
			faults = append(faults, bump.Fault{Field: "maxBumps.perHour", Message: fmt.Sprintf("%d is negative", r.MaxBumps.PerHour)})
		}
		if *r.MaxBumps == (MaxBumps{}) {
			faults = append(faults, bump.Fault{Field: "maxBumps", Message: "bounds nothing: set perPass, perHour or both"})
		}
	}
	if r.MaxMajors != nil && *r.MaxMajors < 0 {
		faults = append(faults, bump.Fault{Field: "maxMajors", Message: fmt.Sprintf("%d is negative", *r.MaxMajors)})
	}
	if r.Settle < 0 || time.Duration(r.Settle) > time.Hour {
		faults = append(faults, bump.Fault{Field: "settle", Message: fmt.Sprintf("%q is not between 0s and 1h", time.Duration(r.Settle))})
	}
	return faults
}

// compile makes a calendar of the windows and freezes, and says what is wrong with them.
func (r Rules) compile() (Calendar, []bump.Fault) {
	var c Calendar
	var faults []bump.Fault
	within := func(list string, i int, of []bump.Fault) {
		for _, f := range of {
			f.Field = fmt.Sprintf("%s[%d].%s", list, i, f.Field)
			faults = append(faults, f)
		}
	}
	for i, w := range r.Windows {
		compiled, of := w.compile()
		within("windows", i, of)
		c.windows = append(c.windows, compiled)
	}
	for i, f := range r.Freeze {
		compiled, of := f.compile()
		within("freeze", i, of)
		c.freezes = append(c.freezes, compiled)
	}
	return c, faults
}

// Calendar returns the windows and freezes of rules that passed Check.
func (r Rules) Calendar() Calendar {
	c, _ := r.compile()
	return c
}
