package scanner

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
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
)

// What signatures say of themselves. The names are cosign's and in-toto's.
const (
	simpleSigning     = "cosign container image signature"
	signPredicate     = "https://sigstore.dev/cosign/sign/v1"
	statementType     = "https://in-toto.io/Statement/"
	payloadType       = "application/vnd.in-toto+json"
	signatureOnLayer  = "dev.cosignproject.cosign/signature"
	predicateOnBundle = "dev.sigstore.bundle.predicateType"
)

// Why a signature that was found does not count.
var (
	errOtherKey   = errors.New("made with another key")
	errMalformed  = errors.New("malformed")
	errNoSigning  = errors.New("an attestation, which says something else than that the image is signed")
	errKeyMessage = errors.New("of a form that is not read for this kind of key")
)

// keyring holds the keys of which any one may have signed.
type keyring []crypto.PublicKey

// parseKeys reads public keys in PEM form, one or several. Errors never quote
// what they found: people do put private keys there.
func parseKeys(text []byte) (keyring, error) {
	var keys keyring
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		key, err := parseKey(block)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("no public key in PEM form: expected -----BEGIN PUBLIC KEY-----")
	}
	return keys, nil
}

func parseKey(block *pem.Block) (crypto.PublicKey, error) {
	var key any
	var err error
	switch {
	case block.Type == "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case block.Type == "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case strings.Contains(block.Type, "PRIVATE KEY"):
		return nil, errors.New("a private key: give the public one, and take this one away from here")
	case block.Type == "CERTIFICATE":
		return nil, errors.New("a certificate: give the public key in it")
	default:
		return nil, errors.New("not a public key: expected -----BEGIN PUBLIC KEY-----")
	}
	if err != nil {
		return nil, errors.New("a public key that cannot be read")
	}
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() {
			return k, nil
		}
		return nil, fmt.Errorf("an ECDSA key on %s: P-256 and P-384 are taken", k.Curve.Params().Name)
	case ed25519.PublicKey:
		return k, nil
	case *rsa.PublicKey:
		if k.N.BitLen() >= 2048 && k.N.BitLen() <= 8192 {
			return k, nil
		}
		return nil, fmt.Errorf("an RSA key of %d bits: 2048 to 8192 are taken", k.N.BitLen())
	}
	return nil, errors.New("a public key of a kind that is not taken: ECDSA, Ed25519 and RSA are")
}

// signed tells whether one of the keys signed the message.
func (k keyring) signed(message, signature []byte) bool {
	short, middle, long := sha256.Sum256(message), sha512.Sum384(message), sha512.Sum512(message)
	for _, key := range k {
		switch key := key.(type) {
		case *ecdsa.PublicKey: // cosign signs SHA-256 with every curve, other signers the hash of the curve's size
			if ecdsa.VerifyASN1(key, short[:], signature) || (key.Curve == elliptic.P384() && ecdsa.VerifyASN1(key, middle[:], signature)) {
				return true
			}
		case ed25519.PublicKey: // pure, or prehashed as for cosign's blobs
			if ed25519.Verify(key, message, signature) || ed25519.VerifyWithOptions(key, long[:], signature, &ed25519.Options{Hash: crypto.SHA512}) == nil {
				return true
			}
		case *rsa.PublicKey:
			if rsa.VerifyPKCS1v15(key, crypto.SHA256, short[:], signature) == nil {
				return true
			}
		}
	}
	return false
}

// signedDigest is signed for a message of which only the SHA-256 is known. It
// fails where no key is of a kind that signs that.
func (k keyring) signedDigest(sum, signature []byte) error {
	usable := false
	for _, key := range k {
		switch key := key.(type) {
		case *ecdsa.PublicKey:
			usable = true
			if ecdsa.VerifyASN1(key, sum, signature) {
				return nil
			}
		case *rsa.PublicKey:
			usable = true
			if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum, signature) == nil {
				return nil
			}
		}
	}
	if !usable {
		return errKeyMessage
	}
	return errOtherKey
}

