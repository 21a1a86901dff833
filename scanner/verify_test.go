package scanner

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"hoist/bump"
	"hoist/testenv/imagesigner"
	"hoist/testenv/proxy"
	"hoist/testenv/registryserver"
)

// signedBy makes a source want signatures by a key in PEM form.
func signedBy(src Source, key string) Source {
	src.Image.Verify = &Verify{Cosign: &Cosign{Key: key}}
	return src
}

// unsigned verifies and wants an UnsignedError with each of the parts.
func unsigned(t *testing.T, s *Scanner, src Source, digest string, parts ...string) {
	t.Helper()
	err := s.Verify(t.Context(), src, digest)
	var no *UnsignedError
	if !errors.As(err, &no) {
		t.Fatalf("Verify(%q, %s) = %v, want an UnsignedError with %q", src.Image.Image, digest, err, parts)
	}
	for _, part := range append(parts, src.Image.Image+"@"+digest+": ") {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("Verify(%q, %s) = %q, want %q in it", src.Image.Image, digest, err, part)
		}
	}
}

func mustVerify(t *testing.T, s *Scanner, src Source, digest string) {
	t.Helper()
	if err := s.Verify(t.Context(), src, digest); err != nil {
		t.Errorf("Verify(%q, %s) = %v", src.Image.Image, digest, err)
	}
}

// cosignKeys makes a key pair with cosign and returns the public half, too.
func cosignKeys(t *testing.T) (*imagesigner.Signer, string) {
	t.Helper()
	signer, err := imagesigner.New(t.Context(), t.TempDir(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	return signer, readFile(t, signer.PublicKeyFile())
}

// Signatures by the real cosign in a real registry, in both forms: they count
// for the key they were made with and the digest they were made for, and a late
// one counts when it is there.
func TestVerifyRealSignatures(t *testing.T) {
	server := realRegistry(t, registryserver.Options{Auth: registryserver.Bearer}, "1.0.0")
	ours, key := cosignKeys(t)
	theirs, otherKey := cosignKeys(t)
	open := plain(server.Addr, "acme/web")
	open.Secret = secretOf(map[string]string{".dockerconfigjson": string(server.DockerConfig())})
	src := signedBy(open, key)
	for _, form := range []imagesigner.Form{imagesigner.Bundle, imagesigner.Tag} {
		t.Run(string(form), func(t *testing.T) {
			s := scannerFor(t, server)
			sign := func(signer *imagesigner.Signer, digest string) {
				t.Helper()
				if err := signer.Sign(t.Context(), server.Image("acme/web@"+digest), form, server.DockerConfig()); err != nil {
					t.Fatal(err)
				}
			}
			digest := mustPush(t, server.Client, "acme/web:"+string(form), registryserver.PushOptions{Platforms: []string{"linux/amd64", "linux/arm64"}})
			copied := mustPush(t, server.Client, "acme/web:copied-"+string(form), registryserver.PushOptions{})
			unsigned(t, s, src, digest, "not signed: there is neither a tag sha256-"+digest[7:]+".sig nor a signature among the referrers")
			sign(theirs, digest)
			unsigned(t, s, src, digest, "no signature counts", "made with another key")
			mustVerify(t, s, signedBy(open, otherKey), digest)
			sign(ours, digest)
			mustVerify(t, s, src, digest)
			mustVerify(t, scannerFor(t, server), signedBy(open, otherKey+key), digest)

			// A signature that is moved to another image does not sign that one.
			tag := "acme/web:sha256-" + digest[7:]
			to := "acme/web:sha256-" + copied[7:]
			if form == imagesigner.Tag {
				tag, to = tag+".sig", to+".sig"
			}
			body, err := server.Manifest(t.Context(), tag)
			if err != nil {
				t.Fatal(err)
			}
			m, err := parseManifest(body)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := server.PushManifest(t.Context(), to, "application/vnd.oci.image.manifest.v1+json", body); err != nil && !m.isIndex() {
				t.Fatal(err)
			}
			if m.isIndex() {
				if _, err := server.PushManifest(t.Context(), to, "application/vnd.oci.image.index.v1+json", body); err != nil {
					t.Fatal(err)
				}
			}
			unsigned(t, s, src, copied, "about another digest, "+digest)
		})
	}
	if kind := mustInspect(t, scannerFor(t, server), open, "bundle", Wants{}); !kind.Image {
		t.Errorf("a signed image is %+v", kind)
	}
}

// signatures is an image in a registry of one's own making, and what is left
// beside it as signatures.
type signatures struct {
	shop
	digest string
}

func signedShop() *signatures {
	s := &signatures{}
	s.digest = s.tag("1.0", s.image(anyConfig))
	return s
}

func (s *signatures) name() string { return strings.Replace(s.digest, ":", "-", 1) }

// simple makes the tag of cosign 2 out of payloads and their signatures.
func (s *signatures) simple(pairs ...string) {
	var layers []string
	for i := 0; i < len(pairs); i += 2 {
		layers = append(layers, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"annotations":{"dev.cosignproject.cosign/signature":%q}}`, typeSimpleSigning, s.put(pairs[i]), pairs[i+1]))
	}
	s.tag(s.name()+".sig", `{"config":{"mediaType":"application/vnd.oci.image.config.v1+json"},"layers":[`+strings.Join(layers, ",")+`]}`)
}

// refer makes an index of referrers out of bundles.
func (s *signatures) refer(bundles ...[]byte) string {
	var entries []string
	for _, b := range bundles {
		kind := typeBundle + ".v0.3+json"
		m := s.put(fmt.Sprintf(`{"config":{"mediaType":"application/vnd.oci.empty.v1+json"},"artifactType":%q,"layers":[{"mediaType":%[1]q,"digest":%q}]}`, kind, s.put(string(b))))
		entries = append(entries, fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":%q,"digest":%q}`, kind, m))
	}
	return `{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` + strings.Join(entries, ",") + `]}`
}

