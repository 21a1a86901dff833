package reconcile

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"hoist/bump"
)

// place is a kind in a namespace, "" for the whole cluster.
type place struct {
	kind schema.GroupVersionKind
	resource
	namespace string
	whole     bool // objects are seen with all their fields, although their kind has no health
}

// holds tells whether an object is in the place.
func (p place) holds(k key) bool {
	return k.group == p.kind.Group && k.kind == p.kind.Kind && (p.namespace == "" || k.namespace == p.namespace)
}

// watches is what the engine watches and what came of it. One watch follows all
// objects of a kind that carry an app's mark, whichever app; of an object it
// keeps only what differs from what we left.
type watches struct {
	changed chan struct{} // what is to be watched may be another thing now

	mu        sync.Mutex
	followers map[bump.Name]*follower
	narrow    map[schema.GroupVersionResource]bool // kinds that may be watched in single namespaces only
	seeing    map[place]bool                       // the watches that are up
	versions  map[place]uint64                     // the newest that was seen
}

func newWatches() *watches {
	return &watches{
		changed: make(chan struct{}, 1), followers: map[bump.Name]*follower{},
		narrow: map[schema.GroupVersionResource]bool{}, seeing: map[place]bool{}, versions: map[place]uint64{},
	}
}

// follower is an app whose objects are watched.
type follower struct {
	past     *past
	wake     func()
	off      bool         // nobody asks for its drift
	checks   map[key]bool // objects whose health it asks for, its own or not
	judge    judge
	checkups map[key]health // of checks that others applied, by the judge
	places   map[place]bool
	suspects map[key]observation
}

// observation is what a watch saw of an object.
type observation struct {
	gone   bool
	held   string
	edited bool

	whole      bool // it was more than metadata: what follows is known
	uid        string
	generation int64
	health     health
}

// Follow makes the engine's watches see what the app applies from now on; wake is
// called, and must not block, when [Engine.Mend] may have something to do. It
// needs [Engine.Watch] to run.
func (e *Engine) Follow(a App, wake func()) {
	e.watches.mu.Lock()
	defer e.watches.mu.Unlock()
	f := &follower{past: e.past(a.Name), wake: wake, off: a.Drift == DriftOff, suspects: map[key]observation{}, checks: map[key]bool{},
		judge: a.judge(), checkups: map[key]health{}}
	for _, k := range a.checked() {
		f.checks[k] = true
	}
	e.watches.followers[a.Name] = f
	e.watches.announce()
}

// Watch follows what the apps applied until ctx ends. A watch that is lost is
// begun again with a list (C3), so that nothing is missed meanwhile.
func (e *Engine) Watch(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	running := map[place]context.CancelFunc{}
	for {
		wanted := e.watches.wanted()
		for p, end := range running {
			if !wanted[p] {
				end()
				delete(running, p)
			}
		}
		for p := range wanted {
			if running[p] == nil {
				inner, end := context.WithCancel(ctx)
				running[p] = end
				all.Go(func() { e.keepWatching(inner, p) })
			}
		}
		select {
		case <-ctx.Done():
			for _, end := range running {
				end()
			}
			return
		case <-e.watches.changed:
		}
	}
}

// wanted are the places to watch: kinds in the whole cluster where that is allowed.
func (w *watches) wanted() map[place]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := map[place]bool{}
	for _, f := range w.followers {
		for p := range f.places {
			all[w.watchOf(p)] = true
		}
	}
	return all
}

// watchOf is the watch that sees a place.
func (w *watches) watchOf(p place) place {
	if !w.narrow[p.gvr] {
		p.namespace = ""
	}
	p.whole = w.judged(p.kind.GroupKind())
	return p
}

