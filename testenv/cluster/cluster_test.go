package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hoist/testenv/internal/process"
)

// start starts a cluster for one test.
func start(t *testing.T, o Options) *Cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("needs the control plane")
	}
	o.Progress = os.Stderr
	c, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// eventually waits until done says yes; what it says instead is the failure.
func eventually(t *testing.T, limit time.Duration, done func() (string, bool)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		state, ok := done()
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("after %v: %s", limit, state)
		case <-tick.C:
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func deployment(image string) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  progressDeadlineSeconds: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: %q}]}
`, image)
}

type deploymentStatus struct {
	Metadata struct{ Generation int }
	Status   struct {
		ObservedGeneration, UpdatedReplicas, AvailableReplicas int
		Conditions                                             []struct{ Type, Status, Reason string }
	}
}

func (d deploymentStatus) reason(condition string) string {
	for _, c := range d.Status.Conditions {
		if c.Type == condition {
			return c.Status + " " + c.Reason
		}
	}
	return ""
}

// TestRollouts shows a rollout, one that fails in each of the ways a tag can ask
// for, and the bump that repairs it.
func TestRollouts(t *testing.T) {
	c := start(t, Options{Nodes: 2})
	for word, reason := range map[string]string{"crash": "CrashLoopBackOff", "pullerr": "ImagePullBackOff", "notready": ""} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			ns, err := c.CreateNamespace(t.Context(), t.Name())
			must(t, err)
			t.Cleanup(func() { must(t, c.DeleteNamespace(context.Background(), ns)) })
			path := "/apis/apps/v1/namespaces/" + ns + "/deployments/web"
			apply := func(image string) {
				t.Helper()
				must(t, c.Do(t.Context(), http.MethodPatch, path+"?fieldManager=test", deployment(image), nil))
			}
			rolledOut := func() (string, bool) {
				var d deploymentStatus
				must(t, c.Do(t.Context(), http.MethodGet, path, nil, &d))
				s := d.Status
				return fmt.Sprintf("%+v", d), s.ObservedGeneration == d.Metadata.Generation && s.UpdatedReplicas == 2 && s.AvailableReplicas == 2
			}
			apply("registry.test/web:1.0.0")
			eventually(t, time.Minute, rolledOut)

			apply("registry.test/web:1.0.1-" + word)
			eventually(t, time.Minute, func() (string, bool) {
				var d deploymentStatus
				must(t, c.Do(t.Context(), http.MethodGet, path, nil, &d))
				return fmt.Sprintf("%+v", d), d.reason("Progressing") == "False ProgressDeadlineExceeded"
			})
			if reasons := waiting(t, c, ns); !strings.Contains(reasons, reason) {
				t.Errorf("pods wait because of %q, want %s", reasons, reason)
			}

			apply("registry.test/web:1.0.2")
			eventually(t, time.Minute, rolledOut)
		})
	}
}

// TestSlowAndFlap: a pod that becomes ready late, and one that does not stay so.
func TestSlowAndFlap(t *testing.T) {
	c := start(t, Options{})
	for _, word := range []string{"slow", "flap"} {
		must(t, c.Do(t.Context(), http.MethodPost, "/api/v1/namespaces/default/pods", fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, annotations: {testenv.hoist/delay: 1s}}
spec: {containers: [{name: main, image: "registry.test/web:1.0.0-%[1]s"}]}
`, word), nil))
	}
	ready := func(pod string) bool {
		var p struct {
			Status struct {
				Conditions []struct{ Type, Status string }
			}
		}
		must(t, c.Do(t.Context(), http.MethodGet, "/api/v1/namespaces/default/pods/"+pod, nil, &p))
		return slices.Contains(p.Status.Conditions, struct{ Type, Status string }{"Ready", "True"})
	}
	eventually(t, time.Minute, func() (string, bool) { return "flap is not ready", ready("flap") })
	eventually(t, time.Minute, func() (string, bool) { return "slow is not ready", ready("slow") })
	eventually(t, time.Minute, func() (string, bool) {
		return "flap is still ready", !ready("flap") && strings.Contains(waiting(t, c, "default"), "CrashLoopBackOff")
	})
}

// waiting gives the reasons for which containers in a namespace wait.
func waiting(t *testing.T, c *Cluster, ns string) string {
	t.Helper()
	var pods struct {
		Items []struct {
			Status struct {
				ContainerStatuses []struct {
					State struct{ Waiting struct{ Reason string } }
				}
			}
		}
	}
	must(t, c.Do(t.Context(), http.MethodGet, "/api/v1/namespaces/"+ns+"/pods", nil, &pods))
	var reasons []string
	for _, p := range pods.Items {
		for _, s := range p.Status.ContainerStatuses {
			reasons = append(reasons, s.State.Waiting.Reason)
		}
	}
	return strings.Join(reasons, " ")
}

