package reconcile

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"hoist/bump"
)

// accountField is a field whose app is applied as a ServiceAccount of its
// namespace that may do verbs with ConfigMaps there, and nothing else.
func accountField(t *testing.T, verbs ...string) *field {
	t.Helper()
	f := newField(t)
	c := controlPlane(t)
	f.app.Name.Namespace, f.app.ServiceAccountName = f.ns, "deployer"
	base := "/apis/rbac.authorization.k8s.io/v1/namespaces/" + f.ns
	for path, body := range map[string]any{
		"/api/v1/namespaces/" + f.ns + "/serviceaccounts": map[string]any{"metadata": map[string]any{"name": "deployer"}},
		base + "/roles": map[string]any{
			"metadata": map[string]any{"name": "deployer"},
			"rules":    []any{map[string]any{"apiGroups": []string{""}, "resources": []string{"configmaps"}, "verbs": verbs}},
		},
		base + "/rolebindings": map[string]any{
			"metadata": map[string]any{"name": "deployer"},
			"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "deployer"},
			"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": "deployer", "namespace": f.ns}},
		},
	} {
		if err := c.Do(t.Context(), http.MethodPost, path, body, nil); err != nil {
			t.Fatal(err)
		}
	}
	review := map[string]any{"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": map[string]any{
		"user": f.app.Account(), "resourceAttributes": map[string]any{"namespace": f.ns, "verb": "get", "resource": "configmaps"}}}
	f.eventually(10*time.Second, "the role is in force", func() bool {
		var out struct{ Status struct{ Allowed bool } }
		err := c.Do(t.Context(), http.MethodPost, "/apis/authorization.k8s.io/v1/subjectaccessreviews", review, &out)
		return err == nil && out.Status.Allowed
	})
	core, logs := observer.New(zapcore.DebugLevel)
	var err error
	if f.eng, err = f.eng.cluster.Engine(Options{Log: zap.New(core), Namespace: f.ns + "-inv", Account: f.app.Account()}); err != nil {
		t.Fatal(err)
	}
	f.logs = logs
	return f
}

// C18: what the account may not do is refused, and said; the inventory needs no
// right of the account.
func TestC18AccountMayDoNoMoreThanItsRole(t *testing.T) {
	f := accountField(t, "*")
	const role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: everything}\nrules: [{apiGroups: ['*'], resources: ['*'], verbs: ['*']}]\n"
	f.want(f.apply(apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1"))), "created ConfigMap/a, created ConfigMap/b")
	_, err := f.try(apps("a.yaml", configMap("a", "2"), "role.yaml", role), f.head())
	want := `User "system:serviceaccount:` + f.ns + `:deployer" cannot`
	if err == nil || !strings.Contains(err.Error(), "apps/role.yaml") || !strings.Contains(err.Error(), want) {
		t.Fatalf("error = %v, want apps/role.yaml and %q", err, want)
	}
	if err := controlPlane(t).Do(t.Context(), http.MethodGet, "/apis/rbac.authorization.k8s.io/v1/clusterroles/everything", nil, nil); err == nil {
		t.Fatal("the cluster role is there")
	}
	f.apply(apps("a.yaml", configMap("a", "2"))) // and prune works as the account
	if got := f.recorded(); got != "ConfigMap/a" || f.value("a") != "2" || f.value("b") != "" {
		t.Errorf("inventory %q, a is %q, b is %q", got, f.value("a"), f.value("b"))
	}
}

// C18: an app cannot write the inventories, also when its files hold one.
func TestC18AccountCannotWriteInventories(t *testing.T) {
	f := accountField(t, "*")
	f.apply(apps("a.yaml", configMap("a", "1")))
	f.app.TargetNamespace = "" // or the files could name no other
	at := func(namespace, name string) string {
		return "{apiVersion: v1, kind: ConfigMap, metadata: {name: " + name + ", namespace: " + namespace + "}, data: {state: '{}'}}"
	}
	_, err := f.try(apps("a.yaml", at(f.ns, "a"), "forged.yaml", at(f.ns+"-inv", inventoryName(f.app.Name))), f.head())
	if err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Fatalf("error = %v, want forbidden", err)
	}
	if got := f.recorded(); !strings.Contains(got, "ConfigMap/a") {
		t.Errorf("inventory %q", got)
	}
}

