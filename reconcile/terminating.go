package reconcile

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"hoist/bump"
)

// gathered joins the errors of targets. Where a namespace is being deleted every
// object in it is refused alike, and nothing but its end helps: that is told once
// for each namespace (C11).
func gathered(errs []error, of func(i int) *target) error {
	var all []error
	waiting, place := map[string]int{}, map[string]int{}
	first := map[string]*target{}
	for i, err := range errs {
		if !terminating(err) {
			all = append(all, err)
			continue
		}
		namespace := of(i).object.Namespace
		if waiting[namespace]++; waiting[namespace] == 1 {
			first[namespace], place[namespace] = of(i), len(all)
			all = append(all, err)
		}
	}
	for namespace, n := range waiting {
		t := first[namespace]
		all[place[namespace]] = fmt.Errorf("namespace %s is being deleted: until it is gone nothing can be created in it (%d objects wait, the first is %s: %s); tried again by itself",
			namespace, n, t.where(), t.object)
	}
	return errors.Join(all...)
}

// terminating recognizes that an object was refused because its namespace is being deleted.
func terminating(err error) bool {
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}

// homeless forgets the namespace of an object that was refused because there is
// no such namespace: if it is of the same app it was deleted behind our back, and
// is to be brought before the object at the next try.
func (p *past) homeless(o bump.Object, err error) {
	var status apierrors.APIStatus
	if apierrors.IsNotFound(err) && errors.As(err, &status) && status.Status().Details != nil && status.Status().Details.Kind == "namespaces" {
		p.forget(key{kind: "Namespace", name: o.Namespace})
	}
}
