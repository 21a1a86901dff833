// Command sealedsecrets is the controller of sealed-secrets, upstream code, and
// what seals for it:
//
//	sealedsecrets controller --kubeconfig FILE --namespace NS --certificate FILE
//	sealedsecrets seal --certificate FILE --namespace NS <secret.yaml >sealed.yaml
//
// The controller keeps its key in NS, makes one if there is none, writes the
// certificate to FILE, and says "ready" when it can unseal. Upstream's own main
// runs in a pod only; what it does beside is left out: rotation, its HTTP server.
package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strconv"
	"time"
	"unsafe"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/bitnami/sealed-secrets/pkg/apis/sealedsecrets/v1alpha1"
	"github.com/bitnami/sealed-secrets/pkg/client/clientset/versioned"
	"github.com/bitnami/sealed-secrets/pkg/client/informers/externalversions"
	"github.com/bitnami/sealed-secrets/pkg/controller"
	"github.com/bitnami/sealed-secrets/pkg/crypto"
	"github.com/bitnami/sealed-secrets/pkg/kubeseal"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "sealedsecrets: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) < 2 {
		return errors.New("say controller or seal")
	}
	f := flag.NewFlagSet(os.Args[1], flag.ContinueOnError)
	kubeconfig := f.String("kubeconfig", "", "file that reaches the cluster")
	namespace := f.String("namespace", "default", "where the key is, or the secret")
	certificate := f.String("certificate", "", "file of the certificate")
	if err := f.Parse(os.Args[2:]); err != nil {
		return err
	}
	switch os.Args[1] {
	case "controller":
		if parent, err := strconv.Atoi(os.Getenv("HOIST_TESTENV_PARENT")); err == nil {
			go endWith(parent)
		}
		return control(*kubeconfig, *namespace, *certificate)
	case "seal":
		return seal(*certificate, *namespace)
	}
	return fmt.Errorf("unknown verb %q", os.Args[1])
}

func endWith(parent int) {
	for range time.Tick(500 * time.Millisecond) {
		if os.Getppid() != parent {
			os.Exit(0)
		}
	}
}

// control unseals until it is ended. The key comes to the controller as one that
// somebody else made (--watch-for-secrets upstream).
func control(kubeconfig, namespace, certificate string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	sealed, err := versioned.NewForConfig(config)
	if err != nil {
		return err
	}
	cert, err := key(client, namespace)
	if err != nil {
		return err
	}
	keys := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = keyLabel }))
	registry := controller.NewKeyRegistry(client, namespace, "sealed-secrets-key", controller.SealedSecretsKeyLabel, keySize)
	c, err := controller.NewController(client, sealed, externalversions.NewSharedInformerFactory(sealed, 0),
		informers.NewSharedInformerFactory(client, 0), keys, registry, 5, "CertNotBefore")
	if err != nil {
		return err
	}
	updateStatus(c)
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	stop := make(chan struct{})
	go c.Run(stop)
	if !cache.WaitForCacheSync(stop, keys.Core().V1().Secrets().Informer().HasSynced) {
		return errors.New("the keys cannot be read")
	}
	if err := os.WriteFile(certificate, cert, 0o644); err != nil {
		return err
	}
	fmt.Println("ready")
	select {}
}

// updateStatus sets what upstream sets by default, in a field that only its own
// main can reach: the conditions are what health is read from.
func updateStatus(c *controller.Controller) {
	f := reflect.ValueOf(c).Elem().FieldByName("updateStatus")
	*(*bool)(unsafe.Pointer(f.UnsafeAddr())) = true
}

const (
	keySize  = 2048
	keyLabel = controller.SealedSecretsKeyLabel + "=active"
)

// key returns the certificate of the key in the namespace, as PEM.
func key(client kubernetes.Interface, namespace string) ([]byte, error) {
	ctx := context.Background()
	secrets := client.CoreV1().Secrets(namespace)
	list, err := secrets.List(ctx, metav1.ListOptions{LabelSelector: keyLabel})
	if err != nil {
		return nil, err
	}
	if len(list.Items) > 0 {
		return list.Items[0].Data[v1.TLSCertKey], nil
	}
	private, cert, err := crypto.GeneratePrivateKeyAndCert(keySize, 10*365*24*time.Hour, "")
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	_, err = secrets.Create(ctx, &v1.Secret{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "sealed-secrets-key", Labels: map[string]string{controller.SealedSecretsKeyLabel: "active"}},
		Type:       v1.SecretTypeTLS,
		Data: map[string][]byte{
			v1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)}),
			v1.TLSCertKey:       text,
		},
	}, metav1.CreateOptions{})
	return text, err
}

// nowhere is a client configuration without a cluster: sealing needs none.
type nowhere string

func (nowhere) ClientConfig() (*rest.Config, error) { return nil, errors.New("there is no cluster") }
func (n nowhere) Namespace() (string, bool, error)  { return string(n), false, nil }

// seal is kubeseal with a certificate at hand.
func seal(certificate, namespace string) error {
	text, err := os.Open(certificate)
	if err != nil {
		return err
	}
	defer text.Close()
	public, err := kubeseal.ParseKey(text)
	if err != nil {
		return err
	}
	return kubeseal.Seal(nowhere(namespace), "yaml", os.Stdin, os.Stdout, scheme.Codecs, public, v1alpha1.StrictScope, false, "", "")
}
