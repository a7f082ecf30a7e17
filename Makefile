# Everything runs with Go and make. Only `make test` (a C compiler for the race detector, Python's pip for Envoy) and `make bench`
# (the proxies to compare with) install Debian packages, and only those that are missing.
.DEFAULT_GOAL := build
.PHONY: build test envoy controlplane generate generated lint vet fmt demo demo-envoy bench bench-core bench-processor fuzz clean help

GO       ?= go
ARGS     ?=
FUZZTIME ?= 20s

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
CC       := $(shell $(GO) env CC)
LINTER   := .cache/bin/golangci-lint

# internal/kubetest has the same version, and a test compares them.
KUBERNETES   := $(shell sed -n 's|^\tk8s.io/kubernetes v||p' test/kubernetes/go.mod)
CONTROLPLANE := .cache/controlplane-$(KUBERNETES)
CONTROLPLANE_VERSION := $(foreach set,gitVersion=v$(KUBERNETES) \
	gitMajor=$(word 1,$(subst ., ,$(KUBERNETES))) gitMinor=$(word 2,$(subst ., ,$(KUBERNETES))),-X k8s.io/component-base/version.$(set))

build: ## build bin/remora, a static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/remora ./cmd/remora

demo: build ## the use case on real processes; ARGS=--once ends after the tour
	@bin/remora demo $(ARGS)

demo-envoy: build envoy ## the same with a real Envoy that asks Remora, in place of Remora's own gateway
	@bin/remora demo --envoy .cache/envoy-1.40.0/envoy/_bin/envoy $(ARGS)

test: lint vet envoy controlplane generated ## lint, vet and all tests with the race detector
	@tools/apt-install '$(CC)=gcc libc6-dev'
	$(GO) test -race -timeout 15m ./...
	@echo "ran: $$($(LINTER) version --short | sed 's/^/golangci-lint /'), go vet (this system and darwin), go test -race of $$($(GO) list ./... | wc -l) packages; all passed"

envoy: ## the Envoy that tests and benchmarks run, from PyPI, into .cache
	@tools/envoy

controlplane: $(CONTROLPLANE) ## the Kubernetes control plane that tests run, built from its source into .cache

# Built once for each version: about seven minutes on two cores whose build cache is empty. The version is what it calls itself.
$(CONTROLPLANE): test/kubernetes/go.mod test/kubernetes/go.sum test/kubernetes/main.go
	@echo "building the control plane for tests (once)"
	cd test/kubernetes && CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -o ../../$@ -ldflags "-s -w $(CONTROLPLANE_VERSION)" .
	@touch $@

generate: .cache/bin/controller-gen ## write what is made from the types in api/: the CustomResourceDefinition and the DeepCopy methods
	@tools/crd/generate

generated: .cache/bin/controller-gen ## check that what is made from the types in api/ is what they say
	@tools/crd/generate --check

.cache/bin/controller-gen: tools/crd/go.mod tools/crd/go.sum
	@echo "building controller-gen (once)"
	cd tools/crd && CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -o ../../$@ sigs.k8s.io/controller-tools/cmd/controller-gen
	@touch $@

lint: $(LINTER) ## the linters of .golangci.yml, at the version in tools/go.mod
	$(LINTER) run --allow-parallel-runners ./...

# Built from source once for each version; about five minutes on a machine whose build cache is empty.
$(LINTER): tools/go.mod tools/go.sum
	@echo "building golangci-lint (once)"
	cd tools && CGO_ENABLED=0 $(GO) build -trimpath -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

vet: ## go vet, for this system and for macOS
	$(GO) vet ./...
	GOOS=darwin CGO_ENABLED=0 $(GO) vet ./...

fmt: $(LINTER) ## format all Go files
	$(LINTER) fmt ./...

bench: build ## compare with HAProxy, nginx and Envoy (bench/README.md); ARGS='-rounds 1 -peers haproxy,remora'
	@bench/install
	$(GO) run ./bench/compare $(ARGS)

bench-processor: build ## remora extproc by itself, with few and many routes, and two of them at 10,000 requests/s for a minute
	$(GO) run ./bench/processor $(ARGS)

bench-core: ## the Go benchmarks of the decision core and of the processor
	$(GO) test -run '^$$' -bench . -benchmem ./internal/fields ./internal/session/... ./internal/placement ./internal/route ./internal/affinity ./internal/extproc/...

fuzz: ## run every fuzz target for FUZZTIME (20s)
	@tools/fuzz $(FUZZTIME)

clean: ## remove what the build made
	rm -rf bin .cache

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
