package scanner

import (
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hoist/bump"
)

// R1: a host that asks for a pause in either spelling is left alone that long,
// other hosts are not, and afterwards it is scanned again.
func TestR1RetryAfter(t *testing.T) {
	for _, spelling := range []func() string{
		func() string { return "120" },
		func() string { return time.Now().Add(2 * time.Minute).UTC().Format(http.TimeFormat) },
	} {
		synctest.Test(t, func(t *testing.T) {
			var busy atomic.Bool
			var asked atomic.Int32
			busy.Store(true)
			lists := &tagList{tags: []string{"1.0"}}
			var network pipeNet
			network.serve(t, "busy.example:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				if busy.Load() {
					w.Header().Set("Retry-After", spelling())
					w.WriteHeader(http.StatusTooManyRequests)
					return
				}
				lists.ServeHTTP(w, r)
			}))
			network.serve(t, "calm.example:80", lists)
			s := newScanner(t, Options{})
			s.dial = network.dial
			src := plain("busy.example", "acme/web")

			began := time.Now()
			scanError(t, s, src, "scan busy.example/acme/web: ")
			n := asked.Load()
			err := scanError(t, s, plain("busy.example", "acme/api"), "busy.example is left alone until", "429")
			var paused *PausedError
			if !errors.As(err, &paused) || paused.Until.Sub(began) < 119*time.Second || paused.Until.Sub(began) > 135*time.Second {
				t.Errorf("second scan: %v, want a PausedError about 120 s ahead of %v", err, began)
			}
			if asked.Load() != n {
				t.Errorf("%d requests during the pause, want none", asked.Load()-n)
			}
			mustScan(t, s, plain("calm.example", "acme/web"))
			busy.Store(false)
			time.Sleep(time.Until(paused.Until))
			mustScan(t, s, src)
		})
	}
}

// R1: nobody is believed who asks for a year.
func TestR1RetryAfterIsCapped(t *testing.T) {
	now := time.Now()
	g := gate{first: firstPause, most: longPause, now: func() time.Time { return now }}
	g.pause(365*24*time.Hour, "x")
	if got := g.closed().Until.Sub(now); got < longestAsk || got > longestAsk*11/10+1 {
		t.Errorf("pause of %v, want %v and a tenth at most", got, longestAsk)
	}
}

// R1: a short pause in the middle of a list is sat out.
func TestR1ShortPauseMidScan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := &tagList{tags: numbered(300), pageMost: 100}
		var once atomic.Bool
		var network pipeNet
		network.serve(t, "reg.example:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("last") && once.CompareAndSwap(false, true) {
				w.Header().Set("Retry-After", "3")
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			list.ServeHTTP(w, r)
		}))
		s := newScanner(t, Options{})
		s.dial = network.dial
		began := time.Now()
		if tags := mustScan(t, s, plain("reg.example", "acme/web")); len(tags.List) != 300 {
			t.Errorf("got %d tags, want 300", len(tags.List))
		}
		if took := time.Since(began); took < 3*time.Second {
			t.Errorf("took %v, want the 3 s that the registry asked for", took)
		}
	})
}

// R2, R4: failures without a word of advice are met with longer and longer
// pauses, up to a quarter of an hour; the cause is told; afterwards all is well.
func TestR2R4BackOff(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout} {
		synctest.Test(t, func(t *testing.T) {
			var healthy atomic.Bool
			var asked atomic.Int32
			list := &tagList{tags: []string{"1.0"}}
			var network pipeNet
			network.serve(t, "reg.example:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v2/" && !healthy.Load() {
					asked.Add(1)
					w.WriteHeader(status)
					return
				}
				list.ServeHTTP(w, r)
			}))
			s := newScanner(t, Options{})
			s.dial = network.dial
			src := plain("reg.example", "acme/web")

			var last time.Duration
			for n := range 12 {
				asked.Store(0)
				scanError(t, s, src, fmt.Sprint(status))
				if asked.Load() > tries {
					t.Fatalf("%d: %d requests in one scan, want at most %d", status, asked.Load(), tries)
				}
				shut := s.hosts["reg.example"].gate.closed()
				if shut == nil {
					t.Fatalf("%d: no pause after failure %d", status, n+1)
				}
				pause := time.Until(shut.Until)
				if pause < last && last < longPause {
					t.Errorf("%d: pause %d is %v, shorter than %v before", status, n+1, pause, last)
				}
				last = pause
				time.Sleep(pause + time.Second)
			}
			if last < longPause || last > longPause*11/10 {
				t.Errorf("%d: the pause grew to %v, want %v and a tenth at most", status, last, longPause)
			}
			healthy.Store(true)
			mustScan(t, s, src)
			healthy.Store(false)
			scanError(t, s, src)
			if pause := time.Until(s.hosts["reg.example"].gate.closed().Until); pause > 2*firstPause {
				t.Errorf("%d: the first pause after a success is %v, want about %v", status, pause, firstPause)
			}
		})
	}
}

