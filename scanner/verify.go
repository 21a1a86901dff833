package scanner

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Limits of a search for a signature.
const (
	maxSignature      = 1 << 20 // bytes of a payload or a bundle
	maxSignatureReads = 64      // manifests, payloads and bundles
	maxReferrerPages  = 5
	maxVerified       = 10_000 // digests of which it is remembered that they are signed
)

// typeCosignSignature is the artifactType of cosign 2's signatures as referrers.
const typeCosignSignature = "application/vnd.dev.cosign.artifact.sig.v1+json"

// UnsignedError says that a digest carries no signature that counts. One may be
// pushed later.
type UnsignedError struct {
	Image  string
	Digest string
	Reason string // for a person: what was looked for, and what was found
}

func (e *UnsignedError) Error() string { return e.Image + "@" + e.Digest + ": " + e.Reason }

// Verify returns nil when the digest carries a signature that src.Image.Verify
// accepts, or when that asks for none. An [UnsignedError] says why it does not;
// other errors are the registry's, as for [Scanner.Inspect].
//
// Both of cosign's ways are looked at: the tag sha256-<hex>.sig, and the
// referrers of the digest. Nothing but the image's registry is asked: with a
// key of one's own no transparency log is.
func (s *Scanner) Verify(ctx context.Context, src Source, digest string) error {
	if src.Image.Verify == nil || src.Image.Verify.Cosign == nil {
		return nil
	}
	doing := func(err error) error { return fmt.Errorf("verify %s@%s: %w", src.Image.Image, clean(digest), err) }
	if !isDigest(digest) {
		return doing(errNoDigest)
	}
	keys, err := keysOf(ctx, src)
	if err != nil {
		return doing(err)
	}
	known := digest + " " + keys.fingerprint()
	if _, ok := s.verified.get(known); ok {
		return nil // a signature holds for good: it binds the digest to the key
	}
	var look *search
	fail := s.visit(ctx, src, func(ctx context.Context, ep *endpoint, client *http.Client, repo name.Repository) error {
		look = &search{at: stock{endpoint: ep, client: client, repo: repo, insecure: src.Image.Insecure}, keys: keys, digest: digest}
		return look.run(ctx)
	})
	switch {
	case fail != nil:
		return doing(fail)
	case look.verified:
		s.verified.put(known, struct{}{})
		return nil
	}
	return &UnsignedError{Image: src.Image.Image, Digest: digest, Reason: look.reason()}
}

