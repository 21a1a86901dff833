# make demo    the whole loop on this machine, until Ctrl-C
# make test    everything, against the real parts, with the race detector
# make check   the quick half: lint, and the tests that need no cluster

VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: build demo test check bench lint fmt vet vet-nested staticcheck testenv clean

# go build, with a progress line: the first time takes minutes.
build:
	@CGO_ENABLED=0 go run ./testenv/cmd/gobuild hoist -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/hoist ./cmd/hoist

# KUBECONFIG_DEMO=FILE make demo uses a cluster that is already there.
demo: build
ifdef KUBECONFIG_DEMO
	bin/hoist demo --kubeconfig "$(KUBECONFIG_DEMO)"
else
	@go run ./testenv/cmd/up controlplane >/dev/null
	bin/hoist demo
endif

# One control plane serves all packages; the last line is the sum.
test: fmt vet testenv
	@go run ./testenv/cmd/testrun -race ./...

check: lint
	@go run ./testenv/cmd/testrun -short ./...

bench:
	go test -timeout 60m -run '^$$' -bench . -benchmem ./bench/...

lint: fmt vet staticcheck

fmt:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not formatted (gofmt -w):"; echo "$$unformatted"; exit 1; fi

vet:
	go vet ./...

# Not part of test: vet reads all of Kubernetes first, which takes many minutes.
# The flags are those of testenv/programs, so that it is at least compiled.
vet-nested:
	cd testenv/registry && GOWORK=off go vet -gcflags=all=-dwarf=false .
	cd testenv/cosign && GOWORK=off go vet -gcflags=all=-dwarf=false .
	cd testenv/sops && GOWORK=off go vet -gcflags=all=-dwarf=false .
	cd testenv/sealedsecrets && GOWORK=off go vet -gcflags=all=-dwarf=false .
	cd testenv/controlplane && GOWORK=off go vet -gcflags=all=-dwarf=false .

staticcheck:
	go run $(STATICCHECK) ./...

# The programs that tests run against, built once per version of their sources.
testenv:
	@go run ./testenv/cmd/up >/dev/null

clean:
	rm -rf bin
