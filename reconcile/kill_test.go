package reconcile

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// K11–K16: the process ends before or after any of its writes. Whatever exists
// is in the inventory then, and the next engine brings the cluster to what Git
// says.
func TestKilledAtEveryWrite(t *testing.T) {
	old := apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1"), "c.yaml", configMap("c", "1"))
	now := apps("a.yaml", configMap("a", "2"), "d.yaml", configMap("d", "1"), "e.yaml", configMap("e", "1"), "web.yaml", deployment)
	for _, lost := range []string{"request", "answer"} {
		for n := 1; ; n++ {
			f := newField(t)
			f.apply(old)
			f.line.reset()
			writes := 0
			dead := false
			f.line.cut = func(r *http.Request) (bool, bool) {
				if dead {
					return true, false
				}
				if r.Method != http.MethodGet {
					writes++
				}
				dead = writes == n
				return dead && lost == "request", dead && lost == "answer"
			}
			_, err := f.try(now, f.head())
			at := fmt.Sprintf("%s %d lost", lost, n)
			f.line.reset()
			if !dead {
				if err != nil {
					t.Fatalf("%s: %v", at, err)
				}
				break // there was no n-th write
			}
			if err == nil {
				t.Errorf("%s: Apply succeeded on a dead line", at)
			}
			f.nothingUntracked(at)
			f.engine()
			if _, err := f.try(now, f.head()); err != nil {
				t.Errorf("%s: the next apply: %v", at, err)
			}
			if got := f.recorded(); got != "ConfigMap/a ConfigMap/d ConfigMap/e Deployment/web" {
				t.Errorf("%s: inventory = %s", at, got)
			}
			if got := f.owned(); got != "a d e" {
				t.Errorf("%s: config maps of the app = %s, want a d e", at, got)
			}
			if f.value("a") != "2" {
				t.Errorf("%s: a = %q, want 2", at, f.value("a"))
			}
		}
	}
}

// owned lists the config maps in the namespace with our mark.
func (f *field) owned() string {
	f.t.Helper()
	list, err := f.eng.client.Resource(configMaps).Namespace(f.ns).List(f.t.Context(), metav1.ListOptions{LabelSelector: labelApp + "=" + f.app.Name.Name})
	if err != nil {
		f.t.Fatal(err)
	}
	var names []string
	for _, o := range list.Items {
		names = append(names, o.GetName())
	}
	return strings.Join(names, " ")
}

func (f *field) nothingUntracked(at string) {
	f.t.Helper()
	recorded := " " + f.recorded() + " "
	for name := range strings.FieldsSeq(f.owned()) {
		if !strings.Contains(recorded, "ConfigMap/"+name+" ") {
			f.t.Errorf("%s: config map %s exists and is not in the inventory:%s", at, name, recorded)
		}
	}
}