// checkSimple checks a simple-signing payload (cosign's signature spec): that
// one of the keys signed it, and that it is about this digest.
func (k keyring) checkSimple(payload []byte, signature, digest string) error {
	sig, ok := decodeBase64(signature)
	if !ok {
		return errMalformed
	}
	if !k.signed(payload, sig) {
		return errOtherKey
	}
	var says struct {
		Critical struct {
			Type  string `json:"type"`
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
		} `json:"critical"`
	}
	if json.Unmarshal(payload, &says) != nil || says.Critical.Type != simpleSigning {
		return errMalformed
	}
	return about(says.Critical.Image.Digest, digest)
}

// bundle is a sigstore bundle of which the key is known beforehand: what it says
// of certificates, keys and logs is not looked at.
type bundle struct {
	MediaType string `json:"mediaType"`
	Envelope  *struct {
		Payload     string `json:"payload"`
		PayloadType string `json:"payloadType"`
		Signatures  []struct {
			Sig string `json:"sig"`
		} `json:"signatures"`
	} `json:"dsseEnvelope"`
	Message *struct {
		Digest struct {
			Algorithm string `json:"algorithm"`
			Digest    string `json:"digest"`
		} `json:"messageDigest"`
		Signature string `json:"signature"`
	} `json:"messageSignature"`
}

// statement is an in-toto statement.
type statement struct {
	Type      string `json:"_type"`
	Predicate string `json:"predicateType"`
	Subject   []struct {
		Digest map[string]string `json:"digest"`
	} `json:"subject"`
}

// checkBundle checks a sigstore bundle: that one of the keys signed it, and
// that it says of this digest that it is signed.
func (k keyring) checkBundle(body []byte, digest string) error {
	var b bundle
	if json.Unmarshal(body, &b) != nil || !strings.HasPrefix(b.MediaType, typeBundle) {
		return errMalformed
	}
	switch {
	case b.Envelope != nil && b.Message == nil:
		return k.checkEnvelope(b, digest)
	case b.Message != nil && b.Envelope == nil:
		return k.checkMessage(b, digest)
	}
	return errMalformed
}

// checkEnvelope is for cosign's own kind of bundle: a DSSE envelope around an
// in-toto statement.
func (k keyring) checkEnvelope(b bundle, digest string) error {
	if b.Envelope.PayloadType != payloadType || len(b.Envelope.Signatures) != 1 {
		return errMalformed
	}
	payload, ok := decodeBase64(b.Envelope.Payload)
	sig, also := decodeBase64(b.Envelope.Signatures[0].Sig)
	if !ok || !also {
		return errMalformed
	}
	if !k.signed(preAuthenticated(payloadType, payload), sig) {
		return errOtherKey
	}
	var s statement
	if json.Unmarshal(payload, &s) != nil || !strings.HasPrefix(s.Type, statementType) {
		return errMalformed
	}
	if s.Predicate != signPredicate {
		return errNoSigning
	}
	err := errMalformed // without a subject
	for _, subject := range s.Subject {
		if err = about("sha256:"+subject.Digest["sha256"], digest); err == nil {
			return nil
		}
	}
	return err
}

// checkMessage is for a signature over the bytes of the manifest.
func (k keyring) checkMessage(b bundle, digest string) error {
	sum, ok := decodeBase64(b.Message.Digest.Digest)
	sig, also := decodeBase64(b.Message.Signature)
	if !ok || !also || len(sum) != sha256.Size || b.Message.Digest.Algorithm != "SHA2_256" {
		return errMalformed
	}
	if err := about("sha256:"+hex.EncodeToString(sum), digest); err != nil {
		return err
	}
	return k.signedDigest(sum, sig)
}

// about tells whether a signature is about the digest that was asked for.
func about(said, digest string) error {
	switch {
	case said == digest && isDigest(digest):
		return nil
	case !isDigest(said):
		return errMalformed
	}
	return fmt.Errorf("about another digest, %s", said)
}

// preAuthenticated is what a DSSE envelope's signature is over (DSSE v1, PAE).
func preAuthenticated(payloadType string, payload []byte) []byte {
	head := fmt.Sprintf("DSSEv1 %d %s %d ", len(payloadType), payloadType, len(payload))
	return append([]byte(head), payload...)
}

// decodeBase64 reads both alphabets, with padding and without, as protobuf's
// JSON form has it.
func decodeBase64(s string) ([]byte, bool) {
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	b, err := base64.RawStdEncoding.DecodeString(s)
	return b, err == nil && len(b) > 0
}
