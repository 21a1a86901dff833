package reconcile

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hoist/sops"
)

// What was encrypted in Git may be in the cluster, where the API server guards it,
// and nowhere else: not in a diff, an error, a log or a status. A value is known
// by its text, wherever a patch or a replacement took it.

// leastHidden is how long a value has to be to be looked for inside of others.
// Shorter ones hide only what is equal to them, in objects of their own file.
const leastHidden = 4

// leastWord is how long a word of an encrypted file has to be to be taken out of an
// error: shorter ones are in every error.
const leastWord = 6

// openPaths are of what names an object, and so is in every inventory.
var openPaths = []string{"apiVersion:", "kind:", "metadata:name:", "metadata:namespace:", "type:"}

var aVariable = regexp.MustCompile(`\$\{[^}]*\}`)

// secretTexts are the values of an opened file that may not be shown.
func secretTexts(p *sops.Plain) (all []string) {
	for _, v := range p.Values {
		text := strings.TrimSpace(v.Text)
		if text == "" || text == "true" || text == "false" || slices.Contains(openPaths, v.Path) {
			continue
		}
		all = append(all, v.Text)
		if strings.Contains(text, "${") { // what stays of it behind a substitution
			for _, part := range aVariable.Split(text, -1) {
				if len(part) >= leastHidden {
					all = append(all, part)
				}
			}
		}
	}
	return all
}

// conceal notes in every object of the set which values of it may not be shown.
func (u *unsealedFS) conceal(set *Set) {
	if len(u.opened) == 0 {
		return
	}
	var long []string
	for name, p := range u.opened {
		delete(set.texts, name) // its lines are not those of the file
		for _, s := range secretTexts(p) {
			if len(s) >= leastHidden {
				long = append(long, s)
			}
		}
	}
	slices.SortFunc(long, func(a, b string) int { return len(b) - len(a) }) // a part of another comes behind it
	long = slices.Compact(long)
	for i := range set.Objects {
		m := &set.Objects[i]
		var hidden []string
		for _, s := range long {
			if (Manifest{hidden: []string{s}}).holds(m.Object.Object) {
				hidden = append(hidden, s)
			}
		}
		if p := u.opened[m.File]; p != nil {
			m.Line = 0 // as above
			for _, s := range secretTexts(p) {
				if len(s) < leastHidden {
					hidden = append(hidden, s)
				}
			}
		}
		m.hidden = slices.Clip(hidden)
	}
}

// redact takes all that was opened out of an error of the build.
func (u *unsealedFS) redact(err error) error {
	text := err.Error()
	for _, p := range u.opened {
		for _, s := range secretTexts(p) {
			text = withoutTraces(text, s)
			text = withoutTraces(text, base64.StdEncoding.EncodeToString([]byte(s)))
			if strings.Contains(s, "\n") { // a whole file, of which any word could be repeated
				for _, word := range strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(`:,;{}[]()"'`, r) }) {
					if len(word) >= leastWord {
						text = withoutTraces(text, word)
					}
				}
			}
		}
	}
	if text == err.Error() {
		return err
	}
	return errors.New(text)
}

// withoutTraces masks a value in a text, also where it was cut off, as parsers do
// with long ones, or split at what has to be escaped.
func withoutTraces(text, value string) string {
	for _, piece := range strings.FieldsFunc(value, func(r rune) bool { return unicode.IsControl(r) || strings.ContainsRune(`"'\<>&`, r) }) {
		if len(piece) < leastHidden {
			continue
		}
		start := piece[:leastHidden]
		var b strings.Builder
		for {
			at := strings.Index(text, start)
			if at < 0 {
				break
			}
			end := leastHidden
			for end < len(piece) && at+end < len(text) && text[at+end] == piece[end] {
				end++
			}
			b.WriteString(text[:at] + "***")
			text = text[at+end:]
		}
		text = b.String() + text
	}
	return text
}

// hides tells whether a word or number is, or holds, a value that may not be shown.
func (m Manifest) hides(v any) bool {
	if _, ok := v.(bool); ok || v == nil {
		return false
	}
	text, word := v.(string)
	if !word {
		text = fmt.Sprint(v)
	}
	for _, h := range m.hidden {
		if text == h || word && len(h) >= leastHidden && strings.Contains(text, h) {
			return true
		}
	}
	return false
}

// holds tells whether there is such a value somewhere below v.
func (m Manifest) holds(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			if m.holds(e) {
				return true
			}
		}
		return false
	case []any:
		return slices.ContainsFunc(v, m.holds)
	}
	return m.hides(v)
}

// shown is a copy of a state of the manifest's object without the values that may
// not be shown, those that stood before in their place included.
func (m Manifest) shown(o *unstructured.Unstructured, as string) *unstructured.Unstructured {
	if o == nil || len(m.hidden) == 0 {
		return o
	}
	masked, _ := m.masked(o.Object, m.Object.Object, as).(map[string]any)
	return &unstructured.Unstructured{Object: masked}
}

func (m Manifest) masked(v, git any, as string) any {
	switch v := v.(type) {
	case map[string]any:
		g, _ := git.(map[string]any)
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = m.masked(e, g[k], as)
		}
		return out
	case []any:
		g, _ := git.([]any)
		out := make([]any, len(v))
		for i, e := range v {
			var ge any
			if i < len(g) {
				ge = g[i]
			}
			out[i] = m.masked(e, ge, as)
		}
		return out
	}
	switch {
	case !m.holds(git) && !m.hides(v):
		return v
	case fmt.Sprint(v) == fmt.Sprint(git):
		if text := m.hide(fmt.Sprint(v)); text != fmt.Sprint(v) {
			return text // what is around it may be shown
		}
		return "***"
	}
	return "*** (" + as + ")"
}
