# Everything a developer, a packager or the CI does is a target here; `make help` lists them.
# go decides what is stale: every target that builds is phony and costs a second when nothing changed.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

# One set of flags for every build and test, so that all of them share one build cache.
export CGO_ENABLED := 0
GOFLAGS_ALL := -trimpath -buildvcs=false

# Files that are linked, and the tiers' names for the second of them.
LINKED   := supervisor tiers
TIERS    := core extensions aggregator
PACKAGES := ./cmd/... ./internal/...

# --- version -------------------------------------------------------------------------------------------------------
# Clients read the version of the API that is served, so it is Kubernetes' own and ours is build metadata. The date is
# the commit's: two builds of one commit are the same bytes.

KUBE_VERSION := $(shell awk '$$1 == "k8s.io/kubernetes" && $$2 ~ /^v/ { print $$2; exit }' go.mod)
KUBE_MAJOR   := $(shell echo $(KUBE_VERSION) | sed -E 's/^v([0-9]+).*/\1/')
KUBE_MINOR   := $(shell echo $(KUBE_VERSION) | sed -E 's/^v[0-9]+\.([0-9]+).*/\1/')
GIT_COMMIT   := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
GIT_TREE     := $(if $(shell git status --porcelain 2>/dev/null),dirty,clean)
BUILD_DATE   := $(or $(shell TZ=UTC git show -s --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null),1970-01-01T00:00:00Z)
VERSION      ?= $(patsubst v%,%,$(or $(shell git describe --tags --always --dirty --abbrev=12 2>/dev/null),unknown))

# Whatever is written into a release has the time of the commit.
export SOURCE_DATE_EPOCH ?= $(or $(shell git show -s --format=%ct 2>/dev/null),0)

# $(call stamp,gitVersion,commit,tree,date)
stamp = $(foreach p,k8s.io/component-base/version k8s.io/client-go/pkg/version,\
	-X $(p).gitVersion=$(1) -X $(p).gitMajor=$(KUBE_MAJOR) -X $(p).gitMinor=$(KUBE_MINOR) \
	-X $(p).gitCommit=$(2) -X $(p).gitTreeState=$(3) -X $(p).buildDate=$(4))

# -s -w drop the symbol and debug tables only: pprof, stack traces and panics read another one.
OUR_LDFLAGS  := -s -w $(call stamp,$(KUBE_VERSION)+triptych.$(VERSION),$(GIT_COMMIT),$(GIT_TREE),$(BUILD_DATE)) \
	-X triptych.dev/triptych/internal/version.Version=$(VERSION)
# Programs of a next release, which tests upgrade to: one minor of Kubernetes and one version of the protocol newer by
# what they say of themselves, of the same code.
NEXT_VERSION  ?= next
NEXT_KUBE     ?= v$(KUBE_MAJOR).$(shell expr $(KUBE_MINOR) + 1).0
NEXT_PROTOCOL ?= $(shell expr $$(sed -nE 's/^var protocol = "([0-9]+)"$$/\1/p' internal/handshake/doc.go) + 1)
next_ldflags   = -s -w $(subst gitMinor=$(KUBE_MINOR),gitMinor=$(shell expr $(KUBE_MINOR) + 1),$(call stamp,$(NEXT_KUBE)+triptych.$(NEXT_VERSION),$(GIT_COMMIT),$(GIT_TREE),$(BUILD_DATE))) \
	-X triptych.dev/triptych/internal/version.Version=$(NEXT_VERSION) -X triptych.dev/triptych/internal/handshake.protocol=$(NEXT_PROTOCOL)
# What we are compared with says the plain version, as a release of Kubernetes does, whatever our commit.
KUBE_LDFLAGS := -s -w $(call stamp,$(KUBE_VERSION),unknown,clean,1970-01-01T00:00:00Z)

# A profile that guides the builds of our own programs, or off. Whatever is compiled is compiled anew for it, so tests and
# everyday builds do without.
PGO     ?= off
PROFILE := $(CURDIR)/deploy/default.pgo

