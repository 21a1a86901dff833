package scanner

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

// DefaultMaxLoss is how much of its known tags a list may lose before it is
// doubted, where the image does not say.
const DefaultMaxLoss Percent = 50

// How long a doubted list has to stay as it is: the interval, within these.
const (
	shortestDoubt = 5 * time.Second
	longestDoubt  = time.Minute
)

// Percent is a share of a whole, written "50%".
type Percent int

// UnmarshalText reads a whole number from 1 to 100 with a percent sign.
func (p *Percent) UnmarshalText(b []byte) error {
	digits, ok := strings.CutSuffix(string(b), "%")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 1 || n > 100 {
		return fmt.Errorf("%q is not a percentage from 1%% to 100%%, such as 50%%; 100%% believes every list", b)
	}
	*p = Percent(n)
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (p Percent) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%d%%", int(p)), nil }

// caution is what a list is judged by.
type caution struct {
	maxLoss Percent
	inUse   []func() []string // each may be nil
	pause   time.Duration     // from the first doubtful list to the one that confirms it
}

// cautionOf returns the caution that a source asks for.
func cautionOf(src Source) caution {
	c := caution{maxLoss: src.Image.MaxLoss, inUse: []func() []string{src.InUse}}
	if c.maxLoss == 0 {
		c.maxLoss = DefaultMaxLoss
	}
	c.pause = min(max(intervalOf(src), shortestDoubt), longestDoubt)
	return c
}

// and returns the caution that serves both: the sources share a scan.
func (c caution) and(other caution) caution {
	return caution{
		maxLoss: min(c.maxLoss, other.maxLoss),
		inUse:   append(slices.Clip(c.inUse), other.inUse...),
		pause:   min(c.pause, other.pause),
	}
}

// judge says what is wrong with a list that comes after known, both in order;
// "" for nothing.
func (c caution) judge(known, found []string) string {
	if c.maxLoss >= 100 || len(known) == 0 {
		return ""
	}
	lost := countMissing(known, found)
	switch {
	case lost == 0:
		return ""
	case lost == len(known):
		return fmt.Sprintf("lists none of %d known tags", len(known))
	case lost*100 > int(c.maxLoss)*len(known):
		return fmt.Sprintf("lists %d of %d known tags", len(known)-lost, len(known))
	}
	for _, inUse := range c.inUse {
		if inUse == nil {
			continue
		}
		for _, tag := range inUse() {
			if holds(known, tag) && !holds(found, tag) {
				return fmt.Sprintf("no longer lists %s, which is in use", tag)
			}
		}
	}
	return ""
}

func holds(tags []string, tag string) bool {
	_, ok := slices.BinarySearch(tags, tag)
	return ok
}

// countMissing returns how many of the tags in known are not in found.
func countMissing(known, found []string) int {
	missing := 0
	for _, tag := range known {
		for len(found) > 0 && found[0] < tag {
			found = found[1:]
		}
		if len(found) == 0 || found[0] != tag {
			missing++
		}
	}
	return missing
}

// doubt is a list that lost too much to be believed at once.
type doubt struct {
	tags  []string
	why   string
	until time.Time // from then on a scan that finds the same confirms it
}

// String says what is doubted, and what happens until when.
func (d *doubt) String() string {
	if d == nil {
		return ""
	}
	return fmt.Sprintf("%s; the old list counts until a second scan confirms it, at %s", d.why, d.until.UTC().Format("15:04:05 MST"))
}

// confirmedBy tells whether found says the same once more: compared with the
// doubted list it lost nothing of note, and none of what that list had lost is
// back. A registry that is being filled again confirms nothing.
func (d *doubt) confirmedBy(known, found []string, c caution) bool {
	if d == nil || c.judge(d.tags, found) != "" {
		return false
	}
	for _, tag := range found {
		if holds(known, tag) && !holds(d.tags, tag) {
			return false
		}
	}
	return true
}

// weigh decides whether the list that was found takes the place of the known
// one now, and keeps the doubt where it does not.
func (l *snapshot) weigh(found []string, c caution, now time.Time) (believed bool) {
	why := c.judge(l.tags, found)
	if why == "" {
		return true
	}
	if l.doubt.confirmedBy(l.tags, found, c) {
		return !now.Before(l.doubt.until)
	}
	l.doubt = &doubt{tags: found, why: why, until: now.Add(c.pause)}
	return false
}

// report tells the log what became of a list: doubted, smaller for good, or
// whole again.
func (s *Scanner) report(image string, before, after snapshot) {
	log := s.log.With(zap.String("image", image))
	switch {
	case after.doubt != nil && after.doubt != before.doubt:
		log.Warn("tag list is suspicious", zap.String("reason", after.doubt.why), zap.Time("until", after.doubt.until))
	case before.doubt == nil || after.doubt != nil:
	case countMissing(before.tags, after.tags) > 0:
		log.Warn("tag list shrank", zap.Int("from", len(before.tags)), zap.Int("to", len(after.tags)))
	default:
		log.Info("tag list is whole again", zap.Int("tags", len(after.tags)))
	}
}
