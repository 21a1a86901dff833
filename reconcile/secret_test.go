package reconcile

import (
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A value that is no string would be lost, or come back in the API server's
// words; the build names its key and never the value (N5).
func TestSecretValuesAreStrings(t *testing.T) {
	const head = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
	for _, c := range []struct{ body, want string }{
		{"stringData: {user: bob, password: 12345678}\n", "prod/s.yaml:1: Secret/s: stringData.password is not a string; put quotes around it"},
		{"stringData: {flag: true}\n", "stringData.flag is not a string"},
		{"data: {password: 12345678}\n", "data.password is not a string"},
		{"data: {password: {a: 12345678}}\n", "data.password is not a string"},
		{"data: {password: 'not 12345678 base64'}\n", "data.password is not base64"},
		{"data: [12345678]\n", "data is not a mapping"},
	} {
		_, err := Build(t.Context(), tree("prod/s.yaml", head+c.body), App{Path: "prod"})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Build(%q): %v, want %q", c.body, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "12345678") {
			t.Errorf("Build(%q) repeats the value: %v", c.body, err)
		}
	}
	s := mustBuild(t, tree("prod/s.yaml", head+"data: {a: eA==}\nstringData: {b: \"12345678\"}\n"), App{Path: "prod"})
	data, _, _ := unstructured.NestedStringMap(s.Objects[0].Object.Object, "data")
	if data["a"] != "eA==" || data["b"] != "MTIzNDU2Nzg=" {
		t.Errorf("data = %v", data)
	}
}

func TestApiWordsAboutASecretAreNotRepeated(t *testing.T) {
	refusal := apierrors.NewBadRequest(`expected string, got "hunter2"`)
	secret := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret"}}
	err := discreet(secret, refusal)
	if strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "BadRequest") || !errors.Is(err, refusal) {
		t.Errorf("discreet(Secret) = %v", err)
	}
	other := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap"}}
	if err := discreet(other, refusal); !errors.Is(err, refusal) || !strings.Contains(err.Error(), "hunter2") {
		t.Errorf("discreet(ConfigMap) = %v", err)
	}
}
