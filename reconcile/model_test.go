package reconcile

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"hoist/bump"
)

// N3, after random sequences of commits, kills and API faults: what Git, the
// inventories and the cluster say is compared after every step, and at the end
// they have to say the same. A seed that fails stands in the name of its test.
func TestN3RandomHistories(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprintf("seed-%d", seed), func(t *testing.T) {
			m := newModel(t, seed)
			for range 40 {
				m.step()
				if t.Failed() {
					t.Fatalf("history:\n%s", strings.Join(m.history, "\n"))
				}
			}
			m.calm()
			if t.Failed() {
				t.Fatalf("history:\n%s", strings.Join(m.history, "\n"))
			}
		})
	}
}

// model is three apps of one repository whose objects come, go, change and move.
type model struct {
	t       *testing.T
	rand    *rand.Rand
	apps    []*field
	reader  *field                       // whose line is never cut
	git     map[*field]map[string]string // object to value, at the newest commit
	broken  map[*field]bool              // its files do not build
	head    bump.Head
	foreign map[string]string // objects that a person made, and their UIDs
	history []string
}

// The objects that there may be: of several stages, the first letter is the kind.
var modelKinds = map[byte]struct {
	gvr  schema.GroupVersionResource
	text string
}{
	'c': {configMaps, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, annotations: {value: %q}}\n"},
	'l': {gvr("coordination.k8s.io", "v1", "leases"), "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: %s, annotations: {value: %q}}\n"},
	's': {gvr("", "v1", "serviceaccounts"), "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: %s, annotations: {value: %q}}\n"},
	'r': {gvr("rbac.authorization.k8s.io", "v1", "roles"), "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: %s, annotations: {value: %q}}\nrules: []\n"},
}

var modelNames = []string{"c1", "c2", "c3", "c4", "c5", "c6", "l1", "l2", "l3", "s1", "s2", "r1", "r2", "r3"}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{t: t, rand: rand.New(rand.NewPCG(seed, 5)), git: map[*field]map[string]string{}, broken: map[*field]bool{}, foreign: map[string]string{}}
	for range 3 {
		f := newField(t)
		m.apps = append(m.apps, f)
		f.ns, f.app.TargetNamespace = m.apps[0].ns, m.apps[0].ns
		m.git[f] = map[string]string{}
		m.restart(f)
	}
	m.reader = newField(t)
	m.reader.ns = m.apps[0].ns
	m.reader.engine()
	m.commit()
	return m
}

func (m *model) note(format string, args ...any) {
	m.history = append(m.history, fmt.Sprintf(format, args...))
}

// restart gives an app a new engine that knows its neighbours.
func (m *model) restart(f *field) {
	f.engine()
	f.eng.neighbours = func(ctx context.Context, _ bump.Name, h bump.Head) ([]Neighbour, error) {
		if h != m.head {
			return nil, fmt.Errorf("commit %s is not the newest any more", h.Hash)
		}
		var all []Neighbour
		for _, other := range m.apps {
			if other == f {
				continue
			}
			set, err := Build(ctx, m.tree(other), other.app)
			all = append(all, NeighbourOf(other.app, set, err))
		}
		return all, nil
	}
}

// files are those of an app at the newest commit.
func (m *model) files(f *field) map[string]string {
	files := apps()
	for name, value := range m.git[f] {
		files["apps/"+name+".yaml"] = fmt.Sprintf(modelKinds[name[0]].text, name, value)
	}
	if m.broken[f] {
		files["apps/broken.yaml"] = "a: b: c"
	}
	if len(files) == 0 {
		files["apps/empty.yaml"] = "# nothing\n"
	}
	return files
}

func (m *model) tree(f *field) (t treeOfFiles) {
	var pairs []string
	for p, c := range m.files(f) {
		pairs = append(pairs, p, c)
	}
	return tree(pairs...)
}

func (m *model) one() *field { return m.apps[m.rand.IntN(len(m.apps))] }

