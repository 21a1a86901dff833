package reconcile

import "testing"

func TestLines(t *testing.T) {
	const file = `# a comment
---

# another
apiVersion: v1
kind: ConfigMap
metadata:
  labels: {name: wrong}
  name: one
---
apiVersion: v1
kind: ConfigMap
metadata: {namespace: x, name: "two"}
data: {name: wrong}
---
apiVersion: v1
kind: Secret
metadata:
  name: one # of another kind
stringData:
  name: wrong
`
	for kustomization, want := range map[string]string{
		"resources: [all.yaml]\n":                                 "one:5 two:11 one:16 ",
		"resources: [all.yaml]\nnamePrefix: a-\nnameSuffix: -b\n": "a-one-b:5 a-two-b:11 a-one-b:16 ",
	} {
		set := mustBuild(t, tree("x/kustomization.yaml", kustomization, "x/all.yaml", file), App{Path: "x"})
		got := ""
		for _, m := range set.Objects {
			got += m.Object.GetName() + m.where()[len("x/all.yaml"):] + " "
		}
		if got != want {
			t.Errorf("%q: %s, want %s", kustomization, got, want)
		}
	}
}
