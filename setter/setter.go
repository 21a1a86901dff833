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

// Options says which files count.
type Options struct {
	// Paths are the folders (or single files) looked at, relative to the root of
	// the tree; a leading "./" or "/" is allowed, ".." is not. Empty means the
	// whole tree. A file that two paths reach counts once.
	Paths []string
	// MaxFileSize in bytes: a bigger file is searched for a marker, and is a
	// problem if it has one, but not parsed. 0 means DefaultMaxFileSize.
	MaxFileSize int64
}

// Sites returns the marked fields of tree. It is new([Cache]).Sites.
func Sites(ctx context.Context, tree fs.FS, opt Options) ([]bump.Site, error) {
	return NewCache().Sites(ctx, tree, opt)
}

// reference is the alphabet of image references with tag and digest, and of
// their parts (OCI distribution spec; brackets for IPv6 registries). Nothing in
// it can end a scalar, start a comment or need an escape.
var reference = regexp.MustCompile(`^[A-Za-z0-9\[][A-Za-z0-9._:/@\[\]-]*$`)

// Value returns the value that the field would hold for the selection: the whole
// reference, the tag, the repository or the digest. It is an error, never an
// empty value, when the selection does not have what the marker asks for.
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
			return "", fmt.Errorf("marker asks for the digest, but policy %s reflects none: mark the tag with :tag, or the whole reference with no suffix", s.Policy)
		}
		v = sel.Digest
	default:
		return "", fmt.Errorf("unknown part %q of an image", s.Part)
	}
	if !reference.MatchString(v) {
		return "", fmt.Errorf("policy %s selected %q, which is not an image reference", s.Policy, v)
	}
	return v, nil
}
