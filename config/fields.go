package config

import (
	"maps"
	"slices"
	"strings"

	"hoist/bump"
	"hoist/policy"
	"hoist/reconcile"
	"hoist/scanner"
	"hoist/setter"
	"hoist/webhook"
)

// known is what the editor, the schema and the decoder know of a native field
// beyond its Go type.
type known struct {
	text     string // one sentence for the person who writes the file
	required bool
	enum     []string
}

// lookUp returns a function that says what the decoder checks at a path, its
// indices written "[]".
func lookUp() func(path string) field {
	at := make(map[string]field)
	for path, k := range nativeFields() {
		f := at[path]
		f.enum = k.enum
		at[path] = f
		if parent, key, ok := cutLast(path); ok && k.required {
			f := at[parent]
			f.required = append(f.required, key)
			slices.Sort(f.required)
			at[parent] = f
		}
	}
	return func(path string) field { return at[path] }
}

// cutLast splits "images[].policy" into "images[]" and "policy".
func cutLast(path string) (parent, key string, ok bool) {
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return "", path, false
	}
	return path[:i], path[i+1:], true
}

const (
	secretText = "The Kubernetes Secret that holds the credentials, in the namespace of the entry."
	dirText    = "A directory with the same keys as files, instead of secretRef."
)

// nativeFields lists every field of a native document. A test compares it with
// the types, so that no field goes without a description and no entry goes stale.
func nativeFields() map[string]known {
	t := map[string]known{
		"apiVersion": {text: "The version of this file's format.", required: true},
		"kind":       {text: "The kind of document.", required: true},

		"repositories":                  {text: "Branches of Git repositories that are read, and pushed to by updates."},
		"repositories[].url":            {text: "https, http or ssh URL, or user@host:path. Without password: that belongs into the Secret.", required: true},
		"repositories[].branch":         {text: "The branch, without refs/heads/.", required: true},
		"repositories[].interval":       {text: "Time between fetches; 1m when absent."},
		"repositories[].timeout":        {text: "Longest time of one request; 1m when absent."},
		"repositories[].secretRef":      {text: secretText + " Keys: username and password, bearerToken, or identity and known_hosts; ca.crt."},
		"repositories[].secretRef.name": {text: "Name of the Secret.", required: true},
		"repositories[].secretDir":      {text: dirText},
		"repositories[].suspend":        {text: "Neither fetch this repository nor push to it."},

		"images":                                {text: "Images that are scanned for new tags, with the policy that chooses one."},
		"images[].image":                        {text: "Registry and repository without tag, such as ghcr.io/acme/web.", required: true},
		"images[].interval":                     {text: "Time between scans; 1m when absent. A webhook makes a scan at once."},
		"images[].timeout":                      {text: "Longest time of a whole scan; 30s when absent."},
		"images[].secretRef":                    {text: secretText + " Keys: .dockerconfigjson, .dockercfg, or username and password."},
		"images[].secretRef.name":               {text: "Name of the Secret.", required: true},
		"images[].secretDir":                    {text: dirText},
		"images[].serviceAccountName":           {text: "A ServiceAccount in the namespace of the entry, whose pull secrets count beside secretRef."},
		"images[].provider":                     {text: "A cloud whose identity of this program is used instead of a secret, for the registries of that cloud; generic, the default, is none.", enum: scanner.Providers()},
		"images[].certSecretRef":                {text: "The Kubernetes Secret with ca.crt, or tls.crt and tls.key, for the registry's TLS."},
		"images[].certSecretRef.name":           {text: "Name of the Secret.", required: true},
		"images[].certSecretDir":                {text: "A directory with the same keys as files, instead of certSecretRef."},
		"images[].insecure":                     {text: "Speak plain http with the registry."},
		"images[].verify":                       {text: "Signatures that a tag needs before it is taken."},
		"images[].verify.cosign":                {text: "A signature by cosign with a key; of several keys any will do.", required: true},
		"images[].verify.cosign.key":            {text: "The public key in PEM form."},
		"images[].verify.cosign.secretRef":      {text: "The Kubernetes Secret with the public keys: cosign.pub and every other key that ends in .pub."},
		"images[].verify.cosign.secretRef.name": {text: "Name of the Secret.", required: true},
		"images[].verify.cosign.secretDir":      {text: dirText},
		"images[].verify.cosign.keyless":        {text: "Not supported yet: signatures are verified with a key."},
		"images[].exclusionList":                {text: "Regular expressions (RE2) of tags that do not count; signatures, attestations and SBOMs when absent."},
		"images[].exclusionList[]":              {text: "A regular expression (RE2)."},
		"images[].maxLoss":                      {text: "The share of its known tags that a list may lose; one that lost more, or a tag in use, counts only after a second scan. 100% believes every list. Default 50%."},
		"images[].suspend":                      {text: "Do not scan this image."},

		"images[].proxySecretRef":      {text: "The Kubernetes Secret with the proxy that this image is scanned through. Keys: address; username and password."},
		"images[].proxySecretRef.name": {text: "Name of the Secret.", required: true},
		"images[].proxySecretDir":      {text: "A directory with the same keys as files, instead of proxySecretRef."},

		"registries":                     {text: "How much registry hosts are asked, and who else may see their credentials. Hosts without an entry have defaults."},
		"registries[].host":              {text: `The host as images have it, with its port if it has one; "*.example.com" for every host below example.com, each with a budget of its own.`, required: true},
		"registries[].concurrency":       {text: "Scans under way at once, 1 to 256; the default of the host when absent."},
		"registries[].requestsPerSecond": {text: "Requests per second, 1 to 10000, and the most at once after a quiet second; the default of the host when absent."},
		"registries[].tokenServers":      {text: "Hosts other than the registry's that may get its credentials in exchange for a token."},
		"registries[].tokenServers[]":    {text: "A host, with its port if that is not 443."},

		"policies":         {text: "Further policies for images above: each is a name for markers."},
		"policies[].image": {text: "Name of the entry of images whose tags are chosen from; namespace:name for one of another namespace.", required: true},

		"updates":                                {text: "Where marked fields are set, and how that is committed."},
		"updates[].repository":                   {text: "Name of the entry of repositories; namespace:name for one of another namespace.", required: true},
		"updates[].path":                         {text: "Directory of the repository below which marked fields are set; all of it when absent."},
		"updates[].paths":                        {text: "Several directories or files, instead of path."},
		"updates[].paths[]":                      {text: "A directory or a file of the repository."},
		"updates[].ignore":                       {text: "Patterns of files that do not count, one a line, as in .gitignore; stronger than .sourceignore files."},
		"updates[].strategy":                     {text: "What is set besides marked fields: nothing (Setters, the default), or the images of kustomizations (kustomize).", enum: []string{setter.Setters, setter.Kustomize}},
		"updates[].fields":                       {text: "Fields that are set without a marker."},
		"updates[].fields[].file":                {text: "Pattern of the files, from the root of the repository: environments/*/values.yaml; ** is any number of directories.", required: true},
		"updates[].fields[].path":                {text: "Path of the field: spec.values.image.tag, spec.containers[0].image, or a JSON pointer.", required: true},
		"updates[].fields[].policy":              {text: "Name of the policy; namespace:name for one of another namespace.", required: true},
		"updates[].fields[].part":                {text: "Which part of the image the field holds; the whole reference when absent.", enum: []string{string(bump.Tag), string(bump.Repo), string(bump.Digest)}},
		"updates[].fields[].match":               {text: "Regular expression (RE2) of the whole value, with one group around what is set."},
		"updates[].interval":                     {text: "Time between looks although no tag is new."},
		"updates[].commit":                       {text: "How the commits look.", required: true},
		"updates[].commit.author":                {text: "Who commits.", required: true},
		"updates[].commit.author.name":           {text: "Name of the author; Hoist when absent."},
		"updates[].commit.author.email":          {text: "E-mail address of the author.", required: true},
		"updates[].commit.messageTemplate":       {text: "Commit message, a Go text/template."},
		"updates[].commit.messageTemplateValues": {text: "Values for the template, as .Values."},
		"updates[].push":                         {text: "Where the commits go."},
		"updates[].push.branch":                  {text: "The branch; that of the repository when absent. Another one is not supported yet."},
		"updates[].suspend":                      {text: "Set nothing."},

		"apply":                             {text: "Directories of repositories that become the state of the cluster."},
		"apply[].repository":                {text: "Name of the entry of repositories; namespace:name for one of another namespace.", required: true},
		"apply[].path":                      {text: "Directory of the repository that is built; its root when absent."},
		"apply[].interval":                  {text: "How often the cluster is compared although nothing changed; 10m when absent."},
		"apply[].retryInterval":             {text: "How soon an app that failed or is not healthy is looked at again; the interval when absent, and 1m at most then."},
		"apply[].timeout":                   {text: "Longest time of one apply and of one wait for health; the interval less 30s when absent."},
		"apply[].prune":                     {text: "Delete objects that left the directory."},
		"apply[].wait":                      {text: "Wait until every applied object is healthy."},
		"apply[].healthChecks":              {text: "Objects that have to be healthy."},
		"apply[].healthChecks[].apiVersion": {text: "API version of the object.", required: true},
		"apply[].healthChecks[].kind":       {text: "Kind of the object.", required: true},
		"apply[].healthChecks[].name":       {text: "Name of the object.", required: true},
		"apply[].healthChecks[].namespace":  {text: "Namespace of the object, unless it has none."},
		"apply[].targetNamespace":           {text: "Namespace that replaces those of all objects."},
		"apply[].suspend":                   {text: "Leave the cluster alone."},
		"apply[].allowEmpty":                {text: "Let a build without objects delete everything that was applied before."},
		"apply[].maxPrune":                  {text: "How much of what was applied a revision may leave out at once, in percent; 30 when absent, fewer than 5 objects always, 100 for no limit."},
		"apply[].allowRewind":               {text: "Apply a commit although it does not follow the one in the cluster, as after a forced push."},
		"apply[].deletionPolicy":            {text: "What becomes of the objects when this entry is removed: they stay (Orphan, the default), as prune says (MirrorPrune), or go (Delete, WaitForTermination).", enum: []string{reconcile.DeletionOrphan, reconcile.DeletionMirror, reconcile.DeletionDelete, reconcile.DeletionAwaited}},
		"apply[].drift":                     {text: "What becomes of fields that somebody else changed: put right (revert, the default), told (report), or nothing (off).", enum: []string{reconcile.DriftRevert, reconcile.DriftReport, reconcile.DriftOff}},
		"apply[].ignore":                    {text: "Fields that are left to others although Git sets them."},
		"apply[].ignore[].paths":            {text: "JSON pointers of the fields: /spec/replicas.", required: true},
		"apply[].ignore[].target":           {text: "The objects that are meant; all when absent. Every field may hold *."},
		"apply[].ignore[].target.group":     {text: "API group of the objects."},
		"apply[].ignore[].target.kind":      {text: "Kind of the objects."},
		"apply[].ignore[].target.name":      {text: "Name of the objects."},
		"apply[].ignore[].target.namespace": {text: "Namespace of the objects."},
		"apply[].rollback":                  {text: "Take bumps back in Git that make the app unhealthy; needs wait or healthChecks."},
		"apply[].rollback.after":            {text: "How long a bump is on trial once it was applied: the app has to be ready then. 1s to 24h, such as 5m.", required: true},
		"apply[].atomic":                    {text: "Apply nothing of a stage in which the API server refuses an object; true when absent. When false, what is not refused is applied."},
		"apply[].conflicts":                 {text: "What becomes of fields that another field manager holds: they are taken over (force, the default), or the object is not applied (refuse).", enum: []string{reconcile.ConflictsForce, reconcile.ConflictsRefuse}},
		"apply[].force":                     {text: "Delete objects whose change the API server does not allow, and create them anew; not those that hold data."},
		"apply[].adopt":                     {text: "Apps, of other repositories or other Hoists, whose objects are taken over."},
		"apply[].adopt[].name":              {text: "Name of the app.", required: true},
		"apply[].adopt[].namespace":         {text: "Namespace of the app, if another."},
		"apply[].dependsOn":                 {text: "Entries of apply that have to be ready first."},
		"apply[].dependsOn[].name":          {text: "Name of the entry.", required: true},
		"apply[].dependsOn[].namespace":     {text: "Namespace of the entry, if another."},

		"webhooks":                  {text: "Addresses at which registries and Git hosts report news."},
		"webhooks[].path":           {text: "Path of the address; /hook/NAME when absent."},
		"webhooks[].type":           {text: "How callers speak.", required: true, enum: []string{webhook.GenericHMAC, webhook.Distribution}},
		"webhooks[].secretRef":      {text: "The Kubernetes Secret with what callers have to know, in the namespace of the entry. Keys: token, or username and password."},
		"webhooks[].secretRef.name": {text: "Name of the Secret.", required: true},
		"webhooks[].secretDir":      {text: dirText},
		"webhooks[].images":         {text: "Images that may be hinted at; anything when neither these nor repositories are named."},
		"webhooks[].images[]":       {text: "Registry and repository, as an entry of images has them."},
		"webhooks[].repositories":   {text: "Git repositories that may be hinted at."},
		"webhooks[].repositories[]": {text: "Name or URL of an entry of repositories."},
	}
	for _, s := range []string{"repositories", "images", "policies", "updates", "apply", "webhooks"} {
		t[s+"[].name"] = known{text: "Name of the entry. Markers name policies, other entries name repositories, images and apps.", required: true}
		t[s+"[].namespace"] = known{text: "Namespace of the entry, as in markers and for Secrets; hoist when absent."}
	}
	maps.Copy(t, ruleFields())
	maps.Copy(t, buildFields())
	maps.Copy(t, healthFields())
	order := []string{"asc", "desc"}
	for _, s := range []string{"images", "policies"} {
		t[s+"[].policy"] = known{text: "The order of the tags: exactly one of semver, alphabetical, numerical, calver, newestBuild.", required: s == "policies"}
		t[s+"[].policy.semver"] = known{text: "The greatest semantic version is the newest."}
		t[s+"[].policy.semver.range"] = known{text: `Versions that are allowed, such as ">=1.0.0 <2.0.0" or "1.x".`, required: true}
		t[s+"[].policy.semver.loose"] = known{text: "Versions may have one to four parts and leading zeros."}
		t[s+"[].policy.semver.preReleases"] = known{text: "Channels of pre-releases that count: rc is that of 1.2.0-rc.1 and 1.2.0-rc1; * is every one. None but what the range names when absent."}
		t[s+"[].policy.semver.preReleases[]"] = known{text: "The letters that the pre-release begins with, or *."}
		t[s+"[].policy.alphabetical"] = known{text: "Tags are ordered by their bytes."}
		t[s+"[].policy.alphabetical.order"] = known{text: "asc: the last is the newest (the default). desc: the first is.", enum: order}
		t[s+"[].policy.numerical"] = known{text: "Tags are ordered as decimal numbers."}
		t[s+"[].policy.numerical.order"] = known{text: "asc: the greatest is the newest (the default). desc: the least is.", enum: order}
		t[s+"[].policy.calver"] = known{text: "Tags are calendar versions, ordered from left to right."}
		t[s+"[].policy.calver.layout"] = known{text: "Tokens of calver.org (YYYY YY 0Y MM 0M WW 0W DD 0D MAJOR MINOR MICRO) with . - or _ between them, such as YYYY.0M.0D.", required: true}
		t[s+"[].policy.newestBuild"] = known{text: "The image that was built last is the newest, as its configuration says."}
		t[s+"[].filterTags"] = known{text: "Which tags count, and which part of them is ordered."}
		t[s+"[].filterTags.pattern"] = known{text: "Regular expression (RE2) of the tags that count; anchor it with ^ and $.", required: true}
		t[s+"[].filterTags.extract"] = known{text: "What is ordered instead of the whole tag, with $1 or $name for groups of the pattern."}
		t[s+"[].excludeTags"] = known{text: "Regular expressions (RE2) of tags that are never selected."}
		t[s+"[].excludeTags[]"] = known{text: "A regular expression (RE2)."}
		t[s+"[].suffix"] = known{text: "Only tags that end in this count, such as -alpine; it is cut off before filter and order."}
		t[s+"[].minimumAge"] = known{text: "How old an image has to be before it is selected."}
		t[s+"[].platforms"] = known{text: "Platforms that an image has to have, such as linux/amd64."}
		t[s+"[].platforms[]"] = known{text: "os/architecture or os/architecture/variant."}
		t[s+"[].digestReflectionPolicy"] = known{text: "Never: tags are set without digest (the default). IfNotPresent: a tag keeps the digest it was set with. Always: the digest follows the tag.", enum: []string{policy.DigestNever, policy.DigestIfNotPresent, policy.DigestAlways}}
		t[s+"[].digestInterval"] = known{text: "Time between two looks at the digest with digestReflectionPolicy Always; 10m when absent."}
	}
	return t
}
