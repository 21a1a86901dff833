package scanner

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// signer is a key pair that signs as cosign does.
type signer struct {
	key  crypto.Signer
	hash crypto.Hash // 0: Ed25519
}

func (s signer) sign(t testing.TB, message []byte) string {
	t.Helper()
	switch s.hash {
	case crypto.SHA256:
		sum := sha256.Sum256(message)
		message = sum[:]
	case crypto.SHA384:
		sum := sha512.Sum384(message)
		message = sum[:]
	case crypto.SHA512: // with an Ed25519 key: Ed25519ph
		sum := sha512.Sum512(message)
		message = sum[:]
	}
	sig, err := s.key.Sign(rand.Reader, message, s.hash)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(sig)
}

func (s signer) pem(t testing.TB) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// signers has a key of each kind, made once.
var signers = sync.OnceValue(func() map[string]signer {
	p256, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, err2 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, ed, err3 := ed25519.GenerateKey(rand.Reader)
	big, err4 := rsa.GenerateKey(rand.Reader, 2048)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		panic(err)
	}
	return map[string]signer{
		"P-256": {p256, crypto.SHA256}, "P-384": {p384, crypto.SHA256}, "P-384, SHA-384": {p384, crypto.SHA384},
		"Ed25519": {ed, 0}, "Ed25519ph": {ed, crypto.SHA512}, "RSA": {big, crypto.SHA256},
	}
})

func ringOf(t testing.TB, s ...signer) keyring {
	t.Helper()
	var text string
	for _, s := range s {
		text += s.pem(t)
	}
	keys, err := parseKeys([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

const (
	signedOne = "sha256:" + zeros
	signedTwo = "sha256:" + "1" + "000000000000000000000000000000000000000000000000000000000000000"
)

func simplePayload(digest string) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":"any"},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, digest)
}

func statementOf(digest, predicate string) []byte {
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":%q,"predicate":{}}`,
		strings.TrimPrefix(digest, "sha256:"), predicate)
}

// bundleOf wraps a statement as cosign 3 does.
func bundleOf(t testing.TB, s signer, payload []byte) []byte {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"mediaType":            typeBundle + ".v0.3+json",
		"verificationMaterial": map[string]any{"publicKey": map[string]any{"hint": "any"}, "tlogEntries": []any{}},
		"dsseEnvelope": map[string]any{
			"payload": base64.StdEncoding.EncodeToString(payload), "payloadType": payloadType,
			"signatures": []any{map[string]any{"sig": s.sign(t, preAuthenticated(payloadType, payload))}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// messageBundle signs the bytes of a manifest, as cosign sign-blob does.
func messageBundle(t testing.TB, s signer, manifest []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(manifest)
	return fmt.Appendf(nil, `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":%q},"signature":%q}}`,
		base64.StdEncoding.EncodeToString(sum[:]), s.sign(t, manifest))
}

// A signature by any kind of key counts in each form, for its own digest, its
// own key and its own bytes, and for no other.
func TestSignatureForms(t *testing.T) {
	stranger := signers()["P-256"]
	for kind, s := range signers() {
		keys := ringOf(t, s)
		gpg := []byte(strings.Replace(string(simplePayload(signedOne)), "cosign", "atomic", 1))
		payload, statement := simplePayload(signedOne), statementOf(signedOne, signPredicate)
		sig, wrapped := s.sign(t, payload), bundleOf(t, s, statement)
		if err := keys.checkSimple(payload, sig, signedOne); err != nil {
			t.Errorf("%s: simple signing: %v", kind, err)
		}
		if err := keys.checkBundle(wrapped, signedOne); err != nil {
			t.Errorf("%s: bundle: %v", kind, err)
		}
		other := ringOf(t, signers()["RSA"])
		if kind == "RSA" {
			other = ringOf(t, stranger)
		}
		for what, err := range map[string]error{
			"other key, simple":     other.checkSimple(payload, sig, signedOne),
			"other key, bundle":     other.checkBundle(wrapped, signedOne),
			"other digest, simple":  keys.checkSimple(payload, sig, signedTwo),
			"other digest, bundle":  keys.checkBundle(wrapped, signedTwo),
			"truncated payload":     keys.checkSimple(payload[:len(payload)-1], sig, signedOne),
			"changed payload":       keys.checkSimple(simplePayload(signedTwo), sig, signedTwo),
			"no signature":          keys.checkSimple(payload, "", signedOne),
			"attestation":           keys.checkBundle(bundleOf(t, s, statementOf(signedOne, "https://slsa.dev/provenance/v1")), signedOne),
			"statement as a simple": keys.checkSimple(statement, s.sign(t, statement), signedOne),
			"other type of payload": keys.checkSimple(gpg, s.sign(t, gpg), signedOne),
			"no keys":               keyring(nil).checkSimple(payload, sig, signedOne),
		} {
			if err == nil {
				t.Errorf("%s: %s is accepted", kind, what)
			}
		}
	}
	all := ringOf(t, signers()["RSA"], signers()["Ed25519"], stranger)
	if err := all.checkSimple(simplePayload(signedOne), stranger.sign(t, simplePayload(signedOne)), signedOne); err != nil {
		t.Errorf("the last of several keys: %v", err)
	}
}

func TestMessageSignature(t *testing.T) {
	manifest := []byte(`{"schemaVersion":2}`)
	sum := sha256.Sum256(manifest)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	for kind, want := range map[string]error{"P-256": nil, "P-384": nil, "RSA": nil, "Ed25519": errKeyMessage} {
		s := signers()[kind]
		b := messageBundle(t, s, manifest)
		if err := ringOf(t, s).checkBundle(b, digest); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: %v, want %v", kind, err, want)
		}
		if err := ringOf(t, s).checkBundle(b, signedOne); err == nil {
			t.Errorf("%s: accepted for another digest", kind)
		}
	}
	b := messageBundle(t, signers()["P-256"], manifest)
	if err := ringOf(t, signers()["RSA"]).checkBundle(b, digest); !errors.Is(err, errOtherKey) {
		t.Errorf("other key: %v, want %v", err, errOtherKey)
	}
}

func TestParseKeys(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private := func(kind string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte("s3cret")}))
	}
	good := signers()["P-256"].pem(t)
	for text, want := range map[string]string{
		"":                        "no public key in PEM form",
		"ssh-ed25519 AAAA":        "no public key in PEM form",
		private("EC PRIVATE KEY"): "a private key: give the public one",
		good + private("ENCRYPTED SIGSTORE PRIVATE KEY"): "a private key: give the public one",
		private("CERTIFICATE"):                           "a certificate: give the public key in it",
		private("PUBLIC KEY"):                            "a public key that cannot be read",
		signer{key: small}.pem(t):                        "an RSA key of 1024 bits: 2048 to 8192 are taken",
		signer{key: p521}.pem(t):                         "an ECDSA key on P-521: P-256 and P-384 are taken",
	} {
		if _, err := parseKeys([]byte(text)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("parseKeys(%q) = %v, want %q", text, err, want)
		}
	}
	if keys, err := parseKeys([]byte("# ours\n" + good + "\n" + signers()["RSA"].pem(t))); err != nil || len(keys) != 2 {
		t.Errorf("two keys: %d, %v", len(keys), err)
	}
}

