package config

// fate is what becomes of a field of a Flux document.
type fate int

const (
	supported fate = iota
	meaningless
	refused
)

// fluxField is a field of spec in Flux's API. Together the fields of a kind are
// the real field set of its versions, as its custom resource definitions have
// it, so that a typing error is told from a field that Hoist does not do.
type fluxField struct {
	path     string // below spec; indices "[]"
	versions string // that have the field; "" means all
	fate     fate
	required bool
	harmless string // values that say what Hoist does anyway, separated by spaces, for refused fields
	note     string // for refused fields what to do instead; for meaningless ones why nothing is lost
}

const (
	fromBeta2   = "v1beta2 v1"
	beforeV1    = "v1beta1 v1beta2"
	oneIdentity = "use secretRef"
)

// fluxFields returns the field sets by kind. References like meta.LocalObjectReference
// are written out.
func fluxFields(kind string) []fluxField {
	switch kind {
	case "GitRepository":
		return gitRepositoryFields()
	case "ImageRepository":
		return imageRepositoryFields()
	case "ImagePolicy":
		return imagePolicyFields()
	case "ImageUpdateAutomation":
		return automationFields()
	case "Kustomization":
		return kustomizationFields()
	}
	return nil
}

func gitRepositoryFields() []fluxField {
	return append([]fluxField{
		{path: "url", required: true},
		{path: "secretRef.name", required: true},
		{path: "interval", required: true},
		{path: "timeout"},
		{path: "suspend"},
		{path: "verify", fate: refused, note: "remove it: commits are taken as the branch has them"},
		{path: "ignore", fate: refused, note: "remove it and give each Kustomization the path that is meant"},
		{path: "recurseSubmodules", fate: refused, harmless: "false", note: "submodules are not fetched"},
		{path: "include", fate: refused, note: "give each repository an entry of its own"},
		{path: "provider", versions: "v1", fate: refused, harmless: "generic", note: oneIdentity},
		{path: "serviceAccountName", versions: "v1", fate: refused, note: oneIdentity},
		{path: "proxySecretRef", versions: "v1", fate: refused, note: "set HTTPS_PROXY for the program"},
		{path: "gitImplementation", versions: beforeV1, fate: meaningless, note: "Hoist has one Git client"},
		{path: "accessFrom", versions: beforeV1, fate: meaningless, note: "whoever writes this file may refer to every entry of it"},
		{path: "sparseCheckout", versions: "v1", fate: meaningless, note: "nothing is checked out, files are read when they are needed"},
	}, gitRefFields("ref")...)
}

// gitRefFields are the fields of a GitRepositoryRef below a path.
func gitRefFields(path string) []fluxField {
	const note = "name a branch"
	return []fluxField{
		{path: path + ".branch"},
		{path: path + ".tag", fate: refused, note: note},
		{path: path + ".semver", fate: refused, note: note},
		{path: path + ".commit", fate: refused, note: note},
		{path: path + ".name", versions: fromBeta2, fate: refused, note: note},
	}
}

func imageRepositoryFields() []fluxField {
	return []fluxField{
		{path: "image", required: true},
		{path: "interval", required: true},
		{path: "timeout"},
		{path: "secretRef.name", required: true},
		{path: "certSecretRef.name", required: true},
		{path: "suspend"},
		{path: "exclusionList", versions: fromBeta2},
		{path: "insecure", versions: fromBeta2},
		{path: "provider", versions: fromBeta2},
		{path: "serviceAccountName"},
		{path: "proxySecretRef.name", versions: fromBeta2, required: true},
		{path: "accessFrom", fate: meaningless, note: "whoever writes this file may refer to every entry of it"},
	}
}

func imagePolicyFields() []fluxField {
	return []fluxField{
		{path: "imageRepositoryRef.name", required: true},
		{path: "imageRepositoryRef.namespace"},
		{path: "policy.semver.range", required: true},
		{path: "policy.alphabetical.order"},
		{path: "policy.numerical.order"},
		{path: "filterTags.pattern"},
		{path: "filterTags.extract"},
		{path: "digestReflectionPolicy", versions: fromBeta2},
		{path: "interval", versions: fromBeta2},
		{path: "suspend", versions: "v1", fate: refused, harmless: "false", note: "suspend the ImageRepository or the ImageUpdateAutomation"},
	}
}

