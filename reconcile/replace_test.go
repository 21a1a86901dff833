package reconcile

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"hoist/bump"
)

var jobs = gvr("batch", "v1", "jobs")

func job(image, annotation string) string {
	return "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: migrate\n  annotations: {" + annotation + "}\nspec:\n  template:\n    spec:\n      restartPolicy: Never\n" +
		"      containers: [{name: m, image: \"registry.example.com/migrate:" + image + "\"}]\n"
}

const forced = "hoist/force: enabled"

// C12: what cannot be changed is told with the field, both values, file and line,
// and stays as it is.
func TestC12ImmutableFieldIsTold(t *testing.T) {
	f := newField(t)
	f.apply(apps("job.yaml", job("1", "")))
	uid := f.get(jobs, "migrate").GetUID()
	_, err := f.try(apps("job.yaml", job("2", "")), f.head())
	for _, want := range []string{
		"apps/job.yaml:1: apply Job/" + f.ns + "/migrate: spec.template cannot be changed once it is set: ",
		`/spec/template/spec/containers/0/image is "registry.example.com/migrate:1", Git says "registry.example.com/migrate:2"`,
		"annotation hoist/force: enabled",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q", err, want)
		}
	}
	if f.get(jobs, "migrate").GetUID() != uid {
		t.Error("the job was replaced")
	}
	if _, err := f.eng.Diff(t.Context(), f.app, tree("apps/job.yaml", job("2", "")), bump.Head{}); err == nil || !strings.Contains(err.Error(), "spec.template cannot be changed") {
		t.Errorf("diff: %v, want the same", err)
	}
}

// A Secret's immutable field is told without values (N5).
func TestC12ImmutableSecretIsMasked(t *testing.T) {
	f := newField(t)
	secret := func(v string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nimmutable: true\nstringData: {password: " + v + "}\n"
	}
	f.apply(apps("s.yaml", secret("live-value")))
	_, err := f.try(apps("s.yaml", secret("git-value")), f.head())
	if err == nil || !strings.Contains(err.Error(), "data cannot be changed once it is set: /data/password is ***, Git says ***; ") {
		t.Errorf("error = %v, want the field, masked", err)
	}
	for _, v := range []string{"live-value", "git-value", "bGl2ZS12YWx1ZQ", "Z2l0LXZhbHVl"} {
		if err != nil && strings.Contains(err.Error(), v) {
			t.Errorf("the error has a value: %v", err)
		}
	}
}

// C12: with its own word, ours or Flux's, or the app's, the object is deleted and
// created anew, alone or within a stage that is rehearsed.
func TestC12Replaced(t *testing.T) {
	for word, app := range map[string]bool{forced: false, "kustomize.toolkit.fluxcd.io/force: Enabled": false, "": true} {
		f := newField(t)
		f.app.Force = app
		service := func(spec string) string {
			return "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  annotations: {" + word + "}\nspec:\n  " + spec + "\n  selector: {app: web}\n  ports: [{port: 80}]\n"
		}
		f.apply(apps("job.yaml", job("1", word), "svc.yaml", service("type: ClusterIP")))
		old := map[string]types.UID{"job": f.get(jobs, "migrate").GetUID(), "svc": f.get(gvr("", "v1", "services"), "web").GetUID()}

		ds, err := f.eng.Diff(t.Context(), f.app, tree("apps/job.yaml", job("2", word)), bump.Head{})
		if err != nil || len(ds) != 2 || ds[0].Action != bump.Configured || ds[0].Reason != "deleted and created anew: spec.template cannot be changed once it is set" || !strings.Contains(ds[0].Diff, "migrate:2") {
			t.Errorf("diff = %+v, %v", ds, err)
		}
		f.want(f.apply(apps("job.yaml", job("2", word), "svc.yaml", service("clusterIP: None"), "cm.yaml", configMap("a", "1"))), "created ConfigMap/a, created Job/migrate, created Service/web")
		j, s := f.get(jobs, "migrate"), f.get(gvr("", "v1", "services"), "web")
		ip, _, _ := unstructured.NestedString(s.Object, "spec", "clusterIP")
		if j.GetUID() == old["job"] || s.GetUID() == old["svc"] || ip != "None" {
			t.Errorf("%q: not replaced: %v %v %s", word, j.GetUID(), s.GetUID(), ip)
		}
		if inv, _ := f.eng.Inventory(t.Context(), f.app.Name); len(inv.Objects) != 3 || inv.Objects[1].UID != string(j.GetUID()) {
			t.Errorf("inventory = %+v, want the new UID", inv.Objects)
		}
		if len(f.logs.FilterMessage("object deleted to be created anew").All()) != 2 {
			t.Error("the log does not tell of the deletes")
		}
		f.want(f.apply(apps("job.yaml", job("2", word), "svc.yaml", service("clusterIP: None"), "cm.yaml", configMap("a", "1"))), "unchanged ConfigMap/a, unchanged Job/migrate, unchanged Service/web")
	}
}

