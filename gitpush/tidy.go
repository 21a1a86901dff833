package gitpush

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"go.uber.org/zap"
)

// Each fetch and each push leaves a pack. When there are more than maxPacks, the
// small ones are merged into one, smallest first, as long as the next is not
// more than twice as big as all before it together. So an object is written
// again only after as much as it has come since: the work grows with what
// changed, not with the repository, and the first, big pack is never touched.
const (
	maxPacks     = 50
	maxMergeable = 64 << 20 // bytes of packs that are merged at once; they pass through memory
)

// packFile is a pack on disk.
type packFile struct {
	base string // path without .pack
	size int64
}

// tidy merges small packs when there are too many.
func (o *objects) tidy() error {
	list, err := o.packFiles()
	if err != nil || len(list) <= maxPacks {
		return err
	}
	slices.SortFunc(list, func(a, b packFile) int { return int(a.size - b.size) })
	var sum int64
	n := 0
	for _, p := range list {
		if n > 1 && p.size > 2*sum || sum+p.size > maxMergeable {
			break
		}
		sum += p.size
		n++
	}
	if n < 2 {
		return nil
	}
	return o.merge(list[:n])
}

func (o *objects) packFiles() ([]packFile, error) {
	names, err := filepath.Glob(filepath.Join(o.path, "objects", "pack", "pack-*.pack"))
	if err != nil {
		return nil, err
	}
	var list []packFile
	for _, name := range names {
		i, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		list = append(list, packFile{strings.TrimSuffix(name, ".pack"), i.Size()})
	}
	return list, nil
}

// merge writes the objects of the packs into one pack and then removes them. A
// crash in between leaves objects twice, which does no harm.
func (o *objects) merge(list []packFile) error {
	seen := map[plumbing.Hash]bool{}
	var hashes []plumbing.Hash
	for _, p := range list {
		here, err := packHashes(p.base + ".idx")
		if err != nil {
			return err
		}
		for _, h := range here {
			if !seen[h] {
				seen[h] = true
				hashes = append(hashes, h)
			}
		}
	}
	var pack bytes.Buffer
	o.mu.Lock()
	_, err := packfile.NewEncoder(&pack, o.store, false).Encode(hashes, 10)
	o.mu.Unlock()
	if err != nil {
		return fmt.Errorf("merge packs: %w", err)
	}
	// A pack is named by the last 20 bytes of it.
	merged := fmt.Sprintf("pack-%x", pack.Bytes()[pack.Len()-len(plumbing.Hash{}):])
	if err := o.addPack(&pack); err != nil {
		return fmt.Errorf("merge packs: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.store.Close(); err != nil {
		return err
	}
	for _, p := range list {
		if filepath.Base(p.base) == merged {
			continue
		}
		if err := errors.Join(os.Remove(p.base+".idx"), os.Remove(p.base+".pack")); err != nil {
			return err
		}
	}
	o.open()
	o.log.Debug("small packs merged", zap.Int("packs", len(list)), zap.Int("objects", len(hashes)))
	return nil
}

// packHashes lists the objects of a pack.
func packHashes(idx string) ([]plumbing.Hash, error) {
	f, err := os.Open(idx)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	index := idxfile.NewMemoryIndex()
	if err := idxfile.NewDecoder(f).Decode(index); err != nil {
		return nil, err
	}
	entries, err := index.Entries()
	if err != nil {
		return nil, err
	}
	defer entries.Close()
	var list []plumbing.Hash
	for {
		e, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		list = append(list, e.Hash)
	}
}

// heal begins anew when an object was found missing or unreadable, so that the
// next fetch clones.
func (o *objects) heal() error {
	o.mu.Lock()
	broken := o.broken
	o.mu.Unlock()
	if broken == nil || o.origin == "" {
		return nil
	}
	o.log.Warn("mirror is damaged and will be made anew", zap.String("path", o.path), zap.Error(broken))
	return o.reset()
}
