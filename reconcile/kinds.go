package reconcile

import (
	"context"
	"fmt"
	"net/http"

	"k8s.io/apimachinery/pkg/api/meta"
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
	mapper *restmapper.DeferredDiscoveryRESTMapper
}

func newKinds(cfg *rest.Config) (*kinds, error) {
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	return newKindsFor(cfg, client)
}

func newKindsFor(cfg *rest.Config, client *http.Client) (*kinds, error) {
	d, err := discovery.NewDiscoveryClientForConfigAndClient(cfg, client)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	return &kinds{restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d))}, nil
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
