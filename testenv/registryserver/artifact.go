package registryserver

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The media types of a Helm chart, as helm push writes them.
const (
	HelmConfig types.MediaType = "application/vnd.cncf.helm.config.v1+json"
	HelmChart  types.MediaType = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

// Artifact is a manifest that is no image, or pretends to be none.
type Artifact struct {
	Type        string          // its artifactType; may be empty
	ConfigType  types.MediaType // empty: that of the empty configuration
	Config      string          // empty: {}
	LayerType   types.MediaType // empty: application/octet-stream
	Layers      []string        // the bytes of each
	Annotations []map[string]string
}

// PushChart pushes what helm push would.
func (c *Client) PushChart(ctx context.Context, ref string) (digest string, err error) {
	return c.PushArtifact(ctx, ref, Artifact{ConfigType: HelmConfig, LayerType: HelmChart, Layers: []string{"the chart of " + ref}})
}

// PushArtifact pushes a manifest with its blobs and returns its digest.
// Annotations are those of the layers, in their order.
func (c *Client) PushArtifact(ctx context.Context, ref string, a Artifact) (digest string, err error) {
	r, err := name.ParseReference(c.Image(ref), name.StrictValidation)
	if err != nil {
		return "", err
	}
	config, err := c.pushBlob(ctx, r.Context(), cmp.Or(a.Config, "{}"), cmp.Or(a.ConfigType, "application/vnd.oci.empty.v1+json"))
	if err != nil {
		return "", err
	}
	m := struct {
		v1.Manifest
		ArtifactType string `json:"artifactType,omitempty"`
	}{v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config}, a.Type}
	for n, content := range a.Layers {
		d, err := c.pushBlob(ctx, r.Context(), content, cmp.Or(a.LayerType, "application/octet-stream"))
		if err != nil {
			return "", err
		}
		if n < len(a.Annotations) {
			d.Annotations = a.Annotations[n]
		}
		m.Layers = append(m.Layers, d)
	}
	body, err := json.Marshal(m)
	if err != nil {
		return "", err
	}
	return c.PushManifest(ctx, ref, types.OCIManifestSchema1, body)
}

// PushManifest pushes the bytes of a manifest as they are and returns their digest.
func (c *Client) PushManifest(ctx context.Context, ref string, mediaType types.MediaType, body []byte) (digest string, err error) {
	r, err := name.ParseReference(c.Image(ref), name.StrictValidation)
	if err != nil {
		return "", err
	}
	m := rawManifest{body: body, mediaType: mediaType}
	if err := remote.Put(r, m, c.options(ctx)...); err != nil {
		return "", fmt.Errorf("push %s: %w", r, err)
	}
	hash, _, err := v1.SHA256(bytes.NewReader(body))
	return hash.String(), err
}

// Manifest reads the bytes of a manifest.
func (c *Client) Manifest(ctx context.Context, ref string) ([]byte, error) {
	r, err := name.ParseReference(c.Image(ref), name.StrictValidation)
	if err != nil {
		return nil, err
	}
	d, err := remote.Get(r, c.options(ctx)...)
	if err != nil {
		return nil, err
	}
	return d.Manifest, nil
}

func (c *Client) pushBlob(ctx context.Context, repo name.Repository, content string, mediaType types.MediaType) (v1.Descriptor, error) {
	blob := static.NewLayer([]byte(content), mediaType)
	if err := remote.WriteLayer(repo, blob, c.options(ctx)...); err != nil {
		return v1.Descriptor{}, fmt.Errorf("push a blob to %s: %w", repo, err)
	}
	digest, err := blob.Digest()
	return v1.Descriptor{MediaType: mediaType, Digest: digest, Size: int64(len(content))}, err
}

// rawManifest is a remote.Taggable of bytes.
type rawManifest struct {
	body      []byte
	mediaType types.MediaType
}

func (m rawManifest) RawManifest() ([]byte, error)        { return m.body, nil }
func (m rawManifest) MediaType() (types.MediaType, error) { return m.mediaType, nil }
