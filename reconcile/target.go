package reconcile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"hoist/bump"
)

// Marks that we put on objects, and words that people put there for us. The
// labels help people to find what belongs together; what is deleted is decided
// by the inventory.
const (
	labelApp          = "hoist/app"           // name of the app that applied the object
	labelAppNamespace = "hoist/app-namespace" // namespace of that app's name
	annotationPrune   = "hoist/prune"         // "disabled": never delete; "enabled": delete although the kind is protected
)

// key is the identity of an object in its cluster, whatever the API version it
// is written in.
type key struct {
	group, kind, namespace, name string
}

func keyOf(o bump.Object) key {
	return key{schema.FromAPIVersionAndKind(o.APIVersion, o.Kind).Group, o.Kind, o.Namespace, o.Name}
}

// target is a manifest with its place in the cluster.
type target struct {
	Manifest
	resource
	object bump.Object
	key    key
	stage  stage
	young  bool   // its kind comes from the same set: the server may need a moment to serve it
	built  string // digest of the manifest with our marks, without what is yielded

	tracked  bool // the inventory says that we applied it
	recorded bool // and in this revision

	yielded []yielded // fields that are left to others
	judge   judge     // says how healthy it is

	words        // what it says of itself
	forced bool  // fields that others hold are taken from them
	lost   error // the cluster does not know its kind, and the app goes on without it
}

// locate finds the place of every object of the set: the resource of its kind
// and its namespace, and puts the app's marks on a copy of it. Kinds that the
// cluster does not know are reported all at once, or are lost targets of an app that
// is not atomic.
func (e *Engine) locate(ctx context.Context, a App, set *Set) ([]*target, error) {
	set, err := e.substitute(ctx, a, set)
	if err != nil {
		return nil, err
	}
	brought, j := defined(set.Objects), a.judge()
	var (
		all    []*target
		faults []error
		first  = map[key]*target{}
	)
	for _, m := range set.Objects {
		gvk := m.Object.GroupVersionKind()
		t := &target{Manifest: m, stage: stageOf(gvk.GroupKind()), judge: j, forced: a.Conflicts != ConflictsRefuse}
		t.Object = m.Object.DeepCopy()
		var err error
		if t.words, err = wordsOf(m); err != nil {
			faults = append(faults, err)
			continue
		}
		t.forced = t.forced || t.ssa == ssaOverride
		if t.resource, t.young = brought[gvk]; !t.young {
			if t.resource, err = e.kinds.resource(ctx, gvk); err != nil && t.ssa == ssaIgnore {
				continue
			} else if err != nil {
				if meta.IsNoMatchError(err) {
					err = fmt.Errorf("%w: its CustomResourceDefinition is not in the cluster; tried again by itself", err)
				}
				err = fmt.Errorf("%s: %s: %w", m.where(), nameOf(m.Object), err)
				if a.atomic() {
					faults = append(faults, err)
					continue
				}
				t.lost, t.namespaced = err, true
			}
		}
		switch o := t.Object; {
		case !t.namespaced:
			o.SetNamespace("")
		case o.GetNamespace() == "":
			o.SetNamespace(a.home())
		}
		mark(t.Object, a.Name)
		t.object = nameOf(t.Object)
		t.key = keyOf(t.object)
		if e.endsUs(ctx, t.key) {
			t.stage = itself
		}
		if err := t.yield(a.Ignore); err != nil {
			faults = append(faults, err)
			continue
		}
		t.built = digest(t.Object.Object)
		if other, ok := first[t.key]; ok {
			faults = append(faults, fmt.Errorf("%s: %s is also in %s", m.where(), t.object, other.where()))
			continue
		}
		first[t.key] = t
		all = append(all, t)
	}
	return all, errors.Join(faults...)
}

// mark is the digest of the target that an inventory shows; empty where it would
// help to guess a secret value.
func (t *target) mark() string {
	if isSecret(t.Object) || len(t.hidden) > 0 {
		return ""
	}
	return t.built[:12]
}

