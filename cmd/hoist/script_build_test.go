package main

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"hoist/testenv/imagesigner"
	"hoist/testenv/registryserver"
)

// build does what a build pipeline does to a registry:
//
//	registry push IMAGE:TAG… platform=linux/amd64,linux/arm64 created=2026-01-02T03:04:05Z content=WORD attested=true
//	registry tag IMAGE:TAG TAG…        gives what is there more tags
//	registry chart IMAGE:TAG…          pushes Helm charts
//	registry key NAME…                 makes key pairs of cosign's; NAME/cosign.pub is the public half
//	registry sign IMAGE:TAG… key=NAME form=tag
//
// A push of a tag that is there already changes it if the content is another.
// created may be relative: -10m is ten minutes ago. The key of signatures is
// that named "keys" unless another is given, and their form that of cosign 3.
func (w *world) build(ts *testscript.TestScript, verb string, args []string) {
	var refs []string
	options := make(map[string]string)
	for _, arg := range args {
		if name, value, ok := strings.Cut(arg, "="); ok {
			options[name] = value
		} else {
			refs = append(refs, arg)
		}
	}
	usage(ts, len(refs) > 0, registryUsage)
	take := func(name, absent string) string {
		value, ok := options[name]
		if delete(options, name); ok {
			return value
		}
		return absent
	}
	switch verb {
	case "push":
		o := registryserver.PushOptions{
			Created: created(ts, take("created", "")), Content: take("content", ""), Attested: take("attested", "") == "true",
		}
		if list := take("platform", ""); list != "" {
			o.Platforms = strings.Split(list, ",")
		}
		for _, ref := range refs {
			_, err := w.registry.Push(ctx(), ref, o)
			ts.Check(err)
		}
	case "tag":
		ts.Check(w.registry.Tag(ctx(), refs[0], refs[1:]...))
	case "chart":
		for _, ref := range refs {
			_, err := w.registry.PushChart(ctx(), ref)
			ts.Check(err)
		}
	case "key":
		for _, name := range refs {
			w.signer(ts, name)
		}
	case "sign":
		signer, form := w.signer(ts, take("key", "keys")), imagesigner.Form(take("form", string(imagesigner.Bundle)))
		for _, ref := range refs {
			ts.Check(signer.Sign(ctx(), w.registry.Image(ref), form, w.registry.DockerConfig()))
		}
	}
	usage(ts, len(options) == 0, registryUsage)
}

// created reads a time, or how long ago it was.
func created(ts *testscript.TestScript, value string) time.Time {
	if value == "" {
		return time.Time{}
	}
	if ago, err := time.ParseDuration(value); err == nil {
		return time.Now().Add(ago)
	}
	at, err := time.Parse(time.RFC3339, value)
	ts.Check(err)
	return at
}

// signer returns the key pair of that name, made at its first use. The private
// half is out of sight of the script's configurations.
func (w *world) signer(ts *testscript.TestScript, name string) *imagesigner.Signer {
	if s, ok := w.signers[name]; ok {
		return s
	}
	dir := filepath.Join(w.env.WorkDir, ".cosign", name)
	ts.Check(os.MkdirAll(dir, 0o700))
	s, err := imagesigner.New(ctx(), dir, os.Stderr)
	ts.Check(err)
	public, err := os.ReadFile(s.PublicKeyFile())
	ts.Check(err)
	w.write(ts, map[string][]byte{name + "/cosign.pub": public})
	w.signers[name] = s
	return s
}
