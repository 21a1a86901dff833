package reconcile

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// deny makes the API server refuse operations on config maps whose name begins
// with "no" in the field's namespace.
func (f *field) deny(operation string) {
	f.t.Helper()
	c := controlPlane(f.t)
	const api = "admissionregistration.k8s.io/v1"
	name := f.ns + "-" + strings.ToLower(operation)
	meta := map[string]any{"name": name}
	for path, body := range map[string]any{
		"validatingadmissionpolicies": map[string]any{"apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": meta, "spec": map[string]any{
			"matchConstraints": map[string]any{"resourceRules": []any{map[string]any{
				"apiGroups": []string{""}, "apiVersions": []string{"v1"}, "resources": []string{"configmaps"}, "operations": []string{operation}}}},
			"validations": []any{map[string]any{"expression": `!request.name.startsWith("no")`, "message": "names may not begin with no"}},
		}},
		"validatingadmissionpolicybindings": map[string]any{"apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": meta, "spec": map[string]any{
			"policyName": name, "validationActions": []string{"Deny"},
			"matchResources": map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]string{"kubernetes.io/metadata.name": f.ns}}},
		}},
	} {
		if err := c.Do(f.t.Context(), http.MethodPost, "/apis/"+api+"/"+path, body, nil); err != nil {
			f.t.Fatal(err)
		}
	}
	f.t.Cleanup(func() { f.allow(operation) })
}

func (f *field) allow(operation string) {
	name := f.ns + "-" + strings.ToLower(operation)
	for _, path := range []string{"validatingadmissionpolicybindings", "validatingadmissionpolicies"} {
		_ = controlPlane(f.t).Do(f.t.Context(), http.MethodDelete, "/apis/admissionregistration.k8s.io/v1/"+path+"/"+name, nil, nil)
	}
}

// C5: what admission denies is listed, what it allows is applied, and the denied
// one comes when it is allowed.
func TestC5AdmissionDenies(t *testing.T) {
	f := newField(t)
	f.app.Atomic = new(false)
	f.deny("CREATE")
	files := apps("nope.yaml", configMap("nope", "1"), "fine.yaml", configMap("fine", "1"))
	denied := func() bool {
		_, err := f.try(files, f.head())
		return err != nil && strings.Contains(err.Error(), "apps/nope.yaml:1: apply ConfigMap/"+f.ns+"/nope: ") && strings.Contains(err.Error(), "names may not begin with no")
	}
	f.eventually(20*time.Second, "the policy denies", func() bool {
		if denied() {
			return true
		}
		f.apply(map[string]string{"apps/fine.yaml": configMap("fine", "1")}) // the policy was not in force yet: take "no" away again
		return false
	})
	if f.value("fine") != "1" || f.value("nope") != "" {
		t.Errorf("fine = %q, nope = %q; want one applied, one not", f.value("fine"), f.value("nope"))
	}
	f.allow("CREATE")
	f.eventually(20*time.Second, "it is allowed", func() bool {
		_, err := f.try(files, f.head())
		return err == nil
	})
}

// C7: what may not be deleted stays in the inventory until it may.
func TestC7AdmissionDeniesDelete(t *testing.T) {
	f := newField(t)
	both, one := apps("nope.yaml", configMap("nope", "1"), "fine.yaml", configMap("fine", "1")), apps("fine.yaml", configMap("fine", "1"))
	f.deny("DELETE")
	f.eventually(20*time.Second, "the policy denies", func() bool {
		f.apply(both)
		_, err := f.try(one, f.head())
		return err != nil
	})
	if got := f.recorded(); !strings.Contains(got, "ConfigMap/nope(could not be deleted: ") || f.value("nope") != "1" {
		t.Errorf("inventory = %s, want the object with the reason", got)
	}
	inv, _ := f.eng.Inventory(t.Context(), f.app.Name)
	if inv.Ready || !strings.Contains(inv.Reason, "delete ConfigMap/"+f.ns+"/nope") {
		t.Errorf("inventory = %v %q, want the reason", inv.Ready, inv.Reason)
	}
	f.allow("DELETE")
	f.eventually(20*time.Second, "it is deleted", func() bool {
		_, err := f.try(one, f.head())
		return err == nil && f.value("nope") == ""
	})
	if got := f.recorded(); got != "ConfigMap/fine" {
		t.Errorf("inventory = %s", got)
	}
}