// answering makes the registry answer at the end of a path.
func (s *signatures) answering(end string, answer http.HandlerFunc) {
	before := s.replaced
	s.replaced = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, end) {
			answer(w, r)
			return true
		}
		return before != nil && before(w, r)
	}
}

// Both of the referrers' ways, pages of them, and registries that answer the
// API's path with something else.
func TestVerifyReferrers(t *testing.T) {
	signer := signers()["P-256"]
	for name, set := range map[string]func(s *signatures, list string){
		"API": func(s *signatures, list string) {
			s.answering("/referrers/"+s.digest, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, list) })
		},
		"second page": func(s *signatures, list string) {
			s.answering("/referrers/"+s.digest, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Has("next") {
					fmt.Fprint(w, list)
					return
				}
				w.Header().Set("Link", `<`+r.URL.Path+`?next=1>; rel="next"`)
				fmt.Fprint(w, `{"manifests":[]}`)
			})
		},
		"tag": func(s *signatures, list string) { s.tag(s.name(), list) },
		"tag, not 501": func(s *signatures, list string) {
			s.answering("/referrers/"+s.digest, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotImplemented) })
			s.tag(s.name(), list)
		},
		"tag, not a web page": func(s *signatures, list string) {
			s.answering("/referrers/"+s.digest, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>") })
			s.tag(s.name(), list)
		},
	} {
		s := signedShop()
		src := signedBy(plain(serve(t, s), "acme/web"), signer.pem(t))
		sc := newScanner(t, Options{})
		unsigned(t, sc, src, s.digest, "not signed")
		attestation := bundleOf(t, signer, statementOf(s.digest, "https://slsa.dev/provenance/v1"))
		set(s, s.refer(attestation))
		unsigned(t, sc, src, s.digest, "an attestation, which says something else")
		s.replaced = nil
		set(s, s.refer(attestation, bundleOf(t, signer, statementOf(s.digest, signPredicate)), []byte("{}")))
		if err := sc.Verify(t.Context(), src, s.digest); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Of what is beside the image, only a whole signature for it counts; what comes
// after it or before it does no harm.
func TestVerifyTag(t *testing.T) {
	signer, stranger := signers()["P-256"], signers()["RSA"]
	s := signedShop()
	src := signedBy(plain(serve(t, s), "acme/web"), signer.pem(t))
	good := string(simplePayload(s.digest))
	sig := signer.sign(t, []byte(good))
	for name, c := range map[string]struct {
		pairs []string
		want  string
	}{
		"truncated":     {[]string{good[:len(good)-1], sig}, "made with another key"},
		"empty":         {[]string{"", sig}, "made with another key"},
		"no base64":     {[]string{good, "!"}, "malformed"},
		"other key":     {[]string{good, stranger.sign(t, []byte(good))}, "made with another key"},
		"other digest":  {[]string{string(simplePayload(signedOne)), signer.sign(t, simplePayload(signedOne))}, "about another digest, " + signedOne},
		"no payload":    {[]string{"{}", signer.sign(t, []byte("{}"))}, "malformed"},
		"oversized":     {[]string{good + strings.Repeat(" ", maxSignature), sig}, "not there or too large"},
		"several":       {[]string{good[1:], sig, "{}", signer.sign(t, []byte("{}"))}, "; the tag"},
		"among others":  {[]string{good[1:], sig, good, sig, "{}", sig}, ""},
		"beyond bounds": {append([]string{good, sig}, manyPairs(100)...), "no more than 64 objects"},
	} {
		s.simple(c.pairs...)
		sc := newScanner(t, Options{})
		if c.want == "" {
			mustVerify(t, sc, src, s.digest)
			continue
		}
		t.Run(name, func(t *testing.T) { unsigned(t, sc, src, s.digest, c.want) })
	}
	for _, body := range []string{"", "{}", "<html>", `{"manifests":[]}`} {
		s.tag(s.name()+".sig", body)
		unsigned(t, newScanner(t, Options{}), src, s.digest)
	}
}

func manyPairs(n int) (pairs []string) {
	for i := range n {
		pairs = append(pairs, fmt.Sprintf("payload %d", i), "AAAA")
	}
	return pairs
}

// A digest that is signed stays so; the registry is not asked again, unless the
// keys change.
func TestVerifyRemembers(t *testing.T) {
	signer, stranger := signers()["P-256"], signers()["RSA"]
	s := signedShop()
	asked := &counted{next: s}
	sc := newScanner(t, Options{})
	src := plain(serve(t, asked), "acme/web")
	key := signer.pem(t)
	src.Image.Verify = &Verify{Cosign: &Cosign{SecretRef: &bump.LocalRef{Name: "keys"}}}
	src.Keys = func(context.Context) (bump.Secret, error) {
		return bump.Secret{"release.pub": []byte(key), "cosign.key": []byte("s3cret"), "cosign.password": []byte("s3cret")}, nil
	}
	unsigned(t, sc, src, s.digest)
	s.simple(string(simplePayload(s.digest)), signer.sign(t, simplePayload(s.digest)))
	asked.take()
	mustVerify(t, sc, src, s.digest)
	mustVerify(t, sc, src, s.digest)
	if n := len(asked.take()); n != 2 {
		t.Errorf("%d requests for two looks, want 2", n)
	}
	key = stranger.pem(t)
	unsigned(t, sc, src, s.digest, "made with another key")

	src.Image.Verify = nil
	asked.take()
	if mustVerify(t, sc, src, s.digest); len(asked.requests) > 0 {
		t.Errorf("asked %q for an image that needs no signature", asked.requests)
	}
}

// Keys that cannot be read are told by the name of what holds them, and
// nothing else of it.
func TestVerifyKeys(t *testing.T) {
	src := plain("registry.example", "acme/web")
	src.Image.Verify = &Verify{Cosign: &Cosign{SecretDir: "/keys"}}
	sc := newScanner(t, Options{})
	for want, keys := range map[string]map[string]string{
		"no cosign.pub and no other key that ends in .pub":                  {"cosign.key": "s3cret"},
		"b.pub in the secret with the keys holds no public key in PEM form": {"a.pub": signers()["P-256"].pem(t), "b.pub": "s3cret"},
	} {
		src.Keys = secretOf(keys)
		err := sc.Verify(t.Context(), src, signedOne)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("Verify = %v, want %q", err, want)
		}
	}
	if err := sc.Verify(t.Context(), src, "sha256:../x"); err == nil || !strings.Contains(err.Error(), "not a sha256 digest") {
		t.Errorf("Verify of no digest: %v", err)
	}
}

