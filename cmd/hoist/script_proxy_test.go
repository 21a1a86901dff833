package main

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"hoist/testenv/cluster"
	"hoist/testenv/proxy"
)

// scriptProxy stands before the Git server, the API server or the registry of a script.
type scriptProxy struct{ *proxy.Proxy }

const proxyUsage = "proxy git|cluster|registry [stall METHOD REGEXP | stalled | limit SECONDS | clear | writes N]"

// cmdProxy puts a proxy before a server and plays a fault:
//
//	proxy git                     $GITPROXY is the Git server behind a proxy
//	proxy cluster                 proxied.kubeconfig is the API server behind one
//	proxy registry                $REGISTRYPROXY is the registry behind one
//	proxy NAME limit SECONDS      every answer is 429 with Retry-After
//	proxy NAME stall METHOD REGEXP   requests of that kind get no answer
//	proxy NAME stalled            wait until there was one
//	proxy NAME clear              all is calm again
//	proxy NAME writes N           count the requests that could have changed something
func cmdProxy(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) > 0 && !neg, proxyUsage)
	w := worldOf(ts)
	p := w.proxies[args[0]]
	if p == nil {
		p = w.startProxy(ts, args[0])
	}
	verb := append(args[1:], "")[0]
	switch {
	case verb == "" && len(args) == 1:
	case verb == "stall" && len(args) == 4:
		p.Play(proxy.Rule{Method: args[2], URI: regexp.MustCompile(args[3]), Fault: proxy.Fault{Latency: time.Hour}})
	case verb == "limit" && len(args) == 3:
		p.Play(proxy.Rule{Fault: proxy.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {args[2]}}}})
	case verb == "stalled" && len(args) == 2:
		limit, cancel := context.WithTimeout(ctx(), waitLimit)
		defer cancel()
		_, err := p.Await(limit, func(r proxy.Request) bool { return r.Faulty })
		ts.Check(err)
	case verb == "clear" && len(args) == 2:
		p.Play()
	case verb == "writes" && len(args) == 3:
		want, err := strconv.Atoi(args[2])
		ts.Check(err)
		if n := p.Writes(); n != want {
			ts.Fatalf("%d writes went to the %s, want %d: %v", n, args[0], want, p.Requests())
		}
		if len(p.Requests()) == 0 {
			ts.Fatalf("no request at all went to the %s: the proxy is not in the way", args[0])
		}
	default:
		usage(ts, false, proxyUsage)
	}
}

func (w *world) startProxy(ts *testscript.TestScript, name string) *scriptProxy {
	var p *proxy.Proxy
	switch name {
	case "git":
		target, err := url.Parse(ts.Getenv("GIT"))
		ts.Check(err)
		p = proxy.New(target, http.DefaultTransport.(*http.Transport).Clone())
		ts.Check(p.Start())
		w.tell(ts, "GITPROXY", p.URL())
	case "registry":
		target, err := url.Parse(w.registry.URL())
		ts.Check(err)
		p = proxy.New(target, http.DefaultTransport.(*http.Transport).Clone())
		ts.Check(p.Start())
		w.tell(ts, "REGISTRYPROXY", p.Addr())
	case "cluster":
		p = w.proxyCluster(ts)
	default:
		usage(ts, false, proxyUsage)
	}
	w.env.Defer(func() { _ = p.Close() })
	w.proxies[name] = &scriptProxy{Proxy: p}
	return w.proxies[name]
}

func (w *world) proxyCluster(ts *testscript.TestScript) *proxy.Proxy {
	c, err := cluster.Open(w.cluster.kubeconfig)
	ts.Check(err)
	target, err := url.Parse(c.Server)
	ts.Check(err)
	transport, err := proxy.Transport(c.CAData)
	ts.Check(err)
	p := proxy.New(target, transport)
	ts.Check(p.StartTLS())
	ts.Check(p.Kubeconfig(ts.MkAbs("proxied.kubeconfig"), c.Kubeconfig))
	return p
}
