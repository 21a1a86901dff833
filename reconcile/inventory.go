package reconcile

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"

	"hoist/bump"
)

// Inventory is what the cluster records about an app: every object that we may
// have created and that may still be there, and the revision it comes from.
type Inventory struct {
	App        bump.Name `json:"app"`
	Cluster    string    `json:"cluster"` // UID of namespace kube-system
	Repository string    `json:"repository"`
	Path       string    `json:"path"`
	Source     string    `json:"source,omitempty"`         // what [Lineage] says of repository and branch
	Owner      string    `json:"owner,omitempty"`          // the Hoist that keeps it, by its name
	Account    string    `json:"account,omitempty"`        // under which the objects are applied
	Deletion   string    `json:"deletionPolicy,omitempty"` // what becomes of the objects without an entry: Delete, WaitForTermination; they stay when empty
	Revision   string    `json:"revision,omitempty"`       // the last one that was applied whole, as [bump.Head] spells it
	Attempted  string    `json:"attempted,omitempty"`      // the last one that was begun
	Applied    time.Time `json:"applied,omitzero"`         // when Revision was applied
	Ready      bool      `json:"ready"`
	Reason     string    `json:"reason,omitempty"` // why not Ready
	Trial      *Trial    `json:"trial,omitempty"`  // of an app that is rolled back

	Objects []Entry `json:"objects,omitempty"` // sorted by kind, namespace and name

	// live is the ConfigMap as last read or written; nil when there is none.
	live  *unstructured.Unstructured
	parts []part // that live names
}

// Entry is one object of an inventory.
type Entry struct {
	bump.Object
	UID string `json:"uid,omitempty"` // empty until the apply that created it was recorded
	// Built is a short digest of what was applied, which tells after a restart what
	// drifted and what is new in Git; empty where values in it may not be guessed at.
	Built string `json:"built,omitempty"`
	// Left says why the object is still there although it left the revision;
	// empty for an object that belongs to it.
	Left string `json:"left,omitempty"`
	// Alone says that Git asked last to leave the object alone.
	Alone bool `json:"alone,omitempty"`
}

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// maxPlain is how many bytes of entries are stored as text. More are
// compressed: an API object may hold about 1 MiB.
const maxPlain = 256 << 10

// dnsName is what may stand in an object's name between dots.
var dnsName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

// inventoryName returns the ConfigMap's name of an app: hoist-NAME for names in
// the default namespace, hoist-NAMESPACE.NAME for others. Namespaces hold no
// dots, so no two apps share one. What cannot be spelt so is named by a digest.
func inventoryName(n bump.Name) string {
	plain := "hoist-" + n.Namespace + "." + n.Name
	if n.Namespace == bump.DefaultNamespace && !strings.Contains(n.Name, ".") {
		plain = "hoist-" + n.Name
	}
	if dnsName.MatchString(n.Name) && len(validation.IsDNS1123Label(n.Namespace)) == 0 && len(validation.IsDNS1123Subdomain(plain)) == 0 {
		return plain
	}
	sum := sha256.Sum256([]byte(n.String()))
	return "hoist--" + hex.EncodeToString(sum[:16]) // no name begins with a dash
}

// Inventory reads what is recorded about an app. One that was never applied has
// an empty inventory.
func (e *Engine) Inventory(ctx context.Context, name bump.Name) (Inventory, error) {
	inv, err := e.inventory(ctx, name)
	if err != nil {
		return Inventory{}, err
	}
	return *inv, nil
}

func (e *Engine) inventory(ctx context.Context, name bump.Name) (*Inventory, error) {
	at := e.namespace + "/" + inventoryName(name)
	inv := &Inventory{App: name}
	cm, err := e.cluster.own.Resource(configMaps).Namespace(e.namespace).Get(ctx, inventoryName(name), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return inv, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read inventory %s: %w", at, err)
	}
	if err := e.open(ctx, inv, cm); err != nil {
		return nil, fmt.Errorf("read inventory %s: %w", at, err)
	}
	if inv.App != name {
		return nil, fmt.Errorf("inventory %s belongs to app %s", at, inv.App)
	}
	return inv, nil
}

// open reads an inventory from its ConfigMap and the parts that this names.
func (e *Engine) open(ctx context.Context, inv *Inventory, cm *unstructured.Unstructured) error {
	for {
		*inv = Inventory{App: inv.App}
		if err := inv.decode(cm); err != nil {
			return err
		}
		inv.live = cm
		lines, err := e.readParts(ctx, inv.parts)
		if err == nil {
			inv.Objects, err = entriesOf(inv.Objects, lines)
			return err
		}
		// Whoever wrote it meanwhile has taken the old parts away.
		now, gone := e.cluster.own.Resource(configMaps).Namespace(e.namespace).Get(ctx, cm.GetName(), metav1.GetOptions{})
		if gone != nil || now.GetResourceVersion() == cm.GetResourceVersion() {
			return err
		}
		cm = now
	}
}