// R1, R4, R5, R7: a registry in trouble is an error of its own, not a missing
// signature; afterwards the signature is found.
func TestVerifyFaults(t *testing.T) {
	signer := signers()["P-256"]
	s := signedShop()
	s.tag(s.name(), s.refer(bundleOf(t, signer, statementOf(s.digest, signPredicate))))
	address := serve(t, s)
	for request, uri := range map[string]string{"tag": `\.sig$`, "referrers": "/referrers/", "fallback": s.name() + "$", "manifest": "/manifests/sha256:", "blob": "/blobs/"} {
		for name, fault := range map[string]proxy.Fault{
			"429":       {Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"3600"}}},
			"503":       {Status: http.StatusServiceUnavailable},
			"403":       {Status: http.StatusForbidden},
			"cut":       {Cut: proxy.CutBefore},
			"drip":      {Drip: 1},
			"truncated": {TruncateBody: 20},
		} {
			body := name == "drip" || name == "truncated"
			if body && (request == "tag" || request == "referrers") {
				continue // a 404 here
			}
			t.Run(request+" "+name, func(t *testing.T) {
				t.Parallel()
				p := faultsBefore(t, (&url.URL{Scheme: "http", Host: address}).String())
				src := signedBy(plain(p.Addr(), "acme/web"), signer.pem(t))
				src.Image.Timeout = bump.Duration(2 * time.Second)
				p.Play(proxy.Rule{URI: regexp.MustCompile(uri), Fault: fault})
				err := newScanner(t, Options{}).Verify(t.Context(), src, s.digest)
				var no *UnsignedError
				if err == nil || errors.As(err, &no) {
					t.Errorf("Verify = %v, want the registry's error", err)
				}
				p.Play()
				mustVerify(t, newScanner(t, Options{}), src, s.digest)
			})
		}
	}
}
