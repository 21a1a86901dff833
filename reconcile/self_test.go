package reconcile

import (
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// C23: what this process runs by is never deleted, whatever the files say, and its
// Deployment is applied after everything else.
func TestC23KeepsItself(t *testing.T) {
	f := newField(t)
	object := func(kind, name, more string) string {
		version := "v1"
		switch kind {
		case "Deployment":
			version = "apps/v1"
		case "Role", "RoleBinding":
			version = "rbac.authorization.k8s.io/v1"
		}
		return "apiVersion: " + version + "\nkind: " + kind + "\nmetadata: {name: " + name + "}\n" + more
	}
	workload := func(name string) string {
		return object("Deployment", name, "spec:\n  selector: {matchLabels: {app: "+name+"}}\n  template:\n    metadata: {labels: {app: "+name+
			"}}\n    spec:\n      serviceAccountName: hoist\n      containers: [{name: c, image: 'example.com/c:1'}]\n")
	}
	bind := func(name, role, account string) string {
		return object("RoleBinding", name, "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: "+role+
			"}\nsubjects: [{kind: ServiceAccount, name: "+account+", namespace: "+f.ns+"}]\n")
	}
	own := []string{
		"account.yaml", object("ServiceAccount", "hoist", ""), "deployment.yaml", workload("hoist"),
		"role.yaml", object("Role", "hoist", "rules: []\n"), "binding.yaml", bind("hoist", "hoist", "hoist"),
	}
	others := []string{
		"other-account.yaml", object("ServiceAccount", "other", ""), "other.yaml", strings.ReplaceAll(workload("other"), "serviceAccountName: hoist", "serviceAccountName: other"),
		"other-role.yaml", object("Role", "other", "rules: []\n"), "other-binding.yaml", bind("other", "other", "other"),
	}
	settings := []string{"settings.yaml", configMap("settings", "1")}
	f.app.MaxPrune = new(int)
	*f.app.MaxPrune = 100
	f.apply(apps(append(append(append([]string{}, own...), others...), settings...)...))
	f.eng.self.pod = Pod{f.ns, f.podOf("app=hoist")}

	// It comes last, and what is deleted is what others run by.
	var order []string
	f.line.cut = func(r *http.Request) (bool, bool) {
		if r.Method == http.MethodPatch {
			order = append(order, r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:])
		}
		return false, false
	}
	changed := append([]string{}, own...)
	changed[3] = strings.ReplaceAll(workload("hoist"), "c:1", "c:2")
	f.apply(apps(append(append(changed, "new.yaml", workload("new")), settings...)...))
	f.line.reset()
	if n := len(order); n < 2 || order[n-1] != "hoist" || order[0] == "hoist" {
		t.Errorf("order of writes = %v, want hoist last", order)
	}
	f.want(f.apply(apps(settings...)), "unchanged ConfigMap/settings, skipped Deployment/hoist, deleted Deployment/new, skipped RoleBinding/hoist, skipped ServiceAccount/hoist, skipped Role/hoist")
	for _, en := range strings.Split(f.recorded(), ") ") {
		if !strings.HasPrefix(en, "ConfigMap/") && !strings.Contains(en, ourOwn) {
			t.Errorf("inventory says %q, want %q", en, ourOwn)
		}
	}
	if got := f.recorded(); strings.Contains(got, "other") {
		t.Errorf("inventory = %s, want nothing of the other", got)
	}

	// A pod that cannot be read is no leave to delete.
	f.engine()
	f.eng.self.pod = Pod{f.ns, "unknown"}
	if got := actions(f.apply(apps(settings...))); strings.Contains(got, "deleted") || !strings.Contains(f.recorded(), "is not known") {
		t.Errorf("%s; inventory = %s", got, f.recorded())
	}
}

// C23: the namespace of the inventories is not deleted, even where it says so.
func TestC23KeepsItsNamespace(t *testing.T) {
	f := newField(t)
	namespace := "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: " + f.ns + "-inv\n  annotations: {hoist/prune: enabled}\n"
	f.app.TargetNamespace = "" // it would rename the namespace
	a := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: " + f.ns + "}\n"
	f.apply(apps("a.yaml", a, "ns.yaml", namespace))
	f.want(f.apply(apps("a.yaml", a)), "unchanged ConfigMap/a, skipped Namespace/"+f.ns+"-inv")
}

// podOf waits for a pod with a label and returns its name.
func (f *field) podOf(label string) (name string) {
	f.t.Helper()
	f.eventually(30*time.Second, "there is a pod of "+label, func() bool {
		list, err := f.eng.client.Resource(gvr("", "v1", "pods")).Namespace(f.ns).List(f.t.Context(), metav1.ListOptions{LabelSelector: label})
		if err != nil || len(list.Items) == 0 {
			return false
		}
		name = list.Items[0].GetName()
		return true
	})
	return name
}
