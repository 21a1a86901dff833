package reconcile

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// bad is a config map that the API server refuses.
func bad(name string) string { return strings.ReplaceAll(configMap(name, "1"), `"1"`, "{a: 1}") }

// Nothing of a stage is applied in which something is refused, nor of the stages
// after it; every error is told.
func TestAtomicStage(t *testing.T) {
	f := newField(t)
	files := apps("a.yaml", bad("a"), "b.yaml", "# b\n---\n"+bad("b"), "c.yaml", configMap("c", "1"), "web.yaml", deployment)
	r, err := f.try(files, f.head())
	if err == nil || !strings.Contains(err.Error(), "apps/a.yaml:1: apply ConfigMap/") || !strings.Contains(err.Error(), "apps/b.yaml:3: apply ConfigMap/") {
		t.Errorf("error = %v, want both objects with file and line", err)
	}
	f.want(r, "failed ConfigMap/a, failed ConfigMap/b, skipped ConfigMap/c, skipped Deployment/web")
	if f.value("c") != "" || f.get(deployments, "web") != nil {
		t.Error("something was applied")
	}
	if got := r.Objects[2].Reason + "|" + r.Objects[3].Reason; !strings.Contains(got, "others of its stage were refused") || !strings.Contains(got, "errors among the supplies") {
		t.Errorf("reasons = %s", got)
	}
	files["apps/a.yaml"], files["apps/b.yaml"] = configMap("a", "1"), configMap("b", "1")
	f.want(f.apply(files), "created ConfigMap/a, created ConfigMap/b, created ConfigMap/c, created Deployment/web")
}

// A rehearsal costs what it saves: a first apply sends no GET for the objects, one
// changed object no dry run, and a restart none.
func TestRehearsalCosts(t *testing.T) {
	f := newField(t)
	files := apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1"))
	f.apply(files)
	f.line.reset()
	files["apps/c.yaml"], files["apps/d.yaml"] = configMap("c", "1"), configMap("d", "1")
	f.apply(files)
	if c := f.line.counts; c["PATCH?dryRun"] != 2 || c["PATCH"] != 2 || c["GET"] > 3 {
		t.Errorf("two new objects: requests = %v, want two dry runs, two writes, and a GET of the inventory and the two old", c)
	}
	f.line.reset()
	files["apps/a.yaml"] = configMap("a", "2")
	f.apply(files)
	if c := f.line.counts; c["PATCH?dryRun"] != 0 || c["PATCH"] != 1 {
		t.Errorf("one changed object: requests = %v, want one write, no dry run", c)
	}
	f.engine()
	files["apps/b.yaml"] = configMap("b", "2")
	f.want(f.apply(files), "unchanged ConfigMap/a, configured ConfigMap/b, unchanged ConfigMap/c, unchanged ConfigMap/d")
	if c := f.line.counts; c["PATCH?dryRun"] != 0 || c["PATCH"] != 4 {
		t.Errorf("one changed object after a restart: requests = %v, want a write of each, no dry run", c)
	}
}

