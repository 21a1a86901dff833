package reconcile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	"hoist/bump"
)

// What people ask of an entry at run time is kept in the cluster, in a small
// ConfigMap for each entry beside the inventories: who may write that may ask,
// restarts change nothing, and there is no other door.

// Subject is an entry of the configuration that people control at run time.
type Subject struct {
	Kind string // "apply", "repository" or "image", as people type it
	Name bump.Name
}

// String is the subject as people type it.
func (s Subject) String() string {
	if s.Name.Namespace == bump.DefaultNamespace {
		return s.Kind + "/" + s.Name.Name
	}
	return s.Kind + "/" + s.Name.String()
}

// Control is what was asked of a subject, and what came of it. All may be nil.
type Control struct {
	Suspended *Suspension
	Request   *Request
	Answer    *Answer
	Confirmed *Confirmation
}

// Suspension leaves a subject alone from Since on, until Until if that is set.
type Suspension struct {
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until,omitzero"`
	Reason string    `json:"reason,omitempty"`
}

// At tells whether the suspension is in force; a nil one never is.
func (s *Suspension) At(now time.Time) bool {
	return s != nil && (s.Until.IsZero() || now.Before(s.Until))
}

// String is "suspended since 2026-01-02T15:04:05Z until …: reason".
func (s *Suspension) String() string {
	text := "suspended since " + s.Since.UTC().Format(time.RFC3339)
	if !s.Until.IsZero() {
		text += " until " + s.Until.UTC().Format(time.RFC3339)
	}
	if s.Reason != "" {
		text += ": " + s.Reason
	}
	return text
}

// Request asks for a pass now.
type Request struct {
	ID                 string    `json:"id"`
	At                 time.Time `json:"at"`
	OnceWhileSuspended bool      `json:"onceWhileSuspended,omitempty"`
	// Revision is the only one that is meant, by its first digits; the newest,
	// whichever it is, when empty.
	Revision string `json:"revision,omitempty"`
}

// Answer is how far the daemon is with a request.
type Answer struct {
	ID      string    `json:"id"` // of the request
	State   string    `json:"state"`
	Message string    `json:"message,omitempty"`
	At      time.Time `json:"at"`
}

// The states of an answer.
const (
	AnswerWorking = "working"
	AnswerDone    = "done"
	AnswerFailed  = "failed"
)

// Over tells whether nothing more comes.
func (a Answer) Over() bool { return a.State != AnswerWorking }

const labelControl = "hoist/control"

// controlName returns the ConfigMap's name of a subject. Inventories have no dot
// after "hoist".
func controlName(s Subject) string {
	plain := "hoist." + s.Kind + "." + s.Name.Namespace + "." + s.Name.Name
	if len(validation.IsDNS1123Label(s.Name.Namespace)) == 0 && len(validation.IsDNS1123Subdomain(plain)) == 0 {
		return plain
	}
	sum := sha256.Sum256([]byte(s.Name.String()))
	return "hoist." + s.Kind + "." + hex.EncodeToString(sum[:16])
}

// Suspend makes the daemon leave a subject alone; nil ends that.
func (e *Engine) Suspend(ctx context.Context, s Subject, how *Suspension) error {
	if how == nil {
		return e.control(ctx, s, "suspended", nil)
	}
	return e.control(ctx, s, "suspended", how)
}

// Ask leaves a request for the daemon; nil withdraws it.
func (e *Engine) Ask(ctx context.Context, s Subject, r *Request) error {
	if r == nil {
		return e.control(ctx, s, "request", nil)
	}
	return e.control(ctx, s, "request", r)
}

// Confirm keeps a person's word on a revision of an app that guards refuse.
func (e *Engine) Confirm(ctx context.Context, app bump.Name, c Confirmation) error {
	inv, err := e.inventory(ctx, app)
	if err != nil {
		return err
	}
	c.From = inv.Revision
	return e.control(ctx, Subject{"apply", app}, "confirmed", c)
}

// Answer says how far a request is.
func (e *Engine) Answer(ctx context.Context, s Subject, a Answer) error {
	return e.control(ctx, s, "answer", a)
}

// asked is where people ask: the ConfigMaps beside the inventories in the cluster
// where Hoist runs, wherever an app is applied.
func (e *Engine) asked() (dynamic.ResourceInterface, error) {
	home, err := e.home()
	if err != nil {
		return nil, err
	}
	return home.own.Resource(configMaps).Namespace(e.namespace), nil
}

