package setter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
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
// A file is known by its hash and by what is looked for in it; a directory by its
// hash, and where patterns ignore files or fields are named by their file, also by
// its path and by these.
//
// A cache is meant for one repository. It keeps what the last pass with the same
// Options reached and lets go of the rest. It is safe for several goroutines.
type Cache struct {
	mu    sync.Mutex
	dirs  map[hash]*dir
	files map[hash]*content
	roots map[string][]*dir // the last roots by Options
	last  map[string]result // what the last pass found, by Options
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

// result is what a pass found in a whole tree.
type result struct {
	tree string // hash of its root
	Found
}

// dir is a directory as it was read.
type dir struct {
	key   hash
	dirs  []subdir
	files []entry
	odd   []oddity
	some  bool // there is something to tell of in it or below
	odds  bool // some of that is oddities
	mark  int
}

type subdir struct {
	name string
	dir  *dir
}

// entry is a file of a directory. Those with nothing to tell are kept for the marks alone.
type entry struct {
	name string // empty where the content has nothing to tell
	*content
}

// content is what a file's bytes hold. Its sites name no file.
type content struct {
	key   hash
	sites []bump.Site
	asked []int // of Options.Fields: those whose pattern means the file
	found []int // of asked: those whose field is there, or cannot be looked for
	mark  int
}

// NewCache returns an empty cache.
func NewCache() *Cache {
	return &Cache{dirs: map[hash]*dir{}, files: map[hash]*content{}, roots: map[string][]*dir{}, last: map[string]result{}}
}

// Sites returns the sites of what [Cache.Find] finds.
func (c *Cache) Sites(ctx context.Context, tree fs.FS, opt Options) ([]bump.Site, error) {
	found, err := c.Find(ctx, tree, opt)
	return found.Sites, err
}

// Find returns the fields to set in the files below opt.Paths. Files are those
// that end in .yaml or .yml or are called Kustomization, as in Flux, any name that
// opt.Paths gives in full, and those that a field of opt names; a .json file with
// a marker is a problem. Directories called .git are passed over; symbolic links
// are not followed, submodules not entered and special files not read.
//
// Every marker has its site, so a file that cannot be parsed, edited or
// understood is a site with a Problem and no error. The error is non-nil when a
// path does not exist, the tree cannot be read or ctx ends: then nothing is
// found, never a part of it.
func (c *Cache) Find(ctx context.Context, tree fs.FS, opt Options) (Found, error) {
	paths, err := clean(opt.Paths)
	if err != nil {
		return Found{}, err
	}
	r, err := newRules(opt)
	if err != nil {
		return Found{}, err
	}
	options := fmt.Sprintf("%d %q %s%s", r.limit, paths, r.print, r.ignore.print())
	whole, hashed := "", false
	if fi, err := fs.Stat(tree, "."); err == nil {
		whole, hashed = hashOf(fi)
	}
	if known, ok := c.known(options, whole); hashed && ok {
		return known, nil
	}
	w := newWalker(ctx, c, tree, r)
	if err := w.walk(paths); err != nil {
		return Found{}, err
	}
	found := w.found(paths)
	if hashed {
		c.keep(options, w, result{whole, found})
		found.Sites = slices.Clone(found.Sites)
	}
	return found, nil
}

// known returns what was found with the same options in the same tree.
func (c *Cache) known(options, tree string) (Found, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, ok := c.last[options]
	if !ok || last.tree != tree {
		return Found{}, false
	}
	return Found{slices.Clone(last.Sites), slices.Clone(last.Notices)}, true
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

// keep takes in what a finished pass has read and found, and sweeps when half of
// the cache may be stale.
func (c *Cache) keep(options string, w *walker, r result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.roots[options], c.last[options] = w.reached(), r
	for _, d := range w.newDirs {
		c.dirs[d.key] = d
	}
	for _, f := range w.newFiles {
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

// settle works out, from the leaves up, which of the new directories have
// something to tell.
func (d *dir) settle() {
	d.some = d.odds
	for _, s := range d.dirs {
		d.some = d.some || s.dir.some
	}
	for i, f := range d.files {
		if len(f.sites) == 0 && len(f.asked) == 0 {
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