func (inv *Inventory) decode(cm *unstructured.Unstructured) error {
	state, ok, _ := unstructured.NestedString(cm.Object, "data", "state")
	if !ok {
		return errors.New("the config map has no state: it is not an inventory, or was damaged")
	}
	if err := json.Unmarshal([]byte(state), inv); err != nil {
		return err
	}
	lines, _, _ := unstructured.NestedString(cm.Object, "data", "objects")
	if packed, ok, _ := unstructured.NestedString(cm.Object, "binaryData", "objects.gz"); ok {
		var err error
		if lines, err = unpack(packed); err != nil {
			return err
		}
	}
	named, _, _ := unstructured.NestedString(cm.Object, "data", "parts")
	var err error
	if inv.parts, err = partsOf(named); err != nil {
		return err
	}
	inv.Objects, err = entriesOf(nil, lines)
	return err
}

// entriesOf reads entries, one a line, behind those that were read before.
func entriesOf(all []Entry, lines string) ([]Entry, error) {
	for line := range strings.Lines(lines) {
		var entry Entry
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			return nil, err
		}
		all = append(all, entry)
	}
	return all, nil
}

// encode returns the ConfigMap that stores the inventory, and the parts that its
// entries need beside it, which it does not name yet. None is larger than limit.
func (inv *Inventory) encode(namespace string, limit int) (*unstructured.Unstructured, []part, error) {
	slices.SortFunc(inv.Objects, func(a, b Entry) int {
		return strings.Compare(a.String()+a.APIVersion, b.String()+b.APIVersion)
	})
	head := *inv
	head.Objects = nil // one a line, in a key of their own
	state, err := json.MarshalIndent(head, "", "  ")
	if err != nil {
		return nil, nil, err
	}
	lines := make([][]byte, len(inv.Objects))
	for i, entry := range inv.Objects {
		if lines[i], err = json.Marshal(entry); err != nil {
			return nil, nil, err
		}
		lines[i] = append(lines[i], '\n')
	}
	fields := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"state": string(state)}}
	var parts []part
	if plain := bytes.Join(lines, nil); len(plain) <= min(maxPlain, limit) {
		fields["data"].(map[string]any)["objects"] = string(plain)
	} else if packed := pack(plain); len(packed) <= limit {
		fields["binaryData"] = map[string]any{"objects.gz": base64.StdEncoding.EncodeToString(packed)}
	} else {
		parts = divide(lines, len(packed)/limit+1, limit)
	}
	cm := &unstructured.Unstructured{Object: fields}
	cm.SetName(inventoryName(inv.App))
	cm.SetNamespace(namespace)
	cm.SetLabels(map[string]string{labelInventory: managedBy})
	cm.SetAnnotations(map[string]string{
		annotationApp:      inv.App.String(),
		annotationDeletion: inv.Deletion,
		annotationOwner:    inv.Owner,
		"hoist/source":     inv.Repository + "//" + inv.Path,
		"hoist/revision":   inv.Revision,
		"hoist/objects":    strconv.Itoa(len(inv.Objects)),
		"hoist/ready":      strconv.FormatBool(inv.Ready),
		"hoist/reason":     inv.Reason,
	})
	return cm, parts, nil
}

// The label that inventories carry.
const (
	labelInventory = "app.kubernetes.io/managed-by"
	managedBy      = "hoist"
)

func pack(b []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, _ = w.Write(b) // a buffer takes everything
	_ = w.Close()
	return buf.Bytes()
}

// maxUnpacked bounds what a damaged ConfigMap can become.
const maxUnpacked = 256 << 20

// unpack reads what pack made, from the base64 that binaryData has.
func unpack(s string) (string, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return "", err
	}
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return "", err
	}
	out, err := io.ReadAll(io.LimitReader(r, maxUnpacked+1))
	if len(out) > maxUnpacked {
		err = errors.New("it is too large to be an inventory")
	}
	return string(out), err
}

