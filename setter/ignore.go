package setter

import (
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// ignoreFile is the name of the files that say which others do not count.
const ignoreFile = ".sourceignore"

// ignores is the patterns in force in a directory: those of the .sourceignore
// files from the root down to it, the deeper ones stronger, and those of the
// configuration, which are the strongest. That, and the library that matches them, is
// as in Flux's source-controller; its built-in patterns are not here. nil ignores nothing.
type ignores struct {
	files, config []gitignore.Pattern
	// text tells two sets of patterns apart, with the directories they are for.
	text string
	// back says that a pattern starts with "!", so that something may count within
	// a directory that does not.
	back bool
}

// newIgnores reads the patterns of the configuration.
func newIgnores(config string) *ignores {
	g := &ignores{}
	g.config = g.parse(config, nil)
	if len(g.config) == 0 {
		return nil
	}
	return g
}

// with returns the patterns in force where g and those of dir's own file are.
func (g *ignores) with(text, dir string) *ignores {
	var domain []string
	if dir != "." {
		domain = strings.Split(dir, "/")
	}
	h := &ignores{}
	if g != nil {
		*h = *g
	}
	own := h.parse(text, domain)
	if len(own) == 0 {
		return g
	}
	h.files = append(h.files[:len(h.files):len(h.files)], own...)
	return h
}

// parse reads one pattern a line; # begins a comment.
func (g *ignores) parse(text string, domain []string) []gitignore.Pattern {
	var out []gitignore.Pattern
	for line := range strings.Lines(strings.TrimPrefix(text, string(byteOrderMark))) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		out = append(out, gitignore.ParsePattern(line, domain))
		g.back = g.back || strings.HasPrefix(line, "!")
		g.text += strings.Join(domain, "/") + "\x00" + line + "\n"
	}
	return out
}

// match reports whether name does not count. The last pattern that matches decides.
func (g *ignores) match(name string, isDir bool) bool {
	if g == nil || name == "." {
		return false
	}
	elements := strings.Split(name, "/")
	for _, patterns := range [][]gitignore.Pattern{g.config, g.files} {
		for i := len(patterns) - 1; i >= 0; i-- {
			if m := patterns[i].Match(elements, isDir); m != gitignore.NoMatch {
				return m == gitignore.Exclude
			}
		}
	}
	return false
}

// prunes reports whether nothing counts in the directory called name.
func (g *ignores) prunes(name string) bool { return g.match(name, true) && !g.back }

// print is what the sites of a directory depend on besides its content.
func (g *ignores) print() string {
	if g == nil {
		return ""
	}
	return g.text
}