# $(call go_build,ldflags,package,more flags)
go_build = @echo "build $@"; go build $(GOFLAGS_ALL) $(3) -ldflags '$(1)' -o $@ $(2)

# --- build ---------------------------------------------------------------------------------------------------------

# $(call name_tiers,folders): in each, a program is called after each tier, and all are one file.
name_tiers = @for folder in $(1); do for tier in $(TIERS); do ln -sfn tiers "$$folder/$$tier"; done; done

.PHONY: build
build: $(addprefix bin/,$(LINKED)) ## Build bin/supervisor and bin/{core,extensions,aggregator}, which are one file, bin/tiers (the default)
	$(call name_tiers,bin)

.PHONY: $(addprefix bin/,$(LINKED))
$(addprefix bin/,$(LINKED)): bin/%:
	$(call go_build,$(OUR_LDFLAGS),./cmd/$*,-pgo=$(PGO))

.PHONY: separate
separate: bin/supervisor ## Build bin/{core,extensions,aggregator} as a file each, which has no code of another tier and shares no memory with it
	@$(foreach t,$(TIERS),echo "build bin/$(t)"; rm -f bin/$(t); go build $(GOFLAGS_ALL) -pgo=$(PGO) -ldflags '$(OUR_LDFLAGS)' -o bin/$(t) ./cmd/$(t);)

NEXT := $(addprefix bin/next/,$(LINKED))

.PHONY: next $(NEXT)
next: $(NEXT) ## Build bin/next, the programs of a release that tests upgrade to
	$(call name_tiers,bin/next)
$(NEXT): bin/next/%:
	$(call go_build,$(next_ldflags),./cmd/$*,-pgo=off)

.PHONY: optimized
optimized: PGO := $(PROFILE)
optimized: build ## The same, guided by the profile in deploy/: faster programs, and all compiled anew the first time

.PHONY: pgo
pgo: build ## Record that profile again, under a load of every kind
	TRIPTYCH_TEST_BUILT=1 go run $(GOFLAGS_ALL) ./test/bench -record=$(PROFILE) -window=5s

.PHONY: kubectl bin/kubectl
kubectl: bin/kubectl ## Build bin/kubectl of the same Kubernetes
bin/kubectl:
	$(call go_build,$(KUBE_LDFLAGS),k8s.io/kubernetes/cmd/kubectl)

STOCK := $(addprefix bin/stock/,kube-apiserver kube-controller-manager)

.PHONY: stock
stock: $(STOCK) bin/stock/sample-apiserver ## Build the stock servers that tests compare with and run beside

.PHONY: $(STOCK) bin/stock/kube-scheduler
$(STOCK) bin/stock/kube-scheduler: bin/stock/%:
	$(call go_build,$(KUBE_LDFLAGS),k8s.io/kubernetes/cmd/$*)

.PHONY: bin/stock/sample-apiserver
bin/stock/sample-apiserver:
	$(call go_build,$(KUBE_LDFLAGS),k8s.io/sample-apiserver)

# Upstream's conformance tests, and what runs them side by side.
SUITE := bin/stock/e2e.test bin/stock/ginkgo

.PHONY: suite $(SUITE)
suite: $(SUITE) ## Build upstream's conformance suite
bin/stock/e2e.test:
	@echo "build $@"; go test -c -vet=off $(GOFLAGS_ALL) -ldflags '$(KUBE_LDFLAGS)' -o $@ k8s.io/kubernetes/test/e2e
bin/stock/ginkgo:
	$(call go_build,-s -w,github.com/onsi/ginkgo/v2/ginkgo)

# --- run -----------------------------------------------------------------------------------------------------------

DATA_DIR ?= run

.PHONY: run
run: build ## Build and run it in the foreground, with its data in ./run
	@echo "In another terminal, once it says that it is ready:"
	@echo "  make kubectl"
	@echo "  bin/kubectl --kubeconfig $(DATA_DIR)/admin.kubeconfig get namespaces"
	@echo "  bin/supervisor status --data-dir $(DATA_DIR)"
	@echo
	@exec bin/supervisor run --data-dir $(DATA_DIR) $(ARGS)

