package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"hoist/bump"
	"hoist/reconcile"
	"hoist/testenv/cluster"
)

// scriptCluster is a script's namespace in the control plane that all share.
type scriptCluster struct {
	kubeconfig string
	namespace  string
	client     dynamic.Interface
	own        *cluster.Cluster // of the script alone; nil for the shared one
}

const clusterUsage = "cluster use, cluster get|wait KIND/NAME [KEY=VALUE], cluster patch KIND/NAME JSON, cluster delete KIND/NAME, cluster secret NAME DIR, cluster install, cluster token NAMESPACE/NAME FILE, cluster far NAME, cluster on NAME VERB…|kill|restart"

// cmdCluster is what people do with kubectl, in the script's namespace $NS:
//
//	cluster use                          a control plane; comes first
//	[!] cluster get KIND/NAME [KEY=VALUE]   it is there, and so is the value
//	cluster wait KIND/NAME KEY=VALUE     wait for that
//	cluster patch KIND/NAME JSON         a merge patch, by hand
//	cluster delete KIND/NAME
//	cluster secret NAME DIR              make a Secret of the files in DIR
//	cluster install                      what deploy/ says
//	cluster token NAMESPACE/NAME FILE    a kubeconfig of a ServiceAccount
//	cluster far NAME                     another control plane, with NAME.kubeconfig
//	cluster on NAME VERB …               the same there; also kill and restart
//
// KIND of a custom resource is KIND.GROUP. KEY is image, available, or a key of a ConfigMap.
func cmdCluster(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) > 0, clusterUsage)
	w := worldOf(ts)
	if args[0] == "use" {
		w.useCluster(ts)
		return
	}
	usage(ts, w.cluster != nil, clusterUsage)
	switch {
	case args[0] == "far" && len(args) == 2:
		w.startFar(ts, args[1])
	case args[0] == "on" && len(args) > 2:
		w.onFar(ts, neg, args[1], args[2:])
	default:
		w.cluster.do(ts, neg, args)
	}
}

// do does one of the verbs of cmdCluster.
func (c *scriptCluster) do(ts *testscript.TestScript, neg bool, args []string) {
	verb, args := args[0], args[1:]
	switch {
	case verb == "get" && len(args) <= 2:
		ok, seen := c.has(args)
		expect(ts, neg, ok, "cluster get %s: %s", strings.Join(args, " "), seen)
	case verb == "wait" && len(args) == 2:
		eventually(ts, "cluster wait "+strings.Join(args, " "), func() (bool, string) { return c.has(args) })
	case verb == "patch" && len(args) == 2:
		client, name := c.of(args[0])
		_, err := client.Patch(ctx(), name, types.MergePatchType, []byte(args[1]), metav1.PatchOptions{FieldManager: "kubectl-edit"})
		ts.Check(err)
	case verb == "delete" && len(args) == 1:
		client, name := c.of(args[0])
		ts.Check(client.Delete(ctx(), name, metav1.DeleteOptions{}))
	case verb == "install" && len(args) == 0:
		ts.Check(c.install())
	case verb == "token" && len(args) == 2:
		ts.Check(c.token(args[0], ts.MkAbs(args[1])))
	case verb == "secret" && len(args) == 2:
		ts.Check(c.makeSecret(args[0], ts.MkAbs(args[1])))
	default:
		usage(ts, false, clusterUsage)
	}
}

func (w *world) useCluster(ts *testscript.TestScript) {
	namespace, err := w.shared.CreateNamespace(ctx(), "script")
	ts.Check(err)
	w.env.Defer(func() { _ = w.shared.DeleteNamespace(ctx(), namespace) })
	w.cluster, err = connectScript(w.shared.Kubeconfig, namespace)
	ts.Check(err)
	ts.Setenv("KUBECONFIG", w.cluster.kubeconfig)
	w.tell(ts, "NS", namespace)
}

