package scanner

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"hoist/bump"
)

// forwarder is a proxy: CONNECT for https, absolute URLs for http. Every name
// leads to target. It wants a password where it has one.
type forwarder struct {
	target, password string

	mu    sync.Mutex
	asked []string
}

func (f *forwarder) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.asked...)
}

func (f *forwarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asked = append(f.asked, r.Method+" "+r.Host)
	f.mu.Unlock()
	if f.password != "" {
		given := &http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
		if _, password, _ := given.BasicAuth(); password != f.password {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
	}
	server, err := net.Dial("tcp", f.target)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer server.Close()
	client, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	if r.Method == http.MethodConnect {
		io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
	} else {
		r.Header.Del("Proxy-Authorization")
		r.Close = true
		r.Write(server)
	}
	join(client, buffered.Reader, server)
}

// join carries bytes both ways until one side ends.
func join(client net.Conn, fromClient io.Reader, server net.Conn) {
	done := make(chan struct{})
	go func() {
		io.Copy(server, fromClient)
		server.Close()
		close(done)
	}()
	io.Copy(client, server)
	client.Close()
	<-done
}

// socks serves SOCKS 5 (RFC 1928, RFC 1929) with a user and a password; every
// name leads to target. It returns its address and what it was asked for.
func socks(t *testing.T, target, password string) (address string, asked func() []string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var names []string
	var open sync.WaitGroup
	serveOne := func(c net.Conn) {
		defer c.Close()
		r := bufio.NewReader(c)
		block := func() string { // a length and as many bytes
			n, _ := r.ReadByte()
			text := make([]byte, n)
			io.ReadFull(r, text)
			return string(text)
		}
		r.Discard(1)
		block()
		c.Write([]byte{5, 2})
		r.Discard(1)
		block()
		if block() != password {
			c.Write([]byte{1, 1})
			return
		}
		c.Write([]byte{1, 0})
		r.Discard(4) // version, CONNECT, reserved, domain name
		name := block()
		port := make([]byte, 2)
		io.ReadFull(r, port)
		mu.Lock()
		names = append(names, name)
		mu.Unlock()
		server, err := net.Dial("tcp", target)
		if err != nil {
			c.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0})
			return
		}
		defer server.Close()
		c.Write(binary.BigEndian.AppendUint16([]byte{5, 0, 0, 1, 0, 0, 0, 0}, 0))
		join(c, r, server)
	}
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { serveOne(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		open.Wait()
	})
	return l.Addr().String(), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), names...)
	}
}

// secureRegistry serves tags over TLS for the name example.com.
func secureRegistry(t *testing.T) (address string, src Source) {
	t.Helper()
	server := httptest.NewTLSServer(&tagList{tags: []string{"1.0"}})
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), Source{
		Image: Image{Image: "example.com/acme/web"},
		Certs: secretOf(map[string]string{"ca.crt": pemOf(server.Certificate())}),
	}
}

func clearProxies(t *testing.T) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"} {
		t.Setenv(name, "")
		t.Setenv(strings.ToLower(name), "")
	}
}

func TestProxyOfTheEnvironment(t *testing.T) {
	registry, src := secureRegistry(t)
	clearProxies(t)
	f := &forwarder{target: registry, password: "s3cret"}
	t.Setenv("HTTPS_PROXY", "http://bot:s3cret@"+serve(t, f))
	s := newScanner(t, Options{})
	mustScan(t, s, src)
	if got := strings.Join(f.seen(), ", "); got != "CONNECT example.com:443" {
		t.Errorf("the proxy was asked for %q, want CONNECT example.com:443", got)
	}
	s.Close()

	t.Setenv("NO_PROXY", "example.com")
	direct := newScanner(t, Options{})
	direct.dial = (&pipeNet{}).dial
	scanError(t, direct, src, "nobody listens at example.com:443")

	plainList := serve(t, &tagList{tags: []string{"1.0"}})
	t.Setenv("NO_PROXY", "")
	f = &forwarder{target: plainList}
	t.Setenv("HTTP_PROXY", "http://"+serve(t, f))
	s = newScanner(t, Options{})
	mustScan(t, s, plain("plain.example", "acme/web"))
	if got := f.seen(); len(got) == 0 || got[0] != "GET plain.example" {
		t.Errorf("the proxy was asked for %q, want GET plain.example", got)
	}
	s.Close()

	address, asked := socks(t, registry, "s3cret")
	t.Setenv("HTTPS_PROXY", "socks5://bot:s3cret@"+address)
	s = newScanner(t, Options{})
	mustScan(t, s, src)
	if got := strings.Join(asked(), ", "); got != "example.com" {
		t.Errorf("the SOCKS server was asked for %q, want example.com", got)
	}
	s.Close()

	t.Setenv("HTTPS_PROXY", "http://bot:s3cret@[nonsense")
	if err := scanError(t, newScanner(t, Options{}), src, "HTTPS_PROXY or HTTP_PROXY is not the address of a proxy"); strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%v shows the password", err)
	}
}

// An image's own proxy serves that image and no other, and what the proxy does
// is not blamed on the registry.
func TestProxyOfAnImage(t *testing.T) {
	registry, direct := secureRegistry(t)
	clearProxies(t)
	through := func(keys map[string]string) Source {
		src := direct
		src.Image.ProxySecretRef = &bump.LocalRef{Name: "proxy"}
		src.Proxy = secretOf(keys)
		return src
	}
	f := &forwarder{target: registry, password: "s3cret"}
	address := serve(t, f)
	socksAddress, asked := socks(t, registry, "s3cret")
	s := newScanner(t, Options{})
	mustScan(t, s, through(map[string]string{"address": "http://" + address + "\n", "username": "bot", "password": "s3cret\n"}))
	mustScan(t, s, through(map[string]string{"address": "socks5://" + socksAddress, "username": "bot", "password": "s3cret"}))
	if n := len(f.seen()); n != 1 || len(asked()) != 1 {
		t.Errorf("%d and %d connections through the proxies, want one each", n, len(asked()))
	}
	for _, c := range []struct {
		keys  map[string]string
		parts []string
	}{
		{map[string]string{"address": "http://" + address, "username": "bot", "password": "wr0ng"}, []string{"the proxy " + address + " answers 407 proxy authentication required: give it username and password"}},
		{map[string]string{"address": "socks5://" + socksAddress, "username": "bot", "password": "wr0ng"}, []string{"the proxy " + socksAddress + " does not let through to example.com"}},
		{map[string]string{"address": "http://127.0.0.1:1", "username": "bot", "password": "wr0ng"}, []string{"the proxy 127.0.0.1:1 does not let through to example.com", "refused"}},
		{map[string]string{"address": "bot:wr0ng@proxy.example"}, []string{"the address in the proxy secret is not one of a proxy"}},
		{map[string]string{"address": "ftp://bot:wr0ng@proxy.example"}, []string{"the address in the proxy secret is not one of a proxy"}},
		{map[string]string{"username": "bot", "password": "wr0ng"}, []string{"the proxy secret has no key address"}},
		{map[string]string{"address": "http://" + address, "password": "wr0ng"}, []string{"a password and no username"}},
	} {
		if err := scanError(t, s, through(c.keys), c.parts...); strings.Contains(err.Error(), "wr0ng") {
			t.Errorf("%v shows the password", err)
		}
	}
	for _, h := range s.Hosts() {
		if h.Paused() {
			t.Errorf("%+v, want no host left alone for a proxy", h)
		}
	}
}
