package policy

import (
	"cmp"
	"strconv"
	"strings"
)

// number is a decimal number of any length, kept as digits: no value is ever
// rounded, and to compare two of them costs no memory.
type number struct {
	negative bool
	whole    string // digits before the point, without leading zeros
	fraction string // digits behind it, without trailing zeros
}

// maxWhole is how many digits may stand before the point: those of the greatest
// float64. Beyond it Flux knows no numbers either.
const maxWhole = 309

// The reasons why a value is no number.
const (
	notANumber   = "not a decimal number"
	numberTooBig = "a number beyond 1e309"
	numberTooLow = "a number with more than 400 digits behind the point"
)

// parseNumber reads a decimal number: an optional sign, digits with an optional
// point among them, an optional exponent. These are the decimal forms of
// [strconv.ParseFloat], which Flux uses; its hexadecimal forms, Inf and NaN are
// not numbers here.
func parseNumber(s string) (n number, why string) {
	rest := s
	if rest != "" && (rest[0] == '+' || rest[0] == '-') {
		n.negative = rest[0] == '-'
		rest = rest[1:]
	}
	whole, rest := cutDigits(rest)
	fraction := ""
	if strings.HasPrefix(rest, ".") {
		fraction, rest = cutDigits(rest[1:])
	}
	if whole == "" && fraction == "" {
		return number{}, notANumber
	}
	n.whole, n.fraction = whole, fraction
	if rest != "" {
		if why := n.shift(rest); why != "" {
			return number{}, why
		}
	}
	n.whole = strings.TrimLeft(n.whole, "0")
	n.fraction = strings.TrimRight(n.fraction, "0")
	switch {
	case n.whole == "" && n.fraction == "":
		return number{}, "" // zero has no sign
	case len(n.whole) > maxWhole:
		return number{}, numberTooBig
	}
	return n, ""
}

// shift moves the point as the exponent says: "e6", "E-2".
func (n *number) shift(exponent string) (why string) {
	if exponent[0] != 'e' && exponent[0] != 'E' {
		return notANumber
	}
	digits := strings.TrimPrefix(exponent[1:], "+")
	if digits == exponent[1:] {
		digits = strings.TrimPrefix(digits, "-")
	}
	if run, rest := cutDigits(digits); run == "" || rest != "" {
		return notANumber
	}
	if strings.Trim(n.whole, "0") == "" && strings.Trim(n.fraction, "0") == "" {
		return "" // zero, whatever the exponent
	}
	by, err := strconv.Atoi(exponent[1:])
	negative := strings.HasPrefix(exponent[1:], "-")
	switch {
	case negative && (err != nil || by < -400):
		return numberTooLow
	case err != nil || by > 400+len(n.fraction):
		return numberTooBig
	case by < 0:
		moved := strings.Repeat("0", max(-by-len(n.whole), 0)) + n.whole
		n.whole, n.fraction = moved[:len(moved)+by], moved[len(moved)+by:]+n.fraction
	default:
		moved := n.fraction + strings.Repeat("0", max(by-len(n.fraction), 0))
		n.whole, n.fraction = n.whole+moved[:by], moved[by:]
	}
	return ""
}

// compare is +1 when n is greater than m, 0 when they are the same number.
func (n number) compare(m number) int {
	if n.negative != m.negative {
		if n.negative {
			return -1
		}
		return 1
	}
	c := cmp.Compare(len(n.whole), len(m.whole))
	if c == 0 {
		c = strings.Compare(n.whole, m.whole)
	}
	if c == 0 {
		c = strings.Compare(n.fraction, m.fraction)
	}
	return turned(c, n.negative)
}

// compareDigits compares two runs of digits of any length by value.
func compareDigits(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if c := cmp.Compare(len(a), len(b)); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}

// cutDigits cuts the leading decimal digits off s.
func cutDigits(s string) (digits, rest string) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return s[:i], s[i:]
}