// R4: a hiccup is got over within one scan.
func TestR4Hiccup(t *testing.T) {
	list := &tagList{tags: []string{"1.0"}}
	var asked atomic.Int32
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" && asked.Add(1) < tries {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		list.ServeHTTP(w, r)
	}))
	mustScan(t, newScanner(t, Options{}), plain(address, "acme/web"))
}

// R5: a body that drips ends with the scan's own timeout.
func TestR5Drip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network pipeNet
		network.serve(t, "slow.example:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" {
				return
			}
			io.WriteString(w, `{"tags":[`)
			for r.Context().Err() == nil {
				io.WriteString(w, `"1.0",`)
				w.(http.Flusher).Flush()
				sleep(r.Context(), time.Second)
			}
		}))
		s := newScanner(t, Options{})
		s.dial = network.dial
		src := plain("slow.example", "acme/web")
		src.Image.Timeout = bump.Duration(7 * time.Second)
		began := time.Now()
		scanError(t, s, src, "scan slow.example/acme/web: no complete answer from slow.example within 7s")
		if took := time.Since(began); took > 8*time.Second {
			t.Errorf("took %v, want 7s", took)
		}
	})
}

// R6: a host that takes connections and never speaks TLS is given up after ten
// seconds, and the images of another host do not wait for it.
func TestR6NoHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network pipeNet
		mute := make(chan net.Conn, 100)
		network.listeners = map[string]chan net.Conn{"mute.example:443": mute}
		network.serve(t, "calm.example:80", &tagList{tags: []string{"1.0"}})
		s := newScanner(t, Options{})
		s.dial = network.dial
		ended := make(chan time.Duration)
		began := time.Now()
		for range 8 {
			go func() {
				_, err := s.Scan(t.Context(), Source{Image: Image{Image: "mute.example/acme/web"}}, "once")
				if err == nil {
					t.Error("a mute host was scanned")
				}
				ended <- time.Since(began)
			}()
		}
		synctest.Wait()
		mustScan(t, s, plain("calm.example", "acme/web"))
		if took := time.Since(began); took > time.Second {
			t.Errorf("the other host waited %v", took)
		}
		if took := <-ended; took > tlsTimeout {
			t.Errorf("given up after %v, want %v", took, tlsTimeout)
		}
		for range 7 {
			<-ended
		}
		for len(mute) > 0 {
			(<-mute).Close()
		}
	})
}

// R7: half a list is no list.
func TestR7BrokenOff(t *testing.T) {
	whole := &tagList{tags: numbered(200), pageMost: 100}
	for name, second := range map[string]http.HandlerFunc{
		"truncated": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"name":"x","tags":["9.0","9.`) },
		"too short": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "5000")
			io.WriteString(w, `{"name":"x","tags":["9.0"]}`)
		},
		"reset":      func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
		"empty":      func(w http.ResponseWriter, r *http.Request) {},
		"web page":   func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>log in</html>") },
		"other JSON": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"status":"ok"}`) },
		"error 200":  func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"errors":[{"code":"UNKNOWN"}]}`) },
		"gone":       func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotFound) },
	} {
		address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("last") {
				second(w, r)
				return
			}
			whole.ServeHTTP(w, r)
		}))
		t.Run(name, func(t *testing.T) { scanError(t, newScanner(t, Options{}), plain(address, "acme/web")) })
	}
}

// links serves pages whose next link is what next says.
func links(next func(r *http.Request) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if link := next(r); link != "" && r.URL.Path != "/v2/" {
			w.Header().Set("Link", "<"+link+`>; rel="next"`)
		}
		writeTags(w, []string{"1.0"})
	})
}

// R9: a hundred pages are read whole, each once, within the bounds that are the
// default. The time and the memory that it takes are shown in bench/scans.
func TestR9HundredPages(t *testing.T) {
	list := &tagList{tags: numbered(100_000)}
	tags := mustScan(t, newScanner(t, Options{}), plain(serve(t, list), "a/b"))
	if !slices.Equal(tags.List, list.tags) || list.lists() != 100 {
		t.Errorf("got %d tags in %d requests, want 100000 in 100", len(tags.List), list.lists())
	}
}