// An account that may not list or watch is told of once, and looked at on the
// interval: nothing of it counts as quiet.
func TestAccountThatMayNotWatch(t *testing.T) {
	f := accountField(t, "get", "create", "patch", "delete")
	f.eng.Follow(f.app, func() {})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); f.eng.Watch(ctx) }()
	f.apply(apps("a.yaml", configMap("a", "1")))
	const lost = "watch lost; drift of this kind is seen on the interval until it is back"
	f.eventually(20*time.Second, "the watch is told to be lost", func() bool { return f.logs.FilterMessage(lost).Len() > 0 })
	f.line.reset()
	f.eventually(20*time.Second, "several more tries", func() bool {
		f.line.mu.Lock()
		defer f.line.mu.Unlock()
		return f.line.counts[http.MethodGet] > 2
	})
	if n := f.logs.FilterMessage(lost).Len(); n != 1 {
		t.Errorf("told %d times: %v", n, f.logs.FilterMessage(lost).All())
	}
	if f.eng.Quiet(f.app.Name) {
		t.Error("an app that nobody watches is quiet")
	}
	cancel()
	<-ended
}

// What is substituted comes from where Hoist runs, not from where the objects go.
func TestSubstitutesFromHome(t *testing.T) {
	f := newField(t)
	f.app.Name.Namespace = f.ns
	f.app.PostBuild = &PostBuild{SubstituteFrom: []SubstituteSource{{Kind: "ConfigMap", Name: "region"}}}
	asked := false
	here := f.eng.cluster
	eng, err := here.Engine(Options{Namespace: f.ns + "-inv", Home: func() (*Cluster, error) { asked = true; return here, nil }})
	if err != nil {
		t.Fatal(err)
	}
	f.eng = eng
	region := map[string]any{"metadata": map[string]any{"name": "region"}, "data": map[string]any{"region": "us-east-1"}}
	if err := controlPlane(t).Do(t.Context(), http.MethodPost, "/api/v1/namespaces/"+f.ns+"/configmaps", region, nil); err != nil {
		t.Fatal(err)
	}
	f.apply(apps("a.yaml", configMap("a", "${region}")))
	if got := f.value("a"); got != "us-east-1" || !asked {
		t.Errorf("a is %q; home was asked: %v", got, asked)
	}
}

func TestAccount(t *testing.T) {
	a := App{Name: bump.Name{Namespace: "shop", Name: "web"}}
	if got := a.Account(); got != "" {
		t.Errorf("without a ServiceAccount: %q", got)
	}
	a.ServiceAccountName = "deployer"
	if got := a.Account(); got != "system:serviceaccount:shop:deployer" {
		t.Errorf("Account() = %q", got)
	}
}

func TestClusterName(t *testing.T) {
	ref := func(name, key string) *KeyRef { return &KeyRef{Name: name, Key: key} }
	for want, a := range map[string]App{
		"":                     {},
		"us-east-1":            {Name: bump.Name{Namespace: "hoist"}, Cluster: &ClusterRef{KubeconfigSecretRef: ref("us-east-1", "")}},
		"shop:us-east-1":       {Name: bump.Name{Namespace: "shop"}, Cluster: &ClusterRef{KubeconfigSecretRef: ref("us-east-1", "")}},
		"all/eu":               {Name: bump.Name{Namespace: "hoist"}, Cluster: &ClusterRef{KubeconfigSecretRef: ref("all", "eu")}},
		"edge":                 {Name: bump.Name{Namespace: "shop"}, Cluster: &ClusterRef{KubeconfigSecretDir: "/etc/hoist/edge"}},
		"us-east-1 (platform)": {Name: bump.Name{Namespace: "hoist"}, Cluster: &ClusterRef{KubeconfigSecretRef: ref("us-east-1", ""), Context: "platform"}},
	} {
		if got := a.ClusterName(); got != want {
			t.Errorf("ClusterName() = %q, want %q", got, want)
		}
	}
}
