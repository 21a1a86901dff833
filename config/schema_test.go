package config

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v3"
)

// resolved returns the schema as a program that has only its text would have it.
func resolved(t *testing.T) *jsonschema.Resolved {
	t.Helper()
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	r, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// natives returns the native documents of a file, as JSON would have them.
func natives(t *testing.T, data []byte) []any {
	t.Helper()
	docs, _, _ := split(file{name: "test.yaml", data: data})
	var all []any
	for _, d := range docs {
		if d.text("apiVersion") != APIVersion {
			continue
		}
		var v any
		if err := d.root.Decode(&v); err != nil {
			continue // not even YAML's own rules hold: duplicate keys
		}
		all = append(all, v)
	}
	return all
}

func TestSchemaTakesGoodFiles(t *testing.T) {
	schema := resolved(t)
	n := 0
	files := glob(t, goodDir, "*.yaml")
	files = append(files, "../deploy/config.yaml")
	for _, f := range files {
		for _, doc := range natives(t, read(t, f)) {
			n++
			if err := schema.Validate(doc); err != nil {
				t.Errorf("%s: %v", f, err)
			}
		}
	}
	for _, f := range glob(t, goodDir, "*.golden") {
		for _, part := range txtar.Parse(read(t, f)).Files {
			for _, doc := range natives(t, part.Data) {
				n++
				if err := schema.Validate(doc); err != nil {
					t.Errorf("%s: %v", f, err)
				}
			}
		}
	}
	if n < 6 {
		t.Errorf("only %d native documents were tried", n)
	}
}

// TestSchemaRefuses breaks a good document in one way at a time. The decoder
// has to refuse what the schema refuses.
func TestSchemaRefuses(t *testing.T) {
	schema := resolved(t)
	good := string(read(t, filepath.Join(goodDir, "native.yaml")))
	for _, row := range []struct{ name, old, new string }{
		{"unknown key", "branch: main\n", "brunch: main\n"},
		{"unknown section", "apply:", "aply:"},
		{"missing key", "    branch: main\n", ""},
		{"number for a string", "branch: main\n", "branch: 1.10\n"},
		{"string for a bool", "prune: true", "prune: yes"},
		{"bad duration", "interval: 1m\n", "interval: 1 minute\n"},
		{"number for a duration", "interval: 1m\n", "interval: 60\n"},
		{"no order", `{semver: {range: ">=1.0.0"}}`, "{}"},
		{"two orders", `{semver: {range: ">=1.0.0"}}`, `{semver: {range: "*"}, numerical: {}}`},
		{"bad order", `{semver: {range: ">=1.0.0"}}`, "{numerical: {order: up}}"},
		{"mapping for a list", "healthChecks: [{", "healthChecks: {a: {"},
		{"nothing", "url: https://git.example.com/org/infrastructure.git", "url:"},
		{"wrong version", "hoist/v1", "hoist/v2"},
		{"wrong kind", "kind: Config", "kind: Configuration"},
		{"secret reference as a string", "{name: git-credentials}", "git-credentials"},
		{"unknown key deep down", "kind: Deployment", "knd: Deployment"},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := strings.Replace(good, row.old, row.new, 1)
			if row.name == "mapping for a list" {
				text = strings.Replace(text, "namespace: default}]", "namespace: default}}", 1)
			}
			if text == good {
				t.Fatalf("%q is not in the file", row.old)
			}
			var doc any
			if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(doc); err == nil {
				t.Errorf("the schema takes it:\n%s", text)
			}
			if _, err := Parse("hoist.yaml", []byte(text)); err == nil {
				t.Errorf("Parse takes it:\n%s", text)
			}
		})
	}
}

// TestSchemaDescribesEveryField holds the table of fields against the types.
func TestSchemaDescribesEveryField(t *testing.T) {
	text, err := Schema() // fails for a field that the table lacks
	if err != nil {
		t.Fatal(err)
	}
	again, err := Schema()
	if err != nil || string(again) != string(text) {
		t.Errorf("a second call gives other bytes, %v", err)
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	stale := nativeFields()
	var walk func(s *jsonschema.Schema, path string)
	walk = func(s *jsonschema.Schema, path string) {
		if _, ok := stale[path]; ok && s.Description == "" {
			t.Errorf("%s has no description", path)
		}
		delete(stale, path)
		for key, p := range s.Properties {
			walk(p, join(path, key))
		}
		if s.Items != nil {
			walk(s.Items, path+"[]")
		}
	}
	walk(&s, "")
	if len(stale) > 0 {
		t.Errorf("the table describes fields that do not exist: %q", slices.Sorted(maps.Keys(stale)))
	}
}
