package main

import (
	"errors"
	"net/url"
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	"hoist/testenv/registryserver"
)

// scriptRegistry is the registry of a script.
type scriptRegistry struct{ *registryserver.Server }

const registryUsage = "registry start basic|bearer|tls|client-cert, registry push IMAGE:TAG… [OPTION=VALUE…], registry tag IMAGE:TAG TAG…, " +
	"registry chart IMAGE:TAG…, registry delete IMAGE:TAG…, registry key NAME…, registry sign IMAGE:TAG… [key=NAME] [form=bundle|tag]"

// cmdRegistry is what the builders of images do. The registry is an open one
// unless `registry start` says otherwise.
func cmdRegistry(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) > 1 && !neg, registryUsage)
	w := worldOf(ts)
	switch args[0] {
	case "start":
		w.startRegistry(ts, args[1])
	case "push", "tag", "chart", "key", "sign":
		if w.registry == nil {
			w.startRegistry(ts, "open")
		}
		w.build(ts, args[0], args[1:])
	case "delete":
		for _, ref := range args[1:] {
			ts.Check(w.registry.Delete(ctx(), ref))
		}
	default:
		usage(ts, false, registryUsage)
	}
}

func (w *world) startRegistry(ts *testscript.TestScript, kind string) {
	o := registryserver.Options{Dir: ts.MkAbs(".registry")}
	switch kind {
	case "open":
	case "basic":
		o.Auth = registryserver.Basic
	case "bearer":
		o.Auth = registryserver.Bearer
		o.TokensByAddress = true
	case "tls":
		o.TLS = true
	case "client-cert":
		o.TLS, o.ClientCA = true, true
	default:
		usage(ts, false, registryUsage)
	}
	s, err := registryserver.Start(ctx(), o)
	ts.Check(err)
	w.env.Defer(func() { _ = s.Close() })
	w.registry = &scriptRegistry{s}
	w.tell(ts, "REGISTRY", s.Addr)
	if o.Auth != registryserver.Open {
		w.tell(ts, "PASSWORD", s.Password)
		w.write(ts, map[string][]byte{"registry-secret/.dockerconfigjson": s.DockerConfig()})
	}
	if o.Auth == registryserver.Bearer {
		tokens, err := url.Parse(s.TokenURL())
		ts.Check(err)
		w.tell(ts, "TOKENS", tokens.Host)
	}
	if o.TLS {
		ca, err := os.ReadFile(s.CAFile)
		ts.Check(err)
		w.write(ts, map[string][]byte{"registry-ca/ca.crt": ca})
	}
	if o.ClientCA {
		crt, err1 := os.ReadFile(s.ClientCert)
		key, err2 := os.ReadFile(s.ClientKey)
		ts.Check(errors.Join(err1, err2))
		w.write(ts, map[string][]byte{"registry-client/tls.crt": crt, "registry-client/tls.key": key})
	}
}
