package reconcile

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hoist/bump"
)

// replaced builds one file and replaces its variables.
func replaced(t *testing.T, file string, v variables, strict bool) (map[string]any, error) {
	t.Helper()
	a := App{Path: "prod", PostBuild: &PostBuild{Substitute: map[string]string{"x": "y"}}}
	s, err := mustBuild(t, tree("prod/a.yaml", file), a).with(v, PostBuild{Lenient: !strict})
	if err != nil {
		return nil, err
	}
	return s.Objects[0].Object.Object, nil
}

// Flux's grammar, in the text of the object.
func TestSubstitute(t *testing.T) {
	v := variables{values: map[string]string{"n": "3", "word": "hello-world", "empty": "", "q": `"`}}
	for _, c := range []struct {
		in   string
		want any
	}{
		{"${n}", int64(3)}, {"x${n}", "x3"}, {"${q}${n}${q}", "3"}, {"$${n}", "${n}"}, {"$n", "$n"},
		{"${unset:=a}", "a"}, {"${unset:-a b}", "a b"}, {"${empty:=a}", "a"}, {"${word:=a}", "hello-world"},
		{"${word:6}", "world"}, {"${word:0:5}", "hello"}, {"${word/world/all}", "hello-all"}, {"${word//o/0}", "hell0-w0rld"},
		{"${word^^}", "HELLO-WORLD"}, {"${word^}", "Hello-world"}, {"${#word}", int64(11)}, {"${word%-*}", "hello"}, {"${word#*-}", "world"},
	} {
		o, err := replaced(t, "apiVersion: example.com/v1\nkind: X\nmetadata: {name: x}\nvalue: '"+c.in+"'\n", v, true)
		if err != nil || o["value"] != c.want {
			t.Errorf("%s = %#v, %v, want %#v", c.in, o["value"], err, c.want)
		}
	}
	if o, err := replaced(t, "apiVersion: example.com/v1\nkind: X\nmetadata: {name: x}\nvalue: a${unset}\n", v, false); err != nil || o["value"] != "a" {
		t.Errorf("an unset variable, not strict: %v, %v", o, err)
	}
	for _, word := range []string{keySubstitute, fluxSubstitute} {
		for _, where := range []string{"annotations", "labels"} {
			o, err := replaced(t, "apiVersion: example.com/v1\nkind: X\nmetadata: {name: x, "+where+": {"+word+": disabled}}\nvalue: ${unset}\n", v, true)
			if err != nil || o["value"] != "${unset}" {
				t.Errorf("%s %s: %v, %v", where, word, o, err)
			}
		}
	}
	o, err := replaced(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {p: '${word}'}\n", v, true)
	if data, _, _ := unstructured.NestedString(o, "data", "p"); err != nil || data != "aGVsbG8td29ybGQ=" {
		t.Errorf("a Secret's stringData: %v, %v", o, err)
	}
}

func TestSubstituteFaults(t *testing.T) {
	const head = "apiVersion: example.com/v1\nkind: X\nmetadata: {name: x}\n"
	v := variables{values: map[string]string{"n": "hunter2: ["}, hidden: []string{"hunter2: ["}}
	for _, c := range []struct{ body, want string }{
		{"a: 1\nb: ${other}\n", "prod/a.yaml:5: X/x: ${other} has no value"},
		{"a: ${other^^}\n", "prod/a.yaml:4: X/x: ${other} has no value"},
		{"a: ${n", "missing closing brace"},
		{"a: ${n:1:9223372036854775807}", "bad substitution"},
		{"a: 1\nb: '${n}'\n", "prod/a.yaml:5: X/x is no YAML any more"},
	} {
		_, err := replaced(t, head+c.body, v, true)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v, want %q", c.body, err, c.want)
		}
	}
	m := Manifest{hidden: []string{"hunter2"}, Object: &unstructured.Unstructured{Object: map[string]any{"kind": "X"}}}
	if got := m.hide("a hunter2 b"); got != "a *** b" {
		t.Errorf("hide = %q", got)
	}
}

// Whatever stands in an object and in a value: an answer, and the set that was given stays.
func FuzzSubstitute(f *testing.F) {
	for _, s := range []string{"${n}", "${n:=${m:-x}}", "$${n}", "${n", "${#n}", "${n/a/b}", "${n:1:-9}", "a: ${n:-b: [}"} {
		f.Add(s, "value")
	}
	f.Fuzz(func(t *testing.T, value, n string) {
		o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "X", "metadata": map[string]any{"name": "x"}, "value": value}}
		s := &Set{raw: true, Objects: []Manifest{{Object: o, File: "a.yaml"}}}
		_, _ = s.with(variables{values: map[string]string{"n": oneLine(n)}, hidden: []string{oneLine(n)}}, PostBuild{})
		if o.Object["value"] != value {
			t.Error("the set that was given is changed")
		}
	})
}

// Values are read at each apply: what changed in a ConfigMap or Secret reaches
// the cluster although no file did.
func TestSubstituteFromTheCluster(t *testing.T) {
	f := newField(t)
	a := App{Name: bump.Name{Namespace: f.ns, Name: "vars"}, Repository: "fleet", TargetNamespace: f.ns, PostBuild: &PostBuild{
		SubstituteFrom: []SubstituteSource{{Kind: "ConfigMap", Name: "vars"}, {Kind: "Secret", Name: "none", Optional: true}}}}
	at := f.eng.client.Resource(configMaps).Namespace(f.ns)
	set, h := mustBuild(t, tree("a.yaml", configMap("a", "${v}")), a), f.head()
	if _, err := f.eng.ApplySet(t.Context(), a, set, h); err == nil || !strings.Contains(err.Error(), "substitute from ConfigMap "+f.ns+"/vars") {
		t.Fatalf("without the ConfigMap: %v", err)
	}
	vars := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "vars"}}}
	vars, err := at.Create(t.Context(), vars, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"one", "two"} {
		vars.Object["data"] = map[string]any{"v": want}
		if vars, err = at.Update(t.Context(), vars, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.eng.ApplySet(t.Context(), a, set, h); err != nil {
			t.Fatal(err)
		}
		if got, _, _ := unstructured.NestedString(f.get(configMaps, "a").Object, "data", "key"); got != want {
			t.Errorf("key = %q, want %q", got, want)
		}
	}
}

// With optIn only objects that say so have their variables replaced.
func TestSubstituteOptIn(t *testing.T) {
	p := PostBuild{Substitute: map[string]string{"x": "why"}, OptIn: true}
	v := variables{values: map[string]string{"x": "why"}}
	for word, want := range map[string]string{"": "${x}", keySubstitute + ": enabled": "why", fluxSubstitute + ": Enabled": "why", keySubstitute + ": disabled": "${x}"} {
		file := "apiVersion: example.com/v1\nkind: X\nmetadata: {name: x, annotations: {" + word + "}}\nvalue: ${x}\n"
		s, err := mustBuild(t, tree("prod/a.yaml", file), App{Path: "prod", PostBuild: &p}).with(v, p)
		if err != nil || s.Objects[0].Object.Object["value"] != want {
			t.Errorf("%q: %v, %v, want %s", word, s, err, want)
		}
	}
}
