package reconcile

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"hoist/bump"
)

// App is one entry of "apply": a directory of a repository and how it becomes
// the state of the cluster. Fields carry the names and meanings of Flux's
// Kustomization.
type App struct {
	Name bump.Name `json:"-"`

	// Repository names the entry of "repositories" that holds the files.
	Repository string `json:"repository"`
	// Path is a directory of the repository, the root when empty.
	Path string `json:"path,omitempty"`
	// Cluster is where the objects go; the cluster where Hoist runs when nil.
	Cluster *ClusterRef `json:"cluster,omitempty"`
	// ServiceAccountName is an account of that cluster, in the namespace of the
	// entry, that the objects are written as; Hoist's own when empty.
	ServiceAccountName string `json:"serviceAccountName,omitempty"`
	// Interval is how often the cluster is compared with the last revision although nothing changed; 10m when zero.
	Interval bump.Duration `json:"interval,omitempty"`
	// RetryInterval is how soon an app that failed or is not healthy is looked at
	// again; when zero, the smaller of Interval and a minute.
	RetryInterval bump.Duration `json:"retryInterval,omitempty"`
	// Timeout bounds one apply and one wait for health; Interval less 30s when zero, at least 30s.
	Timeout bump.Duration `json:"timeout,omitempty"`
	// Prune deletes objects that left the directory.
	Prune bool `json:"prune,omitempty"`
	// Wait waits until every applied object is healthy.
	Wait bool `json:"wait,omitempty"`
	// HealthChecks are objects, applied by this entry or not, that have to be healthy.
	HealthChecks []HealthCheck `json:"healthChecks,omitempty"`
	// HealthCheckExprs say how healthy objects of a kind are, for Wait and HealthChecks.
	HealthCheckExprs []HealthCheckExpr `json:"healthCheckExprs,omitempty"`
	// TargetNamespace replaces the namespace of every namespaced object.
	TargetNamespace string `json:"targetNamespace,omitempty"`
	Overlay
	// Decryption opens the files that SOPS encrypted.
	Decryption *Decryption `json:"decryption,omitempty"`
	// PlaintextSecrets says what becomes of Secrets that everybody can read in Git:
	// warn (when empty), refuse, or allow.
	PlaintextSecrets string `json:"plaintextSecrets,omitempty"`
	// Keys reads the secret that Decryption names. Nothing is decrypted where it is nil.
	Keys func(context.Context) (bump.Secret, error) `json:"-"`
	// PostBuild replaces variables in what was built.
	PostBuild *PostBuild `json:"postBuild,omitempty"`
	// Suspend leaves the cluster alone.
	Suspend bool `json:"suspend,omitempty"`
	// AllowEmpty lets a build without objects delete all that was applied before.
	AllowEmpty bool `json:"allowEmpty,omitempty"`
	// MaxPrune is how much of what was applied a revision may leave out at once, in
	// percent; 30 when nil. Fewer than 5 objects always may; 100 means no limit.
	MaxPrune *int `json:"maxPrune,omitempty"`
	// AllowRewind lets a revision be applied that does not follow the one before it,
	// as after a forced push.
	AllowRewind bool `json:"allowRewind,omitempty"`
	// DeletionPolicy says what becomes of the objects when the entry leaves the
	// configuration: Orphan (when empty), MirrorPrune, Delete or WaitForTermination.
	DeletionPolicy string `json:"deletionPolicy,omitempty"`
	// Drift says what becomes of fields that somebody else changed: revert (when
	// empty), report, or off.
	Drift string `json:"drift,omitempty"`
	// Ignore names fields that are left to others although Git sets them.
	Ignore []IgnoreRule `json:"ignore,omitempty"`
	// Rollback takes bumps back in Git that make the app unhealthy; nil does not.
	Rollback *Rollback `json:"rollback,omitempty"`
	// Atomic applies nothing of a stage in which the API server refuses an object; true
	// when nil. When false, what is not refused is applied.
	Atomic *bool `json:"atomic,omitempty"`
	// Conflicts says what becomes of fields that another field manager holds: force (when empty), or refuse.
	Conflicts string `json:"conflicts,omitempty"`
	// Force deletes objects whose change the API server does not allow, and creates
	// them anew. What holds data asks for that by its own annotation.
	Force bool `json:"force,omitempty"`
	// Adopt names apps, of other repositories or other Hoists, whose objects are taken over.
	Adopt []AppRef `json:"adopt,omitempty"`
	// DependsOn names entries that have to be ready first.
	DependsOn []DependencyRef `json:"dependsOn,omitempty"`
	// Labels are for the ready expressions of other entries.
	Labels map[string]string `json:"labels,omitempty"`
}