// R10: pages that lead in a circle are noticed, pages without end are bounded.
func TestR10Loops(t *testing.T) {
	self := links(func(r *http.Request) string { return r.URL.String() })
	scanError(t, newScanner(t, Options{}), plain(serve(t, self), "a/b"), "page 1 leads back")
	pair := links(func(r *http.Request) string {
		if r.URL.Query().Get("last") == "a" {
			return "/v2/a/b/tags/list?last=b"
		}
		return "/v2/a/b/tags/list?last=a"
	})
	scanError(t, newScanner(t, Options{}), plain(serve(t, pair), "a/b"), "page 3 leads back")
	var n atomic.Int32
	endless := links(func(r *http.Request) string { return fmt.Sprintf("/v2/a/b/tags/list?last=%d", n.Add(1)) })
	scanError(t, newScanner(t, Options{MaxPages: 20}), plain(serve(t, endless), "a/b"), "more than 20 pages")
	scanError(t, newScanner(t, Options{MaxTags: 5}), plain(serve(t, &tagList{tags: numbered(6)}), "a/b"), "more than 5 tags")
}

// R11: a registry may only link to its own pages.
func TestR11ForeignLink(t *testing.T) {
	var foreign atomic.Int32
	other := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { foreign.Add(1) }))
	for _, link := range []string{"http://" + other + "/v2/a/b/tags/list", "//" + other + "/v2/a/b/tags/list", "ftp://x/y", "http://user:pw@" + other + "/"} {
		address := serve(t, links(func(*http.Request) string { return link }))
		err := scanError(t, newScanner(t, Options{}), plain(address, "a/b"), "a registry may only link to its own pages")
		if strings.Contains(err.Error(), "pw") {
			t.Errorf("%v shows a password", err)
		}
	}
	for _, prefix := range []string{"https://", "http://user:pw@"} {
		var address string
		address = serve(t, links(func(*http.Request) string { return prefix + address + "/v2/a/b/tags/list?last=1" }))
		scanError(t, newScanner(t, Options{}), plain(address, "a/b"), "a registry may only link to its own pages")
	}
	if foreign.Load() > 0 {
		t.Errorf("the other host was asked %d times", foreign.Load())
	}
}

// R13: credentials stay with the host they were written for.
func TestR13RedirectElsewhere(t *testing.T) {
	list := &tagList{tags: []string{"1.0"}}
	var leaked atomic.Bool
	other := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
			leaked.Store(true)
		}
		list.ServeHTTP(w, r)
	}))
	var authorized atomic.Int32
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != "alice" || pass != "s3cret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		authorized.Add(1)
		http.Redirect(w, r, "http://"+other+r.URL.String(), http.StatusTemporaryRedirect)
	}))
	mustScan(t, newScanner(t, Options{}), with(plain(address, "acme/web"), "alice", "s3cret"))
	if leaked.Load() || authorized.Load() == 0 {
		t.Errorf("credentials at the other host: %t; at their own %d times", leaked.Load(), authorized.Load())
	}
}

// R26: what a small answer unpacks to is bounded, and so are headers.
func TestR26Bomb(t *testing.T) {
	bomb := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		io.WriteString(z, `{"tags":["`)
		for range 8 {
			if _, err := z.Write(slices.Repeat([]byte("a"), 1<<20)); err != nil {
				return
			}
		}
		z.Close()
	}
	list := &tagList{}
	tagsOnly := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			list.ServeHTTP(w, r)
			return
		}
		bomb(w, r)
	}))
	scanError(t, newScanner(t, Options{MaxPageBytes: 1 << 20}), plain(tagsOnly, "a/b"), "larger than 1048576 bytes")
	headers := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X", strings.Repeat("x", headerBytes+1))
	}))
	scanError(t, newScanner(t, Options{}), plain(headers, "a/b"), "headers exceeded")
}

// R24: TLS that does not hold is an error, and never a reason for plain http.
func TestR24TLS(t *testing.T) {
	list := &tagList{tags: []string{"1.0"}}
	server := httptest.NewUnstartedServer(list)
	server.Config.ErrorLog = discard
	server.StartTLS()
	t.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	src := Source{Image: Image{Image: address + "/acme/web"}}
	s := newScanner(t, Options{})
	scanError(t, s, src, "certificate of an unknown authority", "ca.crt")

	good := src
	good.Certs = secretOf(map[string]string{"ca.crt": pemOf(server.Certificate())})
	if tags := mustScan(t, s, good); len(tags.List) != 1 {
		t.Errorf("with ca.crt: %q", tags.List)
	}
	wrongHost := Source{Image: Image{Image: strings.Replace(address, "127.0.0.1", "localhost", 1) + "/acme/web"}, Certs: good.Certs}
	scanError(t, newScanner(t, Options{}), wrongHost, "the certificate of localhost", "is not valid for that name, but for example.com", "name the image so")
	bad := src
	bad.Certs = secretOf(map[string]string{"ca.crt": "rubbish"})
	scanError(t, newScanner(t, Options{}), bad, "ca.crt of the certificate secret holds no certificate")
}