# --- test ----------------------------------------------------------------------------------------------------------
# Unit tests of several packages may run side by side. Black-box tests start whole control planes: one package at a
# time, or they starve each other on small machines. RUN=regexp picks tests.

RUN ?= .
GO_TEST := go test $(GOFLAGS_ALL) -run '$(RUN)'

.PHONY: test
test: verify unit layout release-test spine faults diff-ci conformance-ci ## Everything: verify, unit tests, layout, releases, black box tests, faults, comparison with stock, conformance tests

# go vet runs once, in lint, with all of its checks; go test would repeat some of them.
.PHONY: unit
unit: ## Tests that stand beside the code
	$(GO_TEST) -v -vet=off -p 2 -timeout 15m $(PACKAGES) ./test/bench/...

# The detector needs cgo and another build of all that is tested: minutes cold, which is why the CI does without.
# hop, core, extensions and aggregator link most of Kubernetes. PACKAGES='./internal/supervisor/...' picks some.
.PHONY: race
race: export CGO_ENABLED := 1
race: ## The tests beside the code, under the race detector [PACKAGES=./internal/hop]
	$(GO_TEST) -race -vet=off -p 2 -timeout 30m $(PACKAGES)

# The ordinary tests run the seeds of these.
FUZZTIME ?= 1m

.PHONY: fuzz
fuzz: ## Look for requests and answers that the hop reads otherwise than net/http [FUZZTIME=10m]
	for target in FuzzAnswer FuzzHead FuzzAgainstReverseProxy; do \
	go test $(GOFLAGS_ALL) -vet=off -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) ./internal/hop; done

# The CI has time for these; a run with -long plays all, kills each process a hundred times, and takes hours.
FAULTS_CI := ^(Test.*Judged|TestObjectsAre.*|TestARow.*|TestReadsThat.*|TestAMetronome.*|TestKilledUnderLoad|TestStoppedUnderLoad|TestStarvedUnderLoad|TestKilledOrStoppedWhileStarting)$$
FAULTS = TRIPTYCH_TEST_BUILT=1 go test $(GOFLAGS_ALL) -v -vet=off -count=1 -parallel 2 -timeout

.PHONY: faults faults-long faults-dead faults-plants
faults: build kubectl stock ## Break one thing after another under load, and judge what clients saw [RUN=TestKilled] [ARGS='-kills=20 -seed=1']
	$(FAULTS) 15m -run '$(if $(filter .,$(RUN)),$(FAULTS_CI),$(RUN))' ./test/faults -args $(ARGS)
faults-long: build kubectl stock ## All faults, of stock too, a hundred kills of each process: hours, as root [RUN=TestStock] [ARGS=-kills=20]
	$(FAULTS) 24h -run '$(RUN)' ./test/faults -args -long $(ARGS)
faults-dead: build kubectl stock ## Write into docs/explanation/faults.md what is answered while a tier is dead
	$(FAULTS) 15m -run TestWhatStaysUp ./test/faults -args -update
faults-plants: build kubectl stock ## Plant bugs in copies of the tree, and show which test catches each [PLANTS=orphan]
	STAMP="$(call stamp,$(KUBE_VERSION)+triptych.$(VERSION),$(GIT_COMMIT),$(GIT_TREE),$(BUILD_DATE))" test/faults/plants/run $(PLANTS)

.PHONY: layout
layout: ## Who may import whom, and what each binary links
	$(GO_TEST) -v -vet=off -count=1 -timeout 10m ./test/layout

.PHONY: spine
spine: build kubectl stock next bin/tools/helm ## Black box tests: real binaries, real etcd, side by side with stock
	TRIPTYCH_TEST_BUILT=1 $(GO_TEST) -v -vet=off -count=1 -p 1 -parallel 4 -timeout 80m ./test/harness/... ./test/spine/... ./test/deploy/... ./test/docs

.PHONY: browser
browser: build kubectl ## Look at the dashboard in headless Chromium, which has to be installed, at two sizes; pictures in bin/
	TRIPTYCH_TEST_BUILT=1 $(GO_TEST) -v -vet=off -count=1 -timeout 10m ./test/dashboard

