package scanner

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The types of [bump.Artifact] that are no media types.
const (
	typeUnreadable = "unreadable manifest"
	typeOversized  = "manifest of more than 4 MiB"
)

// Annotations and types by which an index's entry or a layer is told from an image.
const (
	buildkitReference = "vnd.docker.reference.type" // on what BuildKit puts beside images: "attestation-manifest"
	typeSimpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	typeBundle        = "application/vnd.dev.sigstore.bundle" // the beginning; a version follows
	typeSchema1       = "application/vnd.docker.distribution.manifest.v1"
)

var (
	indexTypes    = []string{string(types.OCIImageIndex), string(types.DockerManifestList)}
	manifestTypes = []string{string(types.OCIManifestSchema1), string(types.DockerManifestSchema2)}
	configTypes   = []string{string(types.OCIConfigJSON), string(types.DockerConfigJSON)}
)

// manifest is what Hoist reads of an image manifest or an index (OCI image spec
// 1.1, Docker schema 2).
type manifest struct {
	MediaType    string       `json:"mediaType"`
	ArtifactType string       `json:"artifactType"`
	Config       *descriptor  `json:"config"`
	Layers       []descriptor `json:"layers"`
	Manifests    []descriptor `json:"manifests"`
}

type descriptor struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	Annotations  map[string]string `json:"annotations"`
	Platform     *platform         `json:"platform"`
}

type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
}

// imageConfig is what Hoist reads of an image's configuration.
type imageConfig struct {
	platform
	Created string `json:"created"`
}

// parseManifest reads a manifest or an index. What is both or neither is an
// error: clients would not agree on what it is.
func parseManifest(body []byte) (manifest, error) {
	var m manifest
	if err := json.Unmarshal(body, &m); err != nil {
		return manifest{}, fmt.Errorf("not a manifest: %s", describeJSON(err, body))
	}
	index := slices.Contains(indexTypes, m.MediaType) || (m.MediaType == "" && m.Manifests != nil)
	single := slices.Contains(manifestTypes, m.MediaType) || (m.MediaType == "" && m.Config != nil)
	switch {
	case index == single && m.MediaType == "":
		return manifest{}, fmt.Errorf("not a manifest: it has neither or both of config and manifests")
	case index && (m.Config != nil || m.Layers != nil), single && m.Manifests != nil:
		return manifest{}, fmt.Errorf("not a manifest: it has the fields of an image and of an index")
	case single && m.Config == nil:
		return manifest{}, fmt.Errorf("not a manifest: it has no config")
	}
	if index && m.MediaType == "" {
		m.MediaType = string(types.OCIImageIndex)
	}
	return m, nil
}

func (m manifest) isIndex() bool { return slices.Contains(indexTypes, m.MediaType) }

// artifactType returns the type that says what the manifest is, and whether
// that is an image. cosign's signatures carry an image's config by type, so the
// layers are looked at as well.
func (m manifest) artifactType() (string, bool) {
	switch {
	case !isImageType(m.ArtifactType):
		return m.ArtifactType, false
	case m.isIndex():
		return m.MediaType, len(m.images()) > 0
	case m.Config == nil:
		return m.MediaType, false // a media type that is not known
	case !slices.Contains(configTypes, m.Config.MediaType):
		return m.Config.MediaType, false
	case len(m.Layers) > 0 && !slices.ContainsFunc(m.Layers, descriptor.isLayer):
		return m.Layers[0].MediaType, false
	}
	return m.Config.MediaType, true
}

// images returns the entries of an index that are images, as far as the index
// says: neither attestations nor other artifacts. Indexes in an index do not count.
func (m manifest) images() []descriptor {
	return slices.DeleteFunc(slices.Clone(m.Manifests), func(d descriptor) bool {
		unknown := d.Platform != nil && d.Platform.unknown()
		known := d.MediaType == "" || slices.Contains(manifestTypes, d.MediaType)
		return unknown || !known || !isImageType(d.ArtifactType) || d.Annotations[buildkitReference] != ""
	})
}

// isImageType tells whether an artifactType leaves open that it is an image.
// Some clients write an image's config type there, as the spec has it for
// manifests without an artifactType of their own.
func isImageType(artifactType string) bool {
	return artifactType == "" || slices.Contains(configTypes, artifactType)
}

