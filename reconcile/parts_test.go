package reconcile

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hoist/bump"
)

// entries are n objects as an inventory holds them, with UIDs that do not pack well.
func entries(n int) []Entry {
	all := make([]Entry, n)
	for i := range all {
		name := fmt.Sprintf("object-%06d", i)
		uid := digest(name)
		all[i] = Entry{
			Object: bump.Object{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: name},
			UID:    uid[:8] + "-" + uid[8:12] + "-" + uid[12:16] + "-" + uid[16:20] + "-" + uid[20:32],
		}
	}
	return all
}

// No ConfigMap of an inventory of any size is larger than its limit, and together
// they hold what was put in.
func TestInventoryIsDivided(t *testing.T) {
	for _, c := range []struct{ n, limit, parts int }{
		{0, maxPart, 0}, {1000, maxPart, 0}, {20000, maxPart, 0}, {60000, maxPart, 2}, {200, 1 << 10, -1}, {5, 10, 5},
	} {
		inv := &Inventory{App: bump.Name{Namespace: "hoist", Name: "big"}, Objects: entries(c.n)}
		cm, parts, err := inv.encode("ns", c.limit)
		if err != nil {
			t.Fatal(err)
		}
		if c.parts >= 0 && len(parts) != c.parts || c.parts < 0 && len(parts) < 2 {
			t.Errorf("%d entries: %d parts, want %d", c.n, len(parts), c.parts)
		}
		count := 0
		var lines strings.Builder
		for _, p := range parts {
			if count += p.Entries; len(p.packed) > c.limit && p.Entries > 1 {
				t.Errorf("%d entries: a part has %d bytes, more than %d", c.n, len(p.packed), c.limit)
			}
			text, err := unpack(base64.StdEncoding.EncodeToString(p.packed))
			if err != nil {
				t.Fatal(err)
			}
			lines.WriteString(text)
		}
		var got Inventory
		if err := got.decode(cm); err != nil {
			t.Fatal(err)
		}
		if got.Objects, err = entriesOf(got.Objects, lines.String()); err != nil || !slices.Equal(got.Objects, inv.Objects) {
			t.Errorf("%d entries: not the same when read again: %d, %v", c.n, len(got.Objects), err)
		}
		if parts != nil && count != c.n {
			t.Errorf("%d entries: the parts tell of %d", c.n, count)
		}
	}
}

func TestPartNamesAreNobodyElses(t *testing.T) {
	sum := strings.Repeat("0", 64)
	seen := map[string]string{}
	for _, n := range []bump.Name{{Namespace: "hoist", Name: "a"}, {Namespace: "hoist", Name: "a.v1-1-0000000000000000"}, {Namespace: "hoist", Name: "a-2"},
		{Namespace: "hoist", Name: "A"}, {Namespace: "a", Name: "a"}, {Namespace: "a", Name: strings.Repeat("a", 240)}, {Namespace: "inventory", Name: "hoist.a"}} {
		for what, name := range map[string]string{
			"inventory": inventoryName(n), "part": partName(n, "1", 0, sum), "second": partName(n, "1", 1, sum), "newer": partName(n, "2", 0, sum),
			"control": controlName(Subject{"apply", n}),
		} {
			if other, ok := seen[name]; ok {
				t.Errorf("%s of %s is called %s, as %s is", what, n, name, other)
			}
			if seen[name] = what + " of " + n.String(); len(name) > 253 {
				t.Errorf("%s of %s: the name has %d bytes", what, n, len(name))
			}
		}
	}
}

// configMapsOf lists the config maps of inventories in the field.
func (f *field) configMapsOf(label string) (names []string) {
	f.t.Helper()
	list, err := f.eng.client.Resource(configMaps).Namespace(f.ns+"-inv").List(f.t.Context(), metav1.ListOptions{LabelSelector: label})
	if err != nil {
		f.t.Fatal(err)
	}
	for _, o := range list.Items {
		names = append(names, o.GetName())
	}
	return names
}