func connectScript(kubeconfig, namespace string) (*scriptCluster, error) {
	rc, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	rc.QPS = -1
	client, err := dynamic.NewForConfig(rc)
	return &scriptCluster{kubeconfig: kubeconfig, namespace: namespace, client: client}, err
}

// of returns the client for KIND/NAME.
func (c *scriptCluster) of(ref string) (dynamic.ResourceInterface, string) {
	kind, name, _ := strings.Cut(ref, "/")
	kind, group, _ := strings.Cut(kind, ".")
	gvr := schema.GroupVersionResource{Group: group, Version: "v1", Resource: kind + "s"}
	switch kind {
	case "deployment":
		gvr.Group = "apps"
	case "job":
		gvr.Group = "batch"
	case "lease":
		gvr.Group = "coordination.k8s.io"
	}
	return c.client.Resource(gvr).Namespace(c.namespace), name
}

// has tells whether KIND/NAME is there, with KEY=VALUE if given, and what was seen.
func (c *scriptCluster) has(args []string) (bool, string) {
	client, name := c.of(args[0])
	o, err := client.Get(ctx(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, "not found"
	}
	if err != nil {
		return false, err.Error()
	}
	if len(args) == 1 {
		return true, "found"
	}
	key, want, _ := strings.Cut(args[1], "=")
	got := valueOf(o, key)
	return got == want, fmt.Sprintf("%s is %q", key, got)
}

func valueOf(o *unstructured.Unstructured, key string) string {
	switch key {
	case "image":
		containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
		if len(containers) == 0 {
			return ""
		}
		image, _, _ := unstructured.NestedString(containers[0].(map[string]any), "image")
		return image
	case "available":
		n, _, _ := unstructured.NestedInt64(o.Object, "status", "availableReplicas")
		return strconv.FormatInt(n, 10)
	}
	value, _, _ := unstructured.NestedString(o.Object, "data", key)
	return value
}

func (c *scriptCluster) makeSecret(name, dir string) error {
	data := make(map[string][]byte)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if data[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	b, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name}, "data": data,
	})
	if err != nil {
		return err
	}
	var o unstructured.Unstructured
	if err := o.UnmarshalJSON(b); err != nil {
		return err
	}
	client, _ := c.of("secret/" + name)
	_, err = client.Create(ctx(), &o, metav1.CreateOptions{})
	return err
}

// install applies deploy/ as a person with all rights.
func (c *scriptCluster) install() error {
	rc, err := reconcile.RESTConfig(c.kubeconfig, "")
	if err != nil {
		return err
	}
	e, err := reconcile.New(rc, reconcile.Options{Namespace: "hoist"})
	if err != nil {
		return err
	}
	app := reconcile.App{Name: bump.Name{Namespace: "hoist", Name: "deploy"}, Repository: "source", Path: ".", Wait: true}
	head := bump.Head{Repository: bump.Name{Namespace: "hoist", Name: "source"}, Branch: "main", Hash: strings.Repeat("0", 40)}
	result, err := e.Apply(ctx(), app, os.DirFS("../../deploy"), head)
	if err != nil {
		return err
	}
	if result, err = e.Health(ctx(), app, result); err != nil {
		return err
	}
	if !result.Ready {
		return fmt.Errorf("deploy/ is not ready: %s", result.Reason)
	}
	return nil
}

// token writes the kubeconfig that a pod of the ServiceAccount would have.
func (c *scriptCluster) token(account, file string) error {
	namespace, name, _ := strings.Cut(account, "/")
	cfg, err := clientcmd.LoadFromFile(c.kubeconfig)
	if err != nil {
		return err
	}
	rc, err := clientcmd.NewDefaultClientConfig(*cfg, nil).ClientConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return err
	}
	request, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	for user := range cfg.AuthInfos {
		cfg.AuthInfos[user] = &api.AuthInfo{Token: request.Status.Token}
	}
	return clientcmd.WriteToFile(*cfg, file)
}
