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
	if whole {
		j.into.sites, j.into.found = j.look.safely(src)
		return nil
	}
	j.into.found = j.into.asked
	if j.into.sites, err = j.look.tooLarge(src, f, r.limit); err != nil {
		return fmt.Errorf("look for marked fields in %s: %w", j.name, err)
	}
	return nil
}

// safely is find, but a mistake of ours in one file does not end the program.
func (l look) safely(src []byte) (sites []bump.Site, found []int) {
	defer func() {
		if p := recover(); p != nil {
			sites, found = l.trouble(src, fmt.Sprintf("Hoist cannot understand it, which is a mistake of ours (%v)", p))
		}
	}()
	return l.find(src)
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

// tooLarge returns the sites of a file of which head is already read, and more than
// limit is there: all have a problem.
func (l look) tooLarge(head []byte, rest io.Reader, limit int64) (sites []bump.Site, err error) {
	why := fmt.Sprintf("larger than %d bytes: split it", limit)
	if l.markers {
		sites, err = searchLarge(head, rest, "file has a marker but is "+why)
	}
	return append(sites, l.unread("is "+why)...), err
}

// searchLarge returns a site with the problem for the first marker, without holding
// more of the file than a window.
func searchLarge(head []byte, rest io.Reader, problem string) ([]bump.Site, error) {
	const window = 64 << 10
	overlap := 1 << 10 // so that a marker on the edge of two windows is seen in one of them
	buf := append(make([]byte, 0, len(head)+window), head...)
	lines := 0
	for {
		for at := next(buf, 0); at >= 0; at = next(buf, at+len(key)) {
			if line, _ := lineOf(buf, at); markerLike.Match(line) {
				return []bump.Site{{Line: lines + number(buf, at), Problem: problem}}, nil
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
