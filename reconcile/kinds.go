package reconcile

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// kinds knows where a kind lives in the API. It asks the server once, and again
// when it meets a kind that it does not know.
type kinds struct {
	direct discovery.DiscoveryInterfaceWithContext // asks the server every time
	mapper *restmapper.DeferredDiscoveryRESTMapper
}

func newKinds(cfg *rest.Config, client *http.Client) (*kinds, error) {
	d, err := discovery.NewDiscoveryClientForConfigAndClient(cfg, client)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	return &kinds{d, restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d))}, nil
}

// resource says which resource a kind is and whether its objects live in namespaces.
type resource struct {
	gvr        schema.GroupVersionResource
	namespaced bool
}

func (k *kinds) resource(ctx context.Context, gvk schema.GroupVersionKind) (resource, error) {
	m, err := k.mapper.RESTMappingWithContext(ctx, gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) {
		k.mapper.ResetWithContext(ctx)
		m, err = k.mapper.RESTMappingWithContext(ctx, gvk.GroupKind(), gvk.Version)
	}
	if err != nil {
		return resource{}, err
	}
	return resource{m.Resource, m.Scope.Name() == meta.RESTScopeNameNamespace}, nil
}

// still finds a kind that an inventory names, in whatever version it is served
// now. It answers errGone only when the server says that no version of its group
// has the kind: a group that does not answer, as an aggregated API whose server
// is down, is an error, because its objects are still there.
func (k *kinds) still(ctx context.Context, gvk schema.GroupVersionKind) (resource, error) {
	r, err := k.resource(ctx, gvk)
	if !meta.IsNoMatchError(err) {
		return r, err
	}
	if m, err := k.mapper.RESTMappingWithContext(ctx, gvk.GroupKind()); err == nil {
		return resource{m.Resource, m.Scope.Name() == meta.RESTScopeNameNamespace}, nil
	}
	versions := []string{gvk.GroupVersion().String()}
	if gvk.Group != "" {
		if versions, err = k.versions(ctx, gvk.Group); err != nil {
			return resource{}, err
		}
	}
	for _, v := range versions {
		list, err := k.direct.ServerResourcesForGroupVersionWithContext(ctx, v)
		if err != nil {
			return resource{}, err
		}
		for _, r := range list.APIResources {
			if r.Kind == gvk.Kind {
				return resource{}, fmt.Errorf("%s appeared a moment ago in %s", gvk.Kind, v)
			}
		}
	}
	return resource{}, errGone
}

// versions asks for one group by itself: the list of all groups leaves out those
// that do not answer. A group that nobody announces has no versions.
func (k *kinds) versions(ctx context.Context, group string) ([]string, error) {
	var g metav1.APIGroup
	err := k.direct.RESTClient().Get().AbsPath("/apis/" + group).Do(ctx).Into(&g)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	var all []string
	for _, v := range g.Versions {
		all = append(all, v.GroupVersion)
	}
	return all, err
}

var errGone = errors.New("its kind is not served any more")

var crdKind = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}

// defined lists the kinds that the CustomResourceDefinitions among the objects
// will bring, so that objects of these kinds find their place before the server
// knows of it.
func defined(objects []Manifest) map[schema.GroupVersionKind]resource {
	found := map[schema.GroupVersionKind]resource{}
	for _, m := range objects {
		if m.Object.GroupVersionKind().GroupKind() != crdKind {
			continue
		}
		at := func(fields ...string) string {
			s, _, _ := unstructured.NestedString(m.Object.Object, fields...)
			return s
		}
		group := at("spec", "group")
		versions, _, _ := unstructured.NestedSlice(m.Object.Object, "spec", "versions")
		for _, v := range versions {
			fields, _ := v.(map[string]any)
			version, _ := fields["name"].(string)
			gv := schema.GroupVersion{Group: group, Version: version}
			found[gv.WithKind(at("spec", "names", "kind"))] = resource{
				gvr:        gv.WithResource(at("spec", "names", "plural")),
				namespaced: at("spec", "scope") == "Namespaced",
			}
		}
	}
	return found
}
