package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/google/jsonschema-go/jsonschema"

	"hoist/bump"
	"hoist/reconcile"
	"hoist/scanner"
)

// durationPattern is how durations are written: numbers with their units, no sign.
const durationPattern = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`

// Schema returns the JSON Schema (draft-07) of a native document, made from the
// types that the decoder fills, for editors and for `hoist config schema`. It is
// as strict as the decoder about keys and types; ranges, patterns and references
// only Load can judge. The same bytes come out every time.
func Schema() ([]byte, error) {
	root := &jsonschema.Schema{
		Schema:      "http://json-schema.org/draft-07/schema#",
		Title:       "Hoist configuration",
		Description: "A native document of Hoist's configuration.",
		Type:        "object",
		Properties:  map[string]*jsonschema.Schema{},
		Required:    []string{"apiVersion", "kind"},
	}
	root.AdditionalProperties = &jsonschema.Schema{Not: &jsonschema.Schema{}} // written as false
	for key, value := range map[string]any{"apiVersion": APIVersion, "kind": Kind} {
		root.Properties[key] = &jsonschema.Schema{Const: &value, Type: "string"}
	}
	root.PropertyOrder = []string{"apiVersion", "kind"}
	least := 1
	for _, s := range sections() {
		entry, err := entrySchema(s)
		if err != nil {
			return nil, fmt.Errorf("schema of %s: %w", s.key, err)
		}
		root.Properties[s.key] = &jsonschema.Schema{Type: "array", Items: entry, MinItems: &least}
		root.PropertyOrder = append(root.PropertyOrder, s.key)
		// one of the lists has to be there
		root.AnyOf = append(root.AnyOf, &jsonschema.Schema{Required: []string{s.key}})
	}
	if err := annotate(root, "", nativeFields()); err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(root, "", "  ")
	return append(b, '\n'), err
}

// entrySchema is the schema of the entries of a section: that of all its parts together.
func entrySchema(s section) (*jsonschema.Schema, error) {
	opts := &jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[bump.Duration]():        {Type: "string", Pattern: durationPattern, Examples: []any{"30s", "5m", "1h30m"}},
		reflect.TypeFor[reconcile.HealthExpr](): {Type: "string"},
		reflect.TypeFor[reconcile.ReadyExpr]():  {Type: "string"},
		reflect.TypeFor[scanner.Percent]():      {Type: "string", Pattern: `^([1-9][0-9]?|100)%$`, Examples: []any{"50%"}},
	}}
	var whole *jsonschema.Schema
	for _, part := range s.parts() {
		p, err := jsonschema.ForType(reflect.TypeOf(part).Elem(), opts)
		if err != nil {
			return nil, err
		}
		if whole == nil {
			whole = p
			continue
		}
		maps.Copy(whole.Properties, p.Properties)
		whole.PropertyOrder = append(whole.PropertyOrder, p.PropertyOrder...)
	}
	if s.key == "images" || s.key == "policies" {
		oneOrder(whole.Properties["policy"])
	}
	return whole, nil
}

// oneOrder lets a policy have exactly one order.
func oneOrder(policy *jsonschema.Schema) {
	one := 1
	policy.MinProperties, policy.MaxProperties = &one, &one
}

// annotate gives every property below path what the table knows of it: whether
// it is required, its description, its values. Null is nowhere allowed.
func annotate(s *jsonschema.Schema, path string, table map[string]known) error {
	if len(s.Types) > 0 {
		types := slices.DeleteFunc(slices.Clone(s.Types), func(t string) bool { return t == "null" })
		s.Type, s.Types = types[0], nil
	}
	k, ok := table[path]
	if !ok && path != "" && path[len(path)-1] != ']' {
		return fmt.Errorf("schema: %s is not described", path)
	}
	s.Description = k.text
	for _, v := range k.enum {
		s.Enum = append(s.Enum, v)
	}
	if s.Items != nil {
		return annotate(s.Items, path+"[]", table)
	}
	if s.Properties == nil {
		return nil
	}
	s.Required = nil
	for _, key := range s.PropertyOrder {
		below := join(path, key)
		if table[below].required {
			s.Required = append(s.Required, key)
		}
		if err := annotate(s.Properties[key], below, table); err != nil {
			return err
		}
	}
	return nil
}
