package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"hoist/bump"
	"hoist/gitpush"
	"hoist/policy"
	"hoist/scanner"
	"hoist/webhook"
)

// reference is what an entry says about another one.
type reference struct {
	from  origin
	field string
	what  string // "repository" in a native document, "GitRepository" in Flux's
	to    bump.Name
	apart bool // the namespace has a key of its own, as in Flux
	among map[bump.Name]origin
}

// settle makes directories that a file names absolute, from where that file is.
func (o origin) settle(dirs ...*string) {
	for _, dir := range dirs {
		if *dir != "" && !filepath.IsAbs(*dir) {
			*dir = filepath.Join(o.doc.dir, *dir)
		}
	}
}

func (b *builder) addRepository(o origin, r gitpush.Repository) {
	o.settle(&r.SecretDir)
	b.check(o, "", r.Check())
	if b.add(b.repositories, "repository", r.Name, o) {
		b.cfg.Repositories = append(b.cfg.Repositories, r)
	}
}

func (b *builder) addImage(o origin, i scanner.Image) bool {
	o.settle(&i.SecretDir, &i.CertSecretDir, &i.ProxySecretDir)
	if i.Verify != nil && i.Verify.Cosign != nil {
		o.settle(&i.Verify.Cosign.SecretDir)
	}
	b.check(o, "", i.Check())
	if !b.add(b.images, "image", i.Name, o) {
		return false
	}
	b.cfg.Images = append(b.cfg.Images, i)
	return true
}

func (b *builder) addPolicy(o origin, p Policy) {
	faults := p.Spec.Check()
	b.check(o, "", faults)
	if len(faults) == 0 {
		var err error
		if p.Policy, err = policy.New(p.Name, p.Spec); err != nil {
			b.say(o, "policy", err.Error(), "")
		}
	}
	if b.add(b.policies, "policy", p.Name, o) {
		b.cfg.Policies = append(b.cfg.Policies, p)
	}
}

func (b *builder) addUpdate(o origin, u Update) {
	b.check(o, "", u.Spec.Check())
	u.Spec = u.Cleaned()
	if u.Interval < 0 {
		b.say(o, "interval", fmt.Sprintf("%q is negative", time.Duration(u.Interval)), "")
	}
	b.check(o, "commit", u.Commit.Check())
	b.check(o, "push", u.Push.Check())
	b.check(o, "", u.Rules.Check())
	u.Calendar = u.Rules.Calendar()
	if b.add(b.updates, "update", u.Name, o) {
		b.cfg.Updates = append(b.cfg.Updates, u)
	}
}

func (b *builder) addApp(o origin, a App) {
	if a.Cluster != nil {
		o.settle(&a.Cluster.KubeconfigSecretDir)
	}
	if a.Decryption != nil {
		o.settle(&a.Decryption.SecretDir)
	}
	b.check(o, "", a.Check())
	b.dependencies(o, a)
	if b.add(b.apps, "app", a.Name, o) {
		b.cfg.Apply = append(b.cfg.Apply, a)
	}
}

// dependencies remembers to look up what an app waits for.
func (b *builder) dependencies(o origin, a App) {
	for i, d := range a.DependsOn {
		to := dependency(a, d.Namespace, d.Name)
		if d.Name != "" && to != a.Name {
			b.refs = append(b.refs, reference{o, fmt.Sprintf("dependsOn[%d].name", i), "app", to, true, b.apps})
		}
	}
}

func (b *builder) addWebhook(o origin, w webhook.Receiver) {
	o.settle(&w.SecretDir)
	b.check(o, "", w.Check())
	if b.add(b.webhooks, "webhook", w.Name, o) {
		b.cfg.Webhooks = append(b.cfg.Webhooks, w)
	}
}

// addRegistry takes an entry without a name: it is known by its host.
func (b *builder) addRegistry(o origin, r scanner.Registry) {
	b.entries++
	b.check(o, "", r.Check())
	if first, twice := b.registries[r.Key()]; twice {
		if !b.known(o.doc, o.path("host")) {
			b.say(o, "host", fmt.Sprintf("duplicate host: registry %q is already at %s", r.Host, first.position()), "")
		}
		return
	}
	b.registries[r.Key()] = o
	b.cfg.Registries = append(b.cfg.Registries, r)
}

// dependency returns the name that an app means.
func dependency(a App, namespace, name string) bump.Name {
	if namespace == "" {
		namespace = a.Name.Namespace
	}
	return bump.Name{Namespace: namespace, Name: name}
}

// resolve checks that what entries refer to exists, and what can be said of two
// entries only together. Where documents could not be read, what is missing may
// be in them: nothing is said then.
func (b *builder) resolve() {
	if !b.broken {
		for _, r := range b.refs {
			if _, ok := r.among[r.to]; !ok {
				message, hint := r.missing()
				b.say(r.from, r.field, message, hint)
			}
		}
	}
	for i := range b.cfg.Updates {
		b.branch(&b.cfg.Updates[i])
	}
	b.checkoutBranches()
	b.useless()
	b.idleRollbacks()
	b.paths()
	b.restrictions()
}

// paths refuses two webhooks at one address.
func (b *builder) paths() {
	first := make(map[string]origin)
	for _, w := range b.cfg.Webhooks {
		o := b.webhooks[w.Name]
		if other, twice := first[w.URLPath()]; twice {
			b.say(o, "path", fmt.Sprintf("%q is the path of the webhook at %s too", w.URLPath(), other.position()), "")
			continue
		}
		first[w.URLPath()] = o
	}
}

