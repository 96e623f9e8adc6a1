# ringkeep. `make help` lists the targets.
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  = -X main.version=$(VERSION)
FUZZTIME ?= 60s
LIMITS  ?= ../shared/limits

.PHONY: all build vet fast demo test peers race fuzz fuzz-parser sim lab vm bench micro lint golden help clean

all: build vet fast ## build, vet and test without privilege (under a minute)

build: ## the binary: ./ringkeep
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o ringkeep ./cmd/ringkeep

vet: ## go vet and gofmt
	$(GO) vet ./...
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }

fast: ## the tests that need no privilege and no peers
	$(GO) test -short ./...

demo: build ## two directors, real traffic, a crash, a clean stop: the measured gaps
	./ringkeep lab run netlab/scenarios/demo.txtar

test: peers build vet lint race sim fuzz-parser lab vm ## everything: linters, race detector, traces, fuzzing, lab, interop with real peers

peers: ## install the missing test peers (Debian packages) when root
	./.ci/peers

# What has no goroutines gains nothing by the race detector, and takes several times as long.
ALONE = cmd/internal/config fsm fsm/bfd netlab/report proto sched
SKIP = -skip '^(TestScenarios|TestInterop|TestMutantsAreCaught|TestBothBackEndsAgree|TestYear|TestFirstMasterIsSoon|TestMachine.*|TestNothingMalformedLeaves)$$'

# cmd/ringkeep takes longest, so it begins first.
race: ## all tests but those of lab, vm and sim, under the race detector
	$(GO) test -vet=off -count=1 $(addprefix ./,$(ALONE))
	$(GO) test -race -vet=off -parallel 8 -count=1 $(SKIP) ./cmd/ringkeep $$($(GO) list ./... | grep -vxF "$$(printf 'github.com/ringkeep/ringkeep/%s\n' $(ALONE))")

lab: ## the scenarios of netlab/scenarios, beside virtual time too, and the interop matrix with real keepalived and FRR
	$(GO) test -vet=off -count=1 -timeout 15m -parallel 8 -run '^(TestScenarios|TestFirstMasterIsSoon|TestInterop)$$' ./netlab
	$(GO) test -vet=off -count=1 -timeout 15m -parallel 8 -run '^TestBothBackEndsAgree$$' ./cmd/internal/sim
	$(GO) test -vet=off -count=1 -run '^TestNothingMalformedLeaves$$' ./cmd/internal/node

vm: ## beside the kernel's IPVS, in a virtual machine with Debian's kernel
	$(GO) test -vet=off -count=1 -timeout 15m -run '^TestMachine' ./cmd/ringkeep ./netlab/vm ./forward/ipvs

sim: ## the library in virtual time, over 10,000 runs; mutants of the state machine
	$(GO) test -vet=off -count=1 -timeout 20m -parallel 3 -skip '^TestBothBackEndsAgree$$' ./cmd/internal/sim -args -seeds 80

fuzz: ## each fuzz target for FUZZTIME
	@for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	    echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$p || exit 1; \
	  done; \
	done

# A count and not a time: at the end of a time the go command now and then calls its own deadline a failure.
fuzz-parser: ## the parser of keepalived.conf for 10,000 inputs
	$(GO) test -run '^$$' -fuzz '^FuzzParse$$' -fuzztime 10000x -fuzzminimizetime 20x ./cmd/internal/config

bench: build ## what forwarding costs beside bare forwarders (their sources: LIMITS=folder) and the kernel, 10 minutes; QUICK=1: one
	./ringkeep bench $(if $(QUICK),--quick) $(if $(wildcard $(LIMITS)),--limits $(LIMITS)) $(BENCHFLAGS)

micro: ## the hot paths by themselves: time and allocations
	$(GO) test -run '^$$' -bench . -benchmem ./sched ./forward ./proto ./ring ./cmd/internal/...

lint: ## staticcheck
	$(GO) tool staticcheck ./...

golden: ## rewrite golden files and traces; review the diff
	$(GO) test ./proto ./fsm ./sched ./forward ./cmd/internal/config ./netlab/report -rewrite

clean: ## remove what was built
	rm -rf ringkeep bench-report

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16
