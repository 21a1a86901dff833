package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing wrong with a configuration, or worth a warning, and where.
type Fault struct {
	File    string // as it was given to Load; "-" for standard input
	Line    int    // counted from 1; 0 when the fault is about the whole file
	Column  int    // counted from 1; 0 where Line is 0
	Path    string // "images[1].policy.semver.range"; a Flux document's label goes first: "ImagePolicy/apps/web spec.policy"
	Message string // what is wrong, values in quotes; no secret and no password
	Hint    string // what was probably meant, or what to write instead; may be empty

	given int   // rank of File among the files as they were given
	cause error // of a file that could not be read
	doc   *document
}

// String returns one line: "hoist.yaml:22: images[1].policy: message; hint".
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d", f.Line)
	}
	b.WriteString(": ")
	if f.Path != "" {
		b.WriteString(f.Path + ": ")
	}
	b.WriteString(f.Message)
	if f.Hint != "" {
		b.WriteString("; " + f.Hint)
	}
	return b.String()
}

// Faults is the error of [Load] and [Parse]: everything that is wrong, in the
// order of the files and lines, and always in the same order.
type Faults []Fault

// Error returns the faults, one line each.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].String()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns why files could not be read, so that a caller can ask for [os.ErrNotExist].
func (f Faults) Unwrap() []error {
	var causes []error
	for i := range f {
		if f[i].cause != nil {
			causes = append(causes, f[i].cause)
		}
	}
	return causes
}

// sorted orders faults by file (as given), line, column and text, and drops repetitions.
func sorted(faults []Fault) Faults {
	slices.SortStableFunc(faults, func(a, b Fault) int {
		return cmp.Or(
			cmp.Compare(a.given, b.given),
			cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Path, b.Path),
			cmp.Compare(a.Message, b.Message),
		)
	})
	return slices.CompactFunc(faults, func(a, b Fault) bool {
		return a.File == b.File && a.Line == b.Line && a.Path == b.Path && a.Message == b.Message
	})
}
