package reconcile

import (
	"context"
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A Hoist that keeps its own Deployment (C23) applies it last, since that ends the
// process, and never deletes what it runs by: the workload, its ServiceAccount,
// what binds rights to it, and the namespaces of the pod and the inventories.

// Pod is the pod in which this process runs; the zero value is none.
type Pod struct{ Namespace, Name string }

// ownPod is what is known of the pod in which we run.
type ownPod struct {
	pod Pod

	mu      sync.Mutex
	known   bool
	account string       // its ServiceAccount
	above   map[key]bool // the pod and what it is owned by
}

const ourOwn = "this Hoist runs by it"

// runsBy says why an object must not be deleted by a process that runs by it;
// empty where it does not. What cannot be told is not deleted.
func (e *Engine) runsBy(ctx context.Context, live *unstructured.Unstructured) string {
	k := keyOf(nameOf(live))
	if k.group == "" && k.kind == "Namespace" && (k.name == e.namespace || e.inPod() && k.name == e.self.pod.Namespace) {
		return "this Hoist, or its inventories, are in it"
	}
	if !e.inPod() {
		return ""
	}
	var own bool
	var err error
	switch {
	case k.group == rbac && (k.kind == "RoleBinding" || k.kind == "ClusterRoleBinding"):
		own, err = e.bindsUs(ctx, live)
	case k.group == rbac && (k.kind == "Role" || k.kind == "ClusterRole"):
		own, err = e.givesUsRights(ctx, live)
	default:
		own, err = e.bearsUs(ctx, k)
	}
	switch {
	case err != nil:
		return fmt.Sprintf("whether this Hoist runs by it is not known: %v", err)
	case own:
		return ourOwn
	}
	return ""
}

const rbac = "rbac.authorization.k8s.io"

// inPod tells whether we run in a pod of this cluster.
func (e *Engine) inPod() bool {
	if e.self.pod.Name == "" {
		return false
	}
	home, err := e.home()
	return err != nil || home == e.cluster
}

// bearsUs tells whether an object is our pod, one that it is owned by, or its account.
func (e *Engine) bearsUs(ctx context.Context, k key) (bool, error) {
	if k.namespace != e.self.pod.Namespace || k.group != "" && k.group != "apps" && k.group != "batch" {
		return false, nil
	}
	above, account, err := e.self.look(ctx, e)
	return above[k] || k.group == "" && k.kind == "ServiceAccount" && k.name == account, err
}

// look reads our pod and its owners, once.
func (s *ownPod) look(ctx context.Context, e *Engine) (above map[key]bool, account string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known {
		return s.above, s.account, nil
	}
	at := resource{gvr: schema.GroupVersionResource{Version: "v1", Resource: "pods"}, namespaced: true}
	found, name := map[key]bool{}, s.pod.Name
	for range 5 { // Pod, ReplicaSet, Deployment, and whatever makes that
		o, err := e.cluster.own.Resource(at.gvr).Namespace(s.pod.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, "", fmt.Errorf("read %s %s/%s: %w", at.gvr.Resource, s.pod.Namespace, name, err)
		}
		found[keyOf(nameOf(o))] = true
		if o.GetKind() == "Pod" {
			account, _, _ = unstructured.NestedString(o.Object, "spec", "serviceAccountName")
		}
		owner := metav1.GetControllerOf(o)
		if owner == nil {
			break
		}
		if at, err = e.kinds.still(ctx, schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind)); err != nil {
			return nil, "", fmt.Errorf("read %s %s/%s: %w", owner.Kind, s.pod.Namespace, owner.Name, err)
		}
		name = owner.Name
	}
	s.above, s.account, s.known = found, account, true
	return found, account, nil
}

// bindsUs tells whether a binding has our ServiceAccount among its subjects.
func (e *Engine) bindsUs(ctx context.Context, binding *unstructured.Unstructured) (bool, error) {
	_, account, err := e.self.look(ctx, e)
	if err != nil {
		return false, err
	}
	subjects, _, _ := unstructured.NestedSlice(binding.Object, "subjects")
	for _, s := range subjects {
		subject, _ := s.(map[string]any)
		if subject["kind"] == "ServiceAccount" && subject["name"] == account && subject["namespace"] == e.self.pod.Namespace {
			return true, nil
		}
	}
	return false, nil
}

// givesUsRights tells whether a role is bound to our ServiceAccount.
func (e *Engine) givesUsRights(ctx context.Context, role *unstructured.Unstructured) (bool, error) {
	bindings := map[string][]string{"rolebindings": {role.GetNamespace()}}
	if role.GetKind() == "ClusterRole" {
		bindings = map[string][]string{"clusterrolebindings": {""}, "rolebindings": {e.self.pod.Namespace, e.namespace}}
	}
	for name, namespaces := range bindings {
		gvr := schema.GroupVersionResource{Group: rbac, Version: "v1", Resource: name}
		for _, namespace := range namespaces {
			list, err := e.cluster.own.Resource(gvr).Namespace(namespace).List(ctx, metav1.ListOptions{})
			if err != nil {
				return false, fmt.Errorf("list %s: %w", name, err)
			}
			for i := range list.Items {
				kind, _, _ := unstructured.NestedString(list.Items[i].Object, "roleRef", "kind")
				of, _, _ := unstructured.NestedString(list.Items[i].Object, "roleRef", "name")
				if kind != role.GetKind() || of != role.GetName() {
					continue
				}
				if binds, err := e.bindsUs(ctx, &list.Items[i]); binds || err != nil {
					return binds, err
				}
			}
		}
	}
	return false, nil
}

// endsUs tells whether applying an object may end this process: it is what our
// pod comes from. What is not known is taken for another.
func (e *Engine) endsUs(ctx context.Context, k key) bool {
	if k.group != "apps" || !e.inPod() {
		return false
	}
	own, err := e.bearsUs(ctx, k)
	return own && err == nil
}
