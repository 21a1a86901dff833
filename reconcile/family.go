package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"hoist/bump"
)

// Member is an object of an app as it stands in the cluster, with what grew from it.
type Member struct {
	Object   bump.Object `json:"object"`
	Health   string      `json:"health"` // kstatus's word
	Message  string      `json:"message,omitempty"`
	Left     string      `json:"left,omitempty"` // why it is still there although it left the revision
	Children []Member    `json:"children,omitempty"`
}

// Family reads the objects of an inventory and what they own: ReplicaSets, Jobs
// and Pods. a says what the app counts as healthy. It takes a list for each kind
// and namespace, or a read for each of a few, and three lists for each namespace
// with workloads. Members that could not be read are of unknown health.
func (e *Engine) Family(ctx context.Context, a App, inv Inventory) ([]Member, error) {
	f := &family{e: e, judge: a.judge(), found: map[key]*unstructured.Unstructured{}, owned: map[string][]*unstructured.Unstructured{}}
	places, unread := f.places(ctx, inv)
	var g errgroup.Group
	g.SetLimit(workers)
	for at, entries := range places {
		if len(entries) > few {
			g.Go(func() error { return f.list(ctx, at, inv.App) })
		}
	}
	err := g.Wait()
	failed := []error{err, f.readRest(ctx, places, unread)}
	for _, namespace := range workNamespaces(inv) {
		failed = append(failed, f.grown(ctx, namespace))
	}
	all := make([]Member, len(inv.Objects))
	for i, en := range inv.Objects {
		all[i] = f.member(en, unread[keyOf(en.Object)])
	}
	return all, errors.Join(failed...)
}

// family is what was read for one [Engine.Family].
type family struct {
	e     *Engine
	judge judge
	mu    sync.Mutex
	found map[key]*unstructured.Unstructured
	owned map[string][]*unstructured.Unstructured // by the UID of the owner
}

// spot is a resource in a namespace.
type spot struct {
	resource
	namespace string
}

// places groups the entries, and says of those whose kind has no place why.
func (f *family) places(ctx context.Context, inv Inventory) (map[spot][]Entry, map[key]error) {
	places, unread := map[spot][]Entry{}, map[key]error{}
	for _, en := range inv.Objects {
		r, err := f.e.kinds.still(ctx, schema.FromAPIVersionAndKind(en.APIVersion, en.Kind))
		if err != nil {
			unread[keyOf(en.Object)] = err
			continue
		}
		places[spot{r, en.Namespace}] = append(places[spot{r, en.Namespace}], en)
	}
	return places, unread
}

// mostPages bounds a list: 500 objects are in a page.
const mostPages = 40

func (f *family) pages(ctx context.Context, r resource, namespace, selector string, each func(*unstructured.Unstructured)) error {
	options := metav1.ListOptions{LabelSelector: selector, Limit: 500}
	for range mostPages {
		list, err := f.e.at(r, namespace).List(ctx, options)
		if err != nil {
			return fmt.Errorf("list %s of namespace %s: %w", r.gvr.Resource, namespace, err)
		}
		for i := range list.Items {
			each(&list.Items[i])
		}
		if options.Continue = list.GetContinue(); options.Continue == "" {
			return nil
		}
	}
	return fmt.Errorf("namespace %s has more than %d %s: the rest is not shown", namespace, 500*mostPages, r.gvr.Resource)
}

// list reads what carries the app's marks at one place. What is not among it is
// read by itself.
func (f *family) list(ctx context.Context, at spot, app bump.Name) error {
	var all []*unstructured.Unstructured
	_ = f.pages(ctx, at.resource, at.namespace, labelApp+"="+app.Name+","+labelAppNamespace+"="+app.Namespace,
		func(o *unstructured.Unstructured) { all = append(all, o) })
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range all {
		f.found[keyOf(nameOf(o))] = o
	}
	return ctx.Err()
}