# SERVER is ours, stock or both, one after the other; FOCUS picks names; PROCS is how many tests run side by side.
SERVER ?= ours
FOCUS  ?=
PROCS  ?= 4
CONFORMANCE_ARGS = -server=$(SERVER) -focus='$(FOCUS)' -procs=$(PROCS)
CONFORMANCE := TRIPTYCH_TEST_BUILT=1 $(GO_TEST) -v -vet=off -count=1 -timeout 2h ./test/conformance -args

.PHONY: conformance
conformance: build kubectl stock suite ## Upstream's conformance tests that need no node [SERVER=both] [FOCUS=regexp]
	$(CONFORMANCE) -names=all $(CONFORMANCE_ARGS)

.PHONY: conformance-ci
conformance-ci: build kubectl stock suite ## All of them but those that wait for minutes, as the CI does
	$(CONFORMANCE) -names=ci $(CONFORMANCE_ARGS)

.PHONY: hosts
hosts: build ## Three hosts in network namespaces: kill them, cut their links, and print for how long requests fail (root)
	TRIPTYCH_TEST_BUILT=1 $(GO_TEST) -v -vet=off -count=1 -timeout 30m ./test/hosts

# Programs of others that are clients, each as its authors release it.
CLIENTS := bin/tools/kwok bin/tools/helm
KWOK := sigs.k8s.io/kwok/cmd/kwok@v0.8.0
HELM := helm.sh/helm/v4/cmd/helm@v4.3.1

$(CLIENTS): bin/tools/%:
	GOBIN=$(TOOLS) go install $(GOFLAGS_ALL) -ldflags '-s -w' $($(shell echo $* | tr a-z A-Z))

.PHONY: clients clients-build
clients-build: bin/stock/kube-scheduler $(CLIENTS)
clients: build kubectl stock clients-build ## Run controllers, scheduler, fake nodes, an operator and helm against it [SERVER=both] [RUN=Clients/.*/.*/quota]
	TRIPTYCH_TEST_BUILT=1 $(GO_TEST) -v -vet=off -count=1 -timeout 1h ./test/clients -args -server=$(SERVER)

# ONLY=rights prints one part.
ONLY ?=

# Three plays of all scenes: untouched, with each tier restarted in between, in direct mode. RUN=TestNoAnswer.*/untouched picks one.
DIFF := TRIPTYCH_TEST_BUILT=1 go test $(GOFLAGS_ALL) -v -vet=off -count=1 -timeout 30m ./test/diff

.PHONY: diff-ci
diff-ci: build kubectl stock ## The first play alone, as the CI does
	$(DIFF) -run 'TestKept|TestNoAnswer.*/untouched'

.PHONY: diff
diff: build kubectl stock ## Send the same requests to ours and to stock, and compare the answers
	$(DIFF) -run '$(RUN)'

.PHONY: bench
bench: PGO := $(PROFILE)
bench: build stock ## Compare the speed with stock's: ratios, marks, and plots in bin/bench [ARGS='-long -only=get']
	TRIPTYCH_TEST_BUILT=1 go run $(GOFLAGS_ALL) ./test/bench -plots=bin/bench $(ARGS)

.PHONY: bench-growth
bench-growth: PGO := $(PROFILE)
bench-growth: build stock ## Measure how both grow with objects, watchers and CRDs, one after the other [ARGS='-long -only=objects']
	TRIPTYCH_TEST_BUILT=1 go run $(GOFLAGS_ALL) ./test/bench -growth $(ARGS)

# Up to how many processes of core; each is held to CPU of a CPU, so that a small machine has enough for all of them. Needs root, or
# cgroups of one's own.
REPLICAS ?= 4
CPU      ?= 100m

.PHONY: bench-replicas
bench-replicas: PGO := $(PROFILE)
bench-replicas: build ## Measure what each process of core adds, held to a part of a CPU; plot in bin/bench [REPLICAS=4] [CPU=100m]
	TRIPTYCH_TEST_BUILT=1 go run $(GOFLAGS_ALL) ./test/bench -replicas=$(REPLICAS) -cpu=$(CPU) -window=5s -plots=bin/bench $(ARGS)

