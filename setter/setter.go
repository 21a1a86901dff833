// Package setter finds the marked fields of a tree of files and rewrites them.
// It takes an [io/fs.FS] and gives Sites; later it takes Verdicts and the bytes
// of a file and gives the bytes after. It is handed bytes and returns bytes: it
// writes nothing.
//
// A marker is Flux's: a line comment that holds one JSON object,
//
//	image: ghcr.io/acme/web:1.4.2 # {"$imagepolicy": "flux-system:web"}
//
// with ":tag", ":name" or ":digest" behind the policy where the field holds only
// that part. Every marker gets a Site; one that cannot be followed has a Problem
// that says what to do.
//
// The trap: the YAML library is used to find scalars and to prove an edit, never
// to print. Its lines and columns count runes after the byte order mark and know
// five kinds of line break, so they are turned into byte offsets in one place
// (lines.go) and checked against the bytes there; a scalar that is not where the
// library says makes the file a problem rather than a guess.
package setter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"

	"hoist/bump"
)

// DefaultMaxFileSize is the size in bytes above which a file is not parsed.
const DefaultMaxFileSize = 10 << 20

// Options says which files count, and what in them besides markers.
type Options struct {
	// Paths are the folders (or single files) looked at, relative to the root of
	// the tree; a leading "./" or "/" is allowed, ".." is not. Empty means the
	// whole tree. A file that two paths reach counts once.
	Paths []string
	// Ignore holds patterns of files that do not count, in the syntax of
	// .gitignore, one a line. It is stronger than the .sourceignore files of the
	// tree, from its root down. A file that Paths names in full counts anyway.
	Ignore string
	// Kustomize asks for the images of kustomization files whose image is that of
	// a policy, as given here. nil asks for none.
	Kustomize map[bump.Name]string
	// Fields are set without a marker. Their policies are "namespace:name".
	Fields []Field
	// MaxFileSize in bytes: a bigger file is searched for a marker, and is a
	// problem if it has one, but not parsed. 0 means DefaultMaxFileSize.
	MaxFileSize int64
}

// Found is what there is to set in a tree.
type Found struct {
	// Sites are sorted by file, then by position.
	Sites []bump.Site
	// Notices tell, with their file, of what was passed over although markers may
	// be there: submodules, and symbolic links to markers outside of the paths.
	Notices []string
}

// Sites returns the fields to set in tree. It is new([Cache]).Sites.
func Sites(ctx context.Context, tree fs.FS, opt Options) ([]bump.Site, error) {
	return NewCache().Sites(ctx, tree, opt)
}

// reference is the alphabet of image references with tag and digest, and of
// their parts (OCI distribution spec; brackets for IPv6 registries). Nothing in
// it can end a scalar, start a comment or need an escape.
var reference = regexp.MustCompile(`^[A-Za-z0-9\[][A-Za-z0-9._:/@\[\]-]*$`)

// Value returns the value that the field would hold for the selection: the whole
// reference, the tag, the repository or the digest. It is an error, never an
// empty value, when the selection does not have what the marker asks for, or when
// the site's pattern would not find that value again: each pass would set another.
func Value(s bump.Site, sel bump.Selection) (string, error) {
	if s.Problem != "" {
		return "", errors.New(s.Problem)
	}
	if sel.Err != nil {
		return "", sel.Err
	}
	if sel.Tag == "" || sel.Image() == "" {
		return "", fmt.Errorf("policy %s has selected nothing", s.Policy)
	}
	v := ""
	switch s.Part {
	case bump.Whole:
		v = sel.Reference()
	case bump.Repo:
		v = sel.Image()
	case bump.Tag:
		v = sel.Tag
	case bump.Digest:
		if sel.Digest == "" {
			return "", fmt.Errorf("the digest is asked for, but policy %s reflects none: ask for the tag or for the whole reference, or let the policy reflect digests", s.Policy)
		}
		v = sel.Digest
	default:
		return "", fmt.Errorf("unknown part %q of an image", s.Part)
	}
	if !reference.MatchString(v) {
		return "", fmt.Errorf("policy %s selected %q, which is not an image reference", s.Policy, v)
	}
	if s.Match == "" {
		return v, nil
	}
	if err := findsAgain(s, v); err != nil {
		return "", err
	}
	return v, nil
}

// findsAgain checks that the pattern of s would find v where v is set.
func findsAgain(s bump.Site, v string) error {
	m, err := newMatch(s.Match)
	if err != nil {
		return fmt.Errorf("match %w", err)
	}
	full := s.Before + v + s.After
	if before, group, _, ok := m.cut(full); !ok || before != s.Before || group != v {
		return fmt.Errorf("match %q would not find %q again in %q, and the field would change with each pass: make the pattern exact", s.Match, v, shorten(full))
	}
	return nil
}
