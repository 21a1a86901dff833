package setter

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"runtime"
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
	limit    int64
	hashed   bool // the tree knows its hashes
	jobs     chan []job
	batch    []job
	newDirs  []*dir // children before parents
	newFiles []*content
	pending  map[hash]*content // new in this pass
	done     map[hash]*dir     // new in this pass
}

// job is a file to read.
type job struct {
	name string
	kind kind
	into *content
}

// batchSize is how many files one worker takes at a time.
const batchSize = 64

func newWalker(ctx context.Context, c *Cache, tree fs.FS, limit int64) *walker {
	return &walker{cache: c, tree: tree, limit: limit, ctx: ctx,
		pending: map[hash]*content{}, done: map[hash]*dir{}}
}

// walk returns the sites below paths and the directories that hold them.
func (w *walker) walk(paths []string) ([]bump.Site, []*dir, error) {
	group, ctx := errgroup.WithContext(w.ctx)
	w.ctx = ctx
	w.jobs = make(chan []job, 16)
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			r := newReader(w.tree, w.limit)
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
	roots := make([]*dir, len(paths))
	group.Go(func() (err error) {
		defer close(w.jobs)
		for i, p := range paths {
			if roots[i], err = w.root(p); err != nil {
				return err
			}
		}
		return w.flush()
	})
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	for _, d := range w.newDirs {
		d.settle()
	}
	var sites []bump.Site
	for i, d := range roots {
		sites = d.flatten(paths[i], sites)
	}
	return sites, roots, nil
}

// root lists one of the paths, which may be a file.
func (w *walker) root(p string) (*dir, error) {
	fi, err := fs.Stat(w.tree, p)
	if err != nil {
		return nil, fmt.Errorf("look for marked fields: %w", err)
	}
	h, hashed := hashOf(fi)
	w.hashed = w.hashed || hashed
	if fi.IsDir() {
		return w.dir(p, h)
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("look for marked fields: %s is neither a file nor a folder", p)
	}
	d := &dir{}
	k := kindOf(path.Base(p))
	if k == ignored {
		k = yamlFile // named in full
	}
	f, err := w.file(p, k, h)
	if err != nil {
		return nil, err
	}
	// The path is the file itself, so its name within the directory is empty.
	d.files = []entry{{content: f}}
	w.newDirs = append(w.newDirs, d)
	d.key = compact("file "+p+" "+h, directory, w.limit)
	return d, nil
}

// dir returns the directory called name, from the cache if it was seen before.
func (w *walker) dir(name, h string) (*dir, error) {
	d := &dir{}
	if h != "" {
		d.key = compact(h, directory, w.limit)
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
	for _, e := range list {
		if err := w.entry(d, name, e); err != nil {
			return nil, err
		}
	}
	if h != "" {
		w.done[d.key] = d
	}
	w.newDirs = append(w.newDirs, d)
	return d, nil
}

// entry adds to d what e is: a directory, a file that counts, or nothing.
func (w *walker) entry(d *dir, parent string, e fs.DirEntry) error {
	k := ignored
	switch {
	case e.IsDir() && e.Name() != ".git":
		k = directory
	case e.Type().IsRegular():
		k = kindOf(e.Name())
	}
	if k == ignored {
		return nil
	}
	h := ""
	if w.hashed {
		fi, err := e.Info()
		if err != nil {
			return fmt.Errorf("look for marked fields: %w", err)
		}
		h, _ = hashOf(fi)
	}
	name := e.Name()
	if parent != "." {
		name = parent + "/" + name
	}
	if k == directory {
		sub, err := w.dir(name, h)
		if err == nil {
			d.dirs = append(d.dirs, subdir{e.Name(), sub})
		}
		return err
	}
	f, err := w.file(name, k, h)
	if err == nil {
		d.files = append(d.files, entry{e.Name(), f})
	}
	return err
}

// file returns the content of a file, which is read before walk ends.
func (w *walker) file(name string, k kind, h string) (*content, error) {
	f := &content{}
	if h != "" {
		f.key = compact(h, k, w.limit)
		if known := w.cache.file(f.key); known != nil {
			return known, nil
		}
		if known := w.pending[f.key]; known != nil {
			return known, nil
		}
		w.pending[f.key] = f
		w.newFiles = append(w.newFiles, f)
	}
	w.batch = append(w.batch, job{name, k, f})
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
