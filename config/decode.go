package config

import (
	"encoding"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decoder fills Go values from YAML nodes by their json tags and reports
// everything that does not fit. It knows more than a YAML library's strict mode:
// all faults at once, each with line and path, and what was probably meant.
type decoder struct {
	doc    *document
	label  string                  // goes before paths: the name of a Flux document
	report func(Fault)             // gets each fault
	said   *said                   // where faults were reported, and where values are missing because of them
	judged bool                    // keys without a field were judged before (Flux): pass over them, and null is as good as absent
	schema func(path string) field // what is known of the value at a path, indices written "[]"
}

// field is what the tables say of a value in a document.
type field struct {
	required []string // keys that a mapping has to have
	enum     []string // the only values; nil for any
}

func (d *decoder) fault(n *yaml.Node, path, message, hint string) {
	d.said.mark(d.doc, path)
	d.report(d.doc.fault(n, strings.TrimSpace(d.label+" "+path), message, hint))
}

// decode fills all targets, which are pointers to structs, from one mapping:
// each key belongs to the target that has a field of that name.
func (d *decoder) decode(n *yaml.Node, path string, targets ...any) {
	values := make([]reflect.Value, len(targets))
	for i, t := range targets {
		values[i] = reflect.ValueOf(t).Elem()
	}
	d.mapping(n, path, values)
}

func (d *decoder) mapping(n *yaml.Node, path string, targets []reflect.Value) {
	n = resolve(n)
	fields := make(map[string]reflect.Value)
	for _, t := range targets {
		collect(t, fields)
	}
	if n.Kind != yaml.MappingNode {
		d.mismatch(n, path, "a mapping", slices.Sorted(keysOf(fields))...)
		return
	}
	present := make(map[string]bool)
	for k, v := range pairs(n) {
		present[k.Value] = true
		target, ok := fields[k.Value]
		if !ok {
			if !d.judged {
				d.unknown(k, path, slices.Sorted(keysOf(fields)))
			}
			continue
		}
		d.value(v, join(path, k.Value), target)
	}
	if d.schema == nil {
		return
	}
	for _, key := range d.schema(pattern(path)).required {
		if !present[key] && !d.said.exactly(d.doc, join(path, key)) {
			d.fault(d.doc.at(path), join(path, key), "is missing", "")
		}
	}
}

func (d *decoder) unknown(k *yaml.Node, path string, known []string) {
	guess := suggest(k.Value, known)
	hint := didYouMean(guess)
	if guess == "" {
		slices.Sort(known)
		hint = "known here: " + strings.Join(known, ", ")
	} else if !d.doc.has(join(path, guess)) {
		d.said.mark(d.doc, join(path, guess)) // what is meant is not missing as well
	}
	d.fault(k, join(path, k.Value), "unknown key", hint)
}

// collect maps the json names of a struct's fields to the fields; embedded
// structs count as if their fields stood in the outer one.
func collect(v reflect.Value, into map[string]reflect.Value) {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			collect(v.Field(i), into)
		case name != "" && name != "-" && f.IsExported():
			into[name] = v.Field(i)
		}
	}
}

func keysOf(m map[string]reflect.Value) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

func (d *decoder) value(n *yaml.Node, path string, v reflect.Value) {
	if d.judged && d.said.exactly(d.doc, path) {
		return
	}
	at := n
	n = resolve(n)
	if isNull(n) {
		if !d.judged {
			d.fault(at, path, "has no value", "write one or remove the key")
		}
		return
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	if v.CanAddr() && v.Addr().Type().Implements(textUnmarshaler) {
		d.text(n, path, v)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.mapping(n, path, []reflect.Value{v})
	case reflect.Slice:
		d.list(n, path, v)
	case reflect.Map:
		d.keyed(n, path, v)
	case reflect.Interface:
		var any any
		if err := n.Decode(&any); err != nil {
			d.fault(n, path, err.Error(), "")
		} else if any != nil {
			v.Set(reflect.ValueOf(any))
		}
	default:
		d.scalar(n, path, v)
	}
}

// text fills a value that reads itself, such as a duration.
func (d *decoder) text(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		d.mismatch(n, path, "a word")
		return
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.Value)); err != nil {
		d.fault(n, path, redact(err.Error()), "")
	}
}

func (d *decoder) list(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.mismatch(n, path, "a list")
		return
	}
	s := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, c := range n.Content {
		d.value(c, fmt.Sprintf("%s[%d]", path, i), s.Index(i))
	}
	v.Set(s)
}