// write stores the inventory where it differs from what is stored. It fails if
// somebody else wrote it since it was read.
func (e *Engine) write(ctx context.Context, inv *Inventory) error {
	cm, parts, err := inv.encode(e.namespace, e.maxPart)
	if err != nil {
		return err
	}
	if inv.stored(cm, parts) {
		return nil
	}
	before := inv.parts
	if err = e.writeParts(ctx, inv, parts); err == nil {
		if parts != nil {
			cm.Object["data"].(map[string]any)["parts"] = namesOf(parts)
		}
		err = e.writeHead(ctx, inv, cm)
	}
	switch {
	case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err):
		return fmt.Errorf("write inventory %s/%s: somebody else wrote it meanwhile, is another hoist at work? %w", e.namespace, cm.GetName(), err)
	case err != nil:
		return fmt.Errorf("write inventory %s/%s: %w", e.namespace, cm.GetName(), err)
	}
	inv.parts = parts
	e.dropParts(ctx, inv.App, before, parts)
	return nil
}

// writeHead writes the ConfigMap that the inventory begins with.
func (e *Engine) writeHead(ctx context.Context, inv *Inventory, cm *unstructured.Unstructured) error {
	at := e.cluster.own.Resource(configMaps).Namespace(e.namespace)
	var live *unstructured.Unstructured
	var err error
	if inv.live == nil {
		live, err = at.Create(ctx, cm, metav1.CreateOptions{FieldManager: e.manager})
		if apierrors.IsNotFound(err) { // the namespace
			if err = e.createNamespace(ctx, e.cluster); err == nil {
				live, err = at.Create(ctx, cm, metav1.CreateOptions{FieldManager: e.manager})
			}
		}
	} else {
		cm.SetResourceVersion(inv.live.GetResourceVersion())
		live, err = at.Update(ctx, cm, metav1.UpdateOptions{FieldManager: e.manager})
	}
	if err == nil {
		inv.live = live
		e.past(inv.App).wrote(live.GetResourceVersion())
	}
	return err
}

// stored says whether the cluster already holds what cm and its parts say.
func (inv *Inventory) stored(cm *unstructured.Unstructured, parts []part) bool {
	if inv.live == nil || !slices.EqualFunc(inv.parts, parts, func(a, b part) bool { return a.Sum == b.Sum }) {
		return false
	}
	data, _, _ := unstructured.NestedMap(inv.live.Object, "data")
	delete(data, "parts")
	return digest(cm.Object["data"]) == digest(data) && digest(cm.Object["binaryData"]) == digest(inv.live.Object["binaryData"])
}

func (e *Engine) createNamespace(ctx context.Context, in *Cluster) error {
	ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
	ns.SetName(e.namespace)
	_, err := in.own.Resource(namespaces).Create(ctx, ns, metav1.CreateOptions{FieldManager: e.manager})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// index returns the position of every object in the inventory.
func (inv *Inventory) index() map[key]int {
	at := make(map[key]int, len(inv.Objects))
	for i, entry := range inv.Objects {
		at[keyOf(entry.Object)] = i
	}
	return at
}

// add makes the inventory a superset of what is about to be applied.
func (inv *Inventory) add(targets []*target) {
	at := inv.index()
	for _, t := range targets {
		if i, ok := at[t.key]; ok {
			inv.Objects[i].Object = t.object // the API version may have changed
			inv.Objects[i].Left = ""
			inv.Objects[i].Alone = t.alone
			continue
		}
		if t.alone || t.lost != nil {
			continue // not ours yet
		}
		inv.Objects = append(inv.Objects, Entry{Object: t.object})
	}
}

// forget leaves objects out that are not ours any more.
func (inv *Inventory) forget(targets []*target) {
	inv.Objects = slices.DeleteFunc(inv.Objects, func(en Entry) bool {
		return slices.ContainsFunc(targets, func(t *target) bool { return t.key == keyOf(en.Object) })
	})
}

// track marks the targets that were applied before.
func (inv *Inventory) track(targets []*target) {
	at := inv.index()
	for _, t := range targets {
		i, ok := at[t.key]
		t.tracked = ok && inv.Objects[i].UID != ""
	}
}

// know records the UIDs that objects turned out to have.
func (inv *Inventory) know(uids map[key]string) {
	for i := range inv.Objects {
		if uid, ok := uids[keyOf(inv.Objects[i].Object)]; ok {
			inv.Objects[i].UID = uid
		}
	}
}

// built records what the objects with the UIDs were applied as.
func (inv *Inventory) built(targets []*target, uids map[key]string) {
	at := inv.index()
	for _, t := range targets {
		if uids[t.key] != "" {
			inv.Objects[at[t.key]].Built = t.mark()
		}
	}
}

// without returns the entries that are not among the targets.
func (inv *Inventory) without(targets []*target) []Entry {
	wanted := make(map[key]bool, len(targets))
	for _, t := range targets {
		wanted[t.key] = true
	}
	var left []Entry
	for _, entry := range inv.Objects {
		if !wanted[keyOf(entry.Object)] {
			left = append(left, entry)
		}
	}
	return left
}
