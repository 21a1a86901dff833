package setter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"hoist/bump"
)

// Cache remembers the sites of directories and files by their hashes, so that a
// pass over a tree whose FileInfos know them ([bump.Hasher]) reads only what is
// new: an unchanged tree costs one look-up, one changed file its own bytes and
// the listings of the directories above it. Trees without hashes are read whole
// each time.
//
// A cache is meant for one repository. It keeps what the last pass with the same
// Options reached and lets go of the rest. It is safe for several goroutines.
type Cache struct {
	mu    sync.Mutex
	dirs  map[hash]*dir
	files map[hash]*content
	roots map[string][]*dir // the last roots by Options
	live  int               // entries that the last sweep left
	mark  int               // number of the last sweep
}

// hash is a content hash in its shortest form; two contents of the same hash
// but read under other rules (kind of file, size limit) have different ones.
type hash struct {
	sum  [32]byte
	kind kind
	max  int64
}

// dir is a directory as it was read.
type dir struct {
	key   hash
	dirs  []subdir
	files []entry
	some  bool // there is a site in it or below
	mark  int
}

type subdir struct {
	name string
	dir  *dir
}

// entry is a file of a directory. Those without sites are kept for the marks alone.
type entry struct {
	name string // empty where the content has no sites
	*content
}

// content is what a file's bytes hold. Its sites name no file.
type content struct {
	key   hash
	sites []bump.Site
	mark  int
}

// NewCache returns an empty cache.
func NewCache() *Cache {
	return &Cache{dirs: map[hash]*dir{}, files: map[hash]*content{}, roots: map[string][]*dir{}}
}

// Sites returns the marked fields of the files below opt.Paths, sorted by file,
// then by position. Files are those that end in .yaml or .yml or are called
// Kustomization, as in Flux, and any name that opt.Paths gives in full; a .json
// file with a marker is a problem. Directories called .git, symbolic links and
// special files are passed over.
//
// Every marker has its site, so a file that cannot be parsed, edited or
// understood is a site with a Problem and no error. The error is non-nil when a
// path does not exist, the tree cannot be read or ctx ends: then there are no
// sites, never a part of them.
func (c *Cache) Sites(ctx context.Context, tree fs.FS, opt Options) ([]bump.Site, error) {
	paths, err := clean(opt.Paths)
	if err != nil {
		return nil, err
	}
	limit := opt.MaxFileSize
	if limit <= 0 {
		limit = DefaultMaxFileSize
	}
	w := newWalker(ctx, c, tree, limit)
	sites, roots, err := w.walk(paths)
	if err != nil {
		return nil, err
	}
	if w.hashed {
		c.keep(fmt.Sprintf("%d %q", limit, paths), roots, w.newDirs, w.newFiles)
	}
	sortSites(sites)
	return sites, nil
}

// clean returns paths as io/fs spells them, without those below another.
func clean(paths []string) ([]string, error) {
	if len(paths) == 0 {
		return []string{"."}, nil
	}
	var out []string
	for _, p := range paths {
		q := path.Clean(strings.TrimLeft(strings.TrimPrefix(p, "./"), "/"))
		if p == "" || strings.Trim(p, "/") == "" {
			q = "."
		}
		if !fs.ValidPath(q) {
			return nil, fmt.Errorf("path %q leaves the repository", p)
		}
		out = append(out, q)
	}
	slices.Sort(out)
	out = slices.Compact(out)
	all := slices.Clone(out)
	return slices.DeleteFunc(out, func(p string) bool {
		return slices.ContainsFunc(all, func(q string) bool {
			return q != p && (q == "." || strings.HasPrefix(p, q+"/"))
		})
	}), nil
}

// compact makes a map key of a hash as a Hasher spells it.
func compact(text string, k kind, max int64) hash {
	h := hash{kind: k, max: max}
	if n := hex.DecodedLen(len(text)); len(text)%2 == 0 && n >= 20 && n <= len(h.sum) {
		if _, err := hex.Decode(h.sum[:], []byte(text)); err == nil {
			return h
		}
	}
	h.sum = sha256.Sum256([]byte(text))
	return h
}

func (c *Cache) dir(h hash) *dir {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dirs[h]
}

func (c *Cache) file(h hash) *content {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.files[h]
}

// keep takes in what a finished pass has read and sweeps when half of the cache
// may be stale.
func (c *Cache) keep(options string, roots, dirs []*dir, files []*content) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.roots[options] = roots
	for _, d := range dirs {
		c.dirs[d.key] = d
	}
	for _, f := range files {
		c.files[f.key] = f
	}
	if n := len(c.dirs) + len(c.files); n > 2*c.live+1000 {
		c.sweep()
	}
}

// sweep drops what the last roots do not reach.
func (c *Cache) sweep() {
	c.mark++
	for _, roots := range c.roots {
		for _, d := range roots {
			d.touch(c.mark)
		}
	}
	for h, d := range c.dirs {
		if d.mark != c.mark {
			delete(c.dirs, h)
		}
	}
	for h, f := range c.files {
		if f.mark != c.mark {
			delete(c.files, h)
		}
	}
	c.live = len(c.dirs) + len(c.files)
}

func (d *dir) touch(mark int) {
	if d.mark == mark {
		return
	}
	d.mark = mark
	for _, s := range d.dirs {
		s.dir.touch(mark)
	}
	for _, f := range d.files {
		f.content.mark = mark
	}
}

// flatten appends the sites of d, which is called name in the tree.
func (d *dir) flatten(name string, sites []bump.Site) []bump.Site {
	if !d.some {
		return sites
	}
	for _, f := range d.files {
		for _, s := range f.sites {
			s.File = path.Join(name, f.name)
			sites = append(sites, s)
		}
	}
	for _, s := range d.dirs {
		sites = s.dir.flatten(path.Join(name, s.name), sites)
	}
	return sites
}

// settle works out, from the leaves up, which of the new directories hold sites.
func (d *dir) settle() {
	for _, s := range d.dirs {
		d.some = d.some || s.dir.some
	}
	for i, f := range d.files {
		if len(f.sites) == 0 {
			d.files[i].name = ""
			continue
		}
		d.some = true
	}
}

func sortSites(sites []bump.Site) {
	slices.SortStableFunc(sites, func(a, b bump.Site) int {
		if a.File != b.File {
			return strings.Compare(a.File, b.File)
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Start - b.Start
	})
}