func automationFields() []fluxField {
	return append([]fluxField{
		{path: "sourceRef.apiVersion"},
		{path: "sourceRef.kind"},
		{path: "sourceRef.name", required: true},
		{path: "sourceRef.namespace"},
		{path: "interval", required: true},
		{path: "suspend"},
		{path: "git.commit.author.name"},
		{path: "git.commit.author.email", required: true},
		{path: "git.commit.messageTemplate"},
		{path: "git.commit.messageTemplateValues", versions: fromBeta2},
		{path: "git.commit.signingKey", fate: refused, note: "remove it: commits are not signed"},
		{path: "git.push.branch"},
		{path: "git.push.refspec", fate: refused, note: "commits go to the branch of the GitRepository"},
		{path: "git.push.options", versions: fromBeta2, fate: refused, note: "remove them"},
		{path: "policySelector", versions: fromBeta2, fate: refused, note: "split the files by update.path"},
		{path: "update.path"},
		{path: "update.strategy", fate: refused, harmless: "Setters", note: "the strategy is Setters"},
	}, gitRefFields("git.checkout.ref")...)
}

func kustomizationFields() []fluxField {
	const patches = "write them as patches, which v1 has"
	return []fluxField{
		{path: "sourceRef.apiVersion"},
		{path: "sourceRef.kind", required: true},
		{path: "sourceRef.name", required: true},
		{path: "sourceRef.namespace"},
		{path: "path"},
		{path: "interval", required: true},
		{path: "retryInterval"},
		{path: "timeout"},
		{path: "prune", required: true},
		{path: "wait"},
		{path: "suspend"},
		{path: "targetNamespace"},
		{path: "namePrefix", versions: "v1"},
		{path: "nameSuffix", versions: "v1"},
		{path: "patches[].patch", required: true},
		{path: "patches[].target.group"},
		{path: "patches[].target.version"},
		{path: "patches[].target.kind"},
		{path: "patches[].target.namespace"},
		{path: "patches[].target.name"},
		{path: "patches[].target.annotationSelector"},
		{path: "patches[].target.labelSelector"},
		{path: "images[].name", required: true},
		{path: "images[].newName"},
		{path: "images[].newTag"},
		{path: "images[].digest"},
		{path: "components", versions: fromBeta2},
		{path: "ignoreMissingComponents", versions: "v1"},
		{path: "commonMetadata.labels", versions: fromBeta2},
		{path: "commonMetadata.annotations", versions: fromBeta2},
		{path: "healthChecks[].apiVersion"},
		{path: "healthChecks[].kind", required: true},
		{path: "healthChecks[].name", required: true},
		{path: "healthChecks[].namespace"},
		{path: "dependsOn[].name", required: true},
		{path: "dependsOn[].namespace"},
		{path: "dependsOn[].readyExpr", versions: "v1"},
		{path: "validation", versions: beforeV1, fate: meaningless, note: "every object is validated by the API server before it is applied"},
		{path: "deletionPolicy", versions: "v1"},
		{path: "force"},
		{path: "decryption.provider", required: true},
		{path: "decryption.secretRef.name", required: true},
		{path: "decryption.serviceAccountName", versions: "v1", fate: refused, note: "name the keys with secretRef, or allow services in the native form with kms"},
		{path: "postBuild.substitute"},
		{path: "postBuild.substituteStrategy", versions: "v1", fate: refused, harmless: "WithVariables", note: "variables are replaced where the entry names any"},
		{path: "postBuild.substituteFrom[].kind", required: true},
		{path: "postBuild.substituteFrom[].name", required: true},
		{path: "postBuild.substituteFrom[].optional", versions: fromBeta2},
		{path: "kubeConfig.secretRef.name", required: true},
		{path: "kubeConfig.secretRef.key"},
		{path: "kubeConfig.configMapRef", versions: "v1", fate: refused, note: "write a kubeconfig with a token into a Secret and name it with secretRef"},
		{path: "serviceAccountName"},
		{path: "patchesStrategicMerge", versions: beforeV1, fate: refused, note: patches},
		{path: "patchesJson6902", versions: beforeV1, fate: refused, note: patches},
		{path: "healthCheckExprs[].apiVersion", versions: "v1", required: true},
		{path: "healthCheckExprs[].kind", versions: "v1", required: true},
		{path: "healthCheckExprs[].current", versions: "v1", required: true},
		{path: "healthCheckExprs[].failed", versions: "v1"},
		{path: "healthCheckExprs[].inProgress", versions: "v1"},
		{path: "driftIgnoreRules[].paths", versions: "v1", required: true},
		{path: "driftIgnoreRules[].target.group", versions: "v1"},
		{path: "driftIgnoreRules[].target.kind", versions: "v1"},
		{path: "driftIgnoreRules[].target.name", versions: "v1"},
		{path: "driftIgnoreRules[].target.namespace", versions: "v1"},
		{path: "driftIgnoreRules[].target.version", versions: "v1", fate: refused, note: "name the objects by kind and name"},
		{path: "driftIgnoreRules[].target.labelSelector", versions: "v1", fate: refused, note: "name the objects by kind and name"},
		{path: "driftIgnoreRules[].target.annotationSelector", versions: "v1", fate: refused, note: "name the objects by kind and name"},
	}
}
