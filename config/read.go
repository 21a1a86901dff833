package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	maxFileSize = 4 << 20 // bytes; a ConfigMap holds one MiB
	maxNodes    = 200_000 // values in a document once every alias is written out
	maxDepth    = 100     // of nesting
)

// file is a configuration file as it was read.
type file struct {
	name  string
	data  []byte
	given int    // rank among the files as they were given
	dir   string // absolute, that relative paths in the file start from; "" for the working directory
}

// open reads what the paths name: files, directories (their *.yaml in the order
// of their names) and "-" for standard input. A file named twice is read once.
func open(paths []string, stdin io.Reader) (files []file, faults, lints []Fault) {
	seen := make(map[string]bool)
	given := 0
	add := func(name, dir string, read func() (io.ReadCloser, error)) {
		if seen[name] {
			return
		}
		seen[name] = true
		given++
		data, err := readBounded(read)
		if err != nil {
			faults = append(faults, Fault{File: name, Message: reason(err), given: given, cause: err})
			return
		}
		files = append(files, file{name, data, given, dir})
	}
	for _, p := range paths {
		if p == "-" {
			add(p, "", func() (io.ReadCloser, error) { return io.NopCloser(stdin), nil })
			continue
		}
		p = filepath.Clean(p)
		st, err := os.Stat(p)
		if err != nil {
			given++
			faults = append(faults, Fault{File: p, Message: reason(err), given: given, cause: err})
			continue
		}
		names := []string{p}
		if st.IsDir() {
			var f, l []Fault
			given++
			names, f, l = list(p, given)
			faults, lints = append(faults, f...), append(lints, l...)
		}
		for _, name := range names {
			add(name, dirOf(name), func() (io.ReadCloser, error) { return os.Open(name) })
		}
	}
	return files, faults, lints
}

// dirOf returns the directory of a file, absolute: what is read from it counts
// wherever it is written down again.
func dirOf(name string) string {
	whole, err := filepath.Abs(name)
	if err != nil {
		return "" // the working directory is gone
	}
	return filepath.Dir(whole)
}

// list returns the *.yaml files of a directory. Names that begin with a dot are
// the bookkeeping of a mounted ConfigMap. A *.yml file is left out, and said so.
func list(dir string, given int) (names []string, faults, lints []Fault) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, []Fault{{File: dir, Message: reason(err), given: given, cause: err}}, nil
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case filepath.Ext(name) == ".yaml":
			if st, err := os.Stat(name); err != nil || !st.IsDir() {
				names = append(names, name)
			}
		case filepath.Ext(name) == ".yml":
			lints = append(lints, Fault{File: name, Message: "is not read: of a directory only *.yaml files are", given: given})
		}
	}
	if len(names) == 0 {
		faults = append(faults, Fault{File: dir, Message: "the directory holds no *.yaml file", given: given})
	}
	slices.Sort(names)
	return names, faults, lints
}

func readBounded(open func() (io.ReadCloser, error)) ([]byte, error) {
	r, err := open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxFileSize+1))
	if err == nil && len(data) > maxFileSize {
		err = fmt.Errorf("the file is larger than %d MiB", maxFileSize>>20)
	}
	return data, err
}

// reason returns an error of the file system without the path, which stands before it.
func reason(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "no such file"
	}
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

var yamlError = regexp.MustCompile(`^yaml: (?:(?:unknown|line (\d+)): )?(?s:(.*))$`)