// Whatever bytes a registry sends never panic, and never verify.
func FuzzSignature(f *testing.F) {
	keys := ringOf(f, signers()["P-256"], signers()["Ed25519"], signers()["RSA"])
	stranger := signers()["P-384"]
	payload := simplePayload(signedOne)
	f.Add(payload, stranger.sign(f, payload))
	f.Add(bundleOf(f, stranger, statementOf(signedOne, signPredicate)), "")
	f.Add(messageBundle(f, stranger, payload), "AA==")
	f.Add([]byte(`{"dsseEnvelope":{"signatures":[{}]},"mediaType":"application/vnd.dev.sigstore.bundle"}`), "!")
	f.Fuzz(func(t *testing.T, body []byte, signature string) {
		if keys.checkSimple(body, signature, signedOne) == nil || keys.checkBundle(body, signedOne) == nil {
			t.Fatalf("%q with %q is taken for a signature", body, signature)
		}
	})
}

// Whatever bytes a registry sends as a manifest: what is taken for an image has
// platforms in their one spelling.
func FuzzParseManifest(f *testing.F) {
	for _, seed := range []string{
		`{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"platform":{"os":"linux","architecture":"arm64","variant":"v8"}}]}`,
		`{"config":{"mediaType":"application/vnd.oci.image.config.v1+json"},"layers":[{}]}`, `{"manifests":null}`, `{"manifests":[null]}`,
		`{"config":{},"manifests":[]}`, `[]`, `<html>`, `{"layers":[{"mediaType":1}]}`, "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := parseManifest(body)
		if err != nil {
			return
		}
		kind, image := m.artifactType()
		if image && m.isIndex() != (len(m.images()) > 0) {
			t.Fatalf("%q is an image of type %q with %d images", body, kind, len(m.images()))
		}
		_ = Describe(kind)
		for _, p := range platformsOf(m.images()) {
			if again, err := NormalPlatform(p); err == nil && again != p {
				t.Fatalf("%q became %q in %q", p, again, body)
			}
		}
	})
}
