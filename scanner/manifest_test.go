package scanner

import (
	"strings"
	"testing"
)

// The expected spellings are those of containerd's platforms.Normalize.
func TestNormalPlatform(t *testing.T) {
	for in, want := range map[string]string{
		"linux/amd64": "linux/amd64", "linux/amd64/v1": "linux/amd64", "linux/amd64/v3": "linux/amd64/v3", "Linux/x86_64": "linux/amd64",
		"linux/arm64": "linux/arm64", "linux/arm64/v8": "linux/arm64", "linux/arm64/8": "linux/arm64", "linux/aarch64": "linux/arm64", "linux/arm64/v9": "linux/arm64/v9",
		"linux/arm": "linux/arm/v7", "linux/arm/7": "linux/arm/v7", "linux/arm/v6": "linux/arm/v6", "linux/armhf": "linux/arm/v7", "linux/armel": "linux/arm/v6",
		"linux/i386": "linux/386", "macos/arm64": "darwin/arm64", "windows/amd64": "windows/amd64", "linux/s390x": "linux/s390x",
		"": "", "linux": "", "linux/": "", "/amd64": "", "linux/amd64/v1/x": "", "linux/amd 64": "", "unknown/unknown": "", "linux/arm/": "",
	} {
		got, err := NormalPlatform(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("NormalPlatform(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}

// A manifest that clients could read in two ways is none.
func TestParseManifest(t *testing.T) {
	const config = `"config":{"mediaType":"application/vnd.oci.image.config.v1+json"}`
	for body, want := range map[string]string{
		`{` + config + `}`: "image",
		`{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":"application/vnd.docker.container.image.v1+json"},"layers":[{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip"}]}`: "image",
		`{` + config + `,"artifactType":"application/vnd.oci.image.config.v1+json"}`:                                        "image",
		`{` + config + `,"layers":[{"mediaType":"text/spdx"},{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip"}]}`: "image",
		`{"manifests":[{"platform":{"os":"linux","architecture":"amd64"}}]}`:                                                "image",
		`{"manifests":[]}`: "an index without images",
		`{"manifests":[{"platform":{"os":"unknown","architecture":"unknown"}}]}`:                                                   "an index without images",
		`{"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","platform":{"os":"linux","architecture":"amd64"}}]}`: "an index without images",
		`{"manifests":[{"annotations":{"vnd.docker.reference.type":"attestation-manifest"}}]}`:                                     "an index without images",
		`{"manifests":[{"artifactType":"application/vnd.cncf.helm.config.v1+json"}]}`:                                              "an index without images",
		`{"mediaType":"application/vnd.docker.distribution.manifest.v1+prettyjws"}`:                                                "an image of the retired schema 1, which container runtimes no longer start",
		`{"mediaType":"application/vnd.acme"}`:                                                                                     "an artifact of type application/vnd.acme",
		`{` + config + `,"manifests":[]}`:                                                                                          "error",
		`{"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[]}`:                                                "error",
		`{"mediaType":"application/vnd.oci.image.manifest.v1+json"}`:                                                               "error",
		`{"mediaType":"application/vnd.oci.image.index.v1+json",` + config + `}`:                                                   "error",
		`{}`: "error", `[]`: "error", ``: "error", `<html>`: "error", `{"manifests":"x"}`: "error", `null`: "error",
	} {
		got := "error"
		if m, err := parseManifest([]byte(body)); err == nil {
			kind, image := m.artifactType()
			if got = Describe(kind); image {
				got = "image"
			}
		}
		if got != want {
			t.Errorf("%s is %q, want %q", body, got, want)
		}
	}
	if words := Describe("application/" + strings.Repeat("x", 500) + "\n"); len(words) > 300 || strings.Contains(words, "\n") {
		t.Errorf("Describe of a stranger's type: %q", words)
	}
}
