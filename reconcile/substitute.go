package reconcile

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/envsubst"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"hoist/bump"
)

// PostBuild replaces ${variables} in the built objects, as Flux does: in their
// text, so that a value may also be a number, or more than one line of YAML.
type PostBuild struct {
	// Substitute are values by name. They go before those of SubstituteFrom.
	Substitute map[string]string `json:"substitute,omitempty"`
	// SubstituteFrom are read at every apply; later ones go before earlier ones.
	SubstituteFrom []SubstituteSource `json:"substituteFrom,omitempty"`
	// Lenient makes a variable without value and default empty, as Flux does, instead of an error.
	Lenient bool `json:"lenient,omitempty"`
	// OptIn leaves objects alone that do not say hoist/substitute: enabled.
	OptIn bool `json:"optIn,omitempty"`
}

// SubstituteSource is a ConfigMap or Secret in the namespace of the app's name, in
// the cluster where Hoist runs.
type SubstituteSource struct {
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	Optional bool   `json:"optional,omitempty"`
}

// A person says on an object whether its ${variables} are replaced: disabled, or
// enabled where that is asked for. Flux's word counts too, as annotation or label.
const (
	keySubstitute  = "hoist/substitute"
	fluxSubstitute = "kustomize.toolkit.fluxcd.io/substitute"
)

var variableName = regexp.MustCompile(`^[_[:alpha:]][_[:alpha:][:digit:]]*$`)

func (p *PostBuild) asks() bool { return p != nil && len(p.Substitute)+len(p.SubstituteFrom) > 0 }

func (p *PostBuild) check() []bump.Fault {
	var faults []bump.Fault
	if p == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(p.Substitute)) {
		if !variableName.MatchString(name) {
			faults = append(faults, bump.Fault{Field: "postBuild.substitute", Message: fmt.Sprintf("%q is no name of a variable: letters, digits and _, no digit first", name)})
		}
	}
	for i, s := range p.SubstituteFrom {
		field := fmt.Sprintf("postBuild.substituteFrom[%d]", i)
		if s.Kind != "ConfigMap" && s.Kind != "Secret" {
			faults = append(faults, bump.Fault{Field: field + ".kind", Message: fmt.Sprintf("%q is neither ConfigMap nor Secret", s.Kind)})
		}
		if s.Name == "" {
			faults = append(faults, bump.Fault{Field: field + ".name", Message: "is empty"})
		}
	}
	return faults
}

// variables are the values that an app's objects may use. Those in hidden came
// out of a Secret and are never shown.
type variables struct {
	values map[string]string
	hidden []string
}

// variables reads the values of an app.
func (e *Engine) variables(ctx context.Context, a App) (variables, error) {
	v := variables{values: map[string]string{}}
	var home *Cluster
	if len(a.PostBuild.SubstituteFrom) > 0 {
		var err error
		if home, err = e.home(); err != nil {
			return v, fmt.Errorf("substitute from namespace %s: %w", a.Name.Namespace, err)
		}
	}
	for _, s := range a.PostBuild.SubstituteFrom {
		resource := schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
		if s.Kind == "Secret" {
			resource.Resource = "secrets"
		}
		o, err := home.own.Resource(resource).Namespace(a.Name.Namespace).Get(ctx, s.Name, metav1.GetOptions{})
		if s.Optional && apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return v, fmt.Errorf("substitute from %s %s/%s: %w", s.Kind, a.Name.Namespace, s.Name, err)
		}
		if err := v.read(o); err != nil {
			return v, fmt.Errorf("substitute from %s %s/%s: %w", s.Kind, a.Name.Namespace, s.Name, err)
		}
	}
	for name, value := range a.PostBuild.Substitute {
		v.values[name] = oneLine(value)
	}
	return v, nil
}

func (v *variables) read(o *unstructured.Unstructured) error {
	values, _, err := unstructured.NestedStringMap(o.Object, "data")
	if err != nil {
		return errors.New("data is not a mapping of words")
	}
	for name, value := range values {
		if !variableName.MatchString(name) {
			return fmt.Errorf("key %q is no name of a variable", name)
		}
		if isSecret(o) {
			b, err := base64.StdEncoding.DecodeString(value)
			if err != nil {
				return fmt.Errorf("key %q is not base64", name)
			}
			value = string(b)
			v.hidden = append(v.hidden, oneLine(value))
		}
		v.values[name] = oneLine(value)
	}
	return nil
}