// step does one thing that happens in the life of a cluster, and looks.
func (m *model) step() {
	switch n := m.rand.IntN(10); {
	case n < 3:
		m.commit()
	case n < 5:
		m.person()
	case n < 6:
		f := m.one()
		m.note("%s starts anew", f.app.Name.Name)
		m.restart(f)
	default:
		m.pass(m.one(), m.rand.IntN(2) == 0)
	}
}

// commit changes what Git says: objects come, change, go and move, and now and
// then an app does not build.
func (m *model) commit() {
	m.head = m.apps[0].head()
	if m.rand.IntN(2) == 0 {
		clear(m.broken) // a broken app holds the deletes of all
	}
	for range 1 + m.rand.IntN(4) {
		f, name := m.one(), modelNames[m.rand.IntN(len(modelNames))]
		switch n := m.rand.IntN(8); {
		case n < 5: // comes, changes, or moves here
			for _, other := range m.apps {
				delete(m.git[other], name)
			}
			m.git[f][name] = fmt.Sprint(m.rand.IntN(100))
		case n < 7:
			for _, other := range m.apps {
				delete(m.git[other], name)
			}
		default:
			m.broken[f] = !m.broken[f]
		}
	}
	var says []string
	for _, f := range m.apps {
		says = append(says, fmt.Sprintf("%s %v broken=%v", f.app.Name.Name, m.git[f], m.broken[f]))
	}
	m.note("commit %s: %s", m.head.Hash[36:], strings.Join(says, "; "))
}

// person does by hand what people do: edits, deletes, takes a label away, makes
// an object that Git may name later, or replaces one by his own.
func (m *model) person() {
	name := modelNames[m.rand.IntN(len(modelNames))]
	at := m.client(name)
	o, err := at.Get(m.t.Context(), name, metav1.GetOptions{})
	n := min(m.rand.IntN(6), 3)
	switch {
	case err != nil:
		n = 4
	case n == 0 || n == 3:
		m.note("a person deletes %s", name)
		err = at.Delete(m.t.Context(), name, metav1.DeleteOptions{})
	case n == 1:
		m.note("a person takes the labels of %s", name)
		o.SetLabels(nil)
	case n == 2:
		m.note("a person edits %s", name)
		o.SetAnnotations(map[string]string{"value": "by hand"})
	}
	if n == 1 || n == 2 {
		_, err = at.Update(m.t.Context(), o, metav1.UpdateOptions{FieldManager: "kubectl-edit"})
	}
	if n == 3 || n == 4 {
		m.note("a person makes %s", name)
		if o, err = at.Create(m.t.Context(), m.parse(name), metav1.CreateOptions{FieldManager: "kubectl-create"}); err == nil {
			m.foreign[name] = string(o.GetUID())
		}
	}
	if err != nil {
		m.t.Fatal(err)
	}
	if n == 3 && m.rand.IntN(2) == 0 {
		m.takeOut(name) // what he made is his
	}
}

// takeOut commits that no app has an object.
func (m *model) takeOut(name string) {
	for _, f := range m.apps {
		delete(m.git[f], name)
	}
	m.head = m.apps[0].head()
	m.note("commit %s: %s goes", m.head.Hash[36:], name)
}

// pass applies an app at the newest commit. With a fault, one request or its
// answer is lost, and half the time everything after it too: the process died.
func (m *model) pass(f *field, fault bool) {
	before := m.live()
	recorded := m.inventory(f)
	f.line.reset()
	what := ""
	if fault {
		nth, answer, dies := 1+m.rand.IntN(30), m.rand.IntN(2) == 0, m.rand.IntN(2) == 0
		what = fmt.Sprintf(", request %d lost (answer %v, dies %v)", nth, answer, dies)
		n := 0
		f.line.cut = func(r *http.Request) (bool, bool) {
			n++
			if n > nth && dies {
				return true, false
			}
			return n == nth && !answer, n == nth && answer
		}
	}
	_, err := f.try(m.files(f), m.head)
	f.line.reset()
	m.note("%s is applied%s: %v", f.app.Name.Name, what, err)
	if err != nil && strings.Contains(err.Error(), errCut.Error()) && m.rand.IntN(2) == 0 {
		m.restart(f)
	}
	m.nothingWrongDeleted(f, before, recorded)
	m.nothingUntracked()
}

