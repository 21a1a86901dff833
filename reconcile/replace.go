package reconcile

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/rand"
)

// How long the old object may take to go, and how often its successor is tried: a
// quota counts the old one for a moment after it went.
const (
	maxGoing    = 2 * time.Minute
	creations   = 6
	firstRepeat = 200 * time.Millisecond
)

// replace deletes an object and creates it anew from the manifest: after its
// successor passed a dry run, and with the object's UID as condition. The
// inventory names it all the while, so that a kill between the two leaves an
// object that the next pass creates.
func (e *Engine) replace(ctx context.Context, t *target, why *immutableError) (*unstructured.Unstructured, error) {
	live := why.live
	if live.GetDeletionTimestamp() == nil {
		if err := e.rehearseReplacement(ctx, t, why); err != nil {
			return nil, err
		}
		uid, how := live.GetUID(), propagation(t)
		err := e.at(t.resource, t.object.Namespace).Delete(ctx, t.object.Name, metav1.DeleteOptions{
			PropagationPolicy: &how, Preconditions: &metav1.Preconditions{UID: &uid}})
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("delete it to create it anew: %w", err)
		}
		e.log.Info("object deleted to be created anew", zap.Stringer("object", t.object), zap.String("file", t.File), zap.String("reason", t.hide(why.fields+" cannot be changed: "+why.differ)))
	}
	if err := e.gone(ctx, t, live); err != nil {
		return nil, err
	}
	pause := firstRepeat
	for tries := 1; ; tries++ {
		after, err := e.put(ctx, t, nil)
		if err == nil {
			return after, nil
		}
		if tries < creations && paused(ctx, pause) {
			pause *= 2
			continue
		}
		return nil, fmt.Errorf("it was deleted to be created anew, and is not there now; every pass tries again: %w", err)
	}
}

// propagation is how an object goes: one whose pods have names of their own, or do
// not stop by themselves, takes them with it before its successor comes.
func propagation(t *target) metav1.DeletionPropagation {
	switch t.object.Kind {
	case "StatefulSet", "Job":
		return metav1.DeletePropagationForeground
	}
	return metav1.DeletePropagationBackground
}

// gone waits until an object is no more.
func (e *Engine) gone(ctx context.Context, t *target, old *unstructured.Unstructured) error {
	until := time.Now().Add(maxGoing)
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		live, err := e.read(ctx, t)
		switch {
		case err != nil:
			return err
		case live == nil || live.GetUID() != old.GetUID():
			return nil
		case time.Now().After(until):
			return fmt.Errorf("it is being deleted to be created anew, and is still there after %s: %s", maxGoing, keepers(live))
		}
		if !paused(ctx, pause) {
			return fmt.Errorf("it is being deleted to be created anew, and still there: %s", keepers(live))
		}
	}
}

// keepers names what keeps an object that is being deleted.
func keepers(live *unstructured.Unstructured) string {
	if f := live.GetFinalizers(); len(f) > 0 {
		return "it waits for its finalizers " + strings.Join(f, ", ")
	}
	return "nothing is known to keep it"
}

// paused waits, and returns false when ctx ends before.
func paused(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// rehearseReplacement asks the API server whether it would create the manifest, by
// a dry run under another name: its own is taken. That shows what validation and
// admission say; not what they would say to this very name, and not whether a quota
// has room.
func (e *Engine) rehearseReplacement(ctx context.Context, t *target, why *immutableError) error {
	double := t.whole()
	understudy(double)
	_, err := e.at(t.resource, t.object.Namespace).Create(ctx, double, metav1.CreateOptions{FieldManager: e.manager, DryRun: []string{metav1.DryRunAll}})
	switch {
	case err == nil, undryable(err):
		return nil
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota"):
		return nil // the object makes room for its successor
	}
	return fmt.Errorf("%s cannot be changed once it is set, so it has to be deleted and created anew, and stays, because what would be created is refused: %w", why.fields, t.discreet(err))
}

// understudy gives a manifest a name that is free, and takes out of a Service what
// its predecessor may hold until it goes: an address and ports.
func understudy(o *unstructured.Unstructured) {
	name := o.GetName()
	if o.GroupVersionKind().GroupKind() == crdKind { // which is named by what it defines
		group, _, _ := unstructured.NestedString(o.Object, "spec", "group")
		_ = unstructured.SetNestedField(o.Object, "dry-run."+group, "spec", "group")
		o.SetName(strings.TrimSuffix(name, group) + "dry-run." + group)
		return
	}
	o.SetName(strings.Trim(name[:min(len(name), 40)], "-.") + "-" + rand.String(5))
	if o.GetKind() != "Service" {
		return
	}
	if ip, _, _ := unstructured.NestedString(o.Object, "spec", "clusterIP"); ip != "None" && ip != "" {
		unstructured.RemoveNestedField(o.Object, "spec", "clusterIP")
		unstructured.RemoveNestedField(o.Object, "spec", "clusterIPs")
	}
	unstructured.RemoveNestedField(o.Object, "spec", "healthCheckNodePort")
	ports, _, _ := unstructured.NestedSlice(o.Object, "spec", "ports")
	for _, p := range ports {
		if p, ok := p.(map[string]any); ok {
			delete(p, "nodePort")
		}
	}
	if ports != nil {
		_ = unstructured.SetNestedSlice(o.Object, ports, "spec", "ports")
	}
}

// undryable recognizes the answer for an object that a webhook is asked about
// which does not know dry runs.
func undryable(err error) bool {
	return apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "does not support dry run")
}
