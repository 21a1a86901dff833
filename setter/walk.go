package setter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"hoist/bump"
)

// kind says how a file is looked at.
type kind byte

const (
	ignored kind = iota
	yamlFile
	jsonFile
	directory
)

// kindOf returns the kind of a file by its name, as Flux chooses them.
func kindOf(name string) kind {
	switch {
	case strings.HasSuffix(name, ".yaml"), strings.HasSuffix(name, ".yml"), name == "Kustomization":
		return yamlFile
	case strings.HasSuffix(name, ".json"):
		return jsonFile
	}
	return ignored
}

// walker goes once through a tree. One goroutine lists the directories; the
// files that are new are read and parsed by as many as there are processors.
type walker struct {
	ctx      context.Context
	cache    *Cache
	tree     fs.FS
	rules    *rules
	hashed   bool // the tree knows its hashes
	jobs     chan []job
	batch    []job
	roots    []*dir    // of the paths
	behind   []*target // of symbolic links
	notices  []string
	newDirs  []*dir // children before parents
	newFiles []*content
	pending  map[hash]*content // new in this pass
	done     map[hash]*dir     // new in this pass
}

// job is a file to read.
type job struct {
	name string
	look look
	into *content
}

// batchSize is how many files one worker takes at a time.
const batchSize = 64

func newWalker(ctx context.Context, c *Cache, tree fs.FS, r *rules) *walker {
	return &walker{cache: c, tree: tree, rules: r, ctx: ctx,
		pending: map[hash]*content{}, done: map[hash]*dir{}}
}

// walk reads what is below paths and is new.
func (w *walker) walk(paths []string) error {
	group, ctx := errgroup.WithContext(w.ctx)
	w.ctx = ctx
	w.jobs = make(chan []job, 16)
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			r := newReader(w.tree, w.rules.limit)
			for batch := range w.jobs {
				for _, j := range batch {
					if err := ctx.Err(); err != nil {
						return err
					}
					if err := r.read(j); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		defer close(w.jobs)
		for _, p := range paths {
			d, err := w.root(p)
			if err != nil {
				return err
			}
			w.roots = append(w.roots, d)
		}
		if err := w.lookBehind(paths); err != nil {
			return err
		}
		return w.flush()
	})
	if err := group.Wait(); err != nil {
		return err
	}
	for _, d := range w.newDirs {
		d.settle()
	}
	return nil
}

// reached returns the directories that the pass started from.
func (w *walker) reached() []*dir {
	all := slices.Clone(w.roots)
	for _, t := range w.behind {
		all = append(all, t.dir)
	}
	return all
}

// root lists one of the paths, which may be a file.
func (w *walker) root(p string) (*dir, error) {
	fi, err := fs.Stat(w.tree, p)
	if err != nil {
		return nil, fmt.Errorf("look for marked fields: %w", err)
	}
	h, hashed := hashOf(fi)
	w.hashed = w.hashed || hashed
	if fi.Mode()&fs.ModeIrregular == 0 && fi.IsDir() {
		g, err := w.ignoresAbove(p)
		if err != nil {
			return nil, err
		}
		if g.prunes(p) {
			w.notices = append(w.notices, p+": nothing below it counts: a pattern of "+ignoreFile+" or of the configuration ignores the folder")
		}
		return w.dir(p, h, g)
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("look for marked fields: %s is neither a file nor a folder", p)
	}
	d := &dir{}
	k := kindOf(path.Base(p))
	if k == ignored {
		k = yamlFile // named in full
	}
	l := w.rules.lookAt(p, k)
	f, err := w.file(p, k, l, h)
	if err != nil {
		return nil, err
	}
	// The path is the file itself, so its name within the directory is empty.
	d.files = []entry{{name: ".", content: f}}
	w.newDirs = append(w.newDirs, d)
	d.key = compact("file "+p+" "+h+l.print(), directory, w.rules.limit)
	return d, nil
}