func (w *watches) announce() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// cover makes the watches see where the targets of an app are.
func (w *watches) cover(app bump.Name, targets []*target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.followers[app]
	if f == nil {
		return
	}
	places := map[place]bool{}
	for _, t := range targets {
		if t.lost != nil {
			continue
		}
		places[place{kind: t.Object.GroupVersionKind(), resource: t.resource, namespace: t.object.Namespace}] = true
	}
	if !maps.Equal(places, f.places) {
		f.places = places
		w.announce()
	}
}

// Quiet tells whether watches see all that the app applied and none saw
// anything that is not as we left it.
func (e *Engine) Quiet(app bump.Name) bool {
	w := e.watches
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.followers[app]
	if f == nil || len(f.places) == 0 || len(f.suspects) > 0 || f.past.restless() {
		return false
	}
	for k := range f.checks {
		if _, ok := w.checkOf(f, k); !ok {
			return false // nobody watches it
		}
	}
	for p := range f.places {
		if !w.seeing[w.watchOf(p)] {
			return false
		}
	}
	return true
}

// suspicious tells whether there is anything to look at.
func (w *watches) suspicious(app bump.Name) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.followers[app]
	return f != nil && len(f.suspects) > 0
}

// take returns the suspects that still are: not what we wrote ourselves and saw
// before the answer to it. The app's turn is the caller's.
func (w *watches) take(app bump.Name) map[key]observation {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.followers[app]
	if f == nil {
		return nil
	}
	all := f.suspects
	f.suspects = map[key]observation{}
	maps.DeleteFunc(all, func(k key, o observation) bool { return !f.past.differs(k, o) })
	return all
}

// again makes objects suspect that could not be looked at.
func (w *watches) again(app bump.Name, suspects map[key]observation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f := w.followers[app]; f != nil {
		for k, o := range suspects {
			if _, newer := f.suspects[k]; !newer {
				f.suspects[k] = o
			}
		}
	}
}

// later makes an object suspect when its rest is over.
func (w *watches) later(app bump.Name, k key, rest time.Duration) {
	time.AfterFunc(rest, func() {
		w.mu.Lock()
		f := w.followers[app]
		if f != nil {
			f.suspects[k] = observation{held: "unknown"}
		}
		w.mu.Unlock()
		if f != nil {
			f.wake()
		}
	})
}

// differs tells whether an object that is ours was seen otherwise than we left it.
func (p *past) differs(k key, o observation) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was, known := p.objects[k]
	_, told := p.told[k]
	return known && (o.gone || o.held != was.held || told)
}

// see takes in what a watch saw.
func (w *watches) see(k key, o observation, marked bump.Name) {
	w.mu.Lock()
	var wakes []func()
	if w.changesHealth(k, o, marked) {
		for name, f := range w.followers {
			if name == marked || f.checks[k] {
				wakes = append(wakes, f.wake)
			}
		}
	}
	if f := w.followers[marked]; f != nil && f.see(k, o) {
		wakes = append(wakes, f.wake)
	}
	for name, f := range w.followers {
		if name != marked && w.followers[marked] == nil && f.see(k, o) {
			wakes = append(wakes, f.wake)
		}
	}
	w.mu.Unlock()
	for _, wake := range wakes {
		wake()
	}
}

func (f *follower) see(k key, o observation) (wake bool) {
	f.past.noteEdited(k, o.edited)
	if f.off {
		return o.gone && f.past.lose(k)
	}
	if f.past.differs(k, o) || len(f.past.busy) > 0 && !f.past.knows(k) {
		f.suspects[k] = o
		return true
	}
	delete(f.suspects, k)
	return false
}

// noteEdited keeps whether an object has to be looked at before it is written.
func (p *past) noteEdited(k key, edited bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if was, ok := p.objects[k]; ok && was.edited != edited {
		was.edited = edited
		p.objects[k] = was
	}
}

// lose notes that an object is gone which nobody brings back, and tells whether
// that is news.
func (p *past) lose(k key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was, ok := p.objects[k]
	if !ok || was.health.status == status.NotFoundStatus {
		return false
	}
	was.health = health{status.NotFoundStatus, "was deleted, or has lost its labels"}
	p.objects[k] = was
	return true
}

