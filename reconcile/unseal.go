package reconcile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"

	"hoist/sops"
)

// On an object that somebody else decrypts in the cluster a person says so.
// Secrets are decrypted whatever they say.
const (
	keyDecrypt  = "hoist/decrypt"
	fluxDecrypt = "kustomize.toolkit.fluxcd.io/decrypt"
)

// Unsealing returns a build that sees the tree of an app with decryption as it is
// behind SOPS, and knows of every value in the set that it may not be shown. Files
// are opened here and not in build, which may be another process: keys stay here.
func Unsealing(build BuildFunc) BuildFunc {
	return func(ctx context.Context, tree fs.FS, a App) (*Set, error) {
		u := &unsealedFS{FS: tree, ctx: ctx, app: a, opened: map[string]*sops.Plain{}}
		u.keys = sync.OnceValues(u.readKeys)
		var seen fs.FS = u
		if a.Decryption == nil || a.Keys == nil {
			seen = tree
		}
		set, err := build(ctx, seen, a)
		u.mu.Lock()
		defer u.mu.Unlock()
		switch {
		case u.fault != nil:
			return nil, fmt.Errorf("build %s: %w", dirOf(a.Path), u.fault)
		case err != nil:
			return nil, u.redact(err)
		}
		u.conceal(set)
		return set, u.plaintext(set)
	}
}

// unsealedFS is a tree in which encrypted files hold what was encrypted. What it
// tells about files and directories, hashes too, is of the tree as it is in Git.
type unsealedFS struct {
	fs.FS
	ctx  context.Context
	app  App
	keys func() (*sops.Keys, error)

	mu     sync.Mutex
	opened map[string]*sops.Plain
	fault  error // the first thing that could not be opened
}

func (u *unsealedFS) readKeys() (*sops.Keys, error) {
	secret, err := u.app.Keys(u.ctx)
	if err != nil {
		return nil, fmt.Errorf("read the keys: %w", err)
	}
	keys, err := sops.ParseKeys(secret, u.app.Decryption.allow())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.app.keysAt(), err)
	}
	return keys, nil
}

func (u *unsealedFS) Stat(name string) (fs.FileInfo, error)      { return fs.Stat(u.FS, name) }
func (u *unsealedFS) Lstat(name string) (fs.FileInfo, error)     { return fs.Lstat(u.FS, name) }
func (u *unsealedFS) ReadLink(name string) (string, error)       { return fs.ReadLink(u.FS, name) }
func (u *unsealedFS) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(u.FS, name) }

// Open is ReadFile for files.
func (u *unsealedFS) Open(name string) (fs.File, error) {
	f, err := u.FS.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return f, err
	}
	defer f.Close()
	b, err := u.ReadFile(name)
	return &unsealedFile{bytes.NewReader(b), info}, err
}

type unsealedFile struct {
	*bytes.Reader
	info fs.FileInfo
}

func (f *unsealedFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *unsealedFile) Close() error               { return nil }

// ReadFile returns a file opened, or as it is if nobody encrypted it.
func (u *unsealedFS) ReadFile(name string) ([]byte, error) {
	b, err := fs.ReadFile(u.FS, name)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if p := u.opened[name]; p != nil {
		return p.Bytes, nil
	}
	if err = u.checkConfigMaps(name, b); err == nil && sops.Encrypted(name, b) {
		b, err = u.open(name, b)
	}
	if err != nil && u.fault == nil {
		u.fault = err
	}
	return b, err
}

func (u *unsealedFS) open(name string, b []byte) ([]byte, error) {
	keys, err := u.keys()
	if err != nil {
		return nil, fmt.Errorf("%s: is encrypted by SOPS: %w", name, err)
	}
	p, err := sops.Open(u.ctx, name, b, sops.Options{Keys: keys, Skip: staysSealed})
	var missing *sops.NoKeyError
	switch {
	case errors.As(err, &missing):
		return nil, fmt.Errorf("%s: %w: add a private key of the former to %s, as NAME.agekey or NAME.asc, or encrypt the file for one of the latter with sops updatekeys", name, err, u.app.keysAt())
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	case p == nil:
		return b, nil
	}
	u.opened[name] = p
	return p.Bytes, nil
}

