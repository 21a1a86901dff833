package reconcile

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"hoist/bump"
)

// Sick is an object that an app asks to be healthy and that is not.
type Sick struct {
	Object bump.Object
	// Message says why, with what its pods say. It may be shown to everybody: it has
	// no values of Secrets, no credentials of URLs and no last words of a container.
	Message string
	Failed  bool     // it does not come back by itself
	Applied bool     // by this app; others are named in its healthChecks
	Images  []string // that the object names, wherever they stand in it
}

// Custom tells that the app applied an object of a kind that Kubernetes does not
// bring: an operator reads it, and what that does with an image need not be seen in it.
func (s Sick) Custom() bool {
	group, _, ok := strings.Cut(s.Object.APIVersion, "/")
	return s.Applied && ok && strings.Contains(group, ".") && !strings.HasSuffix(group, ".k8s.io")
}

// Sick looks at the objects whose health the app asks for, after the apply that
// r is the result of, and returns those that are not healthy now, in the order
// of their names. What the watches saw to be well is not asked again.
func (e *Engine) Sick(ctx context.Context, a App, r bump.Result) ([]Sick, error) {
	refs, err := e.awaited(ctx, a, r)
	if err != nil {
		return nil, err
	}
	var all []Sick
	judge, applied := a.judge(), map[key]bool{}
	for _, o := range r.Objects {
		applied[keyOf(o.Object)] = o.Action != bump.Deleted
	}
	for _, ref := range refs {
		live, err := e.at(ref.resource, ref.object.Namespace).Get(ctx, ref.object.Name, metav1.GetOptions{})
		s := Sick{Object: ref.object, Applied: applied[keyOf(ref.object)]}
		switch {
		case apierrors.IsNotFound(err):
			s.Message = "there is no such object"
			all = append(all, s)
			continue
		case err != nil:
			return nil, fmt.Errorf("look at %s: %w", ref.object, err)
		}
		h := judge.of(live)
		if h.status == current {
			continue
		}
		s.Message, s.Failed, s.Images = h.String(), h.status == status.FailedStatus, imagesIn(live.Object["spec"], nil)
		if pods := e.podTrouble(ctx, ref.object, inPublic); pods != "" {
			s.Message += ": " + pods
		}
		s.Message = e.hideSecrets(ctx, s.Message, secretsOf(live, r))
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Sick) int { return strings.Compare(a.Object.String(), b.Object.String()) })
	return all, nil
}

// imagesIn lists what stands under "image" anywhere below v, each once.
func imagesIn(v any, list []string) []string {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if image, ok := value.(string); ok && key == "image" && image != "" && !slices.Contains(list, image) {
				list = append(list, image)
			}
			list = imagesIn(value, list)
		}
	case []any:
		for _, item := range v {
			list = imagesIn(item, list)
		}
	}
	return list
}

// secretsOf names the Secrets whose values an object's message could hold: those
// of the app, and those that the object names.
func secretsOf(live *unstructured.Unstructured, r bump.Result) []bump.Object {
	var all []bump.Object
	for _, o := range r.Objects {
		if o.Object.Kind == "Secret" && o.Object.APIVersion == "v1" {
			all = append(all, o.Object)
		}
	}
	for _, name := range secretNames(live.Object["spec"], nil) {
		all = append(all, bump.Object{Namespace: live.GetNamespace(), Name: name})
	}
	return all
}

// secretNames lists the names of Secrets in a pod template or anything like it.
func secretNames(v any, list []string) []string {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			name, ok := value.(string)
			if key == "secretRef" || key == "secretKeyRef" || key == "secret" {
				ref, _ := value.(map[string]any)
				name, ok = ref["name"].(string)
			} else if key != "secretName" {
				ok = false
			}
			if ok {
				list = append(list, name)
			}
			list = secretNames(value, list)
		}
	case []any:
		for _, item := range v {
			list = secretNames(item, list)
		}
	}
	return list
}

var (
	secrets = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	// credential is what stands before the host of a URL.
	credential = regexp.MustCompile(`://[^\s/@]+@`)
)

// leastSecret is how short a value may be to be hidden: shorter ones are in every text.
const leastSecret = 4

// hideSecrets takes the values of Secrets out of text. A Secret that cannot be
// read has none that we know of.
func (e *Engine) hideSecrets(ctx context.Context, text string, of []bump.Object) string {
	for _, o := range of {
		live, err := e.client.Resource(secrets).Namespace(o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
		if err != nil {
			continue
		}
		values, _, _ := unstructured.NestedStringMap(live.Object, "data")
		for _, encoded := range values {
			plain, _ := base64.StdEncoding.DecodeString(encoded)
			for _, value := range append(bytes.Split(plain, []byte("\n")), []byte(encoded)) {
				if value = bytes.TrimSpace(value); len(value) >= leastSecret {
					text = strings.ReplaceAll(text, string(value), "***")
				}
			}
		}
	}
	return credential.ReplaceAllString(text, "://***@")
}