# How many CRDs, one storm of ours and one of stock's for each number.
CRDS ?= 500,2000

.PHONY: bench-storm
bench-storm: PGO := $(PROFILE)
bench-storm: build stock ## Compare a burst of CRDs with stock's: latency meanwhile, memory, CPU [CRDS=100] [ARGS='-only=ours']
	TRIPTYCH_TEST_BUILT=1 go run $(GOFLAGS_ALL) ./test/bench/storm -crds=$(CRDS) $(ARGS)

.PHONY: report
report: PGO := $(PROFILE)
report: build stock ## Print what it costs beside the stock server: time to ready, memory, failed requests [ONLY=part]
	TRIPTYCH_TEST_BUILT=1 go run $(GOFLAGS_ALL) ./test/report -only='$(ONLY)'

# --- what goes with a release --------------------------------------------------------------------------------------
# Tools of releases are a module of their own, so that nothing of them is among what the programs are built from.

TOOL := go run $(GOFLAGS_ALL)

.PHONY: release-test
release-test: build kubectl ## Tests of tools/: licences, bill of materials, packages, images, alerts, dashboard
	cd tools && go test $(GOFLAGS_ALL) -v -count=1 -timeout 10m ./...

.PHONY: licences
licences: ## Write docs/reference/licences.md, which tells what is linked under which licence, and the texts into bin/
	@mkdir -p bin
	cd tools && $(TOOL) ./licences -list ../docs/reference/licences.md -texts ../bin/licences.txt

.PHONY: sbom
sbom: build ## Write bin/triptych.cdx.json, the bill of materials of the programs in bin/, as CycloneDX
	cd tools && $(TOOL) ./sbom -version '$(VERSION)' -o ../bin/triptych.cdx.json

# Packages, tarballs and images for both architectures, with checksums. PGO=off builds faster and makes slower programs.
DIST       := $(CURDIR)/dist
MAINTAINER ?= Triptych <maintainers@triptych.dev>
ARCHS      := amd64 arm64
RELEASED   := $(foreach a,$(ARCHS),$(addprefix bin/linux-$(a)/,$(LINKED)))
DOCUMENTS  := ../bin/licences.txt,../README.md,../CHANGELOG.md

.PHONY: $(RELEASED)
$(RELEASED): bin/linux-%:
	@echo "build $@"; GOOS=linux GOARCH=$(firstword $(subst /, ,$*)) go build $(GOFLAGS_ALL) -pgo=$(PGO) -ldflags '$(OUR_LDFLAGS)' -o $@ ./cmd/$(lastword $(subst /, ,$*))

.PHONY: release
release: PGO := $(PROFILE)
release: $(RELEASED) bin/supervisor licences ## Write deb, rpm, tarball, bill of materials and images for amd64 and arm64 into dist/ [VERSION=1.2.3]
	$(call name_tiers,$(addprefix bin/linux-,$(ARCHS)))
	rm -rf '$(DIST)' && mkdir -p '$(DIST)'
	cd tools && for arch in $(ARCHS); do \
	$(TOOL) ./sbom -bin ../bin/linux-$$arch -version '$(VERSION)' -o '$(DIST)'/triptych-$(VERSION)-linux-$$arch.cdx.json; \
	$(TOOL) ./packages -bin ../bin/linux-$$arch -arch $$arch -version '$(VERSION)' -maintainer '$(MAINTAINER)' -documents $(DOCUMENTS) -out '$(DIST)'; done
	cd tools && $(TOOL) ./images $(foreach a,$(ARCHS),-programs $(a)=../bin/linux-$(a)) -version '$(VERSION)' -revision $(GIT_COMMIT) -documents $(DOCUMENTS) -out '$(DIST)'
	cd tools && $(TOOL) ./packages -checksums -out '$(DIST)'

# The only target that asks something of the network but modules: a database, at GOVULNDB or https://vuln.go.dev.
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

.PHONY: vulncheck
vulncheck: ## Look for known vulnerabilities in what the programs call; needs the network
	@go run $(GOFLAGS_ALL) $(GOVULNCHECK) ./cmd/... || { \
	echo "vulncheck: see above. If the database could not be reached, nothing was checked: name a mirror by GOVULNDB=https://..."; exit 1; }

