package scanner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"go.uber.org/zap"

	"hoist/bump"
)

const (
	maxMeanings  = 10_000 // digests whose meaning is remembered
	maxSightings = 50_000 // tags of which it is remembered since when they are what they are
	maxChildren  = 4      // images of an index that are read for what the index does not say
)

// The beginnings of keys on the shelf. A change of what is read of a manifest
// takes another number.
const (
	meaningKey  = "artifact 1 "
	sightingKey = "seen 1 "
)

// ErrNotFound says that the registry has no such tag.
var ErrNotFound = errors.New("no such tag")

// Wants says what is to be known beyond existence, digest and kind.
type Wants struct {
	Platforms bool // the platforms there are images for
	Created   bool // when it was built, and since when the tag is what it is, also after a restart
}

// Inspect looks a tag up in the registry: by one HEAD, while what its digest
// means is read once and then remembered (a digest never changes its meaning).
//
// Platforms are spelt as containerd does, see [NormalPlatform]; attestations
// have none. The build time of an index is that of its newest image, of the
// first four; where nothing is said, or nothing that is a time, it is zero.
//
// The error is [ErrNotFound] where the registry has no such tag, a
// [PausedError] where the host is left alone just now and nothing was sent, and
// else says what stopped it. What can never be read, a manifest that is no
// JSON say, is no error but an artifact that is no image.
func (s *Scanner) Inspect(ctx context.Context, src Source, tag string, wants Wants) (bump.Artifact, error) {
	if !isTag(tag) {
		return bump.Artifact{}, fmt.Errorf("look up %s: %q is not a tag", src.Image.Image, clean(tag))
	}
	var found bump.Artifact
	fail := s.visit(ctx, src, func(ctx context.Context, ep *endpoint, client *http.Client, repo name.Repository) error {
		at := stock{endpoint: ep, client: client, repo: repo, insecure: src.Image.Insecure}
		to, err := at.resolve(ctx, tag)
		if err != nil {
			return err
		}
		m, err := s.meaningOf(ctx, at, to, wants)
		if err != nil {
			return err
		}
		found = m.artifact(tag, to.digest, wants)
		found.Seen = s.seen(repo, src.Image.Image, tag, to.digest, wants.Created)
		return nil
	})
	if fail != nil {
		return bump.Artifact{}, fmt.Errorf("look up %s:%s: %w", src.Image.Image, tag, fail)
	}
	return found, nil
}

// meaning is what a digest stands for. It never changes, only more of it may
// become known.
type meaning struct {
	Type      string    `json:"type"`
	Image     bool      `json:"image"`
	Known     Wants     `json:"known"`
	Platforms []string  `json:"platforms,omitempty"`
	Created   time.Time `json:"created,omitzero"`

	lacking bool // something was not in the registry, and may come yet
}

func (m meaning) artifact(tag, digest string, wants Wants) bump.Artifact {
	a := bump.Artifact{Tag: tag, Digest: digest, Type: m.Type, Image: m.Image}
	if wants.Platforms {
		a.Platforms = append([]string{}, m.Platforms...)
	}
	if wants.Created {
		a.Created = m.Created
	}
	return a
}

// knows tells whether nothing has to be read for wants.
func (m meaning) knows(wants Wants) bool {
	return !m.Image || ((m.Known.Platforms || !wants.Platforms) && (m.Known.Created || !wants.Created))
}

// meaningOf remembers what a digest means, or reads it.
func (s *Scanner) meaningOf(ctx context.Context, at stock, to pointer, wants Wants) (meaning, error) {
	if strings.HasPrefix(to.mediaType, typeSchema1) {
		return meaning{Type: to.mediaType}, nil // its digest leaves its signature out and cannot be checked
	}
	known, ok := s.meanings.get(to.digest)
	if !ok {
		if known, ok = loadJSON[meaning](s.shelf, meaningKey+to.digest); ok {
			s.meanings.put(to.digest, known)
		}
	}
	if ok && known.knows(wants) {
		return known, nil
	}
	wants.Platforms = wants.Platforms || known.Known.Platforms
	wants.Created = wants.Created || known.Known.Created
	body := to.body
	if body == nil {
		var err error
		body, err = at.manifest(ctx, to.digest)
		if errors.Is(err, errOversized) {
			return meaning{Type: typeOversized}, nil
		}
		if err != nil {
			return meaning{}, err
		}
	}
	m, err := at.learn(ctx, body, wants)
	if err != nil {
		return meaning{}, err
	}
	if !m.lacking {
		s.meanings.put(to.digest, m)
		saveJSON(s.shelf, meaningKey+to.digest, m)
	}
	return m, nil
}

