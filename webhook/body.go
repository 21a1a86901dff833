package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// maxHints is how many different images one request may name.
const maxHints = 1000

// Why a body is refused. None of it is shown to the caller.
var (
	errBody     = errors.New("not the expected JSON")
	errTooMany  = fmt.Errorf("more than %d images", maxHints)
	errNotNamed = errors.New("neither image nor repository is named well")
)

// subject is what a body speaks of: one of the two is set.
type subject struct {
	image      string // repository, spelt as in the body, without tag
	repository string // name or URL without user
}

// parseGeneric reads {"image": "…", "repository": "…"}, one of them or both. An
// empty body names nothing. A tag or digest behind the image is left out: what
// the registry holds is asked of the registry.
func parseGeneric(body []byte) ([]subject, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	var b struct {
		Image      *string `json:"image"`
		Repository *string `json:"repository"`
	}
	if err := decode(body, &b); err != nil {
		return nil, err
	}
	var found []subject
	if b.Image != nil {
		repo, err := repositoryOf(*b.Image)
		if err != nil {
			return nil, errNotNamed
		}
		found = append(found, subject{image: repo})
	}
	if b.Repository != nil {
		if gitKey(*b.Repository) == "" {
			return nil, errNotNamed
		}
		found = append(found, subject{repository: withoutUser(*b.Repository)})
	}
	if len(found) == 0 {
		return nil, errNotNamed
	}
	return found, nil
}

// event is what we read of one event in an envelope of the CNCF registry
// (distribution.github.io/distribution/about/notifications).
type event struct {
	Action string `json:"action"`
	Target struct {
		MediaType  string `json:"mediaType"`
		Repository string `json:"repository"`
		URL        string `json:"url"`
	} `json:"target"`
	Request struct {
		Host string `json:"host"`
	} `json:"request"`
}

// parseEnvelope returns the images whose manifests were pushed, each once, in
// the order of the events. Blobs, pulls and deletions say nothing new; an event
// that names no image is passed over, since the registry sends all it has.
func parseEnvelope(body []byte) ([]subject, error) {
	var envelope struct {
		Events []event `json:"events"`
	}
	if err := decode(body, &envelope); err != nil {
		return nil, err
	}
	var found []subject
	seen := make(map[string]bool)
	for _, e := range envelope.Events {
		image, ok := e.image()
		if !ok || seen[image] {
			continue
		}
		if len(found) == maxHints {
			return nil, errTooMany
		}
		seen[image] = true
		found = append(found, subject{image: image})
	}
	return found, nil
}

// image returns the repository that a manifest was pushed to, with the host by
// which the client knew the registry.
func (e event) image() (string, bool) {
	if e.Action != "push" || !isManifest(e.Target.MediaType) {
		return "", false
	}
	host := e.Request.Host
	if host == "" {
		u, err := url.Parse(e.Target.URL)
		if err != nil {
			return "", false
		}
		host = u.Host
	}
	if host == "" || e.Target.Repository == "" {
		return "", false
	}
	image := host + "/" + e.Target.Repository
	// Without tag and digest the name must come back as it is, and the host as a host.
	repo, err := repositoryOf(image)
	if err != nil || repo != image || strings.Contains(host, "/") {
		return "", false
	}
	return image, true
}

// isManifest tells manifests and indexes from blobs.
func isManifest(mediaType string) bool {
	mediaType, _, _ = strings.Cut(mediaType, ";")
	switch strings.TrimSpace(mediaType) {
	case "application/vnd.oci.image.manifest.v1+json",
		"application/vnd.oci.image.index.v1+json",
		"application/vnd.docker.distribution.manifest.v2+json",
		"application/vnd.docker.distribution.manifest.list.v2+json",
		"application/vnd.docker.distribution.manifest.v1+json",
		"application/vnd.docker.distribution.manifest.v1+prettyjws":
		return true
	}
	return false
}

// decode reads one JSON object and nothing behind it. Fields that we do not
// know are left alone: senders add to theirs.
func decode(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	if err := d.Decode(into); err != nil {
		return errBody
	}
	if _, err := d.Token(); err != io.EOF {
		return errBody
	}
	if trimmed := bytes.TrimSpace(body); trimmed[0] != '{' {
		return errBody // null, which fits everything
	}
	return nil
}
