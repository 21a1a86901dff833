package gitpush

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean makes text from elsewhere fit to be printed: line breaks become \n,
// other control characters and broken UTF-8 go.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ReplaceAll(s, "\r", "\n")
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || !unicode.IsControl(r) {
			return r
		}
		return -1
	}, s)
}

// oneLine is clean on a single line.
func oneLine[T string | []byte](s T) string {
	return strings.Join(strings.Fields(clean(string(s))), " ")
}

// clip cuts s to at most n bytes, between runes.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// subject returns the first line of a message.
func subject(message string) string {
	first, _, _ := strings.Cut(strings.TrimLeft(message, "\n"), "\n")
	return first
}
