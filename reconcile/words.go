package reconcile

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What an object says of itself, in an annotation or a label, is ours
// ("hoist/ssa") or Flux's ("kustomize.toolkit.fluxcd.io/ssa"). As in Flux, the case
// of a value does not count. Where both are there, ours does.
const (
	hoistWords = "hoist/"
	fluxWords  = "kustomize.toolkit.fluxcd.io/"
)

// The words and what they may say, in lower case.
const (
	wordSSA       = "ssa"
	wordReconcile = "reconcile"
	wordForce     = "force"
	wordPrune     = "prune"

	ssaOverride     = "override"
	ssaMerge        = "merge"
	ssaIfNotPresent = "ifnotpresent"
	ssaIgnore       = "ignore"
	enabled         = "enabled"
	disabled        = "disabled"
)

// wordOf is what an object says of itself under a name, in lower case; "" when it
// says nothing.
func wordOf(o metav1.Object, name string) string {
	s, _ := findWord(o, name)
	return strings.ToLower(s)
}

// findWord returns the value as it is written, and the key that it stands under.
func findWord(o metav1.Object, name string) (value, key string) {
	for _, prefix := range []string{hoistWords, fluxWords} {
		for _, words := range []map[string]string{o.GetAnnotations(), o.GetLabels()} {
			if s, ok := words[prefix+name]; ok {
				return s, prefix + name
			}
		}
	}
	return "", ""
}

// saysOf tells whether an object says value under a name, in whichever way.
func saysOf(o metav1.Object, name, value string) bool {
	for _, prefix := range []string{hoistWords, fluxWords} {
		if strings.EqualFold(o.GetAnnotations()[prefix+name], value) || strings.EqualFold(o.GetLabels()[prefix+name], value) {
			return true
		}
	}
	return false
}

// words are what a manifest says of itself.
type words struct {
	ssa   string // one of the constants; "" where the app decides
	force bool   // may be deleted to change what cannot be changed
	alone bool   // is neither applied, put right nor deleted
}

// wordsOf reads what a manifest says of itself. What nobody understands is an
// error: the object would be written, or deleted, although it asks not to be.
func wordsOf(m Manifest) (words, error) {
	for _, w := range []struct {
		name  string
		known []string
	}{
		{wordSSA, []string{"Override", "Merge", "IfNotPresent", "Ignore"}},
		{wordReconcile, []string{enabled, disabled}},
		{wordForce, []string{enabled, disabled}},
		{wordPrune, []string{enabled, disabled}},
	} {
		value, key := findWord(m.Object, w.name)
		if key != "" && !slices.ContainsFunc(w.known, func(s string) bool { return strings.EqualFold(s, value) }) {
			return words{}, fmt.Errorf("%s: %s: %s %q is not one of %s", m.where(), nameOf(m.Object), key, value, strings.Join(w.known, ", "))
		}
	}
	return words{
		ssa:   wordOf(m.Object, wordSSA),
		force: wordOf(m.Object, wordForce) == enabled,
		alone: wordOf(m.Object, wordReconcile) == disabled,
	}, nil
}

// asksToBeLeft says why an object in the cluster is to be left alone, whatever Git
// says: somebody wrote so on it.
func asksToBeLeft(live metav1.Object) string {
	switch {
	case saysOf(live, wordReconcile, disabled):
		return "left alone: reconcile: disabled stands on it"
	case saysOf(live, wordSSA, ssaIgnore):
		return "left alone: ssa: Ignore stands on it"
	}
	return ""
}

// unignored leaves out the targets that are none: "ssa: Ignore".
func unignored(all []*target) (mine, ignored []*target) {
	for _, t := range all {
		if t.ssa == ssaIgnore {
			ignored = append(ignored, t)
		} else {
			mine = append(mine, t)
		}
	}
	return mine, ignored
}

// overrides tells whether a target takes fields from whoever holds them; kubectl's
// become ours then, so that those which Git does not have go.
func (t *target) overrides() bool { return t.ssa != ssaMerge && t.forced }