func (p *past) knows(k key) bool {
	_, ok := p.get(k)
	return ok
}

// missing takes in a complete list: what is ours and not in it is gone, or has
// lost its marks.
func (w *watches) missing(p place, there map[key]bool) {
	w.mu.Lock()
	var wakes []func()
	for _, f := range w.followers {
		for _, k := range f.past.keys(p) {
			if !there[k] && f.see(k, observation{gone: true}) {
				wakes = append(wakes, f.wake)
			}
		}
		f.absent(p, there)
	}
	w.seeing[p] = true
	w.mu.Unlock()
	for _, wake := range wakes {
		wake()
	}
}

// keys are the objects of a place.
func (p *past) keys(at place) []key {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []key
	for k := range p.objects {
		if at.holds(k) {
			all = append(all, k)
		}
	}
	return all
}

func (w *watches) lost(p place) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.seeing, p)
}

// keepWatching follows a place until ctx ends, or until it turns out that it may
// only be watched namespace by namespace.
func (e *Engine) keepWatching(ctx context.Context, p place) {
	const first, longest = 250 * time.Millisecond, 30 * time.Second
	pause, told := first, ""
	for {
		began := time.Now()
		err := e.observe(ctx, p)
		e.watches.lost(p)
		if ctx.Err() != nil {
			return
		}
		if apierrors.IsForbidden(err) && p.namespaced && p.namespace == "" {
			e.watches.mu.Lock()
			e.watches.narrow[p.gvr] = true
			e.watches.mu.Unlock()
			e.watches.announce()
			return
		}
		if time.Since(began) > longest {
			pause, told = first, ""
		}
		if err != nil && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) && err.Error() != told {
			told = err.Error()
			e.log.Warn("watch lost; drift of this kind is seen on the interval until it is back",
				zap.String("kind", p.kind.Kind), zap.String("namespace", p.namespace), zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause + rand.N(pause/4+1)):
		}
		pause = min(2*pause, longest)
	}
}

// observe lists and then watches, until the watch cannot go on where it ended.
func (e *Engine) observe(ctx context.Context, p place) error {
	c := e.eyes(p)
	options := metav1.ListOptions{LabelSelector: labelApp, Limit: 500}
	there := map[key]bool{}
	for {
		list, err := c.list(ctx, options)
		if err != nil {
			return err
		}
		for _, o := range list.objects {
			there[e.saw(p, o, false)] = true
		}
		if options.Continue = list.more; options.Continue == "" {
			options.ResourceVersion = list.version
			break
		}
	}
	if e.watches.wentBack(p, options.ResourceVersion, true) {
		e.doubt("list of " + p.gvr.Resource)
	}
	e.watches.missing(p, there)
	options.Limit, options.AllowWatchBookmarks = 0, true
	for renewed := false; ; renewed = true {
		began := time.Now()
		events, err := c.watch(ctx, options)
		if err != nil {
			return err
		}
		if renewed && !e.goesOn(ctx, c, p) {
			events.Stop()
			return context.Cause(ctx)
		}
		if err := e.events(p, events, &options.ResourceVersion); err != nil {
			return err
		}
		if ctx.Err() != nil || time.Since(began) < time.Second { // the server ends a watch after minutes
			return context.Cause(ctx)
		}
	}
}

// goesOn tells whether a watch that was begun again where another one ended can
// tell of anything: where the server went back meanwhile it waits in silence
// until the old version is reached again, and is then taken for the same history.
func (e *Engine) goesOn(ctx context.Context, c eyes, p place) bool {
	list, err := c.list(ctx, metav1.ListOptions{LabelSelector: labelApp, Limit: 1})
	if err != nil {
		return false
	}
	if e.watches.wentBack(p, list.version, true) {
		e.doubt("list of " + p.gvr.Resource)
		return false
	}
	return true
}

