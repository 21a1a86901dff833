package reconcile

import (
	"strings"
	"testing"
)

// overlaid is a tree with a base that has a prefix, an image and a patch of its own.
var overlaid = []string{
	"base/kustomization.yaml", "resources: [web.yaml]\n",
	"base/web.yaml", deployment,
	"prod/kustomization.yaml", "resources: [../base]\nnamePrefix: p-\nimages: [{name: registry.example.com/web, newTag: 1.1.0}, {name: other, newTag: \"2\"}]\n",
	"parts/two/kustomization.yaml", "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nreplicas: [{name: web, count: 2}]\n",
	"plain/web.yaml", deployment,
}

// The fields of an app act as if they stood in the kustomization of its
// directory, as Flux has it: they replace its prefix and image, and come behind
// its patches.
func TestBuildOverlay(t *testing.T) {
	o := Overlay{
		NamePrefix: "eu-", NameSuffix: "-blue",
		Patches: []Patch{
			{Patch: "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {paused: true}\n"},
			{Patch: "- {op: add, path: /spec/minReadySeconds, value: 5}\n", Target: &Selector{Kind: "Deploy.*"}},
			{Patch: "- {op: add, path: /spec/never, value: 5}\n", Target: &Selector{Kind: "Deploy"}},
		},
		Images:         []ImageOverride{{Name: "registry.example.com/web", NewTag: "1.4.3"}},
		Components:     []string{"../parts/two"},
		CommonMetadata: &CommonMetadata{Labels: map[string]string{"team": "shop"}, Annotations: map[string]string{"example.com/owner": "ops"}},
	}
	for _, dir := range []string{"prod", "plain"} {
		s := mustBuild(t, tree(overlaid...), App{Path: dir, Overlay: o})
		d := s.Objects[0].Object
		spec := d.Object["spec"].(map[string]any)
		if d.GetName() != "eu-web-blue" {
			t.Errorf("%s: name = %s, want eu-web-blue", dir, d.GetName())
		}
		if spec["paused"] != true || spec["minReadySeconds"] != int64(5) || spec["never"] != nil || spec["replicas"] != int64(2) {
			t.Errorf("%s: spec = %v, want the patches and the component", dir, spec)
		}
		pod := spec["template"].(map[string]any)
		c := pod["spec"].(map[string]any)["containers"].([]any)[0].(map[string]any)
		if c["image"] != "registry.example.com/web:1.4.3" {
			t.Errorf("%s: image = %v, want that of the app", dir, c["image"])
		}
		if d.GetLabels()["team"] != "shop" || d.GetAnnotations()["example.com/owner"] != "ops" {
			t.Errorf("%s: labels = %v, annotations = %v", dir, d.GetLabels(), d.GetAnnotations())
		}
		if labels := pod["metadata"].(map[string]any)["labels"].(map[string]any); labels["team"] != nil {
			t.Errorf("%s: the pod has %v, want no common labels", dir, labels)
		}
		if !s.Touches("parts/two/kustomization.yaml") {
			t.Errorf("%s: a change of the component does not touch the set", dir)
		}
	}
}

func TestBuildOverlayOfAnEmptyDirectory(t *testing.T) {
	a := App{Path: "none", Overlay: Overlay{NamePrefix: "x-", Components: []string{"../c"}}}
	s := mustBuild(t, tree("none/README.md", "#", "c/kustomization.yaml", "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [a.yaml]\n", "c/a.yaml", configMap("a", "1")), a)
	if got := names(s); got != "ConfigMap/x-a<c/a.yaml" {
		t.Errorf("objects = %s", got)
	}
}

func TestBuildComponentsOfTheApp(t *testing.T) {
	for _, c := range []struct{ component, want string }{
		{"../parts/three", `components[0] of the app: "../parts/three": no such directory`},
		{"../base/web.yaml", "is not a directory"},
		{"../../x", "leaves the repository"},
		{"https://example.com/x", "leaves the repository"},
	} {
		a := App{Path: "prod", Overlay: Overlay{Components: []string{c.component}}}
		if _, err := Build(t.Context(), tree(overlaid...), a); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Build with %q = %v, want %q", c.component, err, c.want)
		}
	}
	a := App{Path: "prod", Overlay: Overlay{Components: []string{"../parts/three"}, IgnoreMissingComponents: true}}
	if s := mustBuild(t, tree(overlaid...), a); !s.Touches("parts/three") {
		t.Error("a component that appears later does not touch the set")
	}
}

func TestOverlayCheck(t *testing.T) {
	a := App{Path: "./prod", Overlay: Overlay{
		Patches: []Patch{{}, {Patch: "a: [\n"}}, Images: []ImageOverride{{NewTag: "1"}},
		Components:     []string{"../parts/two", "../../x", "/x", "github.com/acme/c"},
		CommonMetadata: &CommonMetadata{Labels: map[string]string{"a b": "1"}, Annotations: map[string]string{"": "x"}},
	}}
	var fields []string
	for _, f := range a.Overlay.check(dirOf(a.Path)) {
		fields = append(fields, f.Field)
	}
	want := "patches[0].patch patches[1].patch images[0].name components[1] components[2] components[3] commonMetadata.labels.a b commonMetadata.annotations. commonMetadata.annotations."
	if got := strings.Join(fields, " "); got != want {
		t.Errorf("faults at %s, want %s", got, want)
	}
}
