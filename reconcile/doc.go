// Package reconcile is the last room on a bump's way: it makes the cluster equal
// to a directory of a Git tree, and says what it did.
//
//	tree --build--> Set --guards--> inventory (old ∪ new) --apply in stages-->
//	     --prune (old − new, by UID)--> inventory (new) --health--> bump.Result
//
// It promises that nothing we created is ever untracked: an object stands in the
// inventory before it exists in the cluster and leaves it only after it is gone
// there, so a kill at any point leaves an inventory that names too much, never
// too little. Nothing is deleted that was not removed by a revision that built
// and passed the guards. Labels mark what belongs to whom but never decide what
// is deleted: operators copy labels to children.
//
// The trap that bites first: kustomize keeps its OpenAPI schema in global
// variables, so one build runs at a time in a process (see [Build]), and some
// files end the process that builds them, so that is another one (see [Builder]).
package reconcile
