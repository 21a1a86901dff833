package reconcile

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/resid"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"

	"hoist/bump"
)

// originAnnotation is where kustomize writes the file that an object came from.
const originAnnotation = "config.kubernetes.io/origin"

// manifests turns kustomize's answer into objects, and reports every one that
// cannot be applied. Raw ones, which still have variables, are not looked at.
func manifests(rm resmap.ResMap, dir string, at lines, keepOrigin, raw bool) ([]Manifest, error) {
	var (
		all    []Manifest
		faults []error
		seen   = map[resid.ResId]string{}
	)
	for _, r := range rm.Resources() {
		content, err := value(r.YNode())
		if err != nil {
			return nil, err
		}
		fields, ok := content.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s: is not an object", r.CurId())
		}
		m := Manifest{Object: &unstructured.Unstructured{Object: fields}}
		m.File = takeOrigin(m.Object, dir, keepOrigin)
		m.Line = at.of(m.File, m.Object)
		if !raw {
			err = m.finish()
		}
		if err != nil {
			faults = append(faults, err)
			continue
		}
		id := r.CurId()
		if other, ok := seen[id]; ok {
			faults = append(faults, fmt.Errorf("%s: %s is also in %s", m.where(), nameOf(m.Object), other))
		}
		seen[id] = m.where()
		all = append(all, m)
	}
	return all, errors.Join(faults...)
}

// finish checks the manifest and gives it the form in which it is applied.
func (m Manifest) finish() error {
	if err := m.checkSecret(); err != nil {
		return err
	}
	normalize(m.Object)
	return m.check()
}

// where names the manifest's file for a message, and the line if it is known.
func (m Manifest) where() string {
	switch {
	case m.File == "":
		return "an unknown file"
	case m.Line == 0:
		return m.File
	}
	return m.File + ":" + strconv.Itoa(m.Line)
}

// check finds what no API server may see: a nameless object, and anything still
// encrypted.
func (m Manifest) check() error {
	o := m.Object
	for _, f := range []struct{ field, v string }{
		{"apiVersion", o.GetAPIVersion()}, {"kind", o.GetKind()}, {"metadata.name", o.GetName()},
	} {
		if f.v == "" {
			return fmt.Errorf("%s: %s: %s is missing", m.where(), nameOf(o), f.field)
		}
	}
	if decryptedElsewhere(o.GetAPIVersion(), o.GetKind(), o.GetAnnotations()) {
		return nil
	}
	const advice = "is encrypted by SOPS and was not decrypted: name its keys under decryption of the app, and let sops encrypt whole files"
	if _, ok := o.Object["sops"]; ok {
		return fmt.Errorf("%s: %s %s", m.where(), nameOf(o), advice)
	}
	if field := encrypted(o.Object, ""); field != "" {
		return fmt.Errorf("%s: %s: %s %s", m.where(), nameOf(o), strings.TrimPrefix(field, "."), advice)
	}
	return nil
}

// sopsValue is how every value that SOPS encrypted begins.
const sopsValue = "ENC[AES256_GCM,data:"

// encrypted returns the path of the first encrypted value below v, looking
// through base64 where a Secret would be.
func encrypted(v any, at string) string {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if f := encrypted(e, at+"."+k); f != "" {
				return f
			}
		}
	case []any:
		for i, e := range v {
			if f := encrypted(e, fmt.Sprintf("%s[%d]", at, i)); f != "" {
				return f
			}
		}
	case string:
		if strings.Contains(v, sopsValue) {
			return at
		}
		if strings.HasPrefix(at, ".data.") {
			if b, err := base64.StdEncoding.DecodeString(v); err == nil && strings.Contains(string(b), sopsValue) {
				return at
			}
		}
	}
	return ""
}

// takeOrigin removes kustomize's note of where the object came from and returns
// it as a path of the tree. Where the app's own kustomization asked for the
// note, it stays, spelt as if kustomize had been started there.
func takeOrigin(o *unstructured.Unstructured, dir string, keep bool) string {
	annotations, _, _ := unstructured.NestedMap(o.Object, "metadata", "annotations")
	note, _ := annotations[originAnnotation].(string)
	if note == "" {
		return ""
	}
	var origin struct {
		Path         string `yaml:"path,omitempty"`
		ConfiguredIn string `yaml:"configuredIn,omitempty"`
	}
	if yaml.Unmarshal([]byte(note), &origin) != nil {
		return ""
	}
	file := origin.Path
	if file == "" {
		file = origin.ConfiguredIn
	}
	if keep {
		for _, p := range []string{origin.Path, origin.ConfiguredIn} {
			if p == "" {
				continue
			}
			if r, err := filepath.Rel(path.Join("../tree", dir), p); err == nil {
				note = strings.ReplaceAll(note, p, r)
			}
		}
		annotations[originAnnotation] = note
	} else {
		delete(annotations, originAnnotation)
	}
	if len(annotations) == 0 {
		unstructured.RemoveNestedField(o.Object, "metadata", "annotations")
	} else {
		_ = unstructured.SetNestedMap(o.Object, annotations, "metadata", "annotations")
	}
	return strings.TrimPrefix(file, "../tree/")
}

