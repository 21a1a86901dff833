package policy

import "strings"

// order is one of the orders of tags. An order is immutable.
type order interface {
	// place finds where a tag stands by its value, or says why it has no place in this order.
	place(tag, value string) (at place, why string)
	// compare is +1 when a is newer than b, 0 when they stand at the same place.
	compare(a, b place) int
	// tie decides between two different values at the same place: +1 when a goes first.
	tie(a, b string) int
	// field is the field that a value without a place, or outside the range, speaks against.
	field() string
	// refuses says why a value is not allowed though it has a place; "" when it is allowed.
	refuses(value string, at place) string
}

// place is where a value stands; each order uses the field that is its own.
type place struct {
	text    string
	version version
	number  number
	built   int64 // microseconds since 1970
}

// alphabet orders by bytes, as [strings.Compare]. Every value has a place.
type alphabet struct{ desc bool }

func (o alphabet) place(_, value string) (place, string) { return place{text: value}, "" }

func (o alphabet) compare(a, b place) int {
	return turned(strings.Compare(a.text, b.text), o.desc)
}

func (o alphabet) tie(a, b string) int          { return 0 } // equal values are the same value
func (o alphabet) refuses(string, place) string { return "" }
func (o alphabet) field() string                { return "policy.alphabetical" }

// numbers orders by decimal value, without rounding.
type numbers struct{ desc bool }

func (o numbers) place(_, value string) (place, string) {
	n, why := parseNumber(value)
	return place{number: n}, why
}

func (o numbers) compare(a, b place) int {
	return turned(a.number.compare(b.number), o.desc)
}

// Of "01", "1" and "1.0" the first in byte order goes first. So it is in Flux,
// which takes the last of equals from a list in descending byte order.
func (o numbers) tie(a, b string) int          { return strings.Compare(b, a) }
func (o numbers) refuses(string, place) string { return "" }
func (o numbers) field() string                { return "policy.numerical" }

func turned(c int, desc bool) int {
	if desc {
		return -c
	}
	return c
}
