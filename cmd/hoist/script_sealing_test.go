package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"hoist/testenv/unsealer"
)

const sealingUsage = "sealing start, sealing seal SECRET FILE [NAMESPACE]"

// cmdSealing is sealed-secrets, the real one:
//
//	sealing start                          its controller; comes after cluster use
//	sealing seal SECRET FILE [NAMESPACE]   what kubeseal makes of a file, for $NS or that namespace
func cmdSealing(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	usage(ts, !neg && len(args) > 0 && w.cluster != nil, sealingUsage)
	switch {
	case args[0] == "start" && len(args) == 1:
		dir := filepath.Join(w.env.WorkDir, ".sealing")
		ts.Check(os.MkdirAll(dir, 0o700))
		c, err := unsealer.Start(ctx(), w.cluster.kubeconfig, w.cluster.namespace, dir, os.Stderr)
		ts.Check(err)
		w.unsealer = c
		w.env.Defer(func() {
			c.Stop()
			// The next run of the script brings it under another app.
			definitions := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
			_ = w.cluster.client.Resource(definitions).Delete(ctx(), "sealedsecrets.bitnami.com", metav1.DeleteOptions{})
		})
	case args[0] == "seal" && len(args) >= 3 && w.unsealer != nil:
		namespace := strings.Join(append(args[3:], w.cluster.namespace)[:1], "")
		secret, err := os.ReadFile(ts.MkAbs(args[1]))
		ts.Check(err)
		sealed, err := w.unsealer.Seal(ctx(), secret, namespace)
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[2]), sealed, 0o644))
	default:
		usage(ts, false, sealingUsage)
	}
}