func (d descriptor) isLayer() bool {
	return strings.HasPrefix(d.MediaType, "application/vnd.oci.image.layer.") ||
		strings.HasPrefix(d.MediaType, "application/vnd.docker.image.rootfs.")
}

func (p platform) unknown() bool {
	return p.OS == "" || p.OS == "unknown" || p.Architecture == "" || p.Architecture == "unknown"
}

// String returns os/architecture or os/architecture/variant, in the one
// spelling that containerd gives a platform: linux/arm64 for arm64/v8 and for
// aarch64, linux/arm/v7 for plain arm, linux/amd64 for amd64/v1.
func (p platform) String() string {
	os, arch, variant := strings.ToLower(p.OS), strings.ToLower(p.Architecture), strings.ToLower(p.Variant)
	if variant != "" && variant[0] >= '0' && variant[0] <= '9' {
		variant = "v" + variant
	}
	switch arch {
	case "aarch64":
		arch = "arm64"
	case "x86_64", "x86-64":
		arch = "amd64"
	case "i386":
		arch, variant = "386", ""
	case "armhf":
		arch, variant = "arm", "v7"
	case "armel":
		arch, variant = "arm", "v6"
	}
	switch {
	case arch == "arm64" && variant == "v8", arch == "amd64" && variant == "v1":
		variant = ""
	case arch == "arm" && variant == "":
		variant = "v7"
	}
	if os == "macos" {
		os = "darwin"
	}
	if variant == "" {
		return os + "/" + arch
	}
	return os + "/" + arch + "/" + variant
}

// NormalPlatform returns the spelling of a platform that [bump.Artifact] has:
// "linux/arm64" for "linux/arm64/v8", "linux/arm/v7" for "linux/arm".
func NormalPlatform(s string) (string, error) {
	parts := strings.Split(s, "/")
	p := platform{}
	switch len(parts) {
	case 3:
		p.Variant = parts[2]
		fallthrough
	case 2:
		p.OS, p.Architecture = parts[0], parts[1]
	}
	for _, part := range parts {
		if part == "" || strings.Trim(strings.ToLower(part), "abcdefghijklmnopqrstuvwxyz0123456789_-.") != "" {
			p = platform{}
		}
	}
	if p.unknown() {
		return "", fmt.Errorf("%q is not a platform: write os/architecture or os/architecture/variant, such as linux/amd64 or linux/arm/v7", s)
	}
	return p.String(), nil
}

// platformsOf returns the platforms in byte order, each once; never nil.
func platformsOf(images []descriptor) []string {
	all := make([]string, 0, len(images))
	for _, d := range images {
		if d.Platform != nil && !d.Platform.unknown() {
			all = append(all, d.Platform.String())
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// created returns when the image was built; the zero time where that is not
// said, or not in the form of RFC 3339.
func (c imageConfig) created() time.Time {
	at, err := time.Parse(time.RFC3339Nano, c.Created)
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}

// Describe says for a person what an artifact of this type is, with its article:
// "a Helm chart". Type is that of a [bump.Artifact] that is no image.
func Describe(artifactType string) string {
	for _, known := range []struct{ prefix, words string }{
		{"application/vnd.cncf.helm.", "a Helm chart"},
		{"application/vnd.cncf.flux.", "a Flux artifact"},
		{"application/vnd.dev.cosign.artifact.sig.", "a cosign signature"},
		{typeSimpleSigning, "a cosign signature"},
		{typeBundle, "a sigstore bundle"},
		{"application/vnd.dsse.envelope.", "an attestation"},
		{"application/vnd.in-toto", "an attestation"},
		{"application/spdx", "an SBOM"}, {"text/spdx", "an SBOM"}, {"application/vnd.cyclonedx", "an SBOM"},
		{"application/vnd.syft", "an SBOM"}, {"spdx", "an SBOM"},
		{"application/vnd.wasm.", "a WebAssembly module"},
		{"application/vnd.docker.plugin.", "a Docker plugin"},
		{typeSchema1, "an image of the retired schema 1, which container runtimes no longer start"},
		{typeUnreadable, "a manifest that cannot be read"},
		{typeOversized, "a manifest of more than 4 MiB"},
	} {
		if strings.HasPrefix(artifactType, known.prefix) {
			return known.words
		}
	}
	if slices.Contains(indexTypes, artifactType) {
		return "an index without images"
	}
	if artifactType == "" {
		return "an artifact of no known type"
	}
	return fmt.Sprintf("an artifact of type %s", clean(artifactType))
}