// restrictions refuses webhooks that are restricted to what the configuration
// does not hold: no hint would ever pass.
func (b *builder) restrictions() {
	if b.broken {
		return
	}
	var images, repositories []string
	for _, i := range b.cfg.Images {
		images = append(images, imageKey(i.Image))
	}
	for _, r := range b.cfg.Repositories {
		repositories = append(repositories, r.Name.Name, r.Name.String(), r.Name.Namespace+"/"+r.Name.Name, urlKey(r.URL))
	}
	for _, w := range b.cfg.Webhooks {
		o := b.webhooks[w.Name]
		for i, image := range w.Images {
			b.among(o, fmt.Sprintf("images[%d]", i), "no entry of images scans", image, imageKey(image), images)
		}
		for i, r := range w.Repositories {
			if !endOf(repositories, urlKey(r)) {
				b.among(o, fmt.Sprintf("repositories[%d]", i), "there is no repository", r, urlKey(r), repositories)
			}
		}
	}
}

func (b *builder) among(o origin, field, message, value, key string, all []string) {
	if !slices.Contains(all, key) && !b.known(o.doc, o.path(field)) {
		b.say(o, field, message+" "+quote(value, ""), didYouMean(suggest(key, all)))
	}
}

// endOf says whether key is the path of a URL, or its end: hosts call a
// repository "org/name".
func endOf(urls []string, key string) bool {
	return slices.ContainsFunc(urls, func(u string) bool {
		return strings.Contains(key, "/") && (strings.HasSuffix(u, "/"+key) || strings.HasSuffix(u, ":"+key))
	})
}

// imageKey is the same for all spellings of an image: "nginx" and "docker.io/library/nginx".
func imageKey(image string) string {
	repo, err := name.NewRepository(image)
	if err != nil {
		return image
	}
	return repo.Name()
}

// urlKey is the same for the usual spellings of a repository's URL.
func urlKey(u string) string {
	return strings.TrimSuffix(strings.TrimRight(redact(u), "/"), ".git")
}

// missing says that nothing of that name exists, and what was probably meant.
func (r reference) missing() (message, hint string) {
	var near, all, namespaces []string
	for n := range r.among {
		all = append(all, n.String())
		if n.Namespace == r.to.Namespace {
			near = append(near, n.Name)
		} else if n.Name == r.to.Name {
			namespaces = append(namespaces, n.Namespace)
		}
	}
	slices.Sort(namespaces)
	name := spell(r.to)
	if r.from.label != "" {
		name = r.to.Namespace + "/" + r.to.Name
	}
	message = fmt.Sprintf("there is no %s %q", r.what, name)
	guess := suggest(r.to.Name, near)
	switch {
	case guess != "":
	case r.apart && len(namespaces) > 0:
		return message, fmt.Sprintf("there is one in namespace %s: name the namespace", strings.Join(namespaces, " and in "))
	case !r.apart:
		guess = suggest(r.to.String(), all)
		if guess == "" && len(namespaces) > 0 {
			guess = namespaces[0] + ":" + r.to.Name
		}
	}
	return message, didYouMean(guess)
}

// branch gives an update the branch of its repository and refuses any other.
func (b *builder) branch(u *Update) {
	r, ok := b.cfg.Repository(u.Repository)
	if at := b.repositories[u.Repository]; !ok || b.known(at.doc, at.path("branch")) {
		return
	}
	u.Branch = r.Branch
	if o := b.updates[u.Name]; u.Push.Branch != "" && u.Push.Branch != r.Branch && !b.known(o.doc, o.path("push.branch")) {
		b.say(o, "push.branch", fmt.Sprintf("pushing to %q, while the repository is read on branch %q, is not supported yet", u.Push.Branch, r.Branch),
			fmt.Sprintf("write %q or remove it", r.Branch))
	}
}

// useless refuses a native image that no policy chooses from: it would be
// scanned for nothing, and its owner would wait for updates that never come.
func (b *builder) useless() {
	if b.broken {
		return
	}
	used := make(map[bump.Name]bool)
	for _, p := range b.cfg.Policies {
		used[p.Image] = true
	}
	for _, i := range b.cfg.Images {
		o := b.images[i.Name]
		if used[i.Name] {
			continue
		}
		if o.label != "" {
			b.warn(o.fault("", "no policy chooses from this image: it is scanned for nothing", ""))
			continue
		}
		if !b.known(o.doc, o.path("policy")) {
			b.say(o, "policy", "is missing, and no entry of policies names this image", `add one, such as policy: {semver: {range: ">=1.0.0"}}`)
		}
	}
}

// cycles refuses apps that wait for each other for ever. Each cycle is reported
// once, at the first of its apps.
func (b *builder) cycles() {
	byName := make(map[bump.Name]App, len(b.cfg.Apply))
	for _, a := range b.cfg.Apply {
		byName[a.Name] = a
	}
	const visiting, done = 1, 2
	state := make(map[bump.Name]int)
	var trail []bump.Name
	var visit func(a App)
	visit = func(a App) {
		state[a.Name] = visiting
		trail = append(trail, a.Name)
		for i, d := range a.DependsOn {
			to := dependency(a, d.Namespace, d.Name)
			next, ok := byName[to]
			switch {
			case !ok || to == a.Name: // reported elsewhere
			case state[to] == visiting:
				b.cycle(a, i, trail[slices.Index(trail, to):])
			case state[to] != done:
				visit(next)
			}
		}
		trail = trail[:len(trail)-1]
		state[a.Name] = done
	}
	for _, a := range b.cfg.Apply {
		if state[a.Name] == 0 {
			visit(a)
		}
	}
}

func (b *builder) cycle(a App, i int, round []bump.Name) {
	var words []string
	for _, n := range append(slices.Clone(round), round[0]) {
		words = append(words, spell(n))
	}
	b.say(b.apps[a.Name], fmt.Sprintf("dependsOn[%d].name", i), "the apps wait for each other: "+strings.Join(words, " -> "), "")
}
