# Only the targets that need buf call it: its first build takes minutes. Its module is apart from the product's.
BUF := GOWORK=off go tool -modfile=tools/go.mod buf

.DEFAULT_GOAL := build

# Regenerates the Go code beside the protos.
.PHONY: generate
generate:
	$(BUF) generate

# Fails if the committed generated code is not what the protos give.
.PHONY: checkgenerate
checkgenerate:
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && \
	$(BUF) generate --output "$$tmp" && \
	diff -ru --exclude='*.proto' --exclude='*.binpb' --exclude='*_test.go' proto "$$tmp/proto" || \
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