// C8, C16: without atomic every object goes its own way, in later stages, too. What
// depends on something that failed fails by itself, and at once.
func TestC16NotAtomic(t *testing.T) {
	f := newField(t)
	f.app.Atomic = new(false)
	group := f.ns + ".example.com"
	crd := strings.Replace(fleets(group), "scope: Namespaced", "scope: Nowhere", 1)
	files := apps("crd.yaml", crd, "cr.yaml", "apiVersion: "+group+"/v1\nkind: Fleet\nmetadata: {name: one}\n", "a.yaml", bad("a"), "b.yaml", configMap("b", "1"), "web.yaml", deployment)
	began := time.Now()
	r, err := f.try(files, f.head())
	if err == nil || !strings.Contains(err.Error(), "apps/crd.yaml:1: apply") || !strings.Contains(err.Error(), "apps/cr.yaml:1: apply Fleet") || !strings.Contains(err.Error(), "apps/a.yaml:1: apply") {
		t.Errorf("error = %v, want all three", err)
	}
	f.want(r, "failed ConfigMap/a, created ConfigMap/b, failed Fleet/one, failed CustomResourceDefinition/fleets."+group+", created Deployment/web")
	if d := time.Since(began); d > 8*time.Second {
		t.Errorf("took %v: a kind that will not come was waited for", d)
	}
	// A kind that nothing brings is an object that fails, too.
	unknown := apps("x.yaml", "apiVersion: example.com/v1\nkind: Nothing\nmetadata: {name: x}\n", "b.yaml", configMap("b", "2"))
	if r, err = f.try(unknown, f.head()); err == nil || !strings.Contains(err.Error(), "apps/x.yaml:1: Nothing/"+f.ns+"/x: no matches for kind") {
		t.Errorf("error = %v, want the unknown kind", err)
	}
	f.want(r, "configured ConfigMap/b, failed Nothing/x")
	if got := f.recorded(); strings.Contains(got, "Nothing") || f.get(deployments, "web") == nil {
		t.Errorf("inventory = %s; want nothing unknown in it, and nothing deleted after an error", got)
	}
	files["apps/b.yaml"] = configMap("b", "2")
	files["apps/crd.yaml"], files["apps/a.yaml"] = fleets(group), configMap("a", "1")
	f.want(f.apply(files), "created ConfigMap/a, unchanged ConfigMap/b, created Fleet/one, created CustomResourceDefinition/fleets."+group+", unchanged Deployment/web")
}

func fleets(group string) string {
	return "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: fleets." + group + "}\nspec:\n  group: " + group +
		"\n  scope: Namespaced\n  names: {plural: fleets, singular: fleet, kind: Fleet, listKind: FleetList}\n  versions:\n  - name: v1\n    served: true\n    storage: true\n    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}\n"
}

// C8: a namespace, a definition and objects of both in one set, with rehearsals.
func TestC8EverythingInOneSet(t *testing.T) {
	f := newField(t)
	f.app.TargetNamespace = ""
	ns, group := f.ns+"-new", f.ns+"new.example.com"
	in := func(name string) string {
		return "apiVersion: " + group + "/v1\nkind: Fleet\nmetadata: {name: " + name + ", namespace: " + ns + "}\nspec: {size: 3}\n"
	}
	cm := func(name string) string {
		return strings.Replace(configMap(name, "1"), "name: "+name, "name: "+name+"\n  namespace: "+ns, 1)
	}
	role := "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: r, namespace: " + ns + "}\nrules: []\n"
	binding := "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: r, namespace: " + ns + "}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}\nsubjects: []\n"
	f.want(f.apply(apps("cr1.yaml", in("one"), "cr2.yaml", in("two"), "a.yaml", cm("a"), "b.yaml", cm("b"), "role.yaml", role, "rolebinding.yaml", binding,
		"crd.yaml", fleets(group), "ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+ns+"}\n")),
		"created ConfigMap/a, created ConfigMap/b, created Fleet/one, created Fleet/two, created CustomResourceDefinition/fleets."+group+", created Namespace/"+ns+", created Role/r, created RoleBinding/r")
}

// C6: a webhook that does not answer fails what it is asked about, and the next try
// has it.
func TestC6WebhookDown(t *testing.T) {
	f := newField(t)
	name := f.ns + "-down"
	hook := map[string]any{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": map[string]any{"name": name}, "webhooks": []any{map[string]any{
		"name": "down.example.com", "clientConfig": map[string]any{"url": "https://127.0.0.1:1/"}, "timeoutSeconds": 1, "sideEffects": "None", "admissionReviewVersions": []string{"v1"},
		"namespaceSelector": map[string]any{"matchLabels": map[string]string{"kubernetes.io/metadata.name": f.ns}},
		"rules":             []any{map[string]any{"apiGroups": []string{""}, "apiVersions": []string{"v1"}, "resources": []string{"configmaps"}, "operations": []string{"CREATE", "UPDATE"}}}}}}
	const api = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
	if err := controlPlane(t).Do(t.Context(), http.MethodPost, api, hook, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = controlPlane(t).Do(t.Context(), http.MethodDelete, api+"/"+name, nil, nil) })
	files := apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1"))
	n := 0
	f.eventually(20*time.Second, "the webhook is asked", func() bool {
		n++
		_, err := f.try(apps("a.yaml", configMap("a", fmt.Sprint(n)), "b.yaml", configMap("b", fmt.Sprint(n))), f.head())
		return err != nil && strings.Contains(err.Error(), "apps/a.yaml:1: apply ConfigMap/") && strings.Contains(err.Error(), "down.example.com")
	})
	_ = controlPlane(t).Do(t.Context(), http.MethodDelete, api+"/"+name, nil, nil)
	f.eventually(20*time.Second, "it is applied", func() bool {
		_, err := f.try(files, f.head())
		return err == nil && f.value("a") == "1"
	})
}

