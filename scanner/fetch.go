package scanner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Limits of what is read to look a tag up. Registries have to take manifests of
// 4 MiB by the spec, and some take no larger ones.
const (
	maxManifest = 4 << 20
	maxConfig   = 4 << 20
)

var (
	errOversized = errors.New("larger than what is read")
	errNoDigest  = errors.New("not a sha256 digest")
)

// stock is what a repository holds, manifests and blobs, read during one visit.
type stock struct {
	endpoint *endpoint
	client   *http.Client
	repo     name.Repository
	insecure bool
}

// pointer is what a tag points to. body is there only where it was needed to
// find that out.
type pointer struct {
	digest    string
	mediaType string
	body      []byte
}

// resolve asks what a tag points to: by HEAD, and by GET where the registry
// does not answer that or names no digest. The error is [ErrNotFound] where
// there is no such tag.
func (r stock) resolve(ctx context.Context, tag string) (pointer, error) {
	resp, err := r.ask(ctx, http.MethodHead, "manifests/"+tag, manifestAccept)
	if err == nil {
		resp.Body.Close()
		if digest := resp.Header.Get("Docker-Content-Digest"); isDigest(digest) {
			return pointer{digest: digest, mediaType: mediaTypeOf(resp)}, nil
		}
	} else if !slices.Contains([]int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented}, statusOf(err)) {
		return pointer{}, err
	}
	resp, err = r.ask(ctx, http.MethodGet, "manifests/"+tag, manifestAccept)
	if statusOf(err) == http.StatusNotFound {
		return pointer{}, notFound(err)
	}
	if err != nil {
		return pointer{}, err
	}
	body, err := readAll(resp, maxManifest)
	if err != nil {
		return pointer{}, err
	}
	p := pointer{digest: digestOf(body), mediaType: mediaTypeOf(resp), body: body}
	said := resp.Header.Get("Docker-Content-Digest")
	if isDigest(said) && said != p.digest && !strings.HasPrefix(p.mediaType, typeSchema1) {
		return pointer{}, &failure{text: fmt.Sprintf("%s says that %s is %s, and sends %s", r.repo.RegistryStr(), tag, said, p.digest)}
	}
	return p, nil
}

// manifest reads a manifest by its digest.
func (r stock) manifest(ctx context.Context, digest string) ([]byte, error) {
	return r.read(ctx, "manifests/", digest, manifestAccept, maxManifest)
}

// blob reads a blob of at most so many bytes. Registries often send to a storage
// host for it, which gets no credentials.
func (r stock) blob(ctx context.Context, digest string, most int64) ([]byte, error) {
	return r.read(ctx, "blobs/", digest, []string{"*/*"}, most)
}

// read reads what has a digest and holds the answer against it.
func (r stock) read(ctx context.Context, kind, digest string, accept []string, most int64) ([]byte, error) {
	if !isDigest(digest) {
		return nil, &failure{text: fmt.Sprintf("%q is not a sha256 digest", clean(digest)), err: errNoDigest}
	}
	resp, err := r.ask(ctx, http.MethodGet, kind+digest, accept)
	if err != nil {
		return nil, err
	}
	body, err := readAll(resp, most)
	if err != nil {
		return nil, err
	}
	if got := digestOf(body); got != digest {
		return nil, &failure{text: fmt.Sprintf("%s was asked for %s and sent %s", resp.Request.URL.Host, digest, got)}
	}
	return body, nil
}

// ask sends one request about the repository and returns the answer if it is a 200.
func (r stock) ask(ctx context.Context, method, rest string, accept []string) (*http.Response, error) {
	return r.askURL(ctx, method, repoURL(r.repo, r.insecure, rest), accept)
}

func (r stock) askURL(ctx context.Context, method string, u *url.URL, accept []string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header["Accept"] = accept
	return r.endpoint.send(ctx, r.client, req)
}

var manifestAccept = slices.Concat(indexTypes, manifestTypes)

// readAll reads an answer of at most so many bytes and closes it.
func readAll(resp *http.Response, most int64) ([]byte, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(body)) > most:
		return nil, &failure{text: fmt.Sprintf("an answer of %s is larger than %d bytes", resp.Request.URL.Host, most), err: errOversized}
	}
	return body, nil
}

// mediaTypeOf returns the answer's type without parameters.
func mediaTypeOf(resp *http.Response) string {
	mediaType, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return strings.TrimSpace(mediaType)
}

func isDigest(s string) bool {
	_, err := v1.NewHash(s)
	return err == nil && strings.HasPrefix(s, "sha256:")
}

func digestOf(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// statusOf returns the HTTP status that err is about, 0 for none.
func statusOf(err error) int {
	var fail *failure
	if errors.As(err, &fail) {
		return fail.status
	}
	return 0
}

// notFound makes the answer 404 an [ErrNotFound].
func notFound(err error) error {
	var fail *failure
	if errors.As(err, &fail) {
		marked := *fail
		marked.err = ErrNotFound
		return &marked
	}
	return err
}