// events takes in what a watch tells until it ends.
func (e *Engine) events(p place, events watch.Interface, version *string) error {
	defer events.Stop()
	for ev := range events.ResultChan() {
		o, ok := ev.Object.(metav1.Object)
		if ev.Type == watch.Error || !ok {
			return apierrors.FromObject(ev.Object)
		}
		*version = o.GetResourceVersion()
		e.watches.wentBack(p, *version, false)
		if ev.Type != watch.Bookmark {
			e.saw(p, o, ev.Type == watch.Deleted)
		}
	}
	return nil
}

// saw takes one object in and returns its key. With gone it was deleted or has
// lost its mark.
func (e *Engine) saw(p place, o metav1.Object, gone bool) key {
	k := key{p.kind.Group, p.kind.Kind, o.GetNamespace(), o.GetName()}
	labels := o.GetLabels()
	marked := bump.Name{Namespace: labels[labelAppNamespace], Name: labels[labelApp]}
	seen := observation{gone: gone}
	if gone {
		e.watches.examine(k, nil, marked)
	} else {
		seen.held = digestHeld(o.GetManagedFields(), e.manager)
		seen.edited = heldByForeign(o.GetManagedFields()) || asksToBeLeft(o) != ""
		if whole, ok := o.(*unstructured.Unstructured); ok {
			seen.whole, seen.uid, seen.generation, seen.health = true, string(o.GetUID()), o.GetGeneration(), e.watches.examine(k, whole, marked)
		}
	}
	e.watches.see(k, seen, marked)
	return k
}

// stateless are kinds without health: of these the metadata is enough.
var stateless = []schema.GroupKind{
	{Kind: "ConfigMap"}, {Kind: "Secret"}, {Kind: "ServiceAccount"}, {Kind: "LimitRange"},
	{Group: "rbac.authorization.k8s.io", Kind: "Role"}, {Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"},
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}, {Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"},
	{Group: "networking.k8s.io", Kind: "NetworkPolicy"}, {Group: "networking.k8s.io", Kind: "IngressClass"},
	{Group: "storage.k8s.io", Kind: "StorageClass"}, {Group: "scheduling.k8s.io", Kind: "PriorityClass"},
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"},
	{Group: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration"},
}

// eyes list and watch one place.
type eyes struct {
	list  func(context.Context, metav1.ListOptions) (page, error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// page is a part of a list.
type page struct {
	objects       []metav1.Object
	version, more string
}

func (e *Engine) eyes(p place) eyes {
	if p.whole || !slices.Contains(stateless, p.kind.GroupKind()) {
		at := e.at(p.resource, p.namespace)
		return eyes{watch: at.Watch, list: func(ctx context.Context, o metav1.ListOptions) (page, error) {
			list, err := at.List(ctx, o)
			return pageOf(list, err)
		}}
	}
	at := e.metadata.Resource(p.gvr).Namespace(p.namespace)
	return eyes{watch: at.Watch, list: func(ctx context.Context, o metav1.ListOptions) (page, error) {
		list, err := at.List(ctx, o)
		return pageOf(list, err)
	}}
}

// pageOf reads a list of either client.
func pageOf(list runtime.Object, err error) (page, error) {
	if err != nil {
		return page{}, err
	}
	switch l := list.(type) {
	case *unstructured.UnstructuredList:
		p := page{version: l.GetResourceVersion(), more: l.GetContinue()}
		for i := range l.Items {
			p.objects = append(p.objects, &l.Items[i])
		}
		return p, nil
	case *metav1.PartialObjectMetadataList:
		p := page{version: l.ResourceVersion, more: l.Continue}
		for i := range l.Items {
			p.objects = append(p.objects, &l.Items[i])
		}
		return p, nil
	}
	return page{}, errors.New("a list of an unknown type")
}
