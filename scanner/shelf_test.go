package scanner

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// openShelf returns a shelf over dir and what it logs.
func openShelf(dir string) (*shelf, *observer.ObservedLogs) {
	core, logs := observer.New(zap.DebugLevel)
	return newShelf(dir, false, zap.New(core), time.Now), logs
}

func wantEntry(t *testing.T, s *shelf, key, want string) {
	t.Helper()
	if got, ok := s.load(key); !ok || string(got) != want {
		t.Errorf("load(%q) = %q, %t, want %q", key, got, ok, want)
	}
}

func wantNoEntry(t *testing.T, s *shelf, key string) {
	t.Helper()
	if got, ok := s.load(key); ok {
		t.Errorf("load(%q) = %q, want nothing", key, got)
	}
}

func TestShelf(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "scans")
	s, logs := openShelf(dir)
	wantNoEntry(t, s, "a")
	s.save("a", []byte("1"))
	s.save("b", nil)
	s.save("a", []byte("2"))
	again, _ := openShelf(dir)
	wantEntry(t, again, "a", "2")
	wantEntry(t, again, "b", "")
	wantNoEntry(t, again, "c")
	saveJSON(s, "j", map[string]int{"x": 1})
	if got, ok := loadJSON[map[string]int](again, "j"); !ok || got["x"] != 1 {
		t.Errorf("loadJSON = %v, %t", got, ok)
	}
	if got, ok := loadJSON[map[string]int](again, "a"); ok {
		t.Errorf("loadJSON of a number as a map = %v", got)
	}
	if s.writes.Load() != 4 || logs.Len() != 0 {
		t.Errorf("%d writes, %d log lines, want 4 and none", s.writes.Load(), logs.Len())
	}
	if info, err := os.Stat(s.file("a")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v, want it for its owner only", info.Mode(), err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	wantNoEntry(t, s, "a")
	s.save("a", []byte("3"))
	wantEntry(t, s, "a", "3")
}

func TestShelfWithoutDirectory(t *testing.T) {
	s, logs := openShelf("")
	s.save("a", []byte("1"))
	wantNoEntry(t, s, "a")
	if logs.Len() != 0 {
		t.Errorf("said %v", logs.All())
	}
}

func TestShelfReadOnly(t *testing.T) {
	dir := t.TempDir()
	s, _ := openShelf(dir)
	s.save("a", []byte("1"))
	reader := newShelf(dir, true, zap.NewNop(), time.Now)
	wantEntry(t, reader, "a", "1")
	reader.save("a", []byte("2"))
	wantEntry(t, s, "a", "1")
	if err := os.WriteFile(s.file("a"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantNoEntry(t, reader, "a")
	if _, err := os.Stat(s.file("a")); err != nil {
		t.Errorf("a reader removed a file: %v", err)
	}
}

// Whatever became of a file, what comes out of it is what was saved under the
// key, or nothing; and the next save puts it right.
func TestShelfDamage(t *testing.T) {
	s, _ := openShelf(t.TempDir())
	s.save("a", []byte("one, two"))
	whole, err := os.ReadFile(s.file("a"))
	if err != nil {
		t.Fatal(err)
	}
	damaged := [][]byte{nil, []byte("x"), []byte(shelfMagic), append(entryHead("b", []byte("one, two")), "one, two"...), append(bytes.Clone(whole), 'x'), bytes.Replace(whole, []byte("shelf 1"), []byte("shelf 2"), 1)}
	for i := range whole {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 0x40
		damaged = append(damaged, whole[:i], flipped)
	}
	for _, content := range damaged {
		if err := os.WriteFile(s.file("a"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, ok := s.load("a"); ok {
			t.Errorf("a file with %q gave %q", content, got)
		}
		if _, err := os.Stat(s.file("a")); !os.IsNotExist(err) {
			t.Errorf("a file with %q is still there: %v", content, err)
		}
	}
	s.save("a", []byte("3"))
	wantEntry(t, s, "a", "3")
}

// G13: where nothing can be written that is told once, and again only after it
// had been well in between.
func TestG13ShelfCannotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "scans")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file in the place of the directory
		t.Fatal(err)
	}
	s, logs := openShelf(dir)
	for range 3 {
		s.save("a", []byte("1"))
		wantNoEntry(t, s, "a")
	}
	if logs.Len() != 1 || logs.All()[0].Level != zap.WarnLevel || !strings.Contains(logs.All()[0].Message, "cannot be used") {
		t.Errorf("said %v, want one warning", logs.All())
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	s.save("a", []byte("1"))
	wantEntry(t, s, "a", "1")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.save("a", []byte("1"))
	if logs.Len() != 2 {
		t.Errorf("%d warnings, want a second one", logs.Len())
	}
}

// What nobody uses goes after a while; what is used stays, and so does what is
// not ours.
func TestShelfIsTidied(t *testing.T) {
	dir := t.TempDir()
	s, _ := openShelf(dir)
	now := time.Now()
	s.now = func() time.Time { return now }
	for _, key := range []string{"used", "unused"} {
		s.save(key, []byte(key))
	}
	for _, name := range []string{temporary + "123", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(unusedEntries - time.Hour)
	wantEntry(t, s, "used", "used")
	now = now.Add(2 * time.Hour)
	s.save("new", nil)
	wantEntry(t, s, "used", "used")
	wantNoEntry(t, s, "unused")
	if _, err := os.Stat(filepath.Join(dir, "notes.txt")); err != nil {
		t.Errorf("a file that is not ours: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 3 {
		t.Errorf("%d files left, %v, want the used one, the new one and notes.txt", len(left), err)
	}
}

// Writers and readers of one key at the same time meet whole values only.
func TestShelfAtOnce(t *testing.T) {
	s, _ := openShelf(t.TempDir())
	var wg sync.WaitGroup
	for n := range 4 {
		value := strings.Repeat(string(rune('a'+n)), 5000)
		wg.Go(func() {
			for range 50 {
				s.save("k", []byte(value))
				if got, ok := s.load("k"); !ok || len(got) != 5000 || strings.Trim(string(got), string(got[0])) != "" {
					t.Errorf("load gave a mixture of %d bytes, %t", len(got), ok)
				}
			}
		})
	}
	wg.Wait()
}
