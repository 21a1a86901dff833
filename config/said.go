package config

import "strings"

// place is a path in a document.
type place struct {
	doc  *document
	path string
}

// said remembers where faults were reported, so that one mistake is told once:
// a value that could not be read is not said to be missing as well.
type said struct {
	at    map[place]bool
	above map[place]bool // of a place where a fault was reported
}

func newSaid() *said {
	return &said{at: make(map[place]bool), above: make(map[place]bool)}
}

func (s *said) mark(d *document, path string) {
	if path == "" {
		return
	}
	s.at[place{d, path}] = true
	for up := parent(path); up != ""; up = parent(up) {
		s.above[place{d, up}] = true
	}
}

// exactly says whether a fault was reported at the path itself.
func (s *said) exactly(d *document, path string) bool { return s.at[place{d, path}] }

// around says whether a fault was reported at the path, above it or below it.
func (s *said) around(d *document, path string) bool {
	if s.above[place{d, path}] {
		return true
	}
	for ; path != ""; path = parent(path) {
		if s.at[place{d, path}] {
			return true
		}
	}
	return false
}

// parent returns the path of what holds the value at path, "" for the document.
func parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

// below says whether path lies below top.
func below(path, top string) bool {
	rest, ok := strings.CutPrefix(path, top)
	return ok && rest != "" && (rest[0] == '.' || rest[0] == '[')
}
