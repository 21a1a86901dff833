package reconcile

import (
	"fmt"
	"slices"

	"hoist/bump"
)

// AppRef names an app by its marks, in the namespace of the entry when Namespace is empty.
type AppRef struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
}

// adopts tells whether the app takes over what carries the marks of another.
func (a App) adopts(other bump.Name) bool {
	return slices.ContainsFunc(a.Adopt, func(r AppRef) bool {
		return r.Name == other.Name && (r.Namespace == other.Namespace || r.Namespace == "" && a.Name.Namespace == other.Namespace)
	})
}

// checkTaking finds what is wrong with the fields about what others have.
func (a App) checkTaking(fault func(field, format string, args ...any)) {
	switch a.Conflicts {
	case "", ConflictsForce, ConflictsRefuse:
	default:
		fault("conflicts", "%q is not one of %s, %s", a.Conflicts, ConflictsForce, ConflictsRefuse)
	}
	for i, r := range a.Adopt {
		switch {
		case r.Name == "":
			fault(fmt.Sprintf("adopt[%d].name", i), "is missing")
		case r.Name == a.Name.Name && (r.Namespace == "" || r.Namespace == a.Name.Namespace):
			fault(fmt.Sprintf("adopt[%d].name", i), "%q is this entry itself", r.Name)
		}
	}
}
