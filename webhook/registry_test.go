package webhook_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/zap"

	"hoist/bump"
	"hoist/testenv"
	"hoist/testenv/registryserver"
	"hoist/webhook"
)

// TestRealRegistry pushes an image to the CNCF registry, which tells us so.
func TestRealRegistry(t *testing.T) {
	hints := make(chan webhook.Hint, 100)
	route := webhook.Route{
		Receiver: webhook.Receiver{Name: bump.Name{Namespace: "hoist", Name: "registry"}, Type: webhook.Distribution},
		Secret: func(context.Context) (bump.Secret, error) {
			return bump.Secret{"token": []byte("s3cret")}, nil
		},
	}
	hook := httptest.NewServer(webhook.Handler([]webhook.Route{route}, func(h webhook.Hint) { hints <- h }, zap.NewNop()))
	t.Cleanup(hook.Close)
	registry := testenv.Registry(t, registryserver.Options{Notify: []registryserver.Endpoint{{
		URL:    hook.URL + route.URLPath(),
		Header: http.Header{"Authorization": {"Bearer s3cret"}},
	}}})
	if _, err := registry.Push(t.Context(), "org/app:1.2.3", registryserver.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-hints:
		if want := (webhook.Hint{Image: registry.Image("org/app"), Trigger: "webhook registry"}); got != want {
			t.Errorf("hint %+v, want %+v", got, want)
		}
	case <-time.After(30 * time.Second):
		t.Error("no hint after a push")
	}
}
