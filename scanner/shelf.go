package scanner

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// shelfMagic begins every file of a shelf. Another form gets another number;
	// files of the old one are then not there.
	shelfMagic = "hoist shelf 1\n"

	unusedEntries = 90 * 24 * time.Hour // then an entry is removed
	markUsed      = 24 * time.Hour      // how old the mark of use of an entry may grow before it is renewed
	tidyEvery     = 24 * time.Hour
	temporary     = "new-" // begins the name of a file that is being written
)

// shelf keeps named values in the files of a directory, so that a restart need
// not ask for everything at once. It is a cache in all: an entry that is
// damaged, of another version or of another key is not there, a disk that is
// full or read-only is told once and work goes on, and who deletes the
// directory loses nothing. A shelf without a directory holds nothing.
//
// A value is whole or not there, also after a kill. It is safe from several
// goroutines, and several processes may share the directory.
type shelf struct {
	dir      string
	readOnly bool
	log      *zap.Logger
	now      func() time.Time
	writes   atomic.Int64 // files written; for tests

	mu         sync.Mutex
	complained bool // of the trouble that lasts
	tidied     time.Time
}

func newShelf(dir string, readOnly bool, log *zap.Logger, now func() time.Time) *shelf {
	return &shelf{dir: dir, readOnly: readOnly, log: log, now: now}
}

// load returns the value that was saved last under key.
func (s *shelf) load(key string) (value []byte, ok bool) {
	if s.dir == "" {
		return nil, false
	}
	name := s.file(key)
	content, err := os.ReadFile(name)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.complain(err)
		}
		return nil, false
	}
	if value, ok = openEntry(content, key); !ok {
		if !s.readOnly {
			_ = os.Remove(name) // or the next save overwrites it
		}
		return nil, false
	}
	s.use(name)
	return value, true
}

// save puts value in the place of what is there under key.
func (s *shelf) save(key string, value []byte) {
	if s.dir == "" || s.readOnly {
		return
	}
	s.tidy()
	if err := s.write(s.file(key), entryHead(key, value), value); err != nil {
		s.complain(err)
		return
	}
	s.writes.Add(1)
	s.mu.Lock()
	s.complained = false
	s.mu.Unlock()
}

// write writes a file of its own, of these parts, and gives it the name. Nothing is synced:
// what a power cut leaves behind is recognised by its sum.
func (s *shelf) write(name string, parts ...[]byte) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.dir, temporary)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if err == nil {
			_, err = f.Write(part)
		}
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // tidy finds it later
	}
	return err
}

// complain tells of trouble once, until a save works again.
func (s *shelf) complain(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.complained {
		s.complained = true
		s.log.Warn("cache of scans cannot be used; a restart will ask registries for everything", zap.String("dir", s.dir), zap.Error(err))
	}
}

// use renews the mark that keeps an entry from being tidied away.
func (s *shelf) use(name string) {
	if s.readOnly {
		return
	}
	if info, err := os.Stat(name); err == nil && s.now().Sub(info.ModTime()) > markUsed {
		_ = os.Chtimes(name, time.Time{}, s.now()) // an entry that is removed too early is asked for again
	}
}

// tidy removes, once a day, what nobody has used for long and what a kill left
// half written.
func (s *shelf) tidy() {
	s.mu.Lock()
	due := s.now().Sub(s.tidied) >= tidyEvery
	if due {
		s.tidied = s.now()
	}
	s.mu.Unlock()
	if !due {
		return
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		age := s.now().Sub(info.ModTime())
		half := strings.HasPrefix(e.Name(), temporary) && age > time.Hour
		if half || (age > unusedEntries && isEntryName(e.Name())) {
			_ = os.Remove(filepath.Join(s.dir, e.Name())) // tomorrow it is tried again
		}
	}
}

func (s *shelf) file(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(s.dir, hex.EncodeToString(sum[:16]))
}

func isEntryName(name string) bool {
	sum, err := hex.DecodeString(name)
	return err == nil && len(sum) == 16
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// entryHead makes what stands before the value in a file: what it is, a sum of
// the rest, the key with its length.
func entryHead(key string, value []byte) []byte {
	head := make([]byte, 0, len(shelfMagic)+4+binary.MaxVarintLen64+len(key))
	head = append(head, shelfMagic+"\x00\x00\x00\x00"...)
	head = binary.AppendUvarint(head, uint64(len(key)))
	head = append(head, key...)
	sum := crc32.Checksum(head[len(shelfMagic)+4:], castagnoli)
	binary.BigEndian.PutUint32(head[len(shelfMagic):], crc32.Update(sum, castagnoli, value))
	return head
}

// openEntry returns the value out of a file's content, where that is whole and
// key's.
func openEntry(content []byte, key string) (value []byte, ok bool) {
	rest, ok := bytes.CutPrefix(content, []byte(shelfMagic))
	if !ok || len(rest) < 4 || binary.BigEndian.Uint32(rest) != crc32.Checksum(rest[4:], castagnoli) {
		return nil, false
	}
	rest = rest[4:]
	n, width := binary.Uvarint(rest)
	if width <= 0 || n != uint64(len(key)) {
		return nil, false
	}
	return bytes.CutPrefix(rest[width:], []byte(key))
}

// loadJSON returns the value of type T that was saved with saveJSON.
func loadJSON[T any](s *shelf, key string) (value T, ok bool) {
	text, ok := s.load(key)
	if !ok || json.Unmarshal(text, &value) != nil {
		var none T
		return none, false
	}
	return value, true
}

// saveJSON is save for a value that can be marshalled; another is not saved.
func saveJSON(s *shelf, key string, value any) {
	if text, err := json.Marshal(value); err == nil {
		s.save(key, text)
	}
}