// C12: what holds data needs its own word; force of the app is not enough.
func TestC12ForceOfTheAppSparesData(t *testing.T) {
	f := newField(t)
	f.app.Force = true
	claims := gvr("", "v1", "persistentvolumeclaims")
	claim := func(mode string) string {
		return "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec:\n  accessModes: [" + mode + "]\n  resources: {requests: {storage: 1Mi}}\n"
	}
	set := func(service string) string {
		return strings.NewReplacer("kind: Deployment", "kind: StatefulSet", "spec:\n  selector", "spec:\n  replicas: 0\n  serviceName: "+service+"\n  selector").Replace(deployment)
	}
	f.apply(apps("pvc.yaml", claim("ReadWriteOnce"), "set.yaml", set("a")))
	for name, files := range map[string]map[string]string{
		"PersistentVolumeClaim": apps("pvc.yaml", claim("ReadOnlyMany"), "set.yaml", set("a")),
		"StatefulSet":           apps("pvc.yaml", claim("ReadWriteOnce"), "set.yaml", set("b")),
	} {
		f.line.reset()
		_, err := f.try(files, f.head())
		if err == nil || !strings.Contains(err.Error(), "force of the app does not count for a "+name) || f.line.counts["DELETE"] > 0 {
			t.Errorf("%s: %v, requests %v; want a refusal", name, err, f.line.counts)
		}
	}
	uid := f.get(gvr("apps", "v1", "statefulsets"), "web").GetUID()
	f.apply(apps("pvc.yaml", claim("ReadWriteOnce"), "set.yaml", strings.Replace(set("b"), "metadata:\n", "metadata:\n  annotations: {"+forced+"}\n", 1)))
	if f.get(gvr("apps", "v1", "statefulsets"), "web").GetUID() == uid || f.get(claims, "data") == nil {
		t.Error("the set with its own word was not replaced, or the claim is gone")
	}
}

// C12: nothing is deleted whose successor the API server would refuse.
func TestC12SuccessorIsTriedFirst(t *testing.T) {
	f := newField(t)
	f.apply(apps("job.yaml", job("1", forced)))
	f.line.reset()
	bad := strings.Replace(job("2", forced), "restartPolicy: Never", "restartPolicy: Always", 1)
	_, err := f.try(apps("job.yaml", bad), f.head())
	if err == nil || !strings.Contains(err.Error(), "stays, because what would be created is refused") || !strings.Contains(err.Error(), "restartPolicy") {
		t.Errorf("error = %v, want why the successor is refused", err)
	}
	if f.line.counts["DELETE"] > 0 || f.get(jobs, "migrate") == nil {
		t.Error("the job was deleted")
	}
}

// C12, K13: killed or refused between the delete and the create, the object stays
// recorded and comes with the next pass.
func TestC12ReplacementInterrupted(t *testing.T) {
	f := newField(t)
	f.apply(apps("job.yaml", job("1", forced), "a.yaml", configMap("a", "1")))
	deleted := false
	f.line.cut = func(r *http.Request) (bool, bool) {
		lost := deleted && r.Method == http.MethodPatch && !strings.Contains(r.URL.RawQuery, "dryRun")
		deleted = deleted || r.Method == http.MethodDelete
		return lost, false
	}
	began := time.Now()
	files := apps("job.yaml", job("2", forced), "a.yaml", configMap("a", "1"))
	_, err := f.try(files, f.head())
	if err == nil || !strings.Contains(err.Error(), "was deleted to be created anew, and is not there now") || time.Since(began) < time.Second {
		t.Errorf("error = %v after %v, want a loud one after several tries", err, time.Since(began))
	}
	if got := f.recorded(); got != "ConfigMap/a Job/migrate" || f.get(jobs, "migrate") != nil {
		t.Errorf("inventory = %s, want the job in it", got)
	}
	f.engine()
	f.want(f.apply(files), "unchanged ConfigMap/a, created Job/migrate")
}

// A definition is tried in another group, since its name says its group.
func TestC12DefinitionReplaced(t *testing.T) {
	f := newField(t)
	group := f.ns + ".example.com"
	f.apply(apps("crd.yaml", fleets(group)))
	scoped := strings.Replace(fleets(group), "scope: Namespaced", "scope: Cluster", 1)
	f.app.Force = true
	if _, err := f.try(apps("crd.yaml", scoped), f.head()); err == nil || !strings.Contains(err.Error(), `spec.scope cannot be changed once it is set: /spec/scope is "Namespaced", Git says "Cluster"`) {
		t.Errorf("error = %v, want the scope", err)
	}
	f.want(f.apply(apps("crd.yaml", strings.Replace(scoped, "metadata: {", "metadata: {annotations: {"+forced+"}, ", 1))), "created CustomResourceDefinition/fleets."+group)
}

func TestUnderstudy(t *testing.T) {
	set := mustBuild(t, tree("x/svc.yaml", `apiVersion: v1
kind: Service
metadata: {name: a-service-with-a-name-of-more-than-forty-.characters}
spec: {type: LoadBalancer, clusterIP: 10.0.0.7, clusterIPs: [10.0.0.7], healthCheckNodePort: 31000, ports: [{port: 80, nodePort: 30080}]}
`), App{Path: "x"})
	o := set.Objects[0].Object
	understudy(o)
	if name := o.GetName(); !strings.HasPrefix(name, "a-service-with-a-name-of-more-than-forty-") || len(name) > 63 || strings.Contains(name, ".") {
		t.Errorf("name = %q", name)
	}
	if spec := o.Object["spec"].(map[string]any); len(spec) != 2 || len(spec["ports"].([]any)[0].(map[string]any)) != 1 {
		t.Errorf("spec = %v, want nothing of what its predecessor holds", spec)
	}
}