// C2: too many requests: the API server's Retry-After is obeyed, and nothing fails.
func TestC2TooManyRequests(t *testing.T) {
	f := newField(t)
	seen := map[string]int{}
	f.line.answer = func(r *http.Request) *http.Response {
		if r.Method != http.MethodPatch {
			return nil
		}
		if seen[r.URL.Path]++; seen[r.URL.Path] > 1 {
			return nil
		}
		return refusal(r, http.StatusTooManyRequests, "TooManyRequests", "slow down", "Retry-After", "1")
	}
	began := time.Now()
	f.apply(apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1")))
	if d := time.Since(began); d < time.Second || seen["/api/v1/namespaces/"+f.ns+"/configmaps/a"] < 2 {
		t.Errorf("took %v with %v, want a wait of a second and a second try", d, seen)
	}
}

// C4: a conflict of versions is tried again.
func TestC4ConflictOfVersions(t *testing.T) {
	f := newField(t)
	n := 0
	f.line.answer = func(r *http.Request) *http.Response {
		if r.Method != http.MethodPatch || n == 2 {
			return nil
		}
		n++
		return refusal(r, http.StatusConflict, "Conflict", "the object has been modified", "", "")
	}
	f.apply(apps("a.yaml", configMap("a", "1")))
	if n != 2 || f.value("a") != "1" {
		t.Errorf("after %d conflicts a = %q", n, f.value("a"))
	}
}

// C17: what is over a quota is told, what fits is there.
func TestC17Quota(t *testing.T) {
	f := newField(t)
	f.app.Atomic = new(false)
	quota := map[string]any{"apiVersion": "v1", "kind": "ResourceQuota", "metadata": map[string]any{"name": "q"}, "spec": map[string]any{"hard": map[string]any{"count/secrets": "1"}}}
	if err := controlPlane(t).Do(t.Context(), http.MethodPost, "/api/v1/namespaces/"+f.ns+"/resourcequotas", quota, nil); err != nil {
		t.Fatal(err)
	}
	secret := func(name string) string { return "apiVersion: v1\nkind: Secret\nmetadata: {name: " + name + "}\n" }
	f.eventually(20*time.Second, "the quota is in force", func() bool {
		q := f.get(gvr("", "v1", "resourcequotas"), "q")
		return q.Object["status"] != nil && strings.Contains(fmt.Sprint(q.Object["status"]), "used:map")
	})
	r, err := f.try(apps("s1.yaml", secret("s1"), "s2.yaml", secret("s2"), "a.yaml", configMap("a", "1")), f.head())
	if err == nil || strings.Count(err.Error(), "apps/s") != 1 || f.value("a") != "1" {
		t.Errorf("error = %v, a = %q; want one secret refused: %s", err, f.value("a"), actions(r))
	}
	if !strings.Contains(err.Error(), "exceeded quota") {
		t.Errorf("error = %v, want the quota", err)
	}
}

// C22: an object that no API server takes is told of, with its file.
func TestC22TooLarge(t *testing.T) {
	f := newField(t)
	f.app.Atomic = new(false)
	for i, size := range []int{2 << 20, 4 << 20} {
		big := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: big}\ndata: {key: " + strings.Repeat("x", size) + "}\n"
		_, err := f.try(apps("big.yaml", big, "a.yaml", configMap("a", fmt.Sprint(i))), f.head())
		if err == nil || !strings.Contains(err.Error(), "apps/big.yaml:1: apply ConfigMap/"+f.ns+"/big") || len(err.Error()) > 1000 || f.value("a") != fmt.Sprint(i) {
			t.Errorf("%d bytes: error = %.300v, a = %q", size, err, f.value("a"))
		}
	}
}
