package reconcile

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// unchangeable is how API servers, and the rules of custom resources, say that a
// field cannot be changed. They have no code for it.
var unchangeable = regexp.MustCompile(`(?i)immutable|may not (be )?change|can ?not (be )?change|updates to .* are forbidden`)

// immutableError is an object with a field that cannot be changed once it is set.
type immutableError struct {
	fields string // "spec.template"
	differ string // in what live and Git differ there; empty where that is not known
	advice string
	err    error

	live        *unstructured.Unstructured
	replaceable bool // the object, or its app, allows to delete and create it
}

func (e *immutableError) Error() string {
	s := e.fields + " cannot be changed once it is set"
	if e.differ != "" {
		s += ": " + e.differ
	}
	return s + "; " + e.advice
}

func (e *immutableError) Unwrap() error { return e.err }

// ourWords tells whether an error says what the API server refused without
// repeating its words.
func ourWords(err error) bool {
	var stuck *immutableError
	return isConflict(err) || errors.As(err, &stuck)
}

// ownWord are kinds that take more with them than themselves: they are replaced
// where the object itself says so, whatever the app does.
var ownWord = append(slices.Clone(protected), schema.GroupKind{Group: "apps", Kind: "StatefulSet"})

// maxDiffering bounds how many fields a message lists.
const maxDiffering = 3

// immutableOf explains an answer that says that a field cannot be changed; nil for
// every other one.
func (e *Engine) immutableOf(ctx context.Context, a App, t *target, live *unstructured.Unstructured, err error) *immutableError {
	var status apierrors.APIStatus
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	var fields []string
	for _, c := range status.Status().Details.Causes {
		if unchangeable.MatchString(c.Message) && !slices.Contains(fields, c.Field) {
			fields = append(fields, c.Field)
		}
	}
	if fields == nil {
		return nil
	}
	if live == nil {
		if live, _ = e.read(ctx, t); live == nil {
			return nil
		}
	}
	guarded := slices.Contains(ownWord, t.Object.GroupVersionKind().GroupKind())
	i := &immutableError{fields: strings.Join(fields, ", "), differ: e.differing(t, live, fields), err: err, live: live,
		replaceable: t.force || a.Force && !guarded}
	i.advice = fmt.Sprintf("change it back, or let the object be deleted and created anew by its annotation %s%s: %s", hoistWords, wordForce, enabled)
	if a.Force && guarded {
		i.advice += fmt.Sprintf(" (force of the app does not count for a %s)", t.object.Kind)
	}
	return i
}

// differing says in which fields below those named live is not what Git says.
func (e *Engine) differing(t *target, live *unstructured.Unstructured, fields []string) string {
	all := differences(t.Object.Object, live.Object, t.Object.Object, nil)
	below := slices.DeleteFunc(slices.Clone(all), func(d difference) bool {
		at := strings.ReplaceAll(strings.TrimPrefix(pointerTo(d.path), "/"), "/", ".")
		return !slices.ContainsFunc(fields, func(f string) bool { return at == f || strings.HasPrefix(at, f+".") })
	})
	if len(below) == 0 {
		below = all // the field is named otherwise than Git does
	}
	told, _ := tellable(t.Manifest, live, below[:min(len(below), maxDiffering)], e.manager)
	var parts []string
	for _, f := range told {
		f.By = ""
		parts = append(parts, f.String())
	}
	if more := len(below) - len(told); more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, ", ")
}