// fingerprint tells one set of keys from another.
func (k keyring) fingerprint() string {
	h := sha256.New()
	for _, key := range k {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			panic(err) // it was parsed from that form
		}
		fmt.Fprintf(h, "%d:", len(der))
		h.Write(der)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// search looks for a signature of one digest. What it finds on its way and does
// not accept is kept as a reason.
type search struct {
	at     stock
	keys   keyring
	digest string

	verified bool
	found    int // signatures
	reads    int
	reasons  []string
}

// run looks in all places, until a signature is accepted. An error means that
// the registry could not be asked.
func (l *search) run(ctx context.Context) error {
	tag := strings.Replace(l.digest, ":", "-", 1)
	body, err := l.tagged(ctx, tag+".sig")
	if err == nil && body != nil {
		err = l.signatures(ctx, "the tag "+tag+".sig", body)
	}
	if l.verified || err != nil {
		return err
	}
	referrers, err := l.referrers(ctx, tag)
	if err != nil {
		return err
	}
	slices.Reverse(referrers) // the newest is more likely at the end
	for _, d := range referrers {
		body, err := l.manifest(ctx, d.Digest)
		if err == nil && body != nil {
			err = l.signatures(ctx, "the referrer "+d.Digest, body)
		}
		if l.verified || err != nil {
			return err
		}
	}
	return nil
}

// signatures looks at the layers of a manifest, the last first: cosign adds
// new signatures at the end.
func (l *search) signatures(ctx context.Context, where string, body []byte) error {
	m, err := parseManifest(body)
	if err != nil {
		l.reject(where, errMalformed)
		return nil
	}
	for _, layer := range slices.Backward(m.Layers) {
		simple := layer.MediaType == typeSimpleSigning && layer.Annotations[signatureOnLayer] != ""
		if !simple && !strings.HasPrefix(layer.MediaType, typeBundle) {
			continue
		}
		content, err := l.blob(ctx, where, layer.Digest)
		if err != nil {
			return err
		}
		switch {
		case content == nil:
			continue
		case simple:
			err = l.keys.checkSimple(content, layer.Annotations[signatureOnLayer], l.digest)
		default:
			err = l.keys.checkBundle(content, l.digest)
		}
		if err == nil {
			l.verified = true
			return nil
		}
		l.reject(where, err)
	}
	return nil
}

func (l *search) reject(where string, err error) {
	l.found++
	l.reasons = append(l.reasons, fmt.Sprintf("%s holds one that is %v", where, err))
}

// reason says what was looked for and found.
func (l *search) reason() string {
	if l.found == 0 {
		return fmt.Sprintf("not signed: there is neither a tag %s.sig nor a signature among the referrers", strings.Replace(l.digest, ":", "-", 1))
	}
	const most = 3
	reasons := slices.Compact(slices.Clone(l.reasons))
	text := strings.Join(reasons[:min(most, len(reasons))], "; ")
	if len(reasons) > most {
		text += fmt.Sprintf("; and %d more", len(reasons)-most)
	}
	if l.reads >= maxSignatureReads {
		text += fmt.Sprintf("; no more than %d objects were read", maxSignatureReads)
	}
	return "no signature counts: " + text
}

// referrers returns what may be a signature among what refers to the digest: by
// the referrers API, and by the tag that stands in for it at registries without
// (OCI distribution spec 1.1).
func (l *search) referrers(ctx context.Context, tag string) ([]descriptor, error) {
	all, ok, err := l.listReferrers(ctx)
	if err != nil {
		return nil, err
	}
	if !ok {
		body, err := l.tagged(ctx, tag)
		if err != nil || body == nil {
			return nil, err
		}
		m, err := parseManifest(body)
		if err != nil || !m.isIndex() {
			l.reject("the tag "+tag, errMalformed)
			return nil, nil
		}
		all = m.Manifests
	}
	return slices.DeleteFunc(all, func(d descriptor) bool {
		predicate := d.Annotations[predicateOnBundle]
		signature := d.ArtifactType == "" || d.ArtifactType == typeCosignSignature || strings.HasPrefix(d.ArtifactType, typeBundle)
		return !signature || (predicate != "" && predicate != signPredicate)
	}), nil
}

// listReferrers reads the pages of the referrers API. It is false where the
// registry has none.
func (l *search) listReferrers(ctx context.Context) (all []descriptor, ok bool, err error) {
	next := repoURL(l.at.repo, l.at.insecure, "referrers/"+l.digest)
	for range maxReferrerPages {
		resp, err := l.at.askURL(ctx, http.MethodGet, next, []string{indexTypes[0]})
		if slices.Contains([]int{http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented}, statusOf(err)) {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		page, err := readAll(resp, maxManifest)
		if err != nil {
			return nil, false, err
		}
		m, err := parseManifest(page)
		if err != nil || !m.isIndex() {
			return nil, false, nil // a web page, say: not the API
		}
		all = append(all, m.Manifests...)
		target, more := nextLink(resp.Header.Values("Link"))
		ref, err := url.Parse(target)
		if !more || err != nil {
			return all, true, nil
		}
		if ref = resp.Request.URL.ResolveReference(ref); ref.Scheme != next.Scheme || ref.Host != next.Host || ref.User != nil {
			return all, true, nil // a registry may only link to its own pages
		}
		next = ref
	}
	return all, true, nil
}

// tagged reads the manifest of a tag; nil where there is none.
func (l *search) tagged(ctx context.Context, tag string) ([]byte, error) {
	l.reads++
	resp, err := l.at.ask(ctx, http.MethodGet, "manifests/"+tag, manifestAccept)
	if statusOf(err) == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	body, err := readAll(resp, maxManifest)
	if errors.Is(err, errOversized) {
		l.reject("the tag "+tag, err)
		return nil, nil
	}
	return body, err
}

// manifest reads a referrer; nil where it is not to be had.
func (l *search) manifest(ctx context.Context, digest string) ([]byte, error) {
	if l.reads >= maxSignatureReads {
		return nil, nil
	}
	l.reads++
	body, err := l.at.manifest(ctx, digest)
	if isLasting(err) {
		return nil, nil
	}
	return body, err
}

// blob reads a payload or a bundle; nil where it is not to be had.
func (l *search) blob(ctx context.Context, where, digest string) ([]byte, error) {
	if l.reads >= maxSignatureReads {
		return nil, nil
	}
	l.reads++
	body, err := l.at.blob(ctx, digest, maxSignature)
	if isLasting(err) {
		l.reject(where, errors.New("not there or too large"))
		return nil, nil
	}
	return body, err
}
