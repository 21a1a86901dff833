package config

// buildFields are the fields of an app that change what its directory becomes.
func buildFields() map[string]known {
	const pattern = ", a regular expression that has to match whole."
	return map[string]known{
		"apply[].postBuild":                           {text: "Replaces ${variables} in what was built."},
		"apply[].postBuild.substitute":                {text: "Values by name; they go before those of substituteFrom."},
		"apply[].postBuild.substituteFrom":            {text: "ConfigMaps and Secrets with further values, in the namespace of the entry; read at every apply."},
		"apply[].postBuild.substituteFrom[].kind":     {text: "What holds the values.", required: true, enum: []string{"ConfigMap", "Secret"}},
		"apply[].postBuild.substituteFrom[].name":     {text: "Its name.", required: true},
		"apply[].postBuild.substituteFrom[].optional": {text: "It need not exist."},
		"apply[].postBuild.lenient":                   {text: "A variable without value and default is empty, as in Flux, instead of an error."},
		"apply[].namePrefix":                          {text: "Goes before the names of all objects."},
		"apply[].nameSuffix":                          {text: "Goes behind the names of all objects."},
		"apply[].patches":                             {text: "Patches that are applied after those of the directory."},
		"apply[].patches[].patch":                     {text: "A strategic merge patch or a list of JSON 6902 operations, as YAML.", required: true},
		"apply[].patches[].target":                    {text: "The objects that are patched; a strategic merge patch may name its object itself."},
		"apply[].patches[].target.group":              {text: "API group" + pattern},
		"apply[].patches[].target.version":            {text: "API version" + pattern},
		"apply[].patches[].target.kind":               {text: "Kind" + pattern},
		"apply[].patches[].target.namespace":          {text: "Namespace" + pattern},
		"apply[].patches[].target.name":               {text: "Name" + pattern},
		"apply[].patches[].target.annotationSelector": {text: "Annotations, as kubectl's -l has labels."},
		"apply[].patches[].target.labelSelector":      {text: "Labels, as kubectl's -l has them."},
		"apply[].images":                              {text: "What becomes of images of a name."},
		"apply[].images[].name":                       {text: "Image as the files have it, without tag.", required: true},
		"apply[].images[].newName":                    {text: "Name that replaces it."},
		"apply[].images[].newTag":                     {text: "Tag that replaces that of the files."},
		"apply[].images[].digest":                     {text: "Digest that replaces the tag, such as sha256:…"},
		"apply[].components":                          {text: "Kustomize components, as directories from path."},
		"apply[].components[]":                        {text: "A directory with a kustomization file of kind Component."},
		"apply[].ignoreMissingComponents":             {text: "Pass over components whose directory does not exist."},
		"apply[].commonMetadata":                      {text: "What is set on every object, whatever the files say."},
		"apply[].commonMetadata.labels":               {text: "Labels of the objects, not of the pods in them."},
		"apply[].commonMetadata.annotations":          {text: "Annotations of the objects, not of the pods in them."},
	}
}
