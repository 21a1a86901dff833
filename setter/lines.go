package setter

import (
	"bytes"
	"unicode/utf8"
)

// lines turns the positions of the YAML library into byte offsets. The library
// counts lines by YAML 1.1 breaks (LF, CRLF, CR, NEL, LS, PS) and columns in
// runes, both from 1, and does not count a byte order mark at the start.
type lines struct {
	src    []byte
	starts []int // byte offset of each line
	feeds  []int // how many line feeds stand before each line
	// The last position that was asked for. Scalars come in the order of the
	// file, so a file that is one long line costs one walk, not one per scalar.
	line, column, offset int
}

var byteOrderMark = []byte("\ufeff")

func newLines(src []byte) *lines {
	l := &lines{src: src}
	i := 0
	if bytes.HasPrefix(src, byteOrderMark) {
		i = len(byteOrderMark)
	}
	feeds := 0
	l.starts, l.feeds = append(l.starts, i), append(l.feeds, feeds)
	for i < len(src) {
		n := breakLen(src[i:])
		if n == 0 {
			i++
			continue
		}
		i += n
		if src[i-1] == '\n' {
			feeds++
		}
		l.starts, l.feeds = append(l.starts, i), append(l.feeds, feeds)
	}
	return l
}

// breakLen returns the length of the line break that b starts with, or 0.
func breakLen(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	switch b[0] {
	case '\n':
		return 1
	case '\r':
		if len(b) > 1 && b[1] == '\n' {
			return 2
		}
		return 1
	case 0xC2:
		if len(b) > 1 && b[1] == 0x85 {
			return 2
		}
	case 0xE2:
		if len(b) > 2 && b[1] == 0x80 && (b[2] == 0xA8 || b[2] == 0xA9) {
			return 3
		}
	}
	return 0
}

// at returns the byte offset of a position, or -1 if there is no such place.
func (l *lines) at(line, column int) int {
	if line < 1 || line > len(l.starts) || column < 1 {
		return -1
	}
	if line != l.line || column < l.column {
		l.line, l.column, l.offset = line, 1, l.starts[line-1]
	}
	for l.column < column {
		if l.offset >= len(l.src) {
			return -1
		}
		_, n := utf8.DecodeRune(l.src[l.offset:])
		l.offset += n
		l.column++
	}
	return l.offset
}

// start returns where the line that holds offset begins, without byte order mark.
func (l *lines) start(offset int) int { return l.starts[l.index(offset)] }

// indent returns how many spaces and tabs the line that holds offset begins with.
func (l *lines) indent(offset int) int {
	start := l.start(offset)
	i := start
	for i < len(l.src) && (l.src[i] == ' ' || l.src[i] == '\t') {
		i++
	}
	return i - start
}

// end returns where the text of the line that holds offset ends, before its break.
func (l *lines) end(offset int) int {
	for offset < len(l.src) && breakLen(l.src[offset:]) == 0 {
		offset++
	}
	return offset
}

// index returns the index in starts of the line that holds offset.
func (l *lines) index(offset int) int {
	lo, hi := 0, len(l.starts)
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; l.starts[mid] <= offset {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// number returns the line of offset as people, editors and Git count it: by line
// feeds, from 1.
func (l *lines) number(offset int) int { return 1 + l.feeds[l.index(offset)] }

// number is [lines.number] without an index.
func number(src []byte, offset int) int { return 1 + bytes.Count(src[:offset], []byte{'\n'}) }
