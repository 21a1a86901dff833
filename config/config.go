// Package config reads the configuration: YAML files with native documents
// (apiVersion hoist/v1, kind Config) and Flux documents, mixed freely, into one
// model. It stands before a bump's way: what it lets through, every room may
// trust.
//
// It is strict, since a policy that had to be guessed deploys the wrong version:
// an unknown key, a value of the wrong type, a name used twice, a reference to
// nothing, a cycle of dependencies or a section that its room refuses is a
// [Fault] with file and line, and all faults are reported at once. A Flux field
// that Hoist does not support is a fault that names it; one that has no meaning
// here is accepted and said so in [Config.Lints]. No file, an empty file or a
// file without entries is never taken for "nothing to do".
//
// Reading changes nothing on disk and logs nothing. Secrets are not in the
// configuration, only their names are, and what looks like one is not repeated
// in a message.
package config

import (
	"fmt"
	"io"
	"os"
	"strings"

	"hoist/bump"
	"hoist/gitpush"
	"hoist/plan"
	"hoist/policy"
	"hoist/reconcile"
	"hoist/scanner"
	"hoist/setter"
	"hoist/webhook"
)

// Config is a whole configuration, checked. The entries of each list have
// different names, registries different hosts, and stand in the order of the files. It is not edited after
// it was loaded and may be read from several goroutines.
type Config struct {
	Repositories []gitpush.Repository
	Images       []scanner.Image
	Policies     []Policy
	Updates      []Update
	Apply        []App
	Registries   []scanner.Registry
	Webhooks     []webhook.Receiver

	lints []Fault
}

// Policy chooses a tag of an image. Markers carry its name.
type Policy struct {
	Name   bump.Name
	Image  bump.Name // of the entry of Images whose tags it chooses from
	Spec   policy.Spec
	Policy *policy.Policy // Spec, compiled
}

// Update sets marked fields in files of a repository.
type Update struct {
	Name        bump.Name
	Repository  bump.Name // of the entry of Repositories
	setter.Spec           // which files and fields; its paths are cleaned, "." for all of the repository
	Branch      string    // that commits go to: the branch of the repository
	Commit      gitpush.CommitSpec
	Push        gitpush.PushSpec
	Rules       plan.Rules    // when and how much may be bumped
	Calendar    plan.Calendar // of Rules
	Interval    bump.Duration // between looks although no tag is new; 0 where the file says nothing
	Suspend     bool
}

// App is an entry of apply with its repository looked up.
type App struct {
	reconcile.App
	RepositoryName bump.Name // of the entry of Repositories
}

// Load reads files, directories (their *.yaml, in the order of their names) and
// "-" (standard input) into one configuration. The error is a [Faults] with
// everything that is wrong, or nil; with an error there is no configuration.
func Load(paths ...string) (*Config, error) { return load(os.Stdin, paths) }

func load(stdin io.Reader, paths []string) (*Config, error) { return builderOf(stdin, paths).build() }

func builderOf(stdin io.Reader, paths []string) *builder {
	files, faults, lints := open(paths, stdin)
	if len(paths) == 0 {
		faults = append(faults, Fault{File: "configuration", Message: "no file was named"})
	}
	return newBuilder(files, faults, lints)
}

// Parse reads one file that is already in memory; name is its name in faults.
func Parse(name string, data []byte) (*Config, error) {
	if len(data) > maxFileSize {
		return nil, Faults{{File: name, Message: fmt.Sprintf("the file is larger than %d MiB", maxFileSize>>20)}}
	}
	return newBuilder([]file{{name: name, data: data}}, nil, nil).build()
}

// Lints returns what is allowed but probably not meant, in the order of the
// files and lines. They are found without Git, registry or cluster.
func (c *Config) Lints() []Fault { return c.lints }

// Repository returns the repository of that name.
func (c *Config) Repository(name bump.Name) (gitpush.Repository, bool) {
	for _, r := range c.Repositories {
		if r.Name == name {
			return r, true
		}
	}
	return gitpush.Repository{}, false
}

// Image returns the image of that name.
func (c *Config) Image(name bump.Name) (scanner.Image, bool) {
	for _, i := range c.Images {
		if i.Name == name {
			return i, true
		}
	}
	return scanner.Image{}, false
}

// ImageNames returns the image that each policy chooses from, spelt as the
// configuration does.
func (c *Config) ImageNames() map[bump.Name]string {
	spelt := make(map[bump.Name]string, len(c.Images))
	for _, i := range c.Images {
		spelt[i.Name] = i.Image
	}
	names := make(map[bump.Name]string, len(c.Policies))
	for _, p := range c.Policies {
		names[p.Name] = spelt[p.Image]
	}
	return names
}

// Summary counts the entries: "1 repository, 2 images, 2 policies, 1 update".
func (c *Config) Summary() string {
	var parts []string
	count := func(n int, one, many string) {
		switch {
		case n == 1:
			parts = append(parts, "1 "+one)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %s", n, many))
		}
	}
	count(len(c.Repositories), "repository", "repositories")
	count(len(c.Images), "image", "images")
	count(len(c.Policies), "policy", "policies")
	count(len(c.Updates), "update", "updates")
	count(len(c.Apply), "app", "apps")
	count(len(c.Registries), "registry", "registries")
	count(len(c.Webhooks), "webhook", "webhooks")
	return strings.Join(parts, ", ")
}
