package main

import (
	"bytes"
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"hoist/config"
	"hoist/reconcile"
)

// fluxResources are what Flux keeps in a cluster, by API group.
var fluxResources = []schema.GroupResource{
	{Group: "source.toolkit.fluxcd.io", Resource: "gitrepositories"},
	{Group: "image.toolkit.fluxcd.io", Resource: "imagerepositories"},
	{Group: "image.toolkit.fluxcd.io", Resource: "imagepolicies"},
	{Group: "image.toolkit.fluxcd.io", Resource: "imageupdateautomations"},
	{Group: "kustomize.toolkit.fluxcd.io", Resource: "kustomizations"},
	{Group: "notification.toolkit.fluxcd.io", Resource: "receivers"},
	{Group: "notification.toolkit.fluxcd.io", Resource: "providers"},
	{Group: "notification.toolkit.fluxcd.io", Resource: "alerts"},
}

// fluxServed are the versions that are read, the best first.
var fluxServed = []string{"v1", "v1beta3", "v1beta2", "v1beta1"}

// clusterSources lists Flux's objects. It only reads, and reads no Secrets. A
// kind that the cluster does not know is not there.
func (r *importRun) clusterSources(ctx context.Context) ([]config.Source, error) {
	rc, err := reconcile.RESTConfig(r.kubeconfig, r.context)
	if err != nil {
		return nil, err
	}
	disco, err := discovery.NewDiscoveryClientForConfig(rc)
	if err != nil {
		return nil, err
	}
	client, err := dynamic.NewForConfig(rc)
	if err != nil {
		return nil, err
	}
	served, err := servedVersions(disco)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, want := range fluxResources {
		version, ok := served[want]
		if !ok {
			continue
		}
		resource := client.Resource(want.WithVersion(version)).Namespace(r.namespace)
		if err := eachObject(ctx, resource, func(o *unstructured.Unstructured) error {
			o.SetManagedFields(nil)
			text, err := yaml.Marshal(o.Object)
			out.WriteString("---\n")
			out.Write(text)
			return err
		}); err != nil {
			return nil, fmt.Errorf("list %s: %w", want, err)
		}
	}
	return []config.Source{{Name: "cluster", Data: out.Bytes(), Objects: true}}, nil
}

// servedVersions returns the version in which the cluster serves each of Flux's resources.
func servedVersions(disco discovery.DiscoveryInterface) (map[schema.GroupResource]string, error) {
	groups, err := disco.ServerGroups()
	if err != nil {
		return nil, fmt.Errorf("ask the cluster for its kinds: %w", err)
	}
	there := make(map[string]bool)
	for _, g := range groups.Groups {
		for _, v := range g.Versions {
			there[v.GroupVersion] = true
		}
	}
	served := make(map[schema.GroupResource]string)
	listed := make(map[string]bool)
	for _, want := range fluxResources {
		for _, version := range fluxServed {
			gv := want.Group + "/" + version
			if !there[gv] || listed[gv] {
				continue
			}
			listed[gv] = true
			list, err := disco.ServerResourcesForGroupVersion(gv)
			if err != nil {
				return nil, fmt.Errorf("ask the cluster for the kinds of %s: %w", gv, err)
			}
			for _, r := range list.APIResources {
				gr := schema.GroupResource{Group: want.Group, Resource: r.Name}
				if _, better := served[gr]; !better {
					served[gr] = version
				}
			}
		}
	}
	return served, nil
}

// eachObject goes through all pages of a list.
func eachObject(ctx context.Context, resource dynamic.ResourceInterface, visit func(*unstructured.Unstructured) error) error {
	options := metav1.ListOptions{Limit: 500}
	for {
		page, err := resource.List(ctx, options)
		if err != nil {
			return err
		}
		for i := range page.Items {
			if err := visit(&page.Items[i]); err != nil {
				return err
			}
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return nil
		}
	}
}
