package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"hoist/bump"
)

// What becomes of the objects of an app when its entry leaves the configuration,
// in Flux's words. They stay when nothing is said.
const (
	DeletionOrphan  = "Orphan"
	DeletionMirror  = "MirrorPrune" // as prune says
	DeletionDelete  = "Delete"
	DeletionAwaited = "WaitForTermination" // delete, and remember them until they are gone
)

// deletion is what the inventory records of the policy, since the entry is gone
// when it is asked for: DeletionDelete, DeletionAwaited, or "" for objects that stay.
func (a App) deletion() string {
	switch {
	case a.Suspend:
		return ""
	case a.DeletionPolicy == DeletionMirror && a.Prune:
		return DeletionDelete
	case a.DeletionPolicy == DeletionDelete, a.DeletionPolicy == DeletionAwaited:
		return a.DeletionPolicy
	}
	return ""
}

// Listed is an inventory in the cluster, by its ConfigMap's annotations.
type Listed struct {
	App      bump.Name
	deletion string
	owner    string
}

const (
	annotationApp      = "hoist/app"
	annotationDeletion = "hoist/deletion-policy"
	annotationOwner    = "hoist/owner"
)

// Inventories lists the inventories in the namespace, with one request for
// hundreds of them.
func (e *Engine) Inventories(ctx context.Context) ([]Listed, error) {
	var all []Listed
	options := metav1.ListOptions{LabelSelector: labelInventory + "=" + managedBy, Limit: 500}
	for {
		list, err := e.cluster.marks.Resource(configMaps).Namespace(e.namespace).List(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("list the inventories of namespace %s: %w", e.namespace, err)
		}
		for _, o := range list.Items {
			name, err := bump.ParseName(o.Annotations[annotationApp])
			if err != nil || inventoryName(name) != o.Name {
				continue // somebody else's
			}
			all = append(all, Listed{name, o.Annotations[annotationDeletion], o.Annotations[annotationOwner]})
		}
		if options.Continue = list.Continue; options.Continue == "" {
			return all, nil
		}
	}
}

// Register records what becomes of an app's objects when its entry leaves the
// configuration, where that is not what is recorded. An apply does so as well.
func (e *Engine) Register(ctx context.Context, a App, l Listed) error {
	called, err := e.called(ctx)
	if err != nil || l.deletion == a.deletion() && l.owner == called {
		return err
	}
	done, err := e.past(a.Name).turn(ctx)
	if err != nil {
		return err
	}
	defer done()
	inv, err := e.inventory(ctx, a.Name)
	if err != nil || inv.live == nil {
		return err
	}
	inv.Deletion, inv.Owner = a.deletion(), called
	return e.write(ctx, inv)
}

// Stays says why the objects of an inventory whose app has no entry stay in the
// cluster; "" when they are to be deleted. What cannot be told for sure stays.
func (e *Engine) Stays(ctx context.Context, inv Inventory) (string, error) {
	if inv.Deletion == "" {
		return Orphaned, nil
	}
	cluster, err := e.cluster.Identity(ctx)
	if err != nil {
		return "", err
	}
	called, err := e.called(ctx)
	switch {
	case err != nil:
		return "", err
	case inv.Cluster != cluster:
		return "the inventory was written for another cluster", nil
	case inv.Owner == "":
		return "its inventory does not say which Hoist it belongs to (--lease or --instance)", nil
	case called == "":
		return "this Hoist has no name by which it knows its own inventories: give it --lease or --instance", nil
	case inv.Owner != called:
		return fmt.Sprintf("it belongs to the Hoist called %s, this one is called %s", inv.Owner, called), nil
	}
	return "", nil
}