// oneLine is how Flux takes a value: without line breaks.
func oneLine(s string) string { return strings.ReplaceAll(s, "\n", "") }

// substitute returns the set with the values of the app's variables as they are
// now. A set that needs none, or has them, comes back as it is.
func (e *Engine) substitute(ctx context.Context, a App, set *Set) (*Set, error) {
	if !set.raw {
		return set, nil
	}
	v, err := e.variables(ctx, a)
	if err != nil {
		return nil, err
	}
	return set.with(v, *a.PostBuild)
}

// with replaces the variables in every object and reports all objects in which
// that fails.
func (s *Set) with(v variables, p PostBuild) (*Set, error) {
	out := *s
	out.raw, out.Objects = false, nil
	var faults []error
	for _, m := range s.Objects {
		m.Object = m.Object.DeepCopy()
		var err error
		if !p.passesOver(m.Object) {
			err = s.replace(&m, v, !p.Lenient)
		}
		if err == nil {
			err = m.finish()
		}
		if err != nil {
			faults = append(faults, err)
			continue
		}
		out.Objects = append(out.Objects, m)
	}
	return &out, errors.Join(faults...)
}

// passesOver tells whether an object keeps its variables.
func (p PostBuild) passesOver(o *unstructured.Unstructured) bool {
	asked := false
	for _, words := range []map[string]string{o.GetAnnotations(), o.GetLabels()} {
		for _, key := range []string{keySubstitute, fluxSubstitute} {
			if strings.EqualFold(words[key], "disabled") {
				return true
			}
			asked = asked || strings.EqualFold(words[key], "enabled")
		}
	}
	return p.OptIn && !asked
}

func (s *Set) replace(m *Manifest, v variables, strict bool) error {
	text, err := yaml.Marshal(m.Object.Object)
	if err != nil {
		return err
	}
	if !bytes.Contains(text, []byte("$")) {
		return nil
	}
	unset, used := "", ""
	after, err := evaluate(string(text), func(name string) (string, bool) {
		value, ok := v.values[name]
		if used = name; !ok && strict {
			unset = name
			return "", false
		}
		return value, true
	})
	switch {
	case err != nil && unset != "":
		return fmt.Errorf("%s: %s: ${%s} has no value: add it to postBuild, or write a default, ${%s:=…}, or $${%s} to keep it", s.place(m, unset), nameOf(m.Object), unset, unset, unset)
	case err != nil:
		return fmt.Errorf("%s: %s: %w behind ${%s}: write $${ for what is no variable, or annotate the object with %s: disabled", s.place(m, used), nameOf(m.Object), err, used, keySubstitute)
	}
	// The parser's words could repeat a value.
	body, err := yaml.YAMLToJSON([]byte(after))
	var fields map[string]any
	if err == nil {
		err = utiljson.Unmarshal(body, &fields)
	}
	if err != nil || fields == nil {
		return fmt.Errorf("%s: %s is no YAML any more with the values of its variables: put quotes around them", s.place(m, used), nameOf(m.Object))
	}
	m.Object = &unstructured.Unstructured{Object: fields}
	for _, h := range v.hidden {
		if len(h) >= leastHidden && strings.Contains(after, h) {
			m.hidden = append(m.hidden, h)
		}
	}
	return nil
}

// evaluate is envsubst's, which panics at a length such as ${name:1:9223372036854775807}.
func evaluate(text string, value func(string) (string, bool)) (after string, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("bad substitution")
		}
	}()
	return envsubst.Eval(text, value)
}

// place is the file of a manifest, and the line at which it uses a variable.
func (s *Set) place(m *Manifest, name string) string {
	use := regexp.MustCompile(`\$\{#?` + regexp.QuoteMeta(name) + `[^_[:alnum:]]`)
	at := use.FindStringIndex(s.texts[m.File])
	if at == nil {
		return m.where()
	}
	return fmt.Sprintf("%s:%d", m.File, 1+strings.Count(s.texts[m.File][:at[0]], "\n"))
}

// hide takes values that came out of a Secret, or an encrypted file, out of a text.
func (m Manifest) hide(text string) string {
	for _, h := range m.hidden {
		if len(h) >= leastHidden {
			text = strings.ReplaceAll(text, h, "***")
		}
	}
	return text
}

// discreet is [discreet], and knows what else of the object may not be repeated.
func (m Manifest) discreet(err error) error {
	if !ourWords(err) {
		err = discreet(m.Object, err)
	}
	if text := m.hide(err.Error()); text != err.Error() {
		return &discreetError{text, err}
	}
	return err
}
