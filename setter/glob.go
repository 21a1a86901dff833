package setter

import (
	"fmt"
	"path"
	"strings"
)

// glob is a pattern for the path of a file from the root of the tree: that of
// [path.Match] for each element, and "**" for any number of them, also none.
type glob []string

func newGlob(text string) (glob, error) {
	g := glob(strings.Split(strings.TrimPrefix(strings.TrimLeft(text, "/"), "./"), "/"))
	for _, element := range g {
		switch _, err := path.Match(element, "x"); {
		case err != nil:
			return nil, fmt.Errorf("%q is not a pattern of files: brackets do not match in %q", text, element)
		case element == "..":
			return nil, fmt.Errorf("%q leaves the repository", text)
		case element == "" || element == ".":
			return nil, fmt.Errorf("%q is not a pattern of files: write it as environments/*/values.yaml", text)
		case strings.Contains(element, "**") && element != "**":
			return nil, fmt.Errorf("%q is not a pattern of files: ** stands alone between slashes", text)
		}
	}
	return g, nil
}

// match reports whether the file called name is meant.
func (g glob) match(name string) bool { return matchElements(g, strings.Split(name, "/")) }

// matchElements tries each pattern at each place once: with the last "**" alone to
// step back to, its work is the product of both lengths at most.
func matchElements(g glob, name []string) bool {
	i, j := 0, 0
	star, from := -1, 0
	for j < len(name) {
		switch {
		case i < len(g) && g[i] == "**":
			star, from = i, j
			i++
		case i < len(g) && matchElement(g[i], name[j]):
			i, j = i+1, j+1
		case star >= 0:
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	for i < len(g) && g[i] == "**" {
		i++
	}
	return i == len(g)
}

func matchElement(pattern, name string) bool {
	ok, _ := path.Match(pattern, name) // checked by newGlob
	return ok
}