// Retire deletes the objects of an app that has no entry any more, with all that
// spares objects from a prune, and then its inventory. wanted are the apps of the
// configuration: an object that one of them has is not deleted. The inventory
// keeps what is still there; with [DeletionAwaited] that is what is being deleted, too.
func (e *Engine) Retire(ctx context.Context, app bump.Name, wanted func() ([]Neighbour, error)) (bump.Result, error) {
	past := e.past(app)
	done, err := past.turn(ctx)
	if err != nil {
		return bump.Result{App: app, Reason: err.Error()}, err
	}
	defer done()
	p := &pass{e: e, app: App{Name: app, Prune: true}, past: past, street: wanted, log: e.log.With(zap.String("app", app.String()))}
	if p.inv, err = e.inventory(ctx, app); err != nil || p.inv.live == nil {
		return bump.Result{App: app}, err
	}
	if why, err := e.Stays(ctx, *p.inv); err != nil || why != "" {
		return bump.Result{App: app, Reason: why}, err
	}
	err = p.retire(ctx)
	r := bump.Result{App: app, Objects: p.results, Applied: p.applied, Finished: e.now(), Reason: p.inv.Reason}
	return r, err
}

func (p *pass) retire(ctx context.Context) error {
	left, err := p.prune(ctx)
	if p.inv.Deletion != DeletionAwaited {
		left = notDeleting(left)
	}
	told := p.results
	for err == nil && len(left) > 0 && len(notDeleting(left)) == 0 {
		select {
		case <-ctx.Done():
			err = fmt.Errorf("%s %s: %w", left[0], deleting, context.Cause(ctx))
		case <-time.After(500 * time.Millisecond):
			p.inv.Objects = left
			left, err = p.prune(ctx)
		}
	}
	p.results = told
	if err == nil && len(left) == 0 {
		return p.e.erase(ctx, p.inv)
	}
	p.inv.Objects = left
	p.inv.Ready, p.inv.Reason = false, fmt.Sprintf("left the configuration, %d of its objects are still there, such as %s: %s", len(left), left[0], left[0].Left)
	if err != nil {
		p.inv.Reason = "left the configuration: " + firstLine(err)
	}
	return errors.Join(err, p.store(ctx))
}

func notDeleting(all []Entry) (some []Entry) {
	for _, en := range all {
		if en.Left != deleting {
			some = append(some, en)
		}
	}
	return some
}

// erase deletes an inventory, if nobody wrote it since it was read.
func (e *Engine) erase(ctx context.Context, inv *Inventory) error {
	uid, version := inv.live.GetUID(), inv.live.GetResourceVersion()
	err := e.cluster.own.Resource(configMaps).Namespace(e.namespace).Delete(ctx, inv.live.GetName(), metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version},
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete inventory %s/%s: %w", e.namespace, inv.live.GetName(), err)
	}
	e.past(inv.App).doubt() // nothing of it is remembered
	e.past(inv.App).believes()
	e.dropParts(ctx, inv.App, inv.parts, nil)
	inv.live, inv.parts = nil, nil
	return nil
}

// Orphaned is why the objects of an app without an entry stay where nobody asked
// for anything else.
const Orphaned = "its deletionPolicy leaves them"

// DiffRetired tells what [Engine.Retire] would do to the objects of an inventory.
func (e *Engine) DiffRetired(ctx context.Context, inv Inventory, wanted func() ([]Neighbour, error)) ([]Difference, error) {
	var all []Difference
	var errs []error
	for _, en := range inv.Objects {
		d, err := e.diffRemoved(ctx, inv.App, wanted, en)
		if err != nil {
			errs = append(errs, err)
		} else if d.Action != "" {
			all = append(all, d)
		}
	}
	return all, errors.Join(errs...)
}

// checkDeletion refuses a policy that does not exist.
func (a App) checkDeletion(fault func(field, format string, args ...any)) {
	switch cmp.Or(a.DeletionPolicy, DeletionOrphan) {
	case DeletionOrphan, DeletionMirror, DeletionDelete, DeletionAwaited:
	default:
		fault("deletionPolicy", "%q is not one of Orphan, MirrorPrune, Delete, WaitForTermination", a.DeletionPolicy)
	}
}
