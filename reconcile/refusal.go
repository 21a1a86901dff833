package reconcile

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"hoist/bump"
)

// The guards that a person can open for one revision.
const (
	GuardPrune  = "prune"  // it would delete more than the app allows
	GuardRewind = "rewind" // it does not follow the one that was applied
)

// Refusal is a revision that a guard holds back until a person confirms exactly
// it. Nothing was applied or deleted.
type Refusal struct {
	App   bump.Name
	Head  bump.Head // zero where the revision has no name yet
	Guard string
	Why   string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("%s: nothing is applied or deleted; if it is meant: %s", r.Why, r.Command())
}

// Command is what a person types to confirm the revision.
func (r *Refusal) Command() string {
	revision := "REVISION"
	if r.Head.Hash != "" {
		revision = bump.Short(r.Head.Hash)
	}
	return fmt.Sprintf("hoist reconcile %s --confirm-%s %s", Subject{"apply", r.App}, r.Guard, revision)
}

// Confirmation is a person's word on a revision that guards refuse. It counts
// while the app stands where it stood when it was given.
type Confirmation struct {
	Prune  string    `json:"prune,omitempty"`  // first digits of the commit
	Rewind string    `json:"rewind,omitempty"` // the same
	From   string    `json:"from,omitempty"`   // revision of the inventory at that time
	At     time.Time `json:"at"`
}

// covers tells whether c is about the refused revision, of an app that stands at applied.
func (c *Confirmation) covers(r *Refusal, applied string) bool {
	if c == nil || c.From != applied {
		return false
	}
	digits := map[string]string{GuardPrune: c.Prune, GuardRewind: c.Rewind}[r.Guard]
	return len(digits) >= fewestDigits && strings.HasPrefix(r.Head.Hash, digits)
}

const fewestDigits = 7

var hashDigits = regexp.MustCompile(`^[0-9a-f]+$`)

// ParseRevision reads the revision that somebody confirms: a commit hash, at
// least its first seven digits, or all of "branch@sha1:hash".
func ParseRevision(s string) (string, error) {
	digits := strings.ToLower(s[strings.LastIndex(s, ":")+1:])
	switch {
	case !hashDigits.MatchString(digits):
		return "", fmt.Errorf("%q is not a commit hash", s)
	case len(digits) < fewestDigits:
		return "", fmt.Errorf("%q is too short: give at least %d digits of the commit hash", s, fewestDigits)
	}
	return digits, nil
}
