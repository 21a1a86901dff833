package reconcile

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What becomes of a field that Git sets and another field manager holds.
const (
	ConflictsForce  = "force"  // ours, as in Flux (the default)
	ConflictsRefuse = "refuse" // theirs: the object is not applied, and it is told
)

// conflictError is an object that is not applied because others hold its fields.
type conflictError struct {
	fields string // "/data/key of kubectl-edit, …"
	err    error
}

func (e *conflictError) Error() string {
	return fmt.Sprintf("others hold its fields: %s; take them out of Git or name them under ignore, or take them over with conflicts: force (for this object: the annotation %s%s: Override)",
		e.fields, hoistWords, wordSSA)
}

func (e *conflictError) Unwrap() error { return e.err }

// conflicting is how the API server names the manager that holds a field.
var conflicting = regexp.MustCompile(`conflicts? with "([^"]+)"(?: with subresource "([^"]+)")?`)

// conflictOf explains an answer that says that others hold fields; nil for every
// other one. A conflict of versions is none of these.
func conflictOf(err error) error {
	var status apierrors.APIStatus
	if !apierrors.IsConflict(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	var held []string
	for _, c := range status.Status().Details.Causes {
		if c.Type != metav1.CauseTypeFieldManagerConflict {
			continue
		}
		s := c.Field
		if m := conflicting.FindStringSubmatch(c.Message); m != nil {
			s += " of " + m[1]
			if m[2] != "" {
				s += "/" + m[2]
			}
		}
		held = append(held, s)
	}
	if held == nil {
		return nil
	}
	return &conflictError{strings.Join(held, ", "), err}
}

func isConflict(err error) bool {
	var c *conflictError
	return errors.As(err, &c)
}
