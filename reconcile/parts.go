package reconcile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"

	"hoist/bump"
)

// The entries of an app with very many objects do not fit into one ConfigMap.
// They are kept in parts, which are never changed: new ones are written first,
// then the ConfigMap of the inventory names them, then the old ones are deleted.
// A kill between any two of these leaves an inventory that is whole.

// maxPart is how many bytes of packed entries one ConfigMap takes; an API object
// may hold about 1 MiB.
const maxPart = 900 << 10

// labelPart is on the parts, with a digest of the app's name.
const labelPart = "hoist/inventory-part"

// part is a ConfigMap with some of an inventory's entries.
type part struct {
	Name    string `json:"name"`
	Sum     string `json:"sum"` // SHA-256 of what it holds
	Entries int    `json:"entries"`

	packed []byte // of one that is to be written
}

// divide packs lines into n parts, or as many more as it takes that none is
// larger than limit. A line is never divided.
func divide(lines [][]byte, n, limit int) []part {
	for ; ; n++ {
		each := (len(lines) + n - 1) / n
		var parts []part
		fits := true
		for from := 0; from < len(lines) && fits; from += each {
			some := lines[from:min(from+each, len(lines))]
			packed := pack(bytes.Join(some, nil))
			sum := sha256.Sum256(packed)
			parts = append(parts, part{Sum: hex.EncodeToString(sum[:]), Entries: len(some), packed: packed})
			fits = len(packed) <= limit || each == 1
		}
		if fits {
			return parts
		}
	}
}

// partsOf reads what namesOf wrote.
func partsOf(names string) ([]part, error) {
	var all []part
	for line := range strings.Lines(names) {
		var p part
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

func namesOf(parts []part) string {
	var b strings.Builder
	for _, p := range parts {
		line, _ := json.Marshal(p) // strings and a number
		b.Write(append(line, '\n'))
	}
	return b.String()
}

// partName returns a ConfigMap's name that no other inventory, control or version
// of the same inventory has. Controls are hoist.apply, hoist.image and so on.
func partName(app bump.Name, version string, i int, sum string) string {
	behind := fmt.Sprintf(".v%s-%d-%s", version, i+1, sum[:16])
	plain := "hoist.inventory." + app.Namespace + "." + app.Name + behind
	if len(validation.IsDNS1123Label(app.Namespace)) == 0 && len(validation.IsDNS1123Subdomain(plain)) == 0 {
		return plain
	}
	return "hoist.inventory." + digestOf(app) + behind
}

func digestOf(app bump.Name) string {
	sum := sha256.Sum256([]byte(app.String()))
	return hex.EncodeToString(sum[:16])
}

// readParts returns the entries of parts, one a line.
func (e *Engine) readParts(ctx context.Context, parts []part) (string, error) {
	var lines strings.Builder
	for _, p := range parts {
		text, err := e.readPart(ctx, p)
		if err != nil {
			return "", err
		}
		lines.WriteString(text)
	}
	return lines.String(), nil
}

func (e *Engine) readPart(ctx context.Context, p part) (string, error) {
	const whatNow = "nothing is applied or deleted; bring it back from a backup, or delete the inventory to begin anew: what left Git then stays in the cluster"
	cm, err := e.cluster.own.Resource(configMaps).Namespace(e.namespace).Get(ctx, p.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", fmt.Errorf("its part %s is missing: %s", p.Name, whatNow)
	}
	if err != nil {
		return "", fmt.Errorf("read its part %s: %w", p.Name, err)
	}
	packed, _, _ := unstructured.NestedString(cm.Object, "binaryData", "objects.gz")
	raw, _ := base64.StdEncoding.DecodeString(packed)
	text, err := unpack(packed)
	if sum := sha256.Sum256(raw); err != nil || hex.EncodeToString(sum[:]) != p.Sum {
		return "", fmt.Errorf("its part %s is damaged: %s", p.Name, whatNow)
	}
	return text, nil
}

// writeParts names parts and creates those that the inventory does not have yet.
func (e *Engine) writeParts(ctx context.Context, inv *Inventory, parts []part) error {
	have := map[string]string{}
	for _, p := range inv.parts {
		have[p.Sum] = p.Name
	}
	version := "0"
	if inv.live != nil {
		version = inv.live.GetResourceVersion()
	}
	for i := range parts {
		p := &parts[i]
		if p.Name = have[p.Sum]; p.Name != "" {
			continue
		}
		p.Name = partName(inv.App, version, i, p.Sum)
		if err := e.createPart(ctx, inv.App, *p, fmt.Sprintf("%d of %d", i+1, len(parts))); err != nil {
			return fmt.Errorf("part %s: %w", p.Name, err)
		}
	}
	return nil
}

func (e *Engine) createPart(ctx context.Context, app bump.Name, p part, which string) error {
	cm := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "binaryData": map[string]any{"objects.gz": base64.StdEncoding.EncodeToString(p.packed)},
	}}
	cm.SetName(p.Name)
	cm.SetNamespace(e.namespace)
	cm.SetLabels(map[string]string{labelPart: digestOf(app), "app.kubernetes.io/part-of": "hoist"})
	cm.SetAnnotations(map[string]string{"hoist/app": app.String(), "hoist/part": which})
	at := e.cluster.own.Resource(configMaps).Namespace(e.namespace)
	_, err := at.Create(ctx, cm, metav1.CreateOptions{FieldManager: e.manager})
	if apierrors.IsNotFound(err) { // the namespace
		if err = e.createNamespace(ctx, e.cluster); err == nil {
			_, err = at.Create(ctx, cm, metav1.CreateOptions{FieldManager: e.manager})
		}
	}
	if apierrors.IsAlreadyExists(err) { // by a process that was killed before it could name it
		_, err = e.readPart(ctx, p)
	}
	return err
}

// oldPart is how old a part is that nobody names and nobody is about to name.
const oldPart = time.Hour

// dropParts deletes the parts that an inventory named before, and those that
// processes left which were killed before they could name them.
func (e *Engine) dropParts(ctx context.Context, app bump.Name, before, now []part) {
	named := map[string]bool{}
	for _, p := range now {
		named[p.Name] = true
	}
	var gone []string
	for _, p := range before {
		if !named[p.Name] {
			gone = append(gone, p.Name)
		}
	}
	at := e.cluster.own.Resource(configMaps).Namespace(e.namespace)
	if len(gone) > 0 || len(before) != len(now) {
		list, err := e.cluster.marks.Resource(configMaps).Namespace(e.namespace).List(ctx, metav1.ListOptions{LabelSelector: labelPart + "=" + digestOf(app)})
		if err != nil {
			e.log.Debug("parts of an inventory not listed", zap.String("app", app.String()), zap.Error(err))
			list = &metav1.PartialObjectMetadataList{}
		}
		for _, o := range list.Items {
			if !named[o.Name] && e.now().Sub(o.CreationTimestamp.Time) > oldPart {
				gone = append(gone, o.Name)
			}
		}
	}
	for _, name := range gone {
		if err := at.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			e.log.Warn("old part of an inventory not deleted", zap.String("app", app.String()), zap.String("object", "ConfigMap/"+e.namespace+"/"+name), zap.Error(err))
		}
	}
}
