package main

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// etcd is the embedded store. It listens on a Unix socket: no port to collide
// on, and no other user can reach it.
type etcd struct {
	url    string
	server *embed.Etcd
	tmp    string // folder of the socket when the state folder's path is too long for one
}

func startEtcd(ctx context.Context, dir string) (*etcd, error) {
	socket, tmp, err := socketPath(dir)
	if err != nil {
		return nil, err
	}
	listen := url.URL{Scheme: "unix", Path: socket}
	// A single member has no peers, and nobody dials what it advertises.
	nowhere := []url.URL{{Scheme: "http", Host: "127.0.0.1:1"}}

	c := embed.NewConfig()
	c.Dir = filepath.Join(dir, "etcd")
	c.ListenClientUrls = []url.URL{listen}
	c.ListenPeerUrls = nil
	c.AdvertiseClientUrls, c.AdvertisePeerUrls = nowhere, nowhere
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.UnsafeNoFsync = true // outlives a killed process, not a power cut
	c.LogLevel = "error"
	c.LogOutputs = []string{filepath.Join(dir, "etcd.log")}
	c.QuotaBackendBytes = 512 << 20
	c.TickMs, c.ElectionMs = 10, 100 // a single member need not wait long to elect itself
	server, err := embed.StartEtcd(c)
	if err != nil {
		return nil, err
	}
	e := &etcd{url: listen.String(), server: server, tmp: tmp}
	select {
	case <-server.Server.ReadyNotify():
		return e, nil
	case err = <-server.Err():
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-time.After(30 * time.Second):
		err = errors.New("not ready after 30s")
	}
	e.stop()
	return nil, err
}

func (e *etcd) stop() {
	e.server.Close()
	if e.tmp != "" {
		_ = os.RemoveAll(e.tmp)
	}
}

// socketPath gives a path below dir, or below a new temporary folder when that
// one would not fit into a socket address (108 bytes on Linux).
func socketPath(dir string) (path, tmp string, err error) {
	path = filepath.Join(dir, "etcd.sock")
	if len(path) > 100 {
		if tmp, err = os.MkdirTemp("", "etcd"); err != nil {
			return "", "", err
		}
		return filepath.Join(tmp, "etcd.sock"), tmp, nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // left by a killed process
		return "", "", err
	}
	return path, "", nil
}
