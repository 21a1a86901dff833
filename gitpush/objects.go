package gitpush

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"go.uber.org/zap"
)

// Bounds of what a mirror keeps in memory.
const (
	cachedBytes   = 16 * cache.MiByte // of objects, most of them bases of deltas
	cachedEntries = 200_000           // of decoded trees
)

// objects reads and writes the Git objects and the one ref of a repository on
// disk. go-git's storage is not safe for several goroutines, so every use of it
// is under mu; what comes out of it is.
type objects struct {
	path   string
	origin string // what is to stand in the file config; empty for a clone of somebody else
	log    *zap.Logger

	mu     sync.Mutex
	store  *filesystem.Storage
	broken error // a sign that the files are not whole
	trees  map[plumbing.Hash]*tree
	listed int // entries in trees
}

// openMirror opens the bare repository at path or makes an empty one there. A
// repository that is not whole, or was made for another URL or branch, is
// deleted; a directory that is no repository is left alone.
func openMirror(path, url, branch string, log *zap.Logger) (*objects, error) {
	o := &objects{path: path, origin: mirrorConfig(url, branch), log: log}
	_, err := os.Stat(path)
	if err == nil {
		if err = o.inspect(branch); err == nil {
			return o, nil
		}
		log.Info("mirror is not usable and will be made anew", zap.String("path", path), zap.Error(err))
	}
	return o, o.reset()
}

// mirrorConfig is the file config of our mirrors. The same bytes are there
// again when a mirror is opened, or the mirror is not ours.
func mirrorConfig(url, branch string) string {
	return fmt.Sprintf("# made by hoist; delete the directory at will\n[core]\n\trepositoryformatversion = 0\n\tbare = true\n"+
		"[remote \"origin\"]\n\turl = %s\n\tfetch = +refs/heads/%s:refs/heads/%s\n", url, branch, branch)
}

// inspect opens what is on disk and reads the newest commit and its tree.
func (o *objects) inspect(branch string) error {
	conf, err := os.ReadFile(filepath.Join(o.path, "config"))
	if err != nil {
		return err
	}
	if string(conf) != o.origin {
		return errors.New("it was made for another URL or branch")
	}
	o.cleanUp()
	o.open()
	h, ok := o.ref(branch)
	if !ok {
		return errors.New("it has no commit")
	}
	c, err := o.commit(h)
	if err != nil {
		return err
	}
	_, err = o.tree(c.TreeHash)
	return err
}

// reset makes the repository at path an empty one.
func (o *objects) reset() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.store != nil {
		o.store.Close()
	}
	if err := removeMirror(o.path); err != nil {
		return err
	}
	for _, d := range []string{"objects/pack", "objects/info", "refs/heads"} {
		if err := os.MkdirAll(filepath.Join(o.path, d), 0o700); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(o.path, "HEAD"), []byte("ref: refs/heads/none\n"), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.path, "config"), []byte(o.origin), 0o600); err != nil {
		return err
	}
	o.broken = nil
	o.open()
	return nil
}

// removeMirror deletes path if it is empty or has the looks of a repository.
func removeMirror(path string) error {
	list, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, noHead := os.Lstat(filepath.Join(path, "HEAD"))
	_, noObjects := os.Lstat(filepath.Join(path, "objects"))
	if len(list) > 0 && noHead != nil && noObjects != nil {
		return fmt.Errorf("%s is there and is not a Git repository; it is left alone", path)
	}
	return os.RemoveAll(path)
}

// cleanUp removes what a killed process left half written.
func (o *objects) cleanUp() {
	for _, pattern := range []string{"objects/pack/tmp_*", "known_hosts-*"} {
		left, _ := filepath.Glob(filepath.Join(o.path, pattern))
		for _, f := range left {
			os.Remove(f)
		}
	}
}

// open starts anew on the files, with nothing remembered.
func (o *objects) open() {
	o.store = filesystem.NewStorageWithOptions(osfs.New(o.path), cache.NewObjectLRU(cachedBytes),
		filesystem.Options{KeepDescriptors: true})
	o.trees, o.listed = map[plumbing.Hash]*tree{}, 0
}

func (o *objects) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.store.Close()
}

// ref returns where the branch is.
func (o *objects) ref(branch string) (plumbing.Hash, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r, err := o.store.Reference(refName(branch))
	if err != nil || r.Type() != plumbing.HashReference {
		return plumbing.ZeroHash, false
	}
	return r.Hash(), true
}

// setRef moves the branch, by writing a new file and renaming it.
func (o *objects) setRef(branch string, h plumbing.Hash) error {
	path := filepath.Join(o.path, filepath.FromSlash(refName(branch).String()))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	next := filepath.Join(o.path, "objects", "pack", "tmp_ref")
	if err := os.WriteFile(next, []byte(h.String()+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// has reports whether the object is there.
func (o *objects) has(h plumbing.Hash) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.store.HasEncodedObject(h) == nil
}

// get returns an object. One that should be there and is not, or cannot be
// read, marks the mirror as broken, so that the next fetch clones anew.
func (o *objects) get(t plumbing.ObjectType, h plumbing.Hash) (plumbing.EncodedObject, error) {
	obj, err := o.store.EncodedObject(t, h)
	if err != nil {
		err = fmt.Errorf("object %s: %w", h, err)
		o.broken = err
	}
	return obj, err
}

// damaged marks the mirror as broken.
func (o *objects) damaged(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.broken = err
}

// commit returns a commit.
func (o *objects) commit(h plumbing.Hash) (*object.Commit, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	obj, err := o.get(plumbing.CommitObject, h)
	if err != nil {
		return nil, err
	}
	return object.DecodeCommit(nil, obj)
}

// tree returns a decoded directory.
func (o *objects) tree(h plumbing.Hash) (*tree, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t, ok := o.trees[h]; ok {
		return t, nil
	}
	b, err := o.read(plumbing.TreeObject, h)
	if err != nil {
		return nil, err
	}
	t, err := parseTree(b)
	if err != nil {
		return nil, fmt.Errorf("tree %s: %w", h, err)
	}
	if o.listed += len(t.entries); o.listed > cachedEntries {
		o.trees, o.listed = map[plumbing.Hash]*tree{}, len(t.entries)
	}
	o.trees[h] = t
	return t, nil
}

// blob returns the bytes of a file; they are the caller's.
func (o *objects) blob(h plumbing.Hash) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.read(plumbing.BlobObject, h)
}

// blobSize returns the size of a file without reading the file.
func (o *objects) blobSize(h plumbing.Hash) (int64, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.store.EncodedObjectSize(h)
}

// read copies an object out. The caller has mu.
func (o *objects) read(t plumbing.ObjectType, h plumbing.Hash) ([]byte, error) {
	obj, err := o.get(t, h)
	if err != nil {
		return nil, err
	}
	r, err := obj.Reader()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b := make([]byte, obj.Size())
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("object %s: %w", h, err)
	}
	return b, nil
}

// addPack stores a pack that holds all that its objects refer to, or that is
// here already. The pack is there as a whole or not at all.
func (o *objects) addPack(pack io.Reader) error {
	o.mu.Lock()
	w, err := o.store.PackfileWriter()
	o.mu.Unlock()
	if err != nil {
		return err
	}
	n, err := io.Copy(w, pack)
	o.mu.Lock()
	defer o.mu.Unlock()
	if closed := w.Close(); err == nil {
		err = closed // checks and indexes; after a failed copy it can only fail too
	}
	if err == nil && n == 0 {
		err = errors.New("empty pack")
	}
	if err != nil {
		o.cleanUp()
	}
	return err
}