// R24: without insecure: true plain http is not spoken, not even to localhost,
// where go-containerregistry would; with it, https is not.
func TestR24NoFallback(t *testing.T) {
	var asked atomic.Int32
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		writeTags(w, []string{"1.0"})
	}))
	scanError(t, newScanner(t, Options{}), Source{Image: Image{Image: address + "/acme/web"}}, "speaks plain http: set insecure: true")
	if asked.Load() > 0 {
		t.Errorf("%d requests over plain http", asked.Load())
	}

	var network pipeNet
	var dialled []string
	s := newScanner(t, Options{})
	s.dial = func(ctx context.Context, n, address string) (net.Conn, error) {
		dialled = append(dialled, address)
		return network.dial(ctx, n, address)
	}
	scanError(t, s, plain("reg.example", "acme/web"), "nobody listens")
	if slices.Contains(dialled, "reg.example:443") {
		t.Errorf("dialled %q: insecure means plain http and nothing but", dialled)
	}
}

// pairFor makes a certificate that signs itself, of loopback and of the names,
// valid between two times from now.
func pairFor(t *testing.T, from, to time.Duration, names ...string) (cert tls.Certificate, certPEM, keyPEM string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: names, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err1 := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	secret, err2 := x509.MarshalPKCS8PrivateKey(key)
	certPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	keyPEM = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	cert, err3 := tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	return cert, certPEM, keyPEM
}

func serveTLS(t *testing.T, h http.Handler, config *tls.Config) string {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = discard
	server.TLS = config
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// R24: a certificate that ran out is an error that says when, also where its
// authority is known.
func TestR24Expired(t *testing.T) {
	cert, certPEM, _ := pairFor(t, -2*time.Hour, -time.Hour)
	address := serveTLS(t, &tagList{tags: []string{"1.0"}}, &tls.Config{Certificates: []tls.Certificate{cert}})
	src := Source{Image: Image{Image: address + "/acme/web"}, Certs: secretOf(map[string]string{"ca.crt": certPEM})}
	scanError(t, newScanner(t, Options{}), src, "the certificate of "+address+" is valid from ", "which is not now: have it renewed, or put the clock here right")
}

// R24: over HTTP/2 the alert that ends the handshake may be lost on the way. The
// message says what to do all the same.
func TestR24ClientCertificateOverHTTP2(t *testing.T) {
	pair, pem, _ := pairFor(t, -time.Hour, time.Hour)
	server := httptest.NewUnstartedServer(&tagList{tags: []string{"1.0"}})
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert}
	server.Config.ErrorLog = discard
	server.StartTLS()
	t.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	src := Source{Image: Image{Image: address + "/acme/web"}, Certs: secretOf(map[string]string{"ca.crt": pem})}
	for range 20 {
		scanError(t, newScanner(t, Options{}), src, address, wantsCertificate)
	}
}

// R24: a client certificate is shown, a wrong or missing one is told what to
// do and harms no other image, and a new one is used at the next scan.
func TestR24ClientCertificate(t *testing.T) {
	server, serverPEM, _ := pairFor(t, -time.Hour, time.Hour)
	old, oldPEM, oldKey := pairFor(t, -time.Hour, time.Hour)
	fresh, freshPEM, freshKey := pairFor(t, -time.Hour, time.Hour)
	var wanted atomic.Pointer[tls.Certificate]
	wanted.Store(&old)
	address := serveTLS(t, &tagList{tags: []string{"1.0"}}, &tls.Config{
		Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			if !slices.Equal(raw[0], wanted.Load().Certificate[0]) {
				return errors.New("not the one")
			}
			return nil
		},
	})
	keys := map[string]string{"ca.crt": serverPEM}
	src := Source{Image: Image{Image: address + "/acme/web"}, Certs: func(ctx context.Context) (bump.Secret, error) { return secretOf(keys)(ctx) }}
	s := newScanner(t, Options{})
	scanError(t, s, src, address+" ended the TLS handshake", "give a valid tls.crt and tls.key through certSecretRef or certSecretDir")
	keys["tls.crt"], keys["tls.key"] = oldPEM, oldKey
	mustScan(t, s, src)
	wanted.Store(&fresh)
	keys["tls.crt"], keys["tls.key"] = freshPEM, freshKey
	mustScan(t, s, src)
	keys["tls.key"] = oldKey
	scanError(t, s, src, "tls.crt and tls.key of the certificate secret", "private key does not match public key")
}