// readRest reads the objects that no list had.
func (f *family) readRest(ctx context.Context, places map[spot][]Entry, unread map[key]error) error {
	type answer struct {
		key
		live *unstructured.Unstructured
		err  error
	}
	var answers []*answer
	var g errgroup.Group
	g.SetLimit(workers)
	for at, entries := range places {
		for _, en := range entries {
			k := keyOf(en.Object)
			if f.found[k] != nil {
				continue
			}
			a := &answer{key: k}
			answers = append(answers, a)
			g.Go(func() error {
				a.live, a.err = f.e.at(at.resource, at.namespace).Get(ctx, en.Name, metav1.GetOptions{})
				return nil
			})
		}
	}
	_ = g.Wait() // errors are in the answers
	for _, a := range answers {
		switch {
		case a.err == nil:
			f.found[a.key] = a.live
		case !apierrors.IsNotFound(a.err):
			unread[a.key] = a.err
		}
	}
	return ctx.Err()
}

// growing are the built-in kinds that own others.
var growing = []schema.GroupKind{
	{Group: "apps", Kind: "Deployment"}, {Group: "apps", Kind: "StatefulSet"}, {Group: "apps", Kind: "DaemonSet"},
	{Group: "apps", Kind: "ReplicaSet"}, {Group: "batch", Kind: "Job"}, {Group: "batch", Kind: "CronJob"},
}

// workNamespaces are those in which objects of the inventory may own others:
// workloads, and custom kinds.
func workNamespaces(inv Inventory) (all []string) {
	for _, en := range inv.Objects {
		gk := schema.FromAPIVersionAndKind(en.APIVersion, en.Kind).GroupKind()
		custom := strings.Contains(gk.Group, ".") && !strings.HasSuffix(gk.Group, ".k8s.io")
		if en.Namespace != "" && (custom || slices.Contains(growing, gk)) && !slices.Contains(all, en.Namespace) {
			all = append(all, en.Namespace)
		}
	}
	return all
}

// grown reads what a namespace has of the kinds that others own.
func (f *family) grown(ctx context.Context, namespace string) error {
	var failed []error
	for _, gvr := range []schema.GroupVersionResource{
		{Group: "apps", Version: "v1", Resource: "replicasets"}, {Group: "batch", Version: "v1", Resource: "jobs"}, {Version: "v1", Resource: "pods"},
	} {
		failed = append(failed, f.pages(ctx, resource{gvr: gvr, namespaced: true}, namespace, "", func(o *unstructured.Unstructured) {
			for _, ref := range o.GetOwnerReferences() {
				f.owned[string(ref.UID)] = append(f.owned[string(ref.UID)], o)
			}
		}))
	}
	return errors.Join(failed...)
}

func (f *family) member(en Entry, err error) Member {
	live := f.found[keyOf(en.Object)]
	switch {
	case errors.Is(err, errGone):
		return Member{Object: en.Object, Left: en.Left, Health: string(status.NotFoundStatus), Message: err.Error()}
	case err != nil:
		return Member{Object: en.Object, Left: en.Left, Health: string(status.UnknownStatus), Message: err.Error()}
	case live == nil:
		return Member{Object: en.Object, Left: en.Left, Health: string(status.NotFoundStatus), Message: "there is no such object"}
	}
	m := f.living(live, map[string]bool{})
	m.Object, m.Left = en.Object, en.Left
	return m
}

// living tells of an object and what it owns; seen are those above it.
func (f *family) living(o *unstructured.Unstructured, seen map[string]bool) Member {
	h := f.judge.of(o)
	m := Member{Object: nameOf(o), Health: string(h.status)}
	if h.status != current {
		m.Message = h.message
	}
	uid := string(o.GetUID())
	if seen[uid] {
		return m
	}
	seen[uid] = true
	for _, c := range f.owned[uid] {
		if child := f.living(c, seen); !resting(c) || len(child.Children) > 0 {
			m.Children = append(m.Children, child)
		}
	}
	slices.SortFunc(m.Children, func(a, b Member) int { return strings.Compare(a.Object.String(), b.Object.String()) })
	return m
}

// resting tells whether a ReplicaSet is one of a rollout before.
func resting(o *unstructured.Unstructured) bool {
	n, ok, _ := unstructured.NestedInt64(o.Object, "spec", "replicas")
	return o.GetKind() == "ReplicaSet" && ok && n == 0
}
