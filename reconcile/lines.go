package reconcile

import (
	"bytes"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// lines knows at which line of its file an object begins. kustomize tells the file
// of an object and nothing more, so the files are skimmed as they are read.
type lines map[string][]document

// document is one of a file, as far as it can be seen without parsing it.
type document struct {
	line       int
	kind, name string
}

var (
	kindLine = regexp.MustCompile(`^kind:\s*["']?([A-Za-z0-9]+)`)
	nameLine = regexp.MustCompile(`^(?:metadata:\s*\{(?:.*[,\s])?|\s+)name:\s*["']?([^"',}\s#]+)`)
)

// skim notes where the documents of a file begin.
func (l lines) skim(file string, text []byte) {
	if l == nil || !bytes.Contains(text, []byte("kind:")) {
		return
	}
	var all []document
	var d document
	end := func() {
		if d.kind != "" {
			all = append(all, d)
		}
		d = document{}
	}
	n, named := 0, false
	for text := range bytes.Lines(text) {
		n++
		line := bytes.TrimRight(text, "\r\n")
		switch {
		case bytes.HasPrefix(line, []byte("---")):
			end()
			named = false
			continue
		case len(bytes.TrimSpace(line)) == 0 || line[0] == '#':
			continue
		case d.line == 0:
			d.line = n
		}
		if line[0] == 'k' && d.kind == "" {
			d.kind = submatch(kindLine, line)
		}
		named = bytes.HasPrefix(line, []byte("metadata:")) || named && (line[0] == ' ' || line[0] == '\t')
		if named && d.name == "" {
			d.name = submatch(nameLine, line)
		}
	}
	end()
	l[file] = all
}

func submatch(re *regexp.Regexp, line []byte) string {
	if m := re.FindSubmatch(line); m != nil {
		return string(m[1])
	}
	return ""
}

// of is the line of an object that was built from a file, 0 where it cannot be
// told. A prefix or suffix may have been added to its name.
func (l lines) of(file string, o *unstructured.Unstructured) int {
	best := document{}
	for _, d := range l[file] {
		if d.kind == o.GetKind() && strings.Contains(o.GetName(), d.name) && (best.line == 0 || len(d.name) > len(best.name)) {
			best = d
		}
	}
	return best.line
}
