package config

import (
	"fmt"
	"regexp"
	"strings"

	"hoist/bump"
	"hoist/gitpush"
	"hoist/policy"
	"hoist/reconcile"
	"hoist/scanner"
	"hoist/setter"
)

// renamed returns where a room's field stands in a Flux document: below spec,
// some under another path there.
func renamed(paths map[string]string) func(string) string {
	return func(field string) string {
		switch field {
		case "":
			return ""
		case "name", "namespace":
			return "metadata." + field
		}
		for from, to := range paths {
			if field == from || below(field, from) {
				return "spec." + to + field[len(from):]
			}
		}
		return "spec." + field
	}
}

// gitRef is what Hoist follows of a GitRepositoryRef.
type gitRef struct {
	Branch string `json:"branch"`
}

// sourceRef is a reference to a GitRepository.
type sourceRef struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	Namespace  string `json:"namespace"`
}

func addGitRepository(b *builder, o fluxObject) {
	o.rename = renamed(map[string]string{"branch": "ref.branch"})
	var r gitpush.Repository
	var more struct {
		Ref gitRef `json:"ref"`
	}
	o.dec.decode(o.spec, "spec", &r, &more)
	r.Name, r.Branch = o.name, more.Ref.Branch
	if r.Branch == "" {
		r.Branch = "master"
		if b.known(o.doc, "spec.ref") {
			b.said.mark(o.doc, o.path("branch"))
		} else {
			b.warn(o.fault("branch", "no branch is named: Flux's default, master, is used", ""))
		}
	}
	if !b.known(o.doc, "spec.url") && r.URL != "" && !fluxURL(r.URL) {
		b.say(o.origin, "url", quote(r.URL, "")+" is not a URL that Flux takes", "use http://, https:// or ssh://")
	}
	b.addRepository(o.origin, r)
}

// fluxURL says whether Flux would take the URL: it knows no user@host:path.
func fluxURL(u string) bool {
	for _, scheme := range []string{"http://", "https://", "ssh://"} {
		if strings.HasPrefix(u, scheme) {
			return true
		}
	}
	return false
}

func addImageRepository(b *builder, o fluxObject) {
	o.rename = renamed(nil)
	var i scanner.Image
	o.dec.decode(o.spec, "spec", &i)
	i.Name = o.name
	if len(i.ExclusionList) == 0 {
		i.ExclusionList = nil // an empty list means the default to Flux
	}
	b.addImage(o.origin, i)
}

