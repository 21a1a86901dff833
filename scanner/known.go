package scanner

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"
)

// snapshot is a complete tag list, before exclusions, with what is needed to
// recognise it next time, and a newer list that is not believed yet. tags are
// never written to once they are here.
type snapshot struct {
	tags    []string
	pages   []page    // of the last listing in this process that gave tags
	mixed   bool      // tags are not in the order of the pages
	scanned time.Time // when it was last found complete; zero: nothing is known
	dropped int       // tags outside the OCI grammar
	doubt   *doubt
}

func (l *snapshot) isKnown() bool { return !l.scanned.IsZero() }

// take takes over the list that was found on these pages, unless it is
// doubtful, and tells whether the tags are others now.
func (l *snapshot) take(found *roll, pages []page, c caution, now time.Time) (changed bool) {
	if !l.isKnown() || !found.equal(l.tags) {
		tags := found.list()
		changed = !l.isKnown() || !slices.Equal(tags, l.tags)
		if changed && !l.weigh(tags, c, now) {
			return false
		}
		if changed {
			l.tags = tags
		}
	}
	l.pages, l.mixed, l.dropped = pages, found.mixed, found.dropped
	l.scanned, l.doubt = now, nil
	return changed
}

// The names on the shelf: of a list, and of when the lists were scanned last.
func listKey(share string) string { return "tags " + share }

const timesKey = "scanned"

// recall returns the list that is on the shelf for sources of this key, the
// zero value where there is none. Its time is that of its last change.
func (s *Scanner) recall(share string) snapshot {
	value, ok := s.shelf.load(listKey(share))
	if !ok {
		return snapshot{}
	}
	list, err := decodeSnapshot(value)
	if err != nil || list.scanned.After(s.now()) {
		return snapshot{}
	}
	return list
}

// keep puts a list on the shelf.
func (s *Scanner) keep(share string, list *snapshot) {
	b := openBuffer()
	defer keepBuffer(b)
	writeSnapshot(b, list)
	s.shelf.save(listKey(share), b.Bytes())
}

// recallJobs gives every job what is known of its list: from the last Run, or
// from the shelf.
func (s *Scanner) recallJobs(jobs []*job) {
	times, _ := loadJSON[map[string]time.Time](s.shelf, timesKey)
	for _, j := range jobs {
		s.mu.Lock()
		known, ok := s.known[j.key]
		s.mu.Unlock()
		if !ok {
			known = s.recall(j.key)
			if t := times[j.key]; known.isKnown() && t.After(known.scanned) && !t.After(s.now()) {
				known.scanned = t
			}
		}
		j.list = known
	}
}

// keepTimes puts on the shelf when each list was scanned last.
func (s *Scanner) keepTimes(jobs []*job) {
	times := make(map[string]time.Time, len(jobs))
	for _, j := range jobs {
		if j.list.isKnown() {
			times[j.key] = j.list.scanned.Truncate(time.Second).UTC()
		}
	}
	if len(times) > 0 {
		saveJSON(s.shelf, timesKey, times)
	}
}

// writeSnapshot writes when, how many were dropped, the tags, and the doubt
// if there is one. Pages stay behind: their sums mean nothing elsewhere.
func writeSnapshot(b *bytes.Buffer, l *snapshot) {
	writeTime(b, l.scanned)
	writeNumber(b, l.dropped)
	writeLines(b, l.tags)
	if l.doubt == nil {
		return
	}
	writeTime(b, l.doubt.until)
	writeNumber(b, len(l.doubt.why))
	b.WriteString(l.doubt.why)
	writeLines(b, l.doubt.tags)
}

func writeTime(b *bytes.Buffer, t time.Time) {
	b.Write(binary.AppendVarint(b.AvailableBuffer(), t.Unix()))
}

func writeNumber(b *bytes.Buffer, n int) {
	b.Write(binary.AppendUvarint(b.AvailableBuffer(), uint64(n)))
}

// writeLines writes the tags as one text with its length, a line for each.
func writeLines(b *bytes.Buffer, tags []string) {
	length := max(len(tags)-1, 0)
	for _, tag := range tags {
		length += len(tag)
	}
	writeNumber(b, length)
	for i, tag := range tags {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(tag)
	}
}

var errNotSnapshot = errors.New("not a tag list")

func decodeSnapshot(b []byte) (snapshot, error) {
	d := decoder{rest: b}
	l := snapshot{scanned: d.time(), dropped: int(d.number()), tags: d.tags()}
	if len(d.rest) > 0 && !d.broken {
		l.doubt = &doubt{until: d.time(), why: d.text(), tags: d.tags()}
	}
	if d.broken || len(d.rest) > 0 {
		return snapshot{}, errNotSnapshot
	}
	return l, nil
}

// decoder takes apart what writeSnapshot wrote. After broken it gives zeros.
type decoder struct {
	rest   []byte
	broken bool
}

func (d *decoder) number() uint64 {
	n, width := binary.Uvarint(d.rest)
	d.advance(width)
	return n
}

func (d *decoder) time() time.Time {
	n, width := binary.Varint(d.rest)
	d.advance(width)
	return time.Unix(n, 0)
}

func (d *decoder) advance(width int) {
	if width <= 0 {
		d.rest, d.broken = nil, true
		return
	}
	d.rest = d.rest[width:]
}

func (d *decoder) text() string {
	n := d.number()
	if n > uint64(len(d.rest)) {
		d.rest, d.broken = nil, true
		return ""
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

// tags reads a list whose tags share one string.
func (d *decoder) tags() []string {
	text := d.text()
	if text == "" {
		return nil
	}
	tags := make([]string, 0, strings.Count(text, "\n")+1)
	for tag := range strings.SplitSeq(text, "\n") {
		if !isTag(tag) || (len(tags) > 0 && tags[len(tags)-1] >= tag) {
			d.rest, d.broken = nil, true
			return nil
		}
		tags = append(tags, tag)
	}
	return tags
}
