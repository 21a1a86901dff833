package registryserver

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Client pushes to one registry, with what it takes to be let in there. Its
// methods take references without a host, "acme/web:1.4.2", and are safe from
// several goroutines.
type Client struct {
	Host      string // of the registry, as an image's name begins
	auth      authn.Authenticator
	transport http.RoundTripper
}

// PushOptions say what to push. An image's content follows from its reference
// and from these, nothing else: tags differ in digest, and a push again is none.
type PushOptions struct {
	Platforms []string // "linux/arm64"; none means linux/amd64. Several make an index
	Labels    map[string]string
	Created   time.Time // zero: left out
	Content   string    // to push the same tag with other content

	// Attested puts a provenance attestation beside each image of an index, as
	// BuildKit does.
	Attested bool
}

// Image returns the name of an image in this registry, as a manifest has it.
func (c *Client) Image(ref string) string { return c.Host + "/" + ref }

// Push pushes an image of a few bytes and returns its digest.
func (c *Client) Push(ctx context.Context, ref string, o PushOptions) (digest string, err error) {
	tag, err := name.NewTag(c.Image(ref), name.StrictValidation)
	if err != nil {
		return "", err
	}
	if len(o.Platforms) == 0 {
		o.Platforms = []string{"linux/amd64"}
	}
	var images []mutate.IndexAddendum
	for _, p := range o.Platforms {
		platform, err := v1.ParsePlatform(p)
		if err != nil {
			return "", err
		}
		image, err := build(ref, *platform, o)
		if err != nil {
			return "", fmt.Errorf("build %s for %s: %w", ref, p, err)
		}
		images = append(images, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: platform}})
		if o.Attested {
			attestation, err := attest(image)
			if err != nil {
				return "", err
			}
			images = append(images, attestation)
		}
	}
	var hash v1.Hash
	if len(images) == 1 {
		image := images[0].Add.(v1.Image)
		if err = remote.Write(tag, image, c.options(ctx)...); err == nil {
			hash, err = image.Digest()
		}
	} else {
		index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), images...)
		if err = remote.WriteIndex(tag, index, c.options(ctx)...); err == nil {
			hash, err = index.Digest()
		}
	}
	if err != nil {
		return "", fmt.Errorf("push %s: %w", tag, err)
	}
	return hash.String(), nil
}

// Tag gives a pushed image more tags: the quick way to a long list.
func (c *Client) Tag(ctx context.Context, ref string, tags ...string) error {
	from, err := name.ParseReference(c.Image(ref), name.StrictValidation)
	if err != nil {
		return err
	}
	var names []name.Tag
	for _, t := range tags {
		n, err := name.NewTag(from.Context().Name()+":"+t, name.StrictValidation)
		if err != nil {
			return err
		}
		names = append(names, n)
	}
	image, err := remote.Get(from, c.options(ctx)...)
	if err != nil {
		return err
	}
	pusher, err := remote.NewPusher(c.options(ctx)...)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan name.Tag)
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for t := range queue {
				if err := pusher.Push(ctx, t, image); err != nil {
					cancel(fmt.Errorf("tag %s: %w", t, err))
				}
			}
		})
	}
	for _, n := range names {
		if ctx.Err() != nil {
			break
		}
		queue <- n
	}
	close(queue)
	workers.Wait()
	return context.Cause(ctx)
}

// Delete removes a tag, or by digest a manifest.
func (c *Client) Delete(ctx context.Context, ref string) error {
	r, err := name.ParseReference(c.Image(ref), name.StrictValidation)
	if err != nil {
		return err
	}
	return remote.Delete(r, c.options(ctx)...)
}

// Tags lists the tags of a repository in the registry's order.
func (c *Client) Tags(ctx context.Context, repository string) ([]string, error) {
	r, err := name.NewRepository(c.Image(repository), name.StrictValidation)
	if err != nil {
		return nil, err
	}
	return remote.List(r, c.options(ctx)...)
}

func (c *Client) options(ctx context.Context) []remote.Option {
	return []remote.Option{remote.WithContext(ctx), remote.WithAuth(c.auth), remote.WithTransport(c.transport)}
}

// build makes an image whose one layer holds one file, which says what it is.
func build(ref string, p v1.Platform, o PushOptions) (v1.Image, error) {
	says := fmt.Sprintf("%s\n%s\n%s\n", ref, p.String(), o.Content)
	layer, err := layer("etc/image", says)
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	config.Config.Labels = maps.Clone(o.Labels)
	config.Created = v1.Time{Time: o.Created}
	return mutate.ConfigFile(image, config)
}

// attest makes what BuildKit puts beside an image in an index.
func attest(image v1.Image) (mutate.IndexAddendum, error) {
	digest, err := image.Digest()
	if err != nil {
		return mutate.IndexAddendum{}, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	statement, err := mutate.AppendLayers(base, static.NewLayer([]byte(`{"subject":"`+digest.String()+`"}`), "application/vnd.in-toto+json"))
	return mutate.IndexAddendum{Add: statement, Descriptor: v1.Descriptor{
		Platform:    &v1.Platform{OS: "unknown", Architecture: "unknown"},
		Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": digest.String()},
	}}, err
}

func layer(path, text string) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(text))}); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(w, text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
}

// splitPath cuts a path of the registry API, /v2/REPO/KIND/REFERENCE.
func splitPath(path string) (repo, kind, reference string, ok bool) {
	parts := strings.Split(strings.TrimPrefix(path, "/v2/"), "/")
	n := len(parts)
	if !strings.HasPrefix(path, "/v2/") || n < 3 || slices.Contains(parts, "") {
		return "", "", "", false
	}
	return strings.Join(parts[:n-2], "/"), parts[n-2], parts[n-1], true
}
