package gitpush

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"go.uber.org/zap"
)

// Each fetch and each push leaves a pack. When there are more than maxPacks, the
// small ones are merged into one, smallest first, as long as the next is not
// more than twice as big as all before it together. So bytes are copied again
// only after as many have come since: the work grows with what changed, not with
// the repository, and the first, big pack is left alone for long.
//
// Merging copies the entries of the packs as they are, one pack behind the
// other: an entry refers to others of its pack by distance, and distances stay.
// Nothing is inflated, so a merge of a few megabytes takes milliseconds. What is
// not gained is space; when the mirror has grown beyond bloatBytes and four
// times its biggest pack, the next fetch that brings news clones anew.
const (
	maxPacks   = 50
	bloatBytes = 1 << 30

	packHeader = 12 // "PACK", version, number of objects
	packFooter = 20 // SHA-1 of all before it
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
	slices.SortFunc(list, func(a, b packFile) int { return cmp.Compare(a.size, b.size) })
	var sum int64
	n := 0
	for _, p := range list {
		if n > 1 && p.size > 2*sum {
			break
		}
		sum += p.size
		n++
	}
	if err := o.merge(list[:n]); err != nil {
		return fmt.Errorf("merge packs of %s: %w", o.path, err)
	}
	return nil
}

// bloated reports whether a clone would need much less space.
func (o *objects) bloated() bool {
	list, err := o.packFiles()
	if err != nil {
		return false
	}
	var sum, biggest int64
	for _, p := range list {
		sum += p.size
		biggest = max(biggest, p.size)
	}
	return sum > bloatBytes+4*biggest
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

// merge puts the packs into one and then removes them. A crash in between leaves
// objects twice, which does no harm.
func (o *objects) merge(list []packFile) error {
	list, entries, err := disjoint(list)
	if err != nil || len(list) < 2 {
		return err
	}
	count := 0
	for _, e := range entries {
		count += len(e)
	}
	pack, sum, err := o.concat(list, count)
	if err != nil {
		return err
	}
	if err := o.adoptPack(pack, sum, mergedIndex(list, entries, count)); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	err = o.store.Close()
	for _, p := range list {
		// The pack goes first: go-git takes the list of packs from these files.
		err = errors.Join(err, os.Remove(p.base+".pack"), os.Remove(p.base+".idx"))
	}
	o.open()
	if err != nil {
		return err
	}
	o.log.Debug("small packs merged", zap.Int("packs", len(list)), zap.Int("objects", count))
	return nil
}

// disjoint leaves out packs with objects that an earlier one has too, since a
// pack must not hold an object twice, and returns what is in the others.
func disjoint(list []packFile) ([]packFile, [][]idxfile.Entry, error) {
	seen := map[plumbing.Hash]bool{}
	var kept []packFile
	var all [][]idxfile.Entry
	for _, p := range list {
		entries, err := packEntries(p.base + ".idx")
		if err != nil {
			return nil, nil, err
		}
		if slices.ContainsFunc(entries, func(e idxfile.Entry) bool { return seen[e.Hash] }) {
			continue
		}
		for _, e := range entries {
			seen[e.Hash] = true
		}
		kept = append(kept, p)
		all = append(all, entries)
	}
	return kept, all, nil
}

// concat writes the bodies of the packs behind one header into a temporary file.
func (o *objects) concat(list []packFile, count int) (name string, sum plumbing.Hash, err error) {
	f, err := os.CreateTemp(filepath.Join(o.path, "objects", "pack"), "tmp_merge_")
	if err != nil {
		return "", sum, err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(f.Name())
		}
	}()
	hash := sha1.New()
	w := bufio.NewWriterSize(io.MultiWriter(f, hash), 256<<10)
	head := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(count))
	if _, err := w.Write(head); err != nil {
		return "", sum, err
	}
	for _, p := range list {
		if err := copyBody(w, p); err != nil {
			return "", sum, err
		}
	}
	if err := w.Flush(); err != nil {
		return "", sum, err
	}
	copy(sum[:], hash.Sum(nil))
	_, err = f.Write(sum[:])
	return f.Name(), sum, err
}

// copyBody copies what is between the header and the checksum of a pack.
func copyBody(w io.Writer, p packFile) error {
	f, err := os.Open(p.base + ".pack")
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, io.NewSectionReader(f, packHeader, p.size-packHeader-packFooter))
	return err
}

// mergedIndex returns the writer of the index of the packs behind one another.
func mergedIndex(list []packFile, entries [][]idxfile.Entry, count int) *idxfile.Writer {
	w := &idxfile.Writer{}
	_ = w.OnHeader(uint32(count)) // never fails
	var shift int64
	for i, p := range list {
		for _, e := range entries[i] {
			w.Add(e.Hash, e.Offset+uint64(shift), e.CRC32)
		}
		shift += p.size - packHeader - packFooter
	}
	return w
}

// adoptPack gives a pack that was written its index and its name.
func (o *objects) adoptPack(pack string, sum plumbing.Hash, w *idxfile.Writer) error {
	base := filepath.Join(o.path, "objects", "pack", "pack-"+sum.String())
	if err := w.OnFooter(sum); err != nil {
		return err
	}
	index, err := w.Index()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if _, err := idxfile.NewEncoder(&b).Encode(index); err != nil {
		return err
	}
	if err := os.WriteFile(base+".idx", b.Bytes(), 0o400); err != nil {
		return err
	}
	return os.Rename(pack, base+".pack")
}

// packEntries lists the objects of a pack.
func packEntries(idx string) ([]idxfile.Entry, error) {
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
	var list []idxfile.Entry
	for {
		e, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		list = append(list, *e)
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