// liveObject is what the cluster holds of one object.
type liveObject struct {
	uid, owner, value string
}

func (m *model) live() map[string]liveObject {
	m.t.Helper()
	all := map[string]liveObject{}
	for _, kind := range modelKinds {
		list, err := m.reader.eng.client.Resource(kind.gvr).Namespace(m.apps[0].ns).List(m.t.Context(), metav1.ListOptions{})
		if err != nil {
			m.t.Fatal(err)
		}
		for _, o := range list.Items {
			if slices.Contains(modelNames, o.GetName()) {
				app, _ := owner(&o)
				all[o.GetName()] = liveObject{string(o.GetUID()), app.Name, o.GetAnnotations()["value"]}
			}
		}
	}
	return all
}

func (m *model) inventory(f *field) map[string]Entry {
	m.t.Helper()
	inv, err := m.reader.eng.Inventory(m.t.Context(), f.app.Name)
	if err != nil {
		m.t.Fatal(err)
	}
	all := map[string]Entry{}
	for _, en := range inv.Objects {
		all[en.Name] = en
	}
	return all
}

// nothingWrongDeleted: what a pass deletes had been applied by that app, left
// its files in a revision that builds, and no other app wants it.
func (m *model) nothingWrongDeleted(f *field, before map[string]liveObject, recorded map[string]Entry) {
	m.t.Helper()
	now := m.live()
	for name, was := range before {
		if now[name].uid == was.uid {
			continue
		}
		_, ours := recorded[name]
		if !ours || m.broken[f] || m.foreign[name] == was.uid && recorded[name].UID != was.uid {
			m.t.Errorf("%s deleted %s (%+v), which is not its own to delete", f.app.Name.Name, name, was)
		}
		for _, other := range m.apps {
			if _, wanted := m.git[other][name]; wanted || other != f && m.broken[other] {
				m.t.Errorf("%s deleted %s, which %s has or may have at the newest commit", f.app.Name.Name, name, other.app.Name.Name)
			}
		}
	}
}

// nothingUntracked: what carries an app's mark is in an inventory.
func (m *model) nothingUntracked() {
	m.t.Helper()
	tracked := map[string]bool{}
	for _, f := range m.apps {
		for name := range m.inventory(f) {
			tracked[name] = true
		}
	}
	for name, o := range m.live() {
		if o.owner != "" && !tracked[name] {
			m.t.Errorf("%s of %s is in no inventory", name, o.owner)
		}
	}
}

// calm mends Git and lets every app be applied until nothing changes. Then Git,
// the inventories and the cluster are one.
func (m *model) calm() {
	m.t.Helper()
	clear(m.broken)
	m.head = m.apps[0].head()
	m.note("calm at %s", m.head.Hash[36:])
	everything := 100
	for range 3 {
		for _, f := range m.apps {
			f.app.MaxPrune, f.app.AllowEmpty = &everything, true
			if _, err := f.try(m.files(f), m.head); err != nil {
				m.note("%s: %v", f.app.Name.Name, err)
			}
		}
	}
	live := m.live()
	for _, f := range m.apps {
		inventory := m.inventory(f)
		if got, want := slices.Sorted(maps.Keys(inventory)), slices.Sorted(maps.Keys(m.git[f])); !slices.Equal(got, want) {
			m.t.Errorf("inventory of %s: %v, Git has %v", f.app.Name.Name, got, want)
		}
		for name, value := range m.git[f] {
			o := live[name]
			if o.owner != f.app.Name.Name || o.value != value || o.uid != inventory[name].UID {
				m.t.Errorf("%s: cluster %+v, inventory %s, Git says %s of %s", name, o, inventory[name].UID, value, f.app.Name.Name)
			}
			delete(live, name)
		}
	}
	for name, o := range live {
		if o.owner != "" {
			m.t.Errorf("%s is left over in the cluster, marked for %s", name, o.owner)
		}
	}
}
