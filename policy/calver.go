package policy

import (
	"fmt"
	"slices"
	"strings"
)

// CalVer orders calendar versions by their parts, from left to right, as numbers.
type CalVer struct {
	// Layout is made of the tokens of calver.org (YYYY YY 0Y MM 0M WW 0W DD 0D
	// MAJOR MINOR MICRO) with ".", "-" or "_" between them: "YYYY.0M.0D",
	// "YY.MM.MICRO". Behind YYYY and the padded ones nothing need stand between:
	// "YYYY0M0D". A tag may have a "v" before it; else it has to fit exactly.
	Layout string `json:"layout"`
}

// unit is what a part of a calendar version counts.
type unit int

const (
	year unit = iota
	month
	week
	day
	major
	minor
	micro
)

// token is a part of a layout.
type token struct {
	name        string
	unit        unit
	least, most int // digits; most is 0 for any number of them
	from, to    int // what it counts; to is 0 for no limit
	separator   byte
}

// padded tells whether the token has zeros in front where it is short.
func (k token) padded() bool { return k.name[0] == '0' }

// tokens are those of calver.org, a longer one before what it begins with.
var tokens = []token{
	{name: "YYYY", unit: year, least: 4, most: 4, from: 1},
	{name: "YY", unit: year, least: 1, most: 3},
	{name: "0Y", unit: year, least: 2, most: 3},
	{name: "MM", unit: month, least: 1, most: 2, from: 1, to: 12},
	{name: "0M", unit: month, least: 2, most: 2, from: 1, to: 12},
	{name: "WW", unit: week, least: 1, most: 2, from: 1, to: 53},
	{name: "0W", unit: week, least: 2, most: 2, from: 1, to: 53},
	{name: "DD", unit: day, least: 1, most: 2, from: 1, to: 31},
	{name: "0D", unit: day, least: 2, most: 2, from: 1, to: 31},
	{name: "MAJOR", unit: major, least: 1},
	{name: "MINOR", unit: minor, least: 1},
	{name: "MICRO", unit: micro, least: 1},
}

// separators may stand between the tokens of a layout.
const separators = ".-_"

// calendar orders values that fit a layout.
type calendar struct {
	tokens []token
	misfit string // the reason of a value that does not fit
}

// newCalendar reads a layout, or says what is wrong with it.
func newCalendar(layout string) (calendar, string) {
	if layout == "" {
		return calendar{}, "the layout is empty: write such as YYYY.0M.0D"
	}
	if len(layout) > maxTag {
		return calendar{}, fmt.Sprintf("longer than a tag, which has at most %d bytes", maxTag)
	}
	o := calendar{misfit: "does not fit " + layout}
	for rest := layout; rest != ""; {
		i := slices.IndexFunc(tokens, func(k token) bool { return strings.HasPrefix(rest, k.name) })
		if i < 0 {
			return calendar{}, fmt.Sprintf("%q: expected one of YYYY, YY, 0Y, MM, 0M, WW, 0W, DD, 0D, MAJOR, MINOR, MICRO, got %q", layout, rest)
		}
		k := tokens[i]
		rest = rest[len(k.name):]
		if rest != "" && strings.IndexByte(separators, rest[0]) >= 0 {
			if k.separator, rest = rest[0], rest[1:]; rest == "" {
				return calendar{}, fmt.Sprintf("%q: expected a part behind the last %q", layout, k.separator)
			}
		} else if rest != "" {
			if k.name == "0Y" {
				k.most = 2 // else nobody knew where it ends
			}
			if k.least != k.most {
				return calendar{}, fmt.Sprintf("%q: expected a separator (. - _) behind %s, which has no fixed width", layout, k.name)
			}
		}
		o.tokens = append(o.tokens, k)
	}
	if why := o.disorder(); why != "" {
		return calendar{}, fmt.Sprintf("%q %s", layout, why)
	}
	return o, ""
}

// disorder says why a layout has no order in time.
func (o calendar) disorder() string {
	at := make(map[unit]int)
	for i, k := range o.tokens {
		if _, twice := at[k.unit]; twice {
			return "has two parts for what " + k.name + " counts"
		}
		at[k.unit] = i
	}
	has := func(u unit) bool { _, ok := at[u]; return ok }
	before := func(u, v unit) bool { return !has(v) || has(u) && at[u] < at[v] }
	switch {
	case !has(year):
		return "has no year: MAJOR.MINOR.MICRO is for semver"
	case has(week) && (has(month) || has(day)):
		return "has a week and a month or day: use one or the other"
	case !has(month) && has(day):
		return "has a day and no month"
	case !before(year, month) || !before(year, week) || !before(month, day):
		return "is ordered from left to right: the year has to stand before the month, and that before the day"
	}
	return ""
}

// cut cuts the digits of the token off a value, with the separator behind them;
// false when they do not fit.
func (k token) cut(value string) (digits, rest string, ok bool) {
	n := 0
	for n < len(value) && value[n] >= '0' && value[n] <= '9' && (n < k.most || k.most == 0) {
		n++
	}
	digits, rest = value[:n], value[n:]
	if k.separator != 0 && rest != "" {
		if rest[0] != k.separator || len(rest) == 1 {
			return "", "", false
		}
		rest = rest[1:]
	}
	return digits, rest, n >= k.least
}

// fits tells whether digits are what the token stands for, and their number.
// Those of MAJOR, MINOR and MICRO may be any, and are not counted here.
func (k token) fits(digits string) (n int, ok bool) {
	if k.most == 0 {
		return 0, true
	}
	if zero := digits[0] == '0' && len(digits) > 1; zero && (!k.padded() || len(digits) > k.least) {
		return 0, false
	}
	for _, d := range []byte(digits) {
		n = n*10 + int(d-'0')
	}
	return n, n >= k.from && (k.to == 0 || n <= k.to)
}

func (o calendar) place(_, value string) (place, string) {
	value = strings.TrimPrefix(value, "v")
	var counts [micro + 1]int
	rest := value
	for i, k := range o.tokens {
		digits, left, ok := k.cut(rest)
		if rest = left; !ok || (rest == "") != (i == len(o.tokens)-1) {
			return place{}, o.misfit
		}
		if counts[k.unit], ok = k.fits(digits); !ok {
			return place{}, o.misfit
		}
	}
	if counts[day] > daysIn(counts[year], counts[month]) {
		return place{}, o.misfit
	}
	return place{text: value}, ""
}

// daysIn returns how many days a month has. Short years count from 2000, whose
// leap years are those of the full ones.
func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

func (o calendar) compare(a, b place) int {
	restA, restB := a.text, b.text
	for _, k := range o.tokens {
		var digitsA, digitsB string
		digitsA, restA, _ = k.cut(restA)
		digitsB, restB, _ = k.cut(restB)
		if c := compareDigits(digitsA, digitsB); c != 0 {
			return c
		}
	}
	return 0
}

// Of "2024.01" and "v2024.01" the last in byte order goes first, as of versions.
func (o calendar) tie(a, b string) int          { return strings.Compare(a, b) }
func (o calendar) refuses(string, place) string { return "" }
func (o calendar) field() string                { return "policy.calver.layout" }
