package reconcile

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// leftover reads an object that left the revision. One that we wrote down and did
// not get to create may be of a kind that the account may not even read, which is
// why: Hoist itself looks then whether it is there, or the entry would stay for ever.
func (e *Engine) leftover(ctx context.Context, r resource, en Entry) (*unstructured.Unstructured, error) {
	live, err := e.at(r, en.Namespace).Get(ctx, en.Name, metav1.GetOptions{})
	if en.UID != "" || !apierrors.IsForbidden(err) {
		return live, err
	}
	own := e.cluster.own.Resource(r.gvr)
	var seen error
	if r.namespaced {
		live, seen = own.Namespace(en.Namespace).Get(ctx, en.Name, metav1.GetOptions{})
	} else {
		live, seen = own.Get(ctx, en.Name, metav1.GetOptions{})
	}
	if seen != nil && !apierrors.IsNotFound(seen) {
		return nil, err
	}
	return live, seen
}
