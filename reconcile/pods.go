package reconcile

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	corev1 "k8s.io/api/core/v1"

	"hoist/bump"
)

// reasons tells of every object that is not healthy, one a line, with what its
// pods say where it has pods.
func (e *Engine) reasons(ctx context.Context, a App, v verdict) string {
	var lines []string
	if !v.failed {
		lines = append(lines, fmt.Sprintf("not healthy after %s", a.Within()))
	}
	for _, o := range sorted(v.pending) {
		line := fmt.Sprintf("%s: %s", o, v.pending[o])
		if s := e.podTrouble(ctx, o, trouble); s != "" {
			line += ": " + s
		}
		lines = append(lines, line)
	}
	if !v.failed && len(lines) > 1 {
		lines[1] = lines[0] + ": " + lines[1]
		lines = lines[1:]
	}
	return strings.Join(lines, "\n")
}

var pods = schema.GroupVersionResource{Version: "v1", Resource: "pods"}

// podTrouble says why the youngest pod that is not ready is not, in the words of
// trouble; empty when the object has no such pods, or they cannot be read.
func (e *Engine) podTrouble(ctx context.Context, o bump.Object, trouble func(*corev1.Pod) string) string {
	r, err := e.kinds.resource(ctx, schema.FromAPIVersionAndKind(o.APIVersion, o.Kind))
	if err != nil {
		return ""
	}
	live, err := e.at(r, o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
	if err != nil {
		return ""
	}
	fields, ok, _ := unstructured.NestedMap(live.Object, "spec", "selector")
	if _, labels := fields["matchLabels"]; !ok || !labels {
		return ""
	}
	var selector metav1.LabelSelector
	if runtime.DefaultUnstructuredConverter.FromUnstructured(fields, &selector) != nil {
		return ""
	}
	list, err := e.client.Resource(pods).Namespace(o.Namespace).List(ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(&selector)})
	if err != nil {
		return ""
	}
	var (
		found    string
		youngest metav1.Time
	)
	for _, item := range list.Items {
		var pod corev1.Pod
		if runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, &pod) != nil {
			continue
		}
		if s := trouble(&pod); s != "" && !pod.CreationTimestamp.Before(&youngest) {
			found, youngest = s, pod.CreationTimestamp
		}
	}
	return found
}

// trouble is what keeps a pod from being ready.
func trouble(pod *corev1.Pod) string {
	for _, c := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
		at := fmt.Sprintf("pod %s, container %s: ", pod.Name, c.Name)
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "PodInitializing" && c.State.Waiting.Reason != "ContainerCreating":
			return at + join(c.State.Waiting.Reason, c.State.Waiting.Message)
		case c.State.Terminated != nil && c.State.Terminated.ExitCode != 0:
			return at + join(fmt.Sprintf("%s, exit code %d", c.State.Terminated.Reason, c.State.Terminated.ExitCode), c.State.Terminated.Message)
		}
	}
	for _, c := range pod.Status.Conditions {
		if (c.Type == corev1.PodScheduled || c.Type == corev1.PodReady) && c.Status == corev1.ConditionFalse && c.Reason != "PodCompleted" {
			return fmt.Sprintf("pod %s: %s", pod.Name, join(c.Reason, c.Message))
		}
	}
	return ""
}

// inPublic is trouble without the last words of a container: those are the
// program's own, and may be anything.
func inPublic(pod *corev1.Pod) string {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range list {
			if t := list[i].State.Terminated; t != nil {
				t.Message = ""
			}
		}
	}
	return trouble(pod)
}

func join(reason, message string) string {
	if message == "" {
		return reason
	}
	return reason + ": " + strings.TrimSpace(message)
}
