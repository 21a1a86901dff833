package main

import (
	"net/http"
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	"hoist/testenv/cluster"
)

// startFar starts a control plane beside the one that scripts share, with the
// script's namespace, and writes its kubeconfig to NAME.kubeconfig.
func (w *world) startFar(ts *testscript.TestScript, name string) {
	far, err := cluster.Start(ctx(), cluster.Options{})
	ts.Check(err)
	w.env.Defer(func() { _ = far.Stop() })
	body := map[string]any{"metadata": map[string]any{"name": w.cluster.namespace}}
	ts.Check(far.Do(ctx(), http.MethodPost, "/api/v1/namespaces", body, nil))
	c, err := connectScript(far.Kubeconfig, w.cluster.namespace)
	ts.Check(err)
	c.own = far
	w.far[name] = c
	text, err := os.ReadFile(far.Kubeconfig)
	ts.Check(err)
	w.write(ts, map[string][]byte{name + ".kubeconfig": text})
}

// onFar does a verb of cmdCluster on a control plane that startFar started.
func (w *world) onFar(ts *testscript.TestScript, neg bool, name string, args []string) {
	c := w.far[name]
	usage(ts, c != nil && len(args) > 0, clusterUsage)
	switch {
	case args[0] == "kill" && len(args) == 1:
		ts.Check(c.own.Kill())
	case args[0] == "restart" && len(args) == 1:
		ts.Check(c.own.Restart(ctx()))
	default:
		c.do(ts, neg, args)
	}
}