// HealthCheck names an object whose health an app waits for.
type HealthCheck struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	Namespace  string `json:"namespace,omitempty"`
}

func (h HealthCheck) object() bump.Object {
	return bump.Object{APIVersion: h.APIVersion, Kind: h.Kind, Namespace: h.Namespace, Name: h.Name}
}

// DependencyRef names another app, in the same namespace when Namespace is empty.
type DependencyRef struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
	// ReadyExpr says whether it is ready; it takes the place of what is asked else.
	ReadyExpr ReadyExpr `json:"readyExpr,omitzero"`
}

const (
	defaultInterval = 10 * time.Minute
	leastTimeout    = 30 * time.Second
)

// Every returns how often the app is applied although nothing changed.
func (a App) Every() time.Duration { return a.Interval.Or(defaultInterval) }

// Within returns how long an apply, and a wait for health, may take. The default
// is Flux's: the interval less 30 seconds, at least 30 seconds.
func (a App) Within() time.Duration {
	return a.Timeout.Or(max(a.Every()-leastTimeout, leastTimeout))
}

// Check returns everything that is wrong with the section itself. Whether the
// repository and the dependencies exist is for the whole configuration to say.
func (a App) Check() []bump.Fault {
	var faults []bump.Fault
	fault := func(field, format string, args ...any) {
		faults = append(faults, bump.Fault{Field: field, Message: fmt.Sprintf(format, args...)})
	}
	if a.Repository == "" {
		fault("repository", "is missing")
	}
	for _, part := range []string{a.Name.Namespace, a.Name.Name} {
		// Both halves become label values.
		for _, m := range validation.IsValidLabelValue(part) {
			fault("name", "%q: %s", part, m)
		}
	}
	if dirOf(a.Path) == "" {
		fault("path", "%q leaves the repository", a.Path)
	}
	for _, d := range []struct {
		field string
		v     bump.Duration
	}{{"interval", a.Interval}, {"retryInterval", a.RetryInterval}, {"timeout", a.Timeout}} {
		if d.v < 0 {
			fault(d.field, "%q is negative", time.Duration(d.v))
		}
	}
	if a.MaxPrune != nil && (*a.MaxPrune < 0 || *a.MaxPrune > 100) {
		fault("maxPrune", "%d is no percentage from 0 to 100", *a.MaxPrune)
	}
	if a.TargetNamespace != "" {
		for _, m := range validation.IsDNS1123Label(a.TargetNamespace) {
			fault("targetNamespace", "%q: %s", a.TargetNamespace, m)
		}
	}
	a.checkCluster(fault)
	a.checkDrift(fault)
	a.Rollback.check(a, fault)
	a.checkDecryption(fault)
	a.checkTaking(fault)
	a.checkDeletion(fault)
	faults = append(faults, a.Overlay.check(dirOf(a.Path))...)
	faults = append(faults, a.PostBuild.check()...)
	for i, h := range a.HealthChecks {
		for _, f := range []struct{ name, v string }{{"apiVersion", h.APIVersion}, {"kind", h.Kind}, {"name", h.Name}} {
			if f.v == "" {
				fault(fmt.Sprintf("healthChecks[%d].%s", i, f.name), "is missing")
			}
		}
	}
	a.checkHealthExprs(fault)
	for i, d := range a.DependsOn {
		switch {
		case d.Name == "":
			fault(fmt.Sprintf("dependsOn[%d].name", i), "is missing")
		case d.Name == a.Name.Name && (d.Namespace == "" || d.Namespace == a.Name.Namespace):
			fault(fmt.Sprintf("dependsOn[%d].name", i), "%q depends on itself", d.Name)
		}
	}
	return faults
}

// dirOf returns the directory of the tree that a configured path means, "." for
// the root, and "" for one that leaves the tree. A leading slash means the root
// of the repository, as in Flux.
func dirOf(p string) string {
	p = path.Clean(strings.TrimLeft(p, "/"))
	if p == ".." || strings.HasPrefix(p, "../") {
		return ""
	}
	return p
}
