package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// errLeaseLost ends a replica that another one has replaced; the next start
// waits in line again.
var errLeaseLost = errors.New("another replica holds the lease now")

// lead runs work while this replica holds the Lease. Two leaders for a moment
// would do no harm – pushes are compare-and-swap, applies are idempotent –
// but one is enough.
func (d *Daemon) lead(ctx context.Context, work func(context.Context) error) error {
	rc, err := d.live.Load().house.cluster()
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	client, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	begin := make(chan context.Context, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: cmp.Or(d.opt.Namespace, defaultSystemNamespace), Name: d.opt.Lease},
			Client:     client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: d.opt.Identity},
		},
		LeaseDuration:   15 * time.Second,
		RenewDeadline:   10 * time.Second,
		RetryPeriod:     2 * time.Second,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { begin <- ctx },
			OnStoppedLeading: func() { d.leading.Store(false) },
		},
	})
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	held, giveUp := context.WithCancel(ctx)
	defer giveUp()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		elector.Run(held)
	}()
	select {
	case leading := <-begin: // ends with the lease
		d.leading.Store(true)
		d.log.Info("leading", zap.String("lease", d.opt.Lease))
		err = work(leading)
		giveUp()
	case <-ended:
	}
	<-ended
	if err != nil || ctx.Err() != nil {
		return err
	}
	return errLeaseLost
}