func TestJobCompletes(t *testing.T) {
	c := start(t, Options{})
	must(t, c.Do(t.Context(), http.MethodPost, "/apis/batch/v1/namespaces/default/jobs", `
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  template:
    spec: {restartPolicy: Never, containers: [{name: once, image: "registry.test/once:1"}]}
`, nil))
	eventually(t, time.Minute, func() (string, bool) {
		var j struct{ Status struct{ Succeeded int } }
		must(t, c.Do(t.Context(), http.MethodGet, "/apis/batch/v1/namespaces/default/jobs/once", nil, &j))
		return fmt.Sprintf("%+v", j), j.Status.Succeeded == 1
	})
}

// TestKillAndRestart: what the API server had answered for is there after a
// crash, at the same address, for clients that were made before.
func TestKillAndRestart(t *testing.T) {
	c := start(t, Options{APIOnly: true, Dir: filepath.Join(t.TempDir(), strings.Repeat("long", 25))})
	ns, err := c.CreateNamespace(t.Context(), "kept")
	must(t, err)
	server, pid := c.Server, c.Pid
	must(t, c.Kill())
	if err := c.Do(t.Context(), http.MethodGet, "/readyz", nil, nil); err == nil {
		t.Error("a killed cluster answers")
	}
	must(t, c.Restart(t.Context()))
	if c.Server != server || c.Pid == pid {
		t.Errorf("restarted as %s, pid %d; was %s, pid %d", c.Server, c.Pid, server, pid)
	}
	must(t, c.Do(t.Context(), http.MethodGet, "/api/v1/namespaces/"+ns, nil, nil))

	again, err := Open(c.Kubeconfig)
	must(t, err)
	must(t, again.Do(t.Context(), http.MethodGet, "/api/v1/namespaces/"+ns, nil, nil))
	if err := again.Kill(); !errors.Is(err, errNotOurs) {
		t.Errorf("Kill of an opened cluster = %v", err)
	}
	must(t, again.Stop())
	must(t, c.Do(t.Context(), http.MethodGet, "/readyz", nil, nil))
}

func TestTokensAreUsersWithoutRights(t *testing.T) {
	c := start(t, Options{APIOnly: true, Tokens: []Token{{Token: "t1", User: "alice", Groups: []string{"dev", "ops"}}, {Token: "t2", User: "bob"}}})
	for token, want := range map[string]int{"t1": http.StatusForbidden, "t2": http.StatusForbidden, "t3": http.StatusUnauthorized, c.Token: http.StatusOK} {
		other := *c
		other.Token, other.client = token, nil
		must(t, other.connect())
		var status *StatusError
		err := other.Do(t.Context(), http.MethodGet, "/api/v1/namespaces", nil, nil)
		got := http.StatusOK
		if errors.As(err, &status) {
			got = status.Code
		}
		if got != want {
			t.Errorf("token %s: %d (%v), want %d", token, got, err, want)
		}
	}
}

// TestEndsWithItsParent kills a process that has started a cluster. Neither the
// cluster nor its temporary folder stays.
func TestEndsWithItsParent(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the control plane")
	}
	if os.Getenv("TEST_PARENT_OF_CLUSTER") != "" { // we are that process
		c, err := Start(t.Context(), Options{APIOnly: true})
		must(t, err)
		fmt.Println("cluster", c.Pid)
		select {}
	}
	self, err := os.Executable()
	must(t, err)
	tmp := t.TempDir()
	first := process.NewFirstLine()
	parent, err := process.Start(process.Options{Path: self, Args: []string{"-test.run=^TestEndsWithItsParent$"},
		Env: []string{"TEST_PARENT_OF_CLUSTER=yes", "TMPDIR=" + tmp}, Stdout: first})
	must(t, err)
	t.Cleanup(parent.Kill)
	var pid int
	select {
	case line := <-first.Line():
		if pid, err = strconv.Atoi(strings.TrimPrefix(line, "cluster ")); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
	case <-parent.Done():
		t.Fatal(parent.Err())
	}
	parent.Kill()
	eventually(t, time.Minute, func() (string, bool) {
		return fmt.Sprintf("cluster %d is still there", pid), errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	})
	if left, err := filepath.Glob(filepath.Join(tmp, "*")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestNamespaceName(t *testing.T) {
	for prefix, want := range map[string]string{
		"TestA/b_C": "testa-b-c-", "": "test-", "-x-": "x-", "ä": "test-",
		strings.Repeat("a", 50): strings.Repeat("a", 40) + "-",
	} {
		if got := namespaceName(prefix); !strings.HasPrefix(got, want) || len(got) != len(want)+8 || strings.ToLower(got) != got {
			t.Errorf("namespaceName(%q) = %s, want %s and 8 characters", prefix, got, want)
		}
	}
}