// ignoresAbove returns the patterns in force at the directory called name, but for its own.
func (w *walker) ignoresAbove(name string) (*ignores, error) {
	g := w.rules.ignore
	if name == "." {
		return g, nil
	}
	elements := strings.Split(name, "/")
	for i := range elements {
		above := path.Join(append([]string{"."}, elements[:i]...)...)
		if i > 0 && g.match(above, true) {
			break // what is written in an ignored folder does not count
		}
		var err error
		if g, err = w.ignoresOf(above, g); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// ignoresOf adds the patterns of a directory's own file to g.
func (w *walker) ignoresOf(dir string, g *ignores) (*ignores, error) {
	f, err := w.tree.Open(path.Join(dir, ignoreFile))
	if errors.Is(err, fs.ErrNotExist) {
		return g, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for marked fields: %w", err)
	}
	defer f.Close()
	const most = 1 << 20
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && len(text) > most {
		err = errors.New("larger than 1 MiB")
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path.Join(dir, ignoreFile), err)
	}
	return g.with(string(text), dir), nil
}

// dir returns the directory called name, from the cache if it was seen before. g
// is what is ignored in it, but for what its own file says.
func (w *walker) dir(name, h string, g *ignores) (*dir, error) {
	d := &dir{}
	if h != "" {
		d.key = w.dirKey(name, h, g)
		if known := w.cache.dir(d.key); known != nil {
			return known, nil
		}
		if known := w.done[d.key]; known != nil {
			return known, nil
		}
	}
	if err := w.ctx.Err(); err != nil {
		return nil, err
	}
	list, err := fs.ReadDir(w.tree, name)
	if err != nil {
		return nil, fmt.Errorf("look for marked fields: %w", err)
	}
	if g, err = w.ownIgnores(name, list, g); err != nil {
		return nil, err
	}
	for _, e := range list {
		if err := w.entry(d, name, e, g); err != nil {
			return nil, err
		}
	}
	d.odds = len(d.odd) > 0 || slices.ContainsFunc(d.dirs, func(s subdir) bool { return s.dir.odds })
	if h != "" {
		w.done[d.key] = d
	}
	w.newDirs = append(w.newDirs, d)
	return d, nil
}

// dirKey returns what the directory's sites depend on: its hash, and where
// anything depends on paths, its path and the rules.
func (w *walker) dirKey(name, h string, g *ignores) hash {
	if rest := w.rules.print + g.print(); rest != "" {
		return compact(h+" "+name+"\n"+rest, directory, w.rules.limit)
	}
	return compact(h, directory, w.rules.limit)
}

// ownIgnores adds what the directory's own file says, if it has one.
func (w *walker) ownIgnores(name string, list []fs.DirEntry, g *ignores) (*ignores, error) {
	i, ok := slices.BinarySearchFunc(list, ignoreFile, func(e fs.DirEntry, name string) int { return strings.Compare(e.Name(), name) })
	if !ok || !list[i].Type().IsRegular() || g.match(name, true) {
		return g, nil
	}
	return w.ignoresOf(name, g)
}

// entry adds to d what e is: a directory, a file that counts, an oddity or nothing.
func (w *walker) entry(d *dir, parent string, e fs.DirEntry, g *ignores) error {
	k, odd := ignored, plain
	switch {
	case e.Type()&fs.ModeSymlink != 0:
		odd = link
	case e.IsDir() && e.Type()&fs.ModeIrregular != 0:
		odd = submodule
	case e.IsDir() && e.Name() != ".git":
		k = directory
	case e.Type().IsRegular():
		k = kindOf(e.Name())
	case !e.IsDir() && kindOf(e.Name()) != ignored:
		odd = special
	}
	if k == ignored && odd == plain && len(w.rules.fields) == 0 {
		return nil
	}
	name := e.Name()
	if parent != "." {
		name = parent + "/" + name
	}
	if odd != plain {
		if !g.match(name, odd == submodule) {
			d.odd = append(d.odd, oddity{e.Name(), odd})
		}
		return nil
	}
	if k == directory && g.prunes(name) || k != directory && g.match(name, false) {
		return nil
	}
	l := look{}
	if k != directory {
		if l = w.rules.lookAt(name, k); !l.any() {
			return nil
		}
	}
	h := ""
	if w.hashed {
		fi, err := e.Info()
		if err != nil {
			return fmt.Errorf("look for marked fields: %w", err)
		}
		h, _ = hashOf(fi)
	}
	if k == directory {
		return w.subdir(d, e.Name(), name, h, g)
	}
	f, err := w.file(name, k, l, h)
	if err == nil {
		d.files = append(d.files, entry{e.Name(), f})
	}
	return err
}

// subdir adds a directory to d, unless it is the work tree of a submodule.
func (w *walker) subdir(d *dir, short, name, h string, g *ignores) error {
	if !w.hashed {
		if fi, err := fs.Stat(w.tree, name+"/.git"); err == nil && fi.Mode().IsRegular() {
			d.odd = append(d.odd, oddity{short, submodule})
			return nil
		}
	}
	sub, err := w.dir(name, h, g)
	if err == nil {
		d.dirs = append(d.dirs, subdir{short, sub})
	}
	return err
}

// file returns the content of a file, which is read before walk ends.
func (w *walker) file(name string, k kind, l look, h string) (*content, error) {
	f := &content{}
	for _, r := range l.fields {
		f.asked = append(f.asked, r.index)
	}
	if h != "" {
		if print := l.print(); print != "" {
			h += " " + print
		}
		f.key = compact(h, k, w.rules.limit)
		if known := w.cache.file(f.key); known != nil {
			return known, nil
		}
		if known := w.pending[f.key]; known != nil {
			return known, nil
		}
		w.pending[f.key] = f
		w.newFiles = append(w.newFiles, f)
	}
	w.batch = append(w.batch, job{name, l, f})
	if len(w.batch) < batchSize {
		return f, nil
	}
	return f, w.flush()
}

func (w *walker) flush() error {
	if len(w.batch) == 0 {
		return nil
	}
	select {
	case w.jobs <- w.batch:
		w.batch = nil
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

func hashOf(fi fs.FileInfo) (string, bool) {
	if h, ok := fi.Sys().(bump.Hasher); ok {
		return h.Hash(), h.Hash() != ""
	}
	return "", false
}