func addImagePolicy(b *builder, o fluxObject) {
	o.rename = renamed(map[string]string{"image": "imageRepositoryRef.name", "digestInterval": "interval"})
	var s policy.Spec
	var more struct {
		Interval bump.Duration `json:"interval"`
		Ref      struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"imageRepositoryRef"`
	}
	o.dec.decode(o.spec, "spec", &s, &more)
	if s.FilterTags != nil && s.FilterTags.Pattern == "" && s.FilterTags.Extract == "" {
		s.FilterTags = nil
	}
	s.DigestInterval = more.Interval
	if s.DigestReflectionPolicy == policy.DigestAlways && s.DigestInterval == 0 && !b.known(o.doc, "spec.interval") {
		o.dec.fault(o.doc.at("spec.digestReflectionPolicy"), "spec.interval", "is missing: Flux needs it with digestReflectionPolicy Always", "")
	}
	p := Policy{Name: o.name, Spec: s, Image: o.to(more.Ref.Namespace, more.Ref.Name)}
	b.fluxRef(o, "image", "ImageRepository", p.Image, b.images)
	b.addPolicy(o.origin, p)
}

func addAutomation(b *builder, o fluxObject) {
	o.rename = renamed(map[string]string{
		"repository": "sourceRef.name", "path": "update.path", "commit": "git.commit", "push": "git.push", "branch": "git.checkout.ref.branch",
	})
	var s struct {
		Source   sourceRef     `json:"sourceRef"`
		Interval bump.Duration `json:"interval"`
		Suspend  bool          `json:"suspend"`
		Git      *struct {
			Checkout struct {
				Ref gitRef `json:"ref"`
			} `json:"checkout"`
			Commit gitpush.CommitSpec `json:"commit"`
			Push   gitpush.PushSpec   `json:"push"`
		} `json:"git"`
		Update struct {
			Path string `json:"path"`
		} `json:"update"`
	}
	o.dec.decode(o.spec, "spec", &s)
	u := Update{Name: o.name, Spec: setter.Spec{Path: s.Update.Path}, Interval: s.Interval, Suspend: s.Suspend, Repository: b.source(o, s.Source)}
	if s.Git != nil {
		u.Commit, u.Push = s.Git.Commit, s.Git.Push
		if s.Git.Checkout.Ref.Branch != "" {
			b.checkouts = append(b.checkouts, checkout{o.origin, u.Repository, s.Git.Checkout.Ref.Branch})
		}
	}
	b.addUpdate(o.origin, u)
}

// checkout is the branch that an ImageUpdateAutomation names beside that of its
// GitRepository.
type checkout struct {
	from       origin
	repository bump.Name
	branch     string
}

// checkoutBranches refuses automations that start from another branch than
// their repository follows.
func (b *builder) checkoutBranches() {
	for _, c := range b.checkouts {
		at := b.repositories[c.repository]
		if r, ok := b.cfg.Repository(c.repository); ok && r.Branch != c.branch && !b.known(at.doc, at.path("branch")) {
			b.say(c.from, "branch", fmt.Sprintf("starting from %q, while the GitRepository is read on branch %q, is not supported yet", c.branch, r.Branch),
				"make both the same, or give the other branch a GitRepository of its own")
		}
	}
}

func addKustomization(b *builder, o fluxObject) {
	o.rename = renamed(map[string]string{"repository": "sourceRef.name", "cluster.kubeconfigSecretRef": "kubeConfig.secretRef", "ignore": "driftIgnoreRules"})
	var a App
	var more struct {
		Source     sourceRef `json:"sourceRef"`
		KubeConfig *struct {
			SecretRef *reconcile.KeyRef `json:"secretRef"`
		} `json:"kubeConfig"`
		DriftIgnoreRules []reconcile.IgnoreRule `json:"driftIgnoreRules"`
	}
	o.dec.decode(o.spec, "spec", &a.App, &more)
	a.Name, a.Repository = o.name, more.Source.Name
	a.RepositoryName = b.source(o, more.Source)
	if k := more.KubeConfig; k != nil && k.SecretRef != nil {
		a.Cluster = &reconcile.ClusterRef{KubeconfigSecretRef: k.SecretRef}
	} else if k != nil && !b.known(o.doc, "spec.kubeConfig") {
		b.say(o.origin, "kubeConfig", "has no secretRef", "name the Secret with the kubeconfig")
	}
	a.Ignore = more.DriftIgnoreRules
	b.plainTargets(o, a.Ignore)
	for key, value := range o.labels {
		if !strings.Contains(key, fluxDomain) { // those say which Kustomization applied the document
			if a.Labels == nil {
				a.Labels = map[string]string{}
			}
			a.Labels[key] = value
		}
	}
	for i := range a.HealthChecks {
		if h := &a.HealthChecks[i]; h.APIVersion == "" && h.Kind != "" {
			h.APIVersion = usualVersion(h.Kind)
		}
	}
	b.addApp(o.origin, a)
}

// plainTargets refuses rules whose targets are regular expressions, which Flux has
// and "ignore" has not: they would leave other objects alone.
func (b *builder) plainTargets(o fluxObject, rules []reconcile.IgnoreRule) {
	for i, r := range rules {
		for _, f := range []struct{ field, value string }{
			{"group", r.Target.Group}, {"kind", r.Target.Kind}, {"name", r.Target.Name}, {"namespace", r.Target.Namespace},
		} {
			if !plainWord.MatchString(f.value) {
				b.say(o.origin, fmt.Sprintf("driftIgnoreRules[%d].target.%s", i, f.field), fmt.Sprintf("the regular expression %q is not supported", f.value),
					"name the objects one by one, or write this entry in the native form, where ignore has * for any characters")
			}
		}
	}
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9.-]*$`)

// usualVersion returns the API version of a built-in kind that a health check
// names without one, which Flux allows; "" where it cannot be told.
func usualVersion(kind string) string {
	switch kind {
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet":
		return "apps/v1"
	case "Job", "CronJob":
		return "batch/v1"
	case "Pod", "Service", "PersistentVolumeClaim", "ConfigMap", "Secret", "Namespace":
		return "v1"
	}
	return ""
}

// to returns the name that a reference means: the namespace is that of the
// document unless it says another.
func (o fluxObject) to(namespace, name string) bump.Name {
	if namespace == "" {
		namespace = o.name.Namespace
	}
	return bump.Name{Namespace: namespace, Name: name}
}

// source returns the repository that a sourceRef means and remembers to look it up.
func (b *builder) source(o fluxObject, s sourceRef) bump.Name {
	to := o.to(s.Namespace, s.Name)
	switch s.Kind {
	case "", "GitRepository":
		b.fluxRef(o, "repository", "GitRepository", to, b.repositories)
	case "Bucket", "OCIRepository", "ExternalArtifact":
		o.dec.fault(o.doc.at("spec.sourceRef.kind"), "spec.sourceRef.kind", s.Kind+" is not supported yet", "use a GitRepository")
	default:
		o.dec.fault(o.doc.at("spec.sourceRef.kind"), "spec.sourceRef.kind", quote(s.Kind, "")+" is not a kind of source", didYouMean(suggest(s.Kind, []string{"GitRepository"})))
	}
	if s.APIVersion != "" && !strings.HasPrefix(s.APIVersion, "source."+fluxDomain) {
		o.dec.fault(o.doc.at("spec.sourceRef.apiVersion"), "spec.sourceRef.apiVersion", quote(s.APIVersion, "")+" is not of source.toolkit.fluxcd.io", "")
	}
	return to
}

// fluxRef remembers to look a reference up, or says that it is missing.
func (b *builder) fluxRef(o fluxObject, field, what string, to bump.Name, among map[bump.Name]origin) {
	switch {
	case to.Name != "":
		b.refs = append(b.refs, reference{o.origin, field, what, to, true, among})
	case !b.known(o.doc, o.path(field)):
		b.say(o.origin, field, "is missing", "")
	}
}