func (d *decoder) keyed(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.MappingNode || v.Type().Key().Kind() != reflect.String {
		d.mismatch(n, path, "a mapping")
		return
	}
	m := reflect.MakeMap(v.Type())
	for k, c := range pairs(n) {
		e := reflect.New(v.Type().Elem()).Elem()
		d.value(c, join(path, k.Value), e)
		m.SetMapIndex(reflect.ValueOf(k.Value).Convert(v.Type().Key()), e)
	}
	v.Set(m)
}

func (d *decoder) scalar(n *yaml.Node, path string, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		d.mismatch(n, path, wanted(v.Kind()))
		return
	}
	tag := n.ShortTag()
	ok := false
	switch v.Kind() {
	case reflect.String:
		ok = tag == "!!str" || tag == "!!timestamp"
		v.SetString(n.Value)
	case reflect.Bool:
		var b bool
		ok = tag == "!!bool" && n.Decode(&b) == nil
		v.SetBool(b)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		var i int64
		ok = tag == "!!int" && n.Decode(&i) == nil && !v.OverflowInt(i)
		v.SetInt(i)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		var u uint64
		ok = tag == "!!int" && n.Decode(&u) == nil && !v.OverflowUint(u)
		v.SetUint(u)
	case reflect.Float32, reflect.Float64:
		var f float64
		ok = (tag == "!!int" || tag == "!!float") && n.Decode(&f) == nil
		v.SetFloat(f)
	default:
		d.fault(n, path, "cannot be read into "+v.Type().String(), "")
		return
	}
	if !ok {
		d.mismatch(n, path, wanted(v.Kind()))
		return
	}
	d.allowed(n, path)
}

// allowed checks a value against the few that the table lists for its place.
func (d *decoder) allowed(n *yaml.Node, path string) {
	if d.schema == nil {
		return
	}
	enum := d.schema(pattern(path)).enum
	if enum == nil || slices.Contains(enum, n.Value) {
		return
	}
	d.fault(n, path, fmt.Sprintf("%s is not one of %s", quote(n.Value, path), strings.Join(enum, ", ")), didYouMean(suggest(n.Value, enum)))
}

func wanted(k reflect.Kind) string {
	switch k {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return "a whole number"
}

// mismatch reports a value of the wrong sort. keys are those of the mapping
// that was expected, if one was.
func (d *decoder) mismatch(n *yaml.Node, path, expected string, keys ...string) {
	hint := ""
	hide := secretPath(path)
	switch {
	case expected == "a string" && n.Kind == yaml.ScalarNode && !hide:
		hint = "write " + strconv.Quote(n.Value)
	case len(keys) > 0 && len(keys) < 5:
		hint = "its keys: " + strings.Join(keys, ", ")
	}
	d.fault(n, path, "expected "+expected+", got "+describe(n, hide), hint)
}

// describe says what a node holds, for a message. Where hide is set the value
// itself is left out.
func describe(n *yaml.Node, hide bool) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	kind := map[string]string{"!!int": "the number ", "!!float": "the number ", "!!bool": "", "!!str": ""}
	word, known := kind[n.ShortTag()]
	switch {
	case n.ShortTag() == "!!null":
		return "nothing"
	case hide:
		return "a plain value"
	case known && n.ShortTag() != "!!str":
		return word + n.Value
	}
	return quote(n.Value, "")
}

// secretPath says whether what stands at the path may be something secret that
// was put there by mistake. Such values are never repeated in a message.
func secretPath(path string) bool {
	return secretWord.MatchString(path)
}

var secretWord = regexp.MustCompile(`(?i)secret|passw|token|credential|private|identity|apikey`)

// quote returns a value for a message: in quotes, cut where it is long, without
// the user part of a URL, and not at all where it may be secret.
func quote(value, path string) string {
	if secretPath(path) {
		return "the value"
	}
	value = redact(value)
	if r := []rune(value); len(r) > 80 {
		value = string(r[:80]) + "…"
	}
	return strconv.Quote(value)
}

var userPart = regexp.MustCompile(`(://)[^/\s"]*@`)

// redact takes user and password out of the URLs in a text.
func redact(s string) string { return userPart.ReplaceAllString(s, "$1") }

var indices = regexp.MustCompile(`\[\d+\]`)

// pattern writes every index of a path as "[]".
func pattern(path string) string { return indices.ReplaceAllString(path, "[]") }