// control writes one key of a subject's ConfigMap. Every key has a field manager
// of its own, so that nobody overwrites what another one says.
func (e *Engine) control(ctx context.Context, s Subject, field string, v any) error {
	cm := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap"}}
	cm.SetName(controlName(s))
	cm.SetNamespace(e.namespace)
	cm.SetLabels(map[string]string{labelControl: s.Kind, "app.kubernetes.io/part-of": "hoist"})
	data := map[string]any{"name": s.Name.String()}
	if v != nil {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		data[field] = string(text)
	}
	cm.Object["data"] = data
	body, err := json.Marshal(cm)
	if err != nil {
		return err
	}
	home, err := e.home()
	if err != nil {
		return err
	}
	force := true
	write := func() error {
		_, err := home.own.Resource(configMaps).Namespace(e.namespace).Patch(ctx, cm.GetName(), types.ApplyPatchType, body,
			metav1.PatchOptions{FieldManager: e.manager + "-" + field, Force: &force})
		return err
	}
	err = write()
	if apierrors.IsNotFound(err) { // the namespace
		if err = e.createNamespace(ctx, home); err == nil {
			err = write()
		}
	}
	if err != nil {
		return fmt.Errorf("write config map %s/%s: %w", e.namespace, cm.GetName(), err)
	}
	return nil
}

// Controls reads what was asked of all subjects.
func (e *Engine) Controls(ctx context.Context) (map[Subject]Control, error) {
	all, _, err := e.controls(ctx)
	return all, err
}

func (e *Engine) controls(ctx context.Context) (all map[Subject]Control, version string, err error) {
	asked, err := e.asked()
	if err != nil {
		return nil, "", err
	}
	list, err := asked.List(ctx, metav1.ListOptions{LabelSelector: labelControl})
	if err != nil {
		return nil, "", fmt.Errorf("read what is suspended from namespace %s: %w", e.namespace, err)
	}
	all = make(map[Subject]Control, len(list.Items))
	for i := range list.Items {
		if s, c, err := readControl(&list.Items[i]); err == nil {
			all[s] = c
		} else {
			return nil, "", fmt.Errorf("read config map %s/%s: %w", e.namespace, list.Items[i].GetName(), err)
		}
	}
	return all, list.GetResourceVersion(), nil
}

func readControl(cm *unstructured.Unstructured) (Subject, Control, error) {
	data, _, err := unstructured.NestedStringMap(cm.Object, "data")
	if err != nil {
		return Subject{}, Control{}, err
	}
	name, err := bump.ParseName(data["name"])
	if err != nil {
		return Subject{}, Control{}, err
	}
	var c Control
	for field, into := range map[string]any{"suspended": &c.Suspended, "request": &c.Request, "answer": &c.Answer, "confirmed": &c.Confirmed} {
		if data[field] == "" {
			continue
		}
		if err := json.Unmarshal([]byte(data[field]), into); err != nil {
			return Subject{}, Control{}, fmt.Errorf("%s: %w", field, err)
		}
	}
	return Subject{cm.GetLabels()[labelControl], name}, c, nil
}

// WatchControls calls seen with what was asked of all subjects, now and whenever
// that changes, or with an error while it cannot be read, until ctx ends.
func (e *Engine) WatchControls(ctx context.Context, seen func(map[Subject]Control, error)) {
	const first, longest = 250 * time.Millisecond, 30 * time.Second
	for pause := first; ; pause = min(2*pause, longest) {
		began := time.Now()
		if err := e.followControls(ctx, seen); err != nil && ctx.Err() == nil {
			seen(nil, err)
		}
		if time.Since(began) > longest {
			pause = first
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func (e *Engine) followControls(ctx context.Context, seen func(map[Subject]Control, error)) error {
	all, version, err := e.controls(ctx)
	if err != nil {
		return err
	}
	seen(all, nil)
	asked, err := e.asked()
	if err != nil {
		return err
	}
	events, err := asked.Watch(ctx, metav1.ListOptions{LabelSelector: labelControl, ResourceVersion: version})
	if err != nil {
		return err
	}
	defer events.Stop()
	for ev := range events.ResultChan() {
		if ev.Type == watch.Error {
			if err := apierrors.FromObject(ev.Object); !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
				return err
			}
			return nil
		}
		if all, _, err = e.controls(ctx); err != nil { // they are few, and change by hand
			return err
		}
		seen(all, nil)
	}
	return nil
}

// ErrUnanswered is returned by [Engine.Await] where no daemon took the request.
var ErrUnanswered = errors.New("no daemon answered")

// Await waits for the answer to a request and calls progress with every word of
// it. A request that nobody takes within patience is withdrawn.
func (e *Engine) Await(ctx context.Context, s Subject, id string, patience time.Duration, progress func(Answer)) (Answer, error) {
	asked, err := e.asked()
	if err != nil {
		return Answer{}, err
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var last Answer
	for began := time.Now(); ; {
		cm, err := asked.Get(ctx, controlName(s), metav1.GetOptions{})
		if err != nil {
			return last, fmt.Errorf("read the answer: %w", err)
		}
		_, c, err := readControl(cm)
		if err != nil {
			return last, err
		}
		if a := c.Answer; a != nil && a.ID == id && (a.State != last.State || a.Message != last.Message) {
			last = *a
			if last.Over() {
				return last, nil
			}
			progress(last)
		}
		if last.ID == "" && time.Since(began) > patience {
			return last, errors.Join(ErrUnanswered, e.Ask(ctx, s, nil))
		}
		select {
		case <-ctx.Done():
			return last, ctx.Err()
		case <-tick.C:
		}
	}
}