// split parses a file into its documents. Empty documents are left out. Behind
// a syntax error nothing is read: broken says that documents may be missing.
func split(f file) (docs []*document, faults []Fault, broken bool) {
	whole := func(line int, message, hint string) {
		faults = append(faults, Fault{File: f.name, Line: line, Column: min(line, 1), Message: message, Hint: hint, given: f.given})
	}
	lines := bytes.Count(f.data, []byte("\n")) + 1
	if at := invalidUTF8(f.data); at >= 0 {
		whole(bytes.Count(f.data[:at], []byte("\n"))+1, "the file is not UTF-8 text", "")
		return nil, faults, true
	}
	dec := yaml.NewDecoder(bytes.NewReader(f.data))
	for {
		var n yaml.Node
		err := decodeNode(dec, &n)
		if err == io.EOF {
			break
		}
		if err != nil {
			m := yamlError.FindStringSubmatch(err.Error())
			line, message, hint := 0, err.Error(), ""
			if m != nil {
				line, _ = strconv.Atoi(m[1])
				line, message = min(line, lines), m[2]
			}
			if tab := tabIndent(f.data, line); tab > 0 {
				line, hint = tab, "indent with spaces, YAML knows no tabs there"
			}
			if strings.Contains(message, "incompatible YAML document") {
				hint = "remove the line that starts with %YAML"
			}
			whole(line, "invalid YAML: "+message, hint)
			return docs, faults, true
		}
		if len(n.Content) == 0 || isNull(n.Content[0]) {
			continue
		}
		d := &document{file: f.name, dir: f.dir, given: f.given, lines: lines, root: n.Content[0]}
		if bad := bounded(d); bad != nil {
			faults, broken = append(faults, *bad), true
			continue
		}
		faults = append(faults, duplicateKeys(d)...)
		docs = append(docs, d)
	}
	if len(docs) == 0 && len(faults) == 0 {
		whole(0, "the file holds no documents", "a configuration that says nothing is not taken for one that wants nothing")
	}
	return docs, faults, broken
}

// decodeNode is dec.Decode with a panic of the YAML library turned into an error.
func decodeNode(dec *yaml.Decoder, n *yaml.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: %v", r)
		}
	}()
	return dec.Decode(n)
}

func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size <= 1 || r == 0 {
			return i
		}
		i += size
	}
	return -1
}

// tabIndent returns the line, around the one given, that is indented with a tab; else 0.
func tabIndent(data []byte, line int) int {
	lines := bytes.Split(data, []byte("\n"))
	for _, l := range []int{line, line + 1, line - 1} {
		if l < 1 || l > len(lines) {
			continue
		}
		text := lines[l-1]
		if indent := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]; bytes.ContainsRune(indent, '\t') {
			return l
		}
	}
	return 0
}

// bounded refuses documents whose aliases, written out, would be huge or
// endless, and documents nested too deeply. Everything behind it may follow
// aliases without counting.
func bounded(d *document) *Fault {
	sizes := make(map[*yaml.Node]int)
	var bad *Fault
	refuse := func(n *yaml.Node, message string) int {
		if bad == nil {
			f := d.fault(n, "", message, "")
			bad = &f
		}
		return 0
	}
	var size func(n *yaml.Node, depth int) int
	size = func(n *yaml.Node, depth int) int {
		switch known := sizes[n]; {
		case bad != nil:
			return 0
		case depth > maxDepth:
			return refuse(n, fmt.Sprintf("nested more than %d levels deep", maxDepth))
		case known != 0:
			return known
		case n.Kind == yaml.AliasNode && sizes[n.Alias] < 0:
			return refuse(n, fmt.Sprintf("the alias *%s stands inside what it names", n.Value))
		case n.Kind == yaml.AliasNode:
			return size(n.Alias, depth+1)
		}
		sizes[n] = -1 // being counted
		total := 1
		for _, c := range n.Content {
			if total += size(c, depth+1); total > maxNodes {
				return refuse(n, fmt.Sprintf("too large: more than %d values once its aliases are written out", maxNodes))
			}
		}
		sizes[n] = total
		return total
	}
	size(d.root, 0)
	return bad
}

// duplicateKeys reports every key that a mapping holds twice: YAML forbids it,
// and which of the two would count is anybody's guess.
func duplicateKeys(d *document) (faults []Fault) {
	var walk func(n *yaml.Node, path string)
	walk = func(n *yaml.Node, path string) {
		switch n.Kind {
		case yaml.SequenceNode:
			for i, c := range n.Content {
				walk(c, fmt.Sprintf("%s[%d]", path, i))
			}
		case yaml.MappingNode:
			first := make(map[string]int)
			for i := 0; i+1 < len(n.Content); i += 2 {
				k := resolve(n.Content[i])
				if k.Kind != yaml.ScalarNode {
					faults = append(faults, d.fault(n.Content[i], path, "a key has to be a word, not "+describe(k, false), ""))
					continue
				}
				if line, twice := first[k.Value]; twice && !isMerge(k) {
					faults = append(faults, d.fault(n.Content[i], join(path, k.Value), fmt.Sprintf("duplicate key %q, first on line %d", k.Value, line), ""))
				} else {
					first[k.Value] = n.Content[i].Line
				}
				walk(n.Content[i+1], join(path, k.Value))
			}
		}
	}
	walk(d.root, "")
	return faults
}
