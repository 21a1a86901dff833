package setter

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"hoist/bump"
)

// Image is an image that a file names in one of the places where Kubernetes,
// kustomize and Helm look for one. It may carry a marker or not yet.
type Image struct {
	File   string
	Line   int         // of the value that a marker would mark, counted from 1
	Object bump.Object // the object that holds it, as far as the file says
	Field  string      // path of the value in its document
	Name   string      // registry and repository, as the file spells them
	Tag    string      // empty where the file names none
	Digest string      // "sha256:…", empty where the file names none
	Part   bump.Part   // what the value holds: Whole or Tag
	// Replaces is set in a kustomize entry: the image that gets Name and Tag.
	Replaces string
	Marked   bool      // a marker that can be followed is there already
	Policy   bump.Name // that the marker names
	Problem  string    // why the value can carry no marker; empty when it can

	start int // byte offset of the scalar
}

// Position returns "file:line".
func (i Image) Position() string { return fmt.Sprintf("%s:%d", i.File, i.Line) }

// Unread is a file that may name images and cannot be read as YAML.
type Unread struct {
	File   string
	Reason string
}

// Images returns the images that the files of tree name, sorted by file and
// line, and the files that were passed over because they cannot be read. It looks
// at the files that [Sites] looks at, but not below folders and files whose names
// begin with a dot, nor at the templates and the vendored charts of a Helm chart.
// What is in those cannot be set in this repository, or is no YAML yet.
func Images(ctx context.Context, tree fs.FS, opt Options) ([]Image, []Unread, error) {
	paths, err := clean(opt.Paths)
	if err != nil {
		return nil, nil, err
	}
	limit := opt.MaxFileSize
	if limit <= 0 {
		limit = DefaultMaxFileSize
	}
	var images []Image
	var unread []Unread
	for _, root := range paths {
		err := fs.WalkDir(tree, root, func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case ctx.Err() != nil:
				return ctx.Err()
			case d.IsDir() && name != root && passedOver(tree, name):
				return fs.SkipDir
			case !d.Type().IsRegular() || kindOf(d.Name()) != yamlFile || strings.HasPrefix(d.Name(), "."):
				return nil
			}
			found, reason, err := imagesOf(tree, name, limit)
			if reason != "" {
				unread = append(unread, Unread{name, reason})
			}
			images = append(images, found...)
			return err
		})
		if err != nil {
			return nil, nil, fmt.Errorf("look for images: %w", err)
		}
	}
	slices.SortStableFunc(images, func(a, b Image) int {
		if a.File != b.File {
			return strings.Compare(a.File, b.File)
		}
		return a.start - b.start
	})
	return images, unread, nil
}

// passedOver tells whether no image is looked for below a folder.
func passedOver(tree fs.FS, name string) bool {
	base := path.Base(name)
	if strings.HasPrefix(base, ".") {
		return true
	}
	if base != "templates" && base != "charts" {
		return false
	}
	_, err := fs.Stat(tree, path.Join(path.Dir(name), "Chart.yaml"))
	return err == nil
}

// imagesOf reads one file. Nearly all files name no image and are not parsed.
func imagesOf(tree fs.FS, name string, limit int64) (found []Image, unread string, err error) {
	fi, err := fs.Stat(tree, name)
	if err != nil {
		return nil, "", err
	}
	if fi.Size() > limit {
		return nil, fmt.Sprintf("larger than %d bytes", limit), nil
	}
	src, err := fs.ReadFile(tree, name)
	if err != nil {
		return nil, "", err
	}
	if !bytes.Contains(src, []byte("mage")) { // image, images, sidecarImage
		return nil, "", nil
	}
	found, err = FileImages(name, src)
	if err != nil {
		return nil, err.Error(), nil
	}
	return found, "", nil
}

// FileImages returns the images that one file names, in the order of the file.
// The error says why it cannot be read.
func FileImages(name string, src []byte) (found []Image, err error) {
	// As in a pass: a mistake of ours in one file does not end the program.
	defer func() {
		if p := recover(); p != nil {
			found, err = nil, fmt.Errorf("not understood, which is a mistake of ours (%v)", p)
		}
	}()
	if !utf8.Valid(src) || bytes.IndexByte(src, 0) >= 0 {
		return nil, fmt.Errorf("not UTF-8 text")
	}
	f, err := parse(src)
	if err != nil && bytes.Contains(src, []byte("{{")) {
		return nil, fmt.Errorf("a template, not YAML")
	}
	if err != nil {
		return nil, err
	}
	s := &search{file: f, name: name, leafOf: make(map[*yaml.Node]int, len(f.leafs)), sites: make(map[int]bump.Name), trouble: make(map[int]string)}
	for i, l := range f.leafs {
		s.leafOf[l.node] = i
	}
	for _, site := range find(src) {
		if site.Problem == "" {
			s.sites[site.Start] = site.Policy
		} else {
			s.trouble[site.Line] = site.Problem
		}
	}
	for _, doc := range f.docs {
		for _, n := range doc.Content {
			s.document(n)
		}
	}
	return s.found, nil
}
