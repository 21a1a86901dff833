package config

// healthFields are the fields of an app that say what healthy is.
func healthFields() map[string]known {
	return map[string]known{
		"apply[].healthCheckExprs":              {text: "How healthy objects of a kind are, in CEL, where Kubernetes' own conventions do not tell."},
		"apply[].healthCheckExprs[].apiVersion": {text: "API version of the kind; its group counts.", required: true},
		"apply[].healthCheckExprs[].kind":       {text: "The kind.", required: true},
		"apply[].healthCheckExprs[].current":    {text: "True when an object is healthy: status.conditions.exists(c, c.type == 'Ready' && c.status == 'True').", required: true},
		"apply[].healthCheckExprs[].failed":     {text: "True when it has failed for good; goes before current."},
		"apply[].healthCheckExprs[].inProgress": {text: "True while it is on its way; goes before failed."},
		"apply[].dependsOn[].readyExpr":         {text: "True when that entry is ready, in CEL over dep and self, instead of what is asked else."},
		"apply[].labels":                        {text: "Labels of the entry, for readyExpr: dep.metadata.labels."},
	}
}