// 60,000 entries go to a real API server and come back; the next state takes the
// place of the old one, and a small one needs no parts any more.
func TestInventoryOfManyObjects(t *testing.T) {
	f := newField(t)
	write := func(objects []Entry) {
		t.Helper()
		inv, err := f.eng.inventory(t.Context(), f.app.Name)
		if err != nil {
			t.Fatal(err)
		}
		inv.Objects = objects
		if err := f.eng.write(t.Context(), inv); err != nil {
			t.Fatal(err)
		}
		f.line.reset()
		if err := f.eng.write(t.Context(), inv); err != nil || f.line.writes() > 0 {
			t.Errorf("the same again: %v, %d writes", err, f.line.writes())
		}
		inv.Ready = !inv.Ready
		if err := f.eng.write(t.Context(), inv); err != nil || f.line.writes() != 1 {
			t.Errorf("another state with the same objects: %v, %d writes, want 1", err, f.line.writes())
		}
		again, err := f.eng.Inventory(t.Context(), f.app.Name)
		if err != nil || !reflect.DeepEqual(again.Objects, objects) {
			t.Errorf("%d entries: read again %d, %v", len(objects), len(again.Objects), err)
		}
	}
	for n, parts := range map[int]int{60000: 2, 70000: 2} {
		write(entries(n))
		if got := f.configMapsOf(labelPart); len(got) != parts {
			t.Errorf("%d entries: parts %v, want %d", n, got, parts)
		}
	}
	write(entries(1000))
	if got := f.configMapsOf(labelPart); len(got) != 0 {
		t.Errorf("parts %v, want none", got)
	}
}

// K11–K16 of an inventory in parts: killed before or after any write.
func TestKilledBetweenParts(t *testing.T) {
	old, now := many(6), many(6)
	for i := range 2 {
		delete(now, fmt.Sprintf("apps/m%d.yaml", i))
		now[fmt.Sprintf("apps/n%d.yaml", i)] = configMap(fmt.Sprintf("n%d", i), "1")
	}
	for _, lost := range []string{"request", "answer"} {
		for n, dead := 1, true; dead; n++ {
			f := newField(t)
			f.eng.maxPart = 120
			f.apply(old)
			if len(f.configMapsOf(labelPart)) < 3 {
				t.Fatalf("parts %v, want some", f.configMapsOf(labelPart))
			}
			writes := 0
			dead = false
			f.line.cut = func(r *http.Request) (bool, bool) {
				if dead {
					return true, false
				}
				if r.Method != http.MethodGet {
					writes++
				}
				dead = writes == n
				return dead && lost == "request", dead && lost == "answer"
			}
			_, err := f.try(now, f.head())
			at := fmt.Sprintf("%s %d lost", lost, n)
			f.line.reset()
			if !dead {
				if err != nil {
					t.Fatalf("%s: %v", at, err)
				}
				break
			}
			f.nothingUntracked(at)
			f.engine()
			f.eng.maxPart = 120
			if _, err := f.try(now, f.head()); err != nil {
				t.Errorf("%s: the next apply: %v", at, err)
			}
			if got := len(strings.Fields(f.recorded())); got != 6 {
				t.Errorf("%s: %d entries, want 6", at, got)
			}
			if got := len(strings.Fields(f.owned())); got != 6 {
				t.Errorf("%s: %d config maps of the app, want 6", at, got)
			}
		}
	}
}

// N3: an inventory whose part is gone or damaged is not taken for a smaller one.
func TestN3PartMissingOrDamaged(t *testing.T) {
	for _, how := range []string{"missing", "damaged"} {
		f := newField(t)
		f.eng.maxPart = 250
		f.apply(many(20))
		at := f.eng.client.Resource(configMaps).Namespace(f.ns + "-inv")
		name := f.configMapsOf(labelPart)[1]
		if how == "missing" {
			if err := at.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		} else {
			cm, err := at.Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			_ = unstructured.SetNestedField(cm.Object, base64.StdEncoding.EncodeToString(pack([]byte("{}\n"))), "binaryData", "objects.gz")
			if _, err := at.Update(t.Context(), cm, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			f.line.reset()
			_, err := f.try(many(18), f.head())
			want := "its part " + name + " is " + how + ": nothing is applied or deleted; bring it back"
			if err == nil || !strings.Contains(err.Error(), want) || f.line.writes() > 0 {
				t.Errorf("%s: error = %v after %d writes, want %q and none", how, err, f.line.writes(), want)
			}
			f.engine()
		}
		if got := len(strings.Fields(f.owned())); got != 20 {
			t.Errorf("%s: %d config maps of the app, want all 20", how, got)
		}
	}
}

// Whoever reads while the parts are replaced reads again.
func TestInventoryReadWhileItIsReplaced(t *testing.T) {
	f := newField(t)
	f.eng.maxPart = 250
	f.apply(many(20))
	reader := &field{t: t, ns: f.ns, app: f.app}
	reader.engine()
	replaced := false
	reader.line.cut = func(r *http.Request) (bool, bool) {
		if !replaced && strings.Contains(r.URL.Path, "hoist.inventory.") {
			replaced = true
			f.apply(many(24))
		}
		return false, false
	}
	inv, err := reader.eng.Inventory(t.Context(), f.app.Name)
	if err != nil || len(inv.Objects) != 24 || !replaced {
		t.Errorf("%d entries, %v, want the 24 that are there now", len(inv.Objects), err)
	}
}