// normalize takes out what only a server may write, and gives a Secret's
// stringData the form in which it is stored, so that an entry that leaves Git
// also leaves the cluster.
func normalize(o *unstructured.Unstructured) {
	for _, f := range []string{"uid", "resourceVersion", "generation", "managedFields", "creationTimestamp", "selfLink"} {
		unstructured.RemoveNestedField(o.Object, "metadata", f)
	}
	if !isSecret(o) {
		return
	}
	plain, ok := o.Object["stringData"].(map[string]any)
	if !ok {
		return
	}
	stored, _ := o.Object["data"].(map[string]any)
	if stored == nil {
		stored = map[string]any{}
	}
	for k, v := range plain {
		stored[k] = base64.StdEncoding.EncodeToString([]byte(v.(string))) // checkSecret was here
	}
	o.Object["data"] = stored
	delete(o.Object, "stringData")
}

func isSecret(o *unstructured.Unstructured) bool {
	return o.GroupVersionKind().GroupKind().String() == "Secret"
}

// checkSecret finds values that the API server would refuse in words that repeat
// them, and those that would be lost in silence. It names keys, never values.
func (m Manifest) checkSecret() error {
	if !isSecret(m.Object) {
		return nil
	}
	for _, section := range []string{"data", "stringData"} {
		values, ok := m.Object.Object[section].(map[string]any)
		if !ok && m.Object.Object[section] != nil {
			return fmt.Errorf("%s: %s: %s is not a mapping", m.where(), nameOf(m.Object), section)
		}
		for _, key := range slices.Sorted(maps.Keys(values)) {
			text, ok := values[key].(string)
			if !ok {
				return fmt.Errorf("%s: %s: %s.%s is not a string; put quotes around it", m.where(), nameOf(m.Object), section, key)
			}
			if _, err := base64.StdEncoding.DecodeString(text); section == "data" && err != nil && !strings.Contains(text, sopsValue) {
				return fmt.Errorf("%s: %s: data.%s is not base64; write it under stringData to give it as it is", m.where(), nameOf(m.Object), key)
			}
		}
	}
	return nil
}

func nameOf(o *unstructured.Unstructured) bump.Object {
	return bump.Object{APIVersion: o.GetAPIVersion(), Kind: o.GetKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
}

// value turns a YAML node into what encoding/json would have made of it, with
// whole numbers as int64. It reads as kubectl does, so a plain "yes" is true.
func value(n *kyaml.Node) (any, error) {
	switch n.Kind {
	case kyaml.DocumentNode:
		return value(n.Content[0])
	case kyaml.AliasNode:
		return value(n.Alias)
	case kyaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, err := value(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			m[n.Content[i].Value] = v
		}
		return m, nil
	case kyaml.SequenceNode:
		l := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			v, err := value(c)
			if err != nil {
				return nil, err
			}
			l = append(l, v)
		}
		return l, nil
	}
	return scalar(n)
}

func scalar(n *kyaml.Node) (any, error) {
	tag := n.ShortTag()
	switch tag {
	case "!!null":
		return nil, nil
	case "!!int", "!!float", "!!bool":
		var v any
		if err := n.Decode(&v); err != nil {
			return nil, err
		}
		switch v := v.(type) {
		case int:
			return int64(v), nil
		case uint64:
			return float64(v), nil
		}
		return v, nil
	}
	if n.Style&(kyaml.SingleQuotedStyle|kyaml.DoubleQuotedStyle|kyaml.LiteralStyle|kyaml.FoldedStyle|kyaml.TaggedStyle) == 0 {
		switch n.Value {
		case "y", "Y", "yes", "Yes", "YES", "on", "On", "ON":
			return true, nil
		case "n", "N", "no", "No", "NO", "off", "Off", "OFF":
			return false, nil
		}
	}
	return n.Value, nil
}