// staysSealed tells whether somebody in the cluster decrypts a document.
func staysSealed(doc *yaml.Node) bool {
	var o struct {
		Kind       string `yaml:"kind"`
		APIVersion string `yaml:"apiVersion"`
		Metadata   struct {
			Annotations map[string]string `yaml:"annotations"`
		} `yaml:"metadata"`
	}
	_ = doc.Decode(&o) // what does not fit says nothing
	return decryptedElsewhere(o.APIVersion, o.Kind, o.Metadata.Annotations)
}

func decryptedElsewhere(apiVersion, kind string, annotations map[string]string) bool {
	if apiVersion == "v1" && kind == "Secret" {
		return false
	}
	return strings.EqualFold(annotations[keyDecrypt], "disabled") || strings.EqualFold(annotations[fluxDecrypt], "disabled")
}

// checkConfigMaps refuses a kustomization, or the file of a generator, that makes
// a ConfigMap of an encrypted file: everybody reads those.
func (u *unsealedFS) checkConfigMaps(name string, b []byte) error {
	if !bytes.Contains(b, []byte("onfigMapGenerator")) {
		return nil
	}
	var faults []error
	look := func(field, p string) {
		if _, after, ok := strings.Cut(p, "="); ok {
			p = after
		}
		target := path.Join(path.Dir(name), p)
		if p == "" || !fs.ValidPath(target) {
			return
		}
		if sealed, err := fs.ReadFile(u.FS, target); err == nil && sops.Encrypted(target, sealed) {
			where := name
			if line := lineOf(b, field); line > 0 {
				where = fmt.Sprintf("%s:%d", name, line)
			}
			faults = append(faults, fmt.Errorf("%s: %s: %q is encrypted by SOPS, and a ConfigMap of it would be read by everybody: make it a secretGenerator", where, field, p))
		}
	}
	sources := func(field string, s types.KvPairSources) {
		for i, f := range s.FileSources {
			look(fmt.Sprintf("%s.files[%d]", field, i), f)
		}
		for i, f := range s.EnvSources {
			look(fmt.Sprintf("%s.envs[%d]", field, i), f)
		}
		look(field+".env", s.EnvSource)
	}
	for _, g := range builtinConfigMaps(b) {
		sources("ConfigMapGenerator", g)
	}
	var k types.Kustomization
	if isKustomization(path.Base(name)) && k.Unmarshal(b) == nil { // who builds says what is wrong with it
		for i, g := range k.ConfigMapGenerator {
			sources(fmt.Sprintf("configMapGenerator[%d]", i), g.KvPairSources)
		}
		for _, entry := range append(append(k.Generators, k.Transformers...), k.Validators...) {
			if inline(entry) {
				for _, g := range builtinConfigMaps([]byte(entry)) {
					sources("generators", g)
				}
			}
		}
	}
	return errors.Join(faults...)
}

// builtinConfigMaps finds the configurations of kustomize's generator as an object.
func builtinConfigMaps(b []byte) (all []types.KvPairSources) {
	for dec := yaml.NewDecoder(bytes.NewReader(b)); ; {
		var d struct {
			APIVersion string   `yaml:"apiVersion"`
			Kind       string   `yaml:"kind"`
			Files      []string `yaml:"files"`
			Envs       []string `yaml:"envs"`
			Env        string   `yaml:"env"`
		}
		if dec.Decode(&d) != nil {
			return all
		}
		if d.APIVersion == konfig.BuiltinPluginApiVersion && d.Kind == "ConfigMapGenerator" {
			all = append(all, types.KvPairSources{FileSources: d.Files, EnvSources: d.Envs, EnvSource: d.Env})
		}
	}
}
