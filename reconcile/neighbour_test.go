package reconcile

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"hoist/bump"
)

// neighbours are two apps of one daemon, each with an engine that knows the
// files of both at the newest revision.
type neighbours struct {
	a, b  *field
	files map[*field]map[string]string
	built error // of b
}

func newNeighbours(t *testing.T) *neighbours {
	n := &neighbours{a: newField(t), b: newField(t), files: map[*field]map[string]string{}}
	n.b.app.TargetNamespace, n.b.ns = n.a.ns, n.a.ns
	n.b.engine()
	n.know()
	return n
}

// know wires the engines, also after a restart.
func (n *neighbours) know() {
	for me, other := range map[*field]*field{n.a: n.b, n.b: n.a} {
		me.eng.neighbours = func(ctx context.Context, _ bump.Name, _ bump.Head) ([]Neighbour, error) {
			if other == n.b && n.built != nil {
				return []Neighbour{NeighbourOf(other.app, nil, n.built)}, nil
			}
			var pairs []string
			for p, c := range n.files[other] {
				pairs = append(pairs, p, c)
			}
			set, err := Build(ctx, tree(pairs...), other.app)
			return []Neighbour{NeighbourOf(other.app, set, err)}, nil
		}
	}
}

func (n *neighbours) commit(a, b map[string]string) { n.files[n.a], n.files[n.b] = a, b }

func (n *neighbours) settle(t *testing.T, order ...*field) {
	t.Helper()
	for _, f := range order {
		f.apply(n.files[f])
	}
}

func (n *neighbours) uid(name string) string {
	if o := n.a.get(configMaps, name); o != nil {
		return string(o.GetUID())
	}
	return "gone"
}

// An object that moves to another app, or two that are swapped, keep their UIDs,
// whichever app is applied first, with and without a restart between.
func TestObjectsMoveBetweenApps(t *testing.T) {
	x, z, stay := configMap("x", "1"), configMap("z", "1"), configMap("stay", "1")
	for _, restarted := range []bool{false, true} {
		for _, first := range []string{"a", "b"} {
			n := newNeighbours(t)
			n.commit(apps("x.yaml", x, "staz.yaml", stay), apps("z.yaml", z))
			n.settle(t, n.a, n.b)
			ux, uz := n.uid("x"), n.uid("z")

			n.commit(apps("z.yaml", z, "staz.yaml", stay), apps("x.yaml", configMap("x", "2")))
			order := []*field{n.a, n.b, n.a, n.b}
			if first == "b" {
				order = []*field{n.b, n.a, n.b, n.a}
			}
			for _, f := range order {
				f.apply(n.files[f])
				if restarted {
					f.engine()
					n.know()
				}
				if n.uid("x") != ux || n.uid("z") != uz {
					t.Fatalf("%s first: an object was deleted: x %s → %s, z %s → %s", first, ux, n.uid("x"), uz, n.uid("z"))
				}
			}
			if a, b := n.a.recorded(), n.b.recorded(); a != "ConfigMap/stay ConfigMap/z" || b != "ConfigMap/x" {
				t.Errorf("%s first: inventories = %s; %s", first, a, b)
			}
			if a, b := n.a.owned(), n.b.owned(); a != "stay z" || b != "x" || n.a.value("x") != "2" {
				t.Errorf("%s first: a owns %s, b owns %s, x = %s", first, a, b, n.a.value("x"))
			}
			// And back again: what was remembered of the first time does not matter.
			n.commit(apps("x.yaml", x, "staz.yaml", stay), apps("z.yaml", z))
			n.settle(t, order...)
			if a, b := n.a.recorded(), n.b.recorded(); a != "ConfigMap/stay ConfigMap/x" || b != "ConfigMap/z" || n.uid("x") != ux || n.uid("z") != uz {
				t.Errorf("%s first, back: inventories = %s; %s", first, a, b)
			}
		}
	}
}

// K11–K16 of a move: killed before or after any write of either app.
func TestKilledDuringAMove(t *testing.T) {
	for _, lost := range []string{"request", "answer"} {
		for writes, dead := 1, true; dead; writes++ {
			n := newNeighbours(t)
			n.commit(apps("x.yaml", configMap("x", "1"), "staz.yaml", configMap("stay", "1")), apps("b.yaml", configMap("b", "1")))
			n.settle(t, n.a, n.b)
			uid := n.uid("x")
			n.commit(apps("staz.yaml", configMap("stay", "1")), apps("b.yaml", configMap("b", "1"), "x.yaml", configMap("x", "2")))
			seen := 0
			dead = false
			for _, f := range []*field{n.b, n.a} {
				f.line.cut = func(r *http.Request) (bool, bool) {
					if dead {
						return true, false
					}
					if r.Method != http.MethodGet {
						seen++
					}
					dead = seen == writes
					return dead && lost == "request", dead && lost == "answer"
				}
				_, _ = f.try(n.files[f], f.head())
			}
			n.a.engine()
			n.b.engine()
			n.know()
			n.settle(t, n.a, n.b, n.a)
			if a, b := n.a.recorded(), n.b.recorded(); a != "ConfigMap/stay" || b != "ConfigMap/b ConfigMap/x" || n.uid("x") != uid {
				t.Errorf("%s %d lost: inventories = %s; %s, x %s → %s", lost, writes, a, b, uid, n.uid("x"))
			}
		}
	}
}

