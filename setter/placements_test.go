package setter

import (
	"fmt"
	"testing"
)

// placements are files in which every marker has a verdict: those which Flux
// honours, those which it ignores although the meaning is plain, and those that
// nobody can follow.
var placements = map[string]string{
	"behind":        "image: x:1 " + mark + "\nlist:\n- x:1 " + mark + "\n- image: \"x:1\" " + mark + "\n",
	"above":         mark + "\nimage: x:1\nlist:\n" + mark + "\n- x:1\n",
	"below-key":     "image: " + mark + "\n  x:1\n",
	"flow":          "a: {image: x:1} " + mark + "\nb: [x:1] " + mark + "\nc: {\n  image: x:1, " + mark + "\n  n: y\n}\nd: {\n  image: x:1\n} " + mark + "\n",
	"ambiguous":     "a: {b: x, c: y} " + mark + "\nd: [x, y] " + mark + "\n",
	"block":         "a: | " + mark + "\n  x:1\nb: |\n  image: x:1 " + mark + "\nc: >- " + mark + "\n  two words\n",
	"alias":         "a: &a x:1 " + mark + "\nb: *a " + mark + "\n",
	"no-value":      "a: " + mark + "\nb: ~ " + mark + "\nc: {} " + mark + "\nd: " + mark + "\n  e: f\n",
	"keys":          "? a " + mark + "\n: x\n? [a] " + mark + "\n: y\n",
	"twice":         mark + "\nimage: x:1 " + mark + "\n",
	"only-comments": "# one\n" + mark + "\n",
	"documents":     "a: b\n---\n" + mark + "\n---\n" + mark + "\n...\n---\nimage: x:1 " + mark + "\n",
	"spelling":      "a: x # {'$imagepolicy': 'a:b'}\nb: x # {$imagepolicy: \"a:b\"}\nc: x # {\"$imagePolicy\": \"a:b\"}\nd: x # $imagepolicy: a:b\n",
	"beside":        "a: x # see {\"$imagepolicy\": \"a:b\"}\nb: x # {\"$imagepolicy\": \"a:b\"} TODO\nc: x # old # {\"$imagepolicy\": \"a:b\"}\n# a: x # {\"$imagepolicy\": \"a:b\"}\n",
	"names":         "a: x # {\"$imagepolicy\": \"web\"}\nb: x # {\"$imagepolicy\": \"a:b:size\"}\nc: x # {\"$imagepolicy\": 5}\nd: x # {\"$imagepolicy\": \"a:b\", \"match\": \"(\"}\n",
	"as-field":      "\"$imagepolicy\": a:b\n$imagepolicy: a:b\n",
	"in-text":       "a: 'x # {\"$imagepolicy\": \"a:b\"}'\nb: x#{$imagepolicy=a:b}\n",
	"tagged":        "a: !!int 1 " + mark + "\nb: !x y " + mark + "\n",
	"merge":         "a: &a {b: c}\nd:\n  <<: *a " + mark + "\n",
	"directive":     "%YAML 1.1 " + mark + "\n--- " + mark + "\nimage: x:1\n",
	"far":           mark + "\n\n\nimage: x:1\n  " + mark + "\n",
}

// Each reason has its own words: the same text never stands for two mistakes.
func TestPlacementReasons(t *testing.T) {
	for name, want := range map[string][]string{
		"behind": nil, "above": nil, "below-key": nil, "flow": nil,
		"ambiguous": {
			"1: marker stands behind a bracket and could mean several fields: write one field a line, each with its marker",
			"2: marker stands behind a bracket and could mean several fields: write one field a line, each with its marker",
		},
		"block": {
			"4: marker stands inside a text, where # begins no comment: write it behind a field of its own",
			"5: value is a block of several lines or words: write it on one line",
		},
		"alias": {"2: value is the alias *a: mark the value at its anchor instead"},
		"no-value": {
			"1: marker stands behind \"a\", which has no value: write a value before it",
			"3: marker stands behind empty brackets, which hold no value",
			"4: marker stands behind \"d\", which holds a map or a list: write it behind the value",
		},
		"keys":          {"1: marker stands behind a key: write it behind the value", "3: marker stands behind a key: write it behind the value"},
		"twice":         {"2: field is marked twice, first in line 1: delete one of the markers"},
		"only-comments": {"2: marker stands in a document that holds nothing but comments: write it behind the value"},
		"documents": {
			"3: marker stands in a document that holds nothing but comments: write it behind the value",
			"5: marker stands in a document that holds nothing but comments: write it behind the value",
		},
		"merge": {"3: value is the alias *a: mark the value at its anchor instead"},
	} {
		var got []string
		for _, s := range find([]byte(placements[name])) {
			if s.Problem != "" {
				got = append(got, fmt.Sprintf("%d: %s", s.Line, s.Problem))
			}
		}
		wantStrings(t, "problems of "+name, got, want...)
	}
}
