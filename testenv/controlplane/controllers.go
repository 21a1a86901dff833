package main

import (
	"context"

	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	controlleroptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

// startControllers starts the controller manager and the scheduler with ctx.
// Their options and Run functions are used, not their cobra commands: each of
// those installs the process's one signal handler, and the second one panics.
func startControllers(ctx context.Context, creds credentials, ended chan<- error) {
	common := []string{"--kubeconfig=" + creds.kubeconfig, "--leader-elect=false", "--secure-port=0",
		"--kube-api-qps=200", "--kube-api-burst=400"}
	go func() {
		ended <- stopped("kube-controller-manager", runControllerManager(ctx, append([]string{
			"--service-account-private-key-file=" + creds.accountKey,
			"--root-ca-file=" + creds.caFile,
			"--node-monitor-grace-period=60s",
		}, common...)))
	}()
	go func() {
		ended <- stopped("kube-scheduler", runScheduler(ctx, common))
	}()
}

func runControllerManager(ctx context.Context, args []string) error {
	o, err := controlleroptions.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	known, off, aliases := controllermanager.KnownControllers(), controllermanager.ControllersDisabledByDefault(), controllermanager.ControllerAliases()
	flags := o.Flags(known, off, aliases)
	o.ParsedFlags = &flags
	if err := parseInto("kube-controller-manager", flags.FlagSets, args); err != nil {
		return err
	}
	c, err := o.Config(ctx, known, off, aliases)
	if err != nil {
		return err
	}
	return controllermanager.Run(ctx, c.Complete())
}

func runScheduler(ctx context.Context, args []string) error {
	o := scheduleroptions.NewOptions()
	if err := parseInto("kube-scheduler", o.Flags.FlagSets, args); err != nil {
		return err
	}
	c, s, err := scheduler.Setup(ctx, o)
	if err != nil {
		return err
	}
	return scheduler.Run(ctx, c, s)
}