// An app that does not build may be where the object went: it is kept and
// recorded until that is known.
func TestNothingIsDeletedThatABrokenNeighbourMayWant(t *testing.T) {
	n := newNeighbours(t)
	n.commit(apps("x.yaml", configMap("x", "1"), "staz.yaml", configMap("stay", "1")), nil)
	n.settle(t, n.a)
	uid := n.uid("x")
	n.built = errors.New("apps/kustomization.yaml:3: is broken")
	n.commit(apps("staz.yaml", configMap("stay", "1")), nil)
	n.settle(t, n.a)
	if got := n.a.recorded(); n.uid("x") != uid || !strings.Contains(got, "ConfigMap/x(it may have moved to app "+n.b.app.Name.String()) {
		t.Errorf("x %s → %s, inventory = %s", uid, n.uid("x"), got)
	}
	n.built = nil
	n.commit(n.files[n.a], apps("b.yaml", configMap("b", "1")))
	n.settle(t, n.a)
	if n.uid("x") != "gone" || n.a.recorded() != "ConfigMap/stay" {
		t.Errorf("x = %s, inventory = %s; want it deleted once nobody wants it", n.uid("x"), n.a.recorded())
	}
}

// An object that both apps have stays with its owner, and the other is told.
func TestBothAppsHaveTheObject(t *testing.T) {
	n := newNeighbours(t)
	n.commit(apps("x.yaml", configMap("x", "1")), apps("x.yaml", configMap("x", "2")))
	n.settle(t, n.a)
	_, err := n.b.try(n.files[n.b], n.b.head())
	if err == nil || !strings.Contains(err.Error(), "belongs to app "+n.a.app.Name.String()+", whose files have it too") || n.a.value("x") != "1" {
		t.Errorf("error = %v, x = %s", err, n.a.value("x"))
	}
}

// What another app has, of another repository or another Hoist, is taken over where
// adopt names it, and refused by name elsewhere.
func TestAdopted(t *testing.T) {
	one, two := newField(t), newField(t)
	two.app.TargetNamespace, two.ns = one.ns, one.ns
	both, rest := apps("a.yaml", configMap("a", "1"), "b.yaml", configMap("b", "1")), apps("b.yaml", configMap("b", "1"))
	one.apply(both)
	uid := one.get(configMaps, "a").GetUID()
	_, err := two.try(apps("a.yaml", configMap("a", "2")), two.head())
	if err == nil || !strings.Contains(err.Error(), "belongs to app "+one.app.Name.String()+": remove it there, or name that app under adopt") {
		t.Errorf("error = %v, want the owner", err)
	}
	two.app.Adopt = []AppRef{{Name: one.app.Name.Name}}
	two.want(two.apply(apps("a.yaml", configMap("a", "2"))), "configured ConfigMap/a")
	one.want(one.apply(rest), "unchanged ConfigMap/b, skipped ConfigMap/a")
	if o := one.get(configMaps, "a"); o == nil || o.GetUID() != uid || one.value("a") != "2" || two.recorded() != "ConfigMap/a" || one.recorded() != "ConfigMap/b" {
		t.Errorf("a = %q, inventories %s and %s", one.value("a"), one.recorded(), two.recorded())
	}
}

// What may have moved to an app that does not build does not count as moved: the
// guards still refuse, and would delete nothing later that they did not see.
func TestBrokenNeighbourOpensNoGuard(t *testing.T) {
	n := newNeighbours(t)
	many := apps("stay.yaml", configMap("stay", "1"))
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		many["apps/"+name+".yaml"] = configMap(name, "1")
	}
	n.commit(many, apps("z.yaml", configMap("z", "1")))
	n.settle(t, n.a, n.b)
	n.built = errors.New("is broken")
	for _, files := range []map[string]string{apps("stay.yaml", configMap("stay", "1")), apps("none.yaml", "# nothing\n")} {
		n.commit(files, n.files[n.b])
		_, err := n.a.try(files, n.a.head())
		var refusal *Refusal
		if !errors.As(err, &refusal) {
			t.Errorf("not refused: %v", err)
		}
	}
	if got := n.a.recorded(); strings.Contains(got, "(") {
		t.Errorf("the inventory lets something go: %s", got)
	}
}

// An app of which everything moved away is empty on purpose. A diff says what
// will happen: nothing is deleted.
func TestEverythingMovesAway(t *testing.T) {
	n := newNeighbours(t)
	n.commit(apps("x.yaml", configMap("x", "1"), "w.yaml", configMap("w", "1")), apps("z.yaml", configMap("z", "1")))
	n.settle(t, n.a, n.b)
	ux := n.uid("x")
	n.commit(apps("none.yaml", "# nothing\n"), apps("x.yaml", configMap("x", "2"), "w.yaml", configMap("w", "1"), "z.yaml", configMap("z", "1")))
	if got := spelt(n.a.diff(n.files[n.a])); !strings.Contains(got, "skipped ConfigMap/x") || strings.Contains(got, "deleted") {
		t.Errorf("diff of the old app: %s", got)
	}
	if got := spelt(n.b.diff(n.files[n.b])); !strings.Contains(got, "configured ConfigMap/x") {
		t.Errorf("diff of the new app: %s", got)
	}
	n.settle(t, n.a, n.b, n.a)
	if n.uid("x") != ux || n.a.recorded() != "" {
		t.Errorf("x was %s and is %s; the old app still has %s", ux, n.uid("x"), n.a.recorded())
	}
}

func spelt(all []Difference) string {
	var lines []string
	for _, d := range all {
		lines = append(lines, fmt.Sprintf("%s %s/%s %s", d.Action, d.Object.Kind, d.Object.Name, d.Reason))
	}
	return strings.Join(lines, ", ")
}
