package setter

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"
)

// span is where a scalar stands: src[start:end], quotes or block header included.
type span struct {
	start, end int
	// header is, for a block scalar, where its indicators end: behind the "|-".
	header int
	// body is, for a block scalar, where the text of its only line of content
	// stands; zero when it has none or several.
	body struct{ start, end int }
}

// block reports whether n is a literal or folded block scalar.
func block(n *yaml.Node) bool { return n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 }

// locate finds the bytes of the scalar or alias n, which begins at from. It
// answers false if what stands there is not n.
func locate(src []byte, from int, n *yaml.Node) (span, bool) {
	if from > len(src) {
		return span{}, false
	}
	if n.Kind == yaml.AliasNode {
		text := "*" + n.Value
		return span{start: from, end: from + len(text)}, bytes.HasPrefix(src[from:], []byte(text))
	}
	if n.Value == "" && n.Style&^yaml.TaggedStyle == 0 {
		at := skipProperties(src, from, true)
		return span{start: at, end: at}, true
	}
	start := skipProperties(src, from, false)
	s := span{start: start}
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		s.end = quotedEnd(src, start, '"')
	case n.Style&yaml.SingleQuotedStyle != 0:
		s.end = quotedEnd(src, start, '\'')
	case block(n):
		return blockSpan(src, start, n)
	default:
		s.end = plainEnd(src, start, n.Value)
	}
	return s, s.end > start
}

// skipProperties returns the offset behind the anchor and the tag at from, and
// behind the space, breaks and comments that follow them; with only, it stays
// directly behind the properties.
func skipProperties(src []byte, from int, only bool) int {
	i := from
	for i < len(src) && (src[i] == '&' || src[i] == '!') {
		for i < len(src) && !isSpace(src[i:]) && (src[i] != ',' || !only) {
			i++
		}
		end := i
		i = skipSpace(src, i)
		if only && (i >= len(src) || src[i] != '&' && src[i] != '!') {
			return end
		}
	}
	return i
}

// skipSpace returns the offset behind the spaces, tabs, breaks and comments at i.
func skipSpace(src []byte, i int) int {
	for i < len(src) {
		if src[i] == '#' {
			for i < len(src) && breakLen(src[i:]) == 0 {
				i++
			}
			continue
		}
		n := breakLen(src[i:])
		if n == 0 && (src[i] == ' ' || src[i] == '\t') {
			n = 1
		}
		if n == 0 {
			break
		}
		i += n
	}
	return i
}

func isSpace(b []byte) bool { return b[0] == ' ' || b[0] == '\t' || breakLen(b) > 0 }

// quotedEnd returns the offset behind the closing quote of the scalar at i, or -1.
func quotedEnd(src []byte, i int, quote byte) int {
	if i >= len(src) || src[i] != quote {
		return -1
	}
	for i++; i < len(src); i++ {
		switch {
		case src[i] == '\\' && quote == '"':
			i++
		case src[i] == quote && quote == '\'' && i+1 < len(src) && src[i+1] == quote:
			i++
		case src[i] == quote:
			return i + 1
		}
	}
	return -1
}

// plainEnd returns the offset behind the plain scalar at i, which has no escapes:
// on one line it is its value, and over several lines a run of space that holds a
// break stands for the space or the breaks in the value. It returns -1 if
// something else stands there.
func plainEnd(src []byte, i int, text string) int {
	for text != "" {
		if i >= len(src) {
			return -1
		}
		if !isSpace(src[i:]) {
			if src[i] != text[0] {
				return -1
			}
			i, text = i+1, text[1:]
			continue
		}
		run := i
		broken := false
		for run < len(src) && isSpace(src[run:]) {
			n := breakLen(src[run:])
			broken = broken || n > 0
			run += max(n, 1)
		}
		if !broken {
			if !strings.HasPrefix(text, string(src[i:run])) {
				return -1
			}
			i, text = run, text[run-i:]
			continue
		}
		rest := strings.TrimLeft(text, " \n\r\u0085\u2028\u2029")
		if rest == text {
			return -1
		}
		i, text = run, rest
	}
	return i
}

// blockSpan finds the lines of the block scalar n whose header is at start. The
// first line of content that is not blank is indented by the scalar's
// indentation and by the spaces that its value begins with.
func blockSpan(src []byte, start int, n *yaml.Node) (span, bool) {
	s := span{start: start}
	if start >= len(src) || src[start] != '|' && src[start] != '>' {
		return s, false
	}
	i := start + 1
	for i < len(src) && (src[i] == '+' || src[i] == '-' || '0' <= src[i] && src[i] <= '9') {
		i++
	}
	s.header = i
	for i < len(src) && breakLen(src[i:]) == 0 {
		i++
	}
	s.end = i
	first := firstLine(n.Value)
	if first == "" {
		return s, true // nothing but blank lines: no text to look at, none to edit
	}
	deep := len(first) - len(strings.TrimLeft(first, " "))
	indent := -1
	for found := 0; i < len(src); {
		i += breakLen(src[i:])
		end := i
		for end < len(src) && breakLen(src[end:]) == 0 {
			end++
		}
		line := src[i:end]
		spaces := len(line) - len(bytes.TrimLeft(line, " "))
		switch blank := spaces == len(line); {
		case blank:
		case indent < 0:
			if indent = spaces - deep; indent < 0 {
				return s, false
			}
			fallthrough
		default:
			if spaces < indent || indent == 0 && documentEnd(line) {
				return s, true
			}
			s.end = end
			if found++; found == 1 {
				s.body.start, s.body.end = i+indent, end
			} else {
				s.body.start, s.body.end = 0, 0
			}
		}
		i = end
	}
	return s, true
}

// firstLine returns the first line of text that holds anything but spaces.
func firstLine(text string) string {
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune("\n\r\u0085\u2028\u2029", r) }) {
		if strings.TrimLeft(line, " ") != "" {
			return line
		}
	}
	return ""
}

// documentEnd reports whether line is "---" or "...", which end even a block
// scalar that is not indented.
func documentEnd(line []byte) bool {
	return (bytes.HasPrefix(line, []byte("---")) || bytes.HasPrefix(line, []byte("..."))) &&
		(len(line) == 3 || line[3] == ' ' || line[3] == '\t')
}
