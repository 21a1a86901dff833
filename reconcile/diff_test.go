package reconcile

import (
	"strings"
	"testing"

	"hoist/bump"
)

func (f *field) diff(files map[string]string) []Difference {
	f.t.Helper()
	var pairs []string
	for p, c := range files {
		pairs = append(pairs, p, c)
	}
	d, err := f.eng.Diff(f.t.Context(), f.app, tree(pairs...), bump.Head{})
	if err != nil {
		f.t.Fatalf("Diff: %v", err)
	}
	return d
}

// N7: a diff says what would change and changes nothing.
func TestDiffChangesNothing(t *testing.T) {
	f := newField(t)
	secret := func(v string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: " + v + ", b: same-value}\n"
	}
	f.apply(apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1"), "s.yaml", secret("old-value"), "web.yaml", deployment))
	f.line.reset()
	all := f.diff(apps("a.yaml", configMap("a", "2"), "c.yaml", configMap("c", "1"), "s.yaml", secret("new-value"), "web.yaml", deployment))
	if n := f.line.writes(); n != 0 {
		t.Errorf("%d writes: %v", n, f.line.counts)
	}
	var got []string
	text := ""
	for _, d := range all {
		got = append(got, string(d.Action)+" "+d.Object.Kind+"/"+d.Object.Name)
		text += d.Diff
	}
	if s := strings.Join(got, ", "); s != "configured ConfigMap/a, created ConfigMap/c, configured Secret/s, deleted ConfigMap/b" {
		t.Errorf("differences = %s", s)
	}
	for _, want := range []string{"-  key: \"1\"\n+  key: \"2\"\n", "-  a: '*** (before)'\n+  a: '*** (after)'\n", "   b: '***'\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for _, secret := range []string{"b2xkLXZhbHVl", "bmV3LXZhbHVl", "c2FtZS12YWx1ZQ"} {
		if strings.Contains(text, secret) {
			t.Errorf("a secret value is in\n%s", text)
		}
	}
	if f.value("a") != "1" || f.value("b") != "1" || f.value("c") != "" {
		t.Error("the cluster changed")
	}
	if len(f.diff(apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1"), "s.yaml", secret("old-value"), "web.yaml", deployment))) != 0 {
		t.Error("a difference where nothing changed")
	}
}

// What the same app would create first cannot be tried, and is shown as built.
func TestDiffInANewNamespace(t *testing.T) {
	f := newField(t)
	f.app.TargetNamespace = ""
	all := f.diff(apps("ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+f.ns+"-new}\n",
		"a.yaml", strings.Replace(configMap("a", "1"), "name: a", "name: a\n  namespace: "+f.ns+"-new", 1)))
	if len(all) != 2 || all[0].Action != "created" || all[1].Action != "created" || !strings.Contains(all[0].Diff+all[1].Diff, "+  key: \"1\"") {
		t.Errorf("differences = %+v, want both created", all)
	}
}

// A diff says who changed what Git sets.
func TestDiffNamesWhoDrifted(t *testing.T) {
	f := newField(t)
	files := apps("a.yaml", configMap("a", "1"))
	f.apply(files)
	f.edit("a", "key", "by hand")
	d := f.diff(files)
	if len(d) != 1 || len(d[0].Drift) != 1 || d[0].Drift[0].String() != `/data/key is "by hand", Git says "1" (kubectl-edit)` {
		t.Errorf("differences = %+v", d)
	}
}