// home is the namespace of objects that name none.
func (a App) home() string {
	if a.TargetNamespace != "" {
		return a.TargetNamespace
	}
	return "default"
}

func mark(o *unstructured.Unstructured, app bump.Name) {
	labels := o.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[labelApp], labels[labelAppNamespace] = app.Name, app.Namespace
	o.SetLabels(labels)
}

// owner returns the app whose marks an object carries, and whether it carries any.
func owner(o *unstructured.Unstructured) (bump.Name, bool) {
	labels := o.GetLabels()
	name, ok := labels[labelApp]
	return bump.Name{Namespace: labels[labelAppNamespace], Name: name}, ok
}

func (e *Engine) at(r resource, namespace string) dynamic.ResourceInterface {
	if r.namespaced {
		return e.client.Resource(r.gvr).Namespace(namespace)
	}
	return e.client.Resource(r.gvr)
}

func digest(v any) string {
	b, err := json.Marshal(v) // sorts keys
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// digestLive is a digest of what anybody may change in an object by writing to
// it: everything but status and what the server counts.
func digestLive(o *unstructured.Unstructured) string {
	fields := maps.Clone(o.Object)
	delete(fields, "status")
	if meta, ok := fields["metadata"].(map[string]any); ok {
		meta = maps.Clone(meta)
		for _, f := range []string{"resourceVersion", "generation", "managedFields"} {
			delete(meta, f)
		}
		fields["metadata"] = meta
	}
	return digest(fields)
}

// digestOurs is a digest of the fields of a live object that the manifest sets.
// What controllers add beside them (an annotation, a default) does not change
// it, so an unchanged digest means that applying again would change nothing.
func digestOurs(built, live *unstructured.Unstructured) string {
	return digest(project(built.Object, live.Object))
}

// project picks from live what built has. Lists of different length are taken
// whole: somebody added to them or took away.
func project(built, live any) any {
	switch b := built.(type) {
	case map[string]any:
		l, ok := live.(map[string]any)
		if !ok {
			return live
		}
		picked := make(map[string]any, len(b))
		for k := range b {
			if v, ok := l[k]; ok {
				picked[k] = project(b[k], v)
			}
		}
		return picked
	case []any:
		l, ok := live.([]any)
		if !ok || len(l) != len(b) {
			return live
		}
		picked := make([]any, len(b))
		for i := range b {
			picked[i] = project(b[i], l[i])
		}
		return picked
	}
	return live
}

// stage is when a kind is applied. Later stages may need the earlier ones.
type stage int

const (
	definitions stage = iota // what others are instances of, or live in
	classes
	supplies // what workloads need before they start
	workloads
	hooks     // what can keep the API server from accepting anything else
	itself    // what this process runs in
	lastStage = itself
)

var stageNames = [...]string{"definitions", "classes", "supplies", "workloads", "webhooks", "workloads of Hoist itself"}

func (s stage) String() string { return stageNames[s] }

// stageOf follows Flux (definitions, classes, the rest), with webhooks moved to
// the end and what pods wait for put before them.
func stageOf(gk schema.GroupKind) stage {
	switch {
	case gk == crdKind, gk.Group == "" && gk.Kind == "Namespace",
		gk.Group == "rbac.authorization.k8s.io" && gk.Kind == "ClusterRole":
		return definitions
	case strings.HasSuffix(gk.Kind, "Class"),
		gk.Group == "rbac.authorization.k8s.io" && gk.Kind == "Role": // who may not do everything may bind only a role that is there
		return classes
	case gk.Group == "admissionregistration.k8s.io", gk.Group == "apiregistration.k8s.io":
		return hooks
	case gk.Group == "rbac.authorization.k8s.io", gk.Group == "networking.k8s.io" && gk.Kind == "NetworkPolicy",
		gk.Group == "" && slices.Contains([]string{"ServiceAccount", "Secret", "ConfigMap", "Service", "PersistentVolume",
			"PersistentVolumeClaim", "ResourceQuota", "LimitRange"}, gk.Kind):
		return supplies
	}
	return workloads
}
