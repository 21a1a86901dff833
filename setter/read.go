package setter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"hoist/bump"
)

// reader reads files one after the other into one buffer. It belongs to one goroutine.
type reader struct {
	tree  fs.FS
	limit int64
	buf   []byte
}

// kept is how big the buffer stays between two files; a bigger file gets one of its own.
const kept = 1 << 20

func newReader(tree fs.FS, limit int64) *reader {
	return &reader{tree: tree, limit: limit, buf: make([]byte, 64<<10)}
}

// read fills in the sites of one file.
func (r *reader) read(j job) error {
	f, err := r.tree.Open(j.name)
	if err != nil {
		return fmt.Errorf("look for marked fields: %w", err)
	}
	defer f.Close()
	src, whole, err := r.fill(f)
	if err != nil {
		return fmt.Errorf("look for marked fields in %s: %w", j.name, err)
	}
	switch {
	case !whole:
		j.into.sites, err = tooLarge(src, f, r.limit)
		if err != nil {
			return fmt.Errorf("look for marked fields in %s: %w", j.name, err)
		}
	case j.kind == jsonFile:
		j.into.sites = findJSON(src)
	default:
		j.into.sites = safely(src)
	}
	return nil
}

// safely is find, but a mistake of ours in one file does not end the program.
func safely(src []byte) (sites []bump.Site) {
	defer func() {
		if p := recover(); p != nil {
			sites = everywhere(src, fmt.Sprintf("file has a marker but Hoist cannot understand the file, which is a mistake of ours (%v)", p))
		}
	}()
	return find(src)
}

// fill reads f up to one byte more than the limit and reports whether that was all.
func (r *reader) fill(f io.Reader) (src []byte, whole bool, err error) {
	buf, n := r.buf, 0
	for {
		if n == len(buf) {
			if int64(n) > r.limit {
				return buf[:n], false, nil
			}
			bigger := make([]byte, min(int64(2*len(buf)), r.limit+1))
			copy(bigger, buf)
			buf = bigger
			if len(buf) <= kept {
				r.buf = buf
			}
		}
		m, err := f.Read(buf[n:])
		n += m
		if errors.Is(err, io.EOF) {
			return buf[:n], int64(n) <= r.limit, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
}

// tooLarge searches a file of which head is already read, without holding more of
// it than a window.
func tooLarge(head []byte, rest io.Reader, limit int64) ([]bump.Site, error) {
	const window = 64 << 10
	overlap := 1 << 10 // so that a marker on the edge of two windows is seen in one of them
	buf := append(make([]byte, 0, len(head)+window), head...)
	lines := 0
	for {
		for at := next(buf, 0); at >= 0; at = next(buf, at+len(key)) {
			if line, _ := lineOf(buf, at); markerLike.Match(line) {
				return []bump.Site{{
					Line:    lines + number(buf, at),
					Problem: fmt.Sprintf("file has a marker but is larger than %d bytes: split it", limit),
				}}, nil
			}
		}
		if drop := len(buf) - overlap; drop > 0 {
			lines += bytes.Count(buf[:drop], []byte{'\n'})
			buf = append(buf[:0], buf[drop:]...)
		}
		n, err := io.ReadAtLeast(rest, buf[len(buf):len(buf)+window], 1)
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// lineOf returns the line of b that holds offset, without its break, and where it begins.
func lineOf(b []byte, offset int) (line []byte, start int) {
	start = offset
	for start > 0 && b[start-1] != '\n' && b[start-1] != '\r' {
		start--
	}
	if end := bytes.IndexAny(b[offset:], "\r\n"); end >= 0 {
		return b[start : offset+end], start
	}
	return b[start:], start
}
