package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// What the registry said about a pod's images is kept in the pod's annotations,
// where the Stages find it.
const (
	pullAnnotation    = "testenv.hoist/pull" // ok, missing
	messageAnnotation = "testenv.hoist/pull-message"
	imageIDAnnotation = "testenv.hoist/image-id." // + name of the container
)

const (
	pullRetry   = 3 * time.Second // how often a missing image is asked for again
	pullTimeout = 10 * time.Second
)

// resolveImages does the one part of a kubelet's work that a registry test
// needs: it asks the registry for the images of each scheduled pod, with the
// pod's pull secrets. Registries on loopback are asked over plain HTTP.
func resolveImages(ctx context.Context, client kubernetes.Interface) {
	var asking sync.Map // UIDs of the pods in flight
	check := func(obj any) {
		pod, ok := obj.(*corev1.Pod)
		if !ok || pod.Spec.NodeName == "" || pod.DeletionTimestamp != nil || pod.Annotations[pullAnnotation] == "ok" {
			return
		}
		if _, busy := asking.LoadOrStore(pod.UID, true); busy {
			return
		}
		go func() {
			defer asking.Delete(pod.UID)
			if err := annotate(ctx, client, pod); err != nil && ctx.Err() == nil {
				klog.Warningf("resolve images of %s/%s: %v", pod.Namespace, pod.Name, err)
			}
		}()
	}
	// The resync of the informer is the back-off for a missing image.
	factory := informers.NewSharedInformerFactory(client, pullRetry)
	_, err := factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    check,
		UpdateFunc: func(_, pod any) { check(pod) },
	})
	if err != nil {
		klog.Errorf("watch pods: %v", err)
		return
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
}

func annotate(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	notes := map[string]string{pullAnnotation: "ok"}
	secrets := pullSecrets(ctx, client, pod)
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		id, err := resolve(ctx, c.Image, secrets)
		if err != nil {
			notes[pullAnnotation], notes[messageAnnotation] = "missing", err.Error()
			continue
		}
		notes[imageIDAnnotation+c.Name] = id
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": notes}})
	if err != nil {
		return err
	}
	_, err = client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// resolve gives the imageID that a kubelet would report, NAME@DIGEST.
func resolve(ctx context.Context, image string, secrets authn.Keychain) (string, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return "", err
	}
	d, err := remote.Head(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(secrets))
	if err != nil { // a HEAD has no body that could say why
		full, err := remote.Get(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(secrets))
		if err != nil {
			return "", err
		}
		d = &full.Descriptor
	}
	return ref.Context().Name() + "@" + d.Digest.String(), nil
}

// secretKeychain holds the logins of a pod's pull secrets by registry host.
type secretKeychain map[string]authn.AuthConfig

func (k secretKeychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	if a, ok := k[r.RegistryStr()]; ok {
		return authn.FromConfig(a), nil
	}
	return authn.Anonymous, nil
}

// pullSecrets reads the secrets that the pod names; the ServiceAccount admission
// plugin has merged those of its account in. As with a kubelet, one that is not
// there or not readable is passed over.
func pullSecrets(ctx context.Context, client kubernetes.Interface, pod *corev1.Pod) secretKeychain {
	k := secretKeychain{}
	for _, ref := range pod.Spec.ImagePullSecrets {
		secret, err := client.CoreV1().Secrets(pod.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if err != nil {
			continue
		}
		var config struct {
			Auths map[string]struct{ Username, Password, Auth string }
		}
		if json.Unmarshal(secret.Data[corev1.DockerConfigJsonKey], &config) != nil {
			continue
		}
		for host, a := range config.Auths {
			if a.Username == "" {
				if b, err := base64.StdEncoding.DecodeString(a.Auth); err == nil {
					a.Username, a.Password, _ = strings.Cut(string(b), ":")
				}
			}
			host = strings.TrimPrefix(strings.TrimPrefix(host, "https://"), "http://")
			host, _, _ = strings.Cut(host, "/")
			k[host] = authn.AuthConfig{Username: a.Username, Password: a.Password}
		}
	}
	return k
}