# Two clones in two folders, each with a build cache of its own: everything is compiled twice, which takes as long as that.
# CACHE=shared links twice what is compiled once.
CACHE    ?= fresh
PROGRAMS ?= $(LINKED)

.PHONY: reproducible
reproducible: ## Build the commit twice in two folders, and compare the bytes [PROGRAMS=supervisor] [CACHE=shared]
	@work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
	for folder in one two/and-deeper; do \
	[ '$(CACHE)' = shared ] || export GOCACHE="$$work/cache/$$folder"; \
	git clone -q . "$$work/$$folder"; \
	$(MAKE) --no-print-directory -C "$$work/$$folder" VERSION='$(VERSION)' PGO='$(PGO)' $(addprefix bin/,$(PROGRAMS)); done; \
	for program in $(PROGRAMS); do cmp "$$work/one/bin/$$program" "$$work/two/and-deeper/bin/$$program"; \
	sha256sum "$$work/one/bin/$$program" | sed "s| .*|  $$program: twice the same|"; done

# --- generated files and lint --------------------------------------------------------------------------------------

TOOLS := $(CURDIR)/bin/tools
PROTOC_GEN_GO      := google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.11
PROTOC_GEN_GO_GRPC := google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.0

.PHONY: generate
generate: proto ## Write all generated files again
	go generate $(PACKAGES)

# $(call protoc,DIRECTORY) writes the Go code of every .proto file below DIRECTORY.
protoc = PATH="$(TOOLS):$$PATH" protoc -I . $(shell git ls-files '*.proto') $(foreach p,go go-grpc,--$(p)_out=$(1) --$(p)_opt=module=triptych.dev/triptych)

.PHONY: docs
docs: bin/supervisor ## Write docs/reference/commands.md, the reference of all commands, and man pages into bin/man
	mkdir -p bin/man
	bin/supervisor documents reference > docs/reference/commands.md
	bin/supervisor documents man bin/man

.PHONY: transcript
transcript: build kubectl next ## Run the tutorial, and write docs/tutorial/transcript.md of what it prints (root)
	TRIPTYCH_TEST_BUILT=1 go test $(GOFLAGS_ALL) -v -vet=off -count=1 -timeout 20m -run TestTutorialWorks ./test/docs -args -update

.PHONY: proto
proto: $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-grpc
	$(call protoc,.)

$(TOOLS)/protoc-gen-go:
	GOBIN=$(TOOLS) go install $(PROTOC_GEN_GO)
$(TOOLS)/protoc-gen-go-grpc:
	GOBIN=$(TOOLS) go install $(PROTOC_GEN_GO_GRPC)

.PHONY: verify
verify: lint verify-proto ## Check that generated files are up to date, and lint (the flag table is checked by a unit test)

# protoc is the one tool that is not built from Go; a machine without it does not change .proto files either.
.PHONY: verify-proto
verify-proto:
	@if command -v protoc >/dev/null; then $(MAKE) --no-print-directory verify-proto-now; \
	else echo "no protoc here: the .pb.go files are not checked"; fi

.PHONY: verify-proto-now
verify-proto-now: $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-grpc
	@out=$$(mktemp -d); trap 'rm -rf "$$out"' EXIT; $(call protoc,"$$out"); \
	cd "$$out" && find . -name '*.pb.go' | while read -r f; do \
	diff -u -I '^// .*protoc.* v[0-9]' $(CURDIR)/$$f $$f || { echo "$$f is out of date: run make proto"; exit 1; }; done

.PHONY: lint
lint: ## gofmt and go vet of our packages
	@files=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); \
	if [ -n "$$files" ]; then echo "not gofmt-ed:"; echo "$$files"; exit 1; fi
	go vet $(GOFLAGS_ALL) $(PACKAGES) ./test/...

# --- the rest ------------------------------------------------------------------------------------------------------

.PHONY: clean
clean: ## Remove what was built (not ./run, which holds your data)
	rm -rf bin dist

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
