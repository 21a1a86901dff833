package setter

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

// match is the pattern of a field of which only a part is set: the whole value
// matches, and its one group is that part.
type match struct {
	text string
	re   *regexp.Regexp
}

// longestMatch is how long a pattern may be in bytes: it comes out of a repository.
// What it repeats by count is bounded by the library.
const longestMatch = 256

// newMatch reads a pattern in the syntax of RE2. The error goes on after the name
// of what holds it: "… is longer than 256 bytes".
func newMatch(text string) (*match, error) {
	if len(text) > longestMatch {
		return nil, fmt.Errorf("is longer than %d bytes", longestMatch)
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		var at *syntax.Error
		if errors.As(err, &at) {
			return nil, fmt.Errorf("%q is not a regular expression: %s: %q", text, at.Code, at.Expr)
		}
		return nil, fmt.Errorf("%q is not a regular expression", text)
	}
	if n := tree.MaxCap(); n != 1 {
		return nil, fmt.Errorf("%q has %d groups: put exactly one pair of brackets, around what is set", text, n)
	}
	re, err := regexp.Compile(`^(?:` + text + `)$`)
	if err != nil {
		return nil, fmt.Errorf("%q is not a regular expression", text)
	}
	return &match{text, re}, nil
}

// String returns the pattern; it is empty for nil.
func (m *match) String() string {
	if m == nil {
		return ""
	}
	return m.text
}

// cut splits a value around the group. ok is false when the value does not match,
// or does without the group.
func (m *match) cut(value string) (before, group, after string, ok bool) {
	at := m.re.FindStringSubmatchIndex(value)
	if at == nil || at[2] < 0 || strings.ContainsAny(value, "\n\r\u0085\u2028\u2029") {
		return "", "", "", false
	}
	return value[:at[2]], value[at[2]:at[3]], value[at[3]:], true
}
