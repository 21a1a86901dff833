package reconcile

import (
	"fmt"
	"testing/fstest"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

type treeOfFiles = fstest.MapFS

func (m *model) client(name string) dynamic.ResourceInterface {
	return m.reader.eng.client.Resource(modelKinds[name[0]].gvr).Namespace(m.apps[0].ns)
}

// parse is the object as a person would write it.
func (m *model) parse(name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(fmt.Appendf(nil, modelKinds[name[0]].text, name, "by hand"), &o.Object); err != nil {
		m.t.Fatal(err)
	}
	return o
}
