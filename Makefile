# make run and make test are all that a newcomer needs; the rest is for those who change the project.

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
GO_FILES := $(shell find . -name '*.go' -not -name '*_test.go' -not -path './bench/*' -not -path './tools/*') go.mod go.sum

.DEFAULT_GOAL := build

# The one binary.
.PHONY: build
build: bin/millrace

bin/millrace: $(GO_FILES) $(shell find cmd/millrace/console -type f 2>/dev/null)
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o $@ ./cmd/millrace

# Broker, gateways and console in one process, on loopback: open http://127.0.0.1:7480.
.PHONY: run
run: build
	bin/millrace dev

# All tests, with a real browser.
.PHONY: test
test: chromium
	go test -shuffle=on ./...

# All tests under the race detector.
.PHONY: race
race: chromium
	go test -race -shuffle=on ./...

# The browser that the tests drive, from the system's packages unless there is one.
.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || { \
		sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
		$$sudo apt-get update -qq && $$sudo apt-get install -y -qq --no-install-recommends chromium; }

# Each fuzz target for a short time, or so many tries, from its committed seeds: make fuzz FUZZTIME=10m for a long one.
FUZZTIME ?= 10s
.PHONY: fuzz
fuzz:
	@go list ./... | while read -r package; do \
		for target in $$(go test -list '^Fuzz' "$$package" | grep ^Fuzz); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) "$$package" || exit 1; \
		done; \
	done

# What a delivery costs, beside the floor (bench/main.go).
.PHONY: bench
bench: build
	cd bench && go build -o ../bin/bench . && ../bin/bench -binary ../bin/millrace

# What peers that read nothing take from the latency of those that do (bench/stalled.go). It runs for five minutes.
.PHONY: bench-stalled
bench-stalled: build
	cd bench && go build -o ../bin/bench . && ../bin/bench stalled -binary ../bin/millrace

# What a room of 100,000 members costs, what those are told who look on, and what others feel of it (bench/members.go). It runs
# for two minutes.
.PHONY: bench-members
bench-members: build
	cd bench && go build -o ../bin/bench . && ../bin/bench members -binary ../bin/millrace

# Kills, cuts, hangs and slows a cluster by the plan of a seed, and fails if any promise to any subscriber was broken
# (bench/chaos/main.go).
SEED ?= 1
DURATION ?= 1m
SUBSCRIBERS ?= 500
TOPICS ?= 50
.PHONY: chaos
chaos: build
	cd bench && go build -o ../bin/chaos ./chaos && \
	../bin/chaos -binary ../bin/millrace -seed $(SEED) -duration $(DURATION) -subscribers $(SUBSCRIBERS) -topics $(TOPICS)

# Joins, cuts, closes and resumes members at random by a seed while gateways and the broker are killed and stopped, and fails
# if any list of them differs from any other in the end (cmd/millrace/soak_test.go).
ROUNDS ?= 1000
.PHONY: soak
soak:
	go test ./cmd/millrace -count=1 -timeout 30m -run TestAfterASoak -args -soak.seed $(SEED) -soak.rounds $(ROUNDS)

# The Go benchmarks of the hot paths.
.PHONY: gobench
gobench:
	go test -run '^$$' -bench . -benchmem . ./broker/... ./gateway/... ./sdk/... ./wsgateway ./ssegateway

LINT := GOWORK=off go tool -modfile=tools/lint/go.mod golangci-lint
.PHONY: lint
lint:
	$(LINT) run ./...

# Only the targets that need buf call it: its first build takes minutes. Its module is apart from the product's.
BUF := GOWORK=off go tool -modfile=tools/go.mod buf

# Regenerates the Go code beside the protos.
.PHONY: generate
generate:
	$(BUF) generate

# Fails if the committed generated code is not what the protos give.
.PHONY: checkgenerate
checkgenerate:
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && \
	$(BUF) generate --output "$$tmp" && \
	diff -ru --exclude='*.proto' --exclude='*.binpb' --exclude='*_test.go' proto/millrace "$$tmp/proto/millrace" || \
	{ echo 'The generated code is stale: run "make generate" and commit the result.' >&2; exit 1; }

# Fails if the protos break the style, are not formatted, or break peers that were built against the baseline.
.PHONY: proto-lint
proto-lint:
	$(BUF) lint
	$(BUF) format --diff --exit-code
	$(BUF) breaking proto --against proto/baseline.binpb

# Cuts the baseline anew, each time on purpose: from then on what the protos say now must not be broken.
.PHONY: proto-baseline
proto-baseline:
	$(BUF) build proto --exclude-source-info --output proto/baseline.binpb