// learn finds out what a manifest is, reading further where it has to.
func (r stock) learn(ctx context.Context, body []byte, wants Wants) (meaning, error) {
	parsed, err := parseManifest(body)
	if err != nil {
		return meaning{Type: typeUnreadable}, nil
	}
	m := meaning{Known: wants}
	m.Type, m.Image = parsed.artifactType()
	if !m.Image {
		return m, nil
	}
	if parsed.isIndex() {
		return r.learnIndex(ctx, m, parsed.images())
	}
	if wants == (Wants{}) {
		return m, nil
	}
	config, err := r.config(ctx, parsed)
	if isLasting(err) {
		m.lacking = true
		return m, nil
	}
	if err != nil {
		return meaning{}, err
	}
	m.Platforms, m.Created = platformsOf([]descriptor{{Platform: &config.platform}}), config.created()
	return m, nil
}

// learnIndex reads images of an index: for their build times, and where the
// index does not say for which platform they are, or that they are images at all.
func (r stock) learnIndex(ctx context.Context, m meaning, images []descriptor) (meaning, error) {
	read := 0
	m.Image = false
	for n, d := range images {
		told := d.Platform != nil
		m.Image = m.Image || told
		needed := m.Known.Created || !told && (m.Known.Platforms || !m.Image)
		if !needed || read == maxChildren {
			continue
		}
		read++
		config, err := r.child(ctx, d)
		if isLasting(err) {
			m.lacking = m.lacking || !errors.Is(err, errNoImage)
			continue
		}
		if err != nil {
			return meaning{}, err
		}
		m.Image = true
		if !told {
			images[n].Platform = &config.platform
		}
		if created := config.created(); created.After(m.Created) {
			m.Created = created
		}
	}
	m.Platforms = platformsOf(images)
	return m, nil
}

// child reads the configuration of an image of an index. The error is
// errNoImage where it is none.
func (r stock) child(ctx context.Context, d descriptor) (imageConfig, error) {
	body, err := r.manifest(ctx, d.Digest)
	if err != nil {
		return imageConfig{}, err
	}
	parsed, err := parseManifest(body)
	if err != nil || parsed.isIndex() {
		return imageConfig{}, errNoImage
	}
	if _, image := parsed.artifactType(); !image {
		return imageConfig{}, errNoImage
	}
	return r.config(ctx, parsed)
}

// config reads an image's configuration. One that is no JSON says nothing.
func (r stock) config(ctx context.Context, m manifest) (imageConfig, error) {
	body, err := r.blob(ctx, m.Config.Digest, maxConfig)
	if err != nil {
		return imageConfig{}, err
	}
	var config imageConfig
	if json.Unmarshal(body, &config) != nil {
		return imageConfig{}, nil
	}
	return config, nil
}

var errNoImage = errors.New("not an image")

// isLasting tells whether something is not to be had by asking again at once:
// it is not there, too large, or no image. An index may have lost some of its
// images to a cleaner, or a mirror may not have them yet.
func isLasting(err error) bool {
	return statusOf(err) == http.StatusNotFound || errors.Is(err, errOversized) || errors.Is(err, errNoDigest) || errors.Is(err, errNoImage)
}

// sighting is since when a tag has pointed to a digest, as far as we saw.
type sighting struct {
	Digest string    `json:"digest"`
	Since  time.Time `json:"since"`
	kept   bool      // on the shelf
}

// seen notes what a tag points to and returns since when that is known. A tag
// that was pushed again starts anew. With keep it outlasts a restart; who
// deletes the shelf starts every clock anew, which only ever makes wait longer.
func (s *Scanner) seen(repo name.Repository, image, tag, digest string, keep bool) time.Time {
	key := repo.Name() + ":" + tag
	known, ok := s.sightings.get(key)
	if keep && !known.kept {
		if old, there := loadJSON[sighting](s.shelf, sightingKey+key); there && (!ok || old.Digest == known.Digest) {
			known, ok = sighting{Digest: old.Digest, Since: old.Since, kept: true}, true
		}
	}
	if ok && known.Digest != digest {
		s.log.Info("tag was pushed again", zap.String("image", image), zap.String("tag", tag),
			zap.String("from", known.Digest), zap.String("to", digest))
	}
	if now := s.now(); !ok || known.Digest != digest || known.Since.After(now) {
		known = sighting{Digest: digest, Since: now}
	}
	if keep && !known.kept {
		saveJSON(s.shelf, sightingKey+key, known)
		known.kept = true
	}
	s.sightings.put(key, known)
	return known.Since
}
