.DEFAULT_GOAL := help
GO ?= go
export GOFLAGS ?= -buildvcs=false

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

run: ## Run a fresh stand-in and print its keys
	$(GO) run ./cmd/tenantry dev

build: ## Build bin/tenantry, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/tenantry ./cmd/tenantry

quick: ## Test what needs seconds and no other program
	$(GO) test -short ./...

test: ## Run all tests, with the race detector
	$(GO) test -race -shuffle=on -timeout 30m ./...
	$(GO) test -race -shuffle=on -tags otlp -run Traces ./internal/app

lint: ## Check formatting, vet and staticcheck
	@test -z "$$(gofmt -l .)" || { echo "not formatted:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags otlp ./internal/app
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

nightly: ## Run the drills with PostgreSQL at length: 100 failovers
	TENANTRY_TEST_FAILOVERS=100 $(GO) test -race -count=1 -timeout 60m -v -run '^TestFailover$$' ./internal/app
	$(GO) test -race -count=5 -timeout 60m -v ./internal/app \
	  -run '^Test(PrimaryFrozen|StandbyGone|CancelledWait|TakenBack|LostCommits|CommitsCutAtRandom|BadLines|NodeKills|DatabaseFull|NoConnections|LocksAndConflicts|ConnectionsTerminated)$$'
.PHONY: nightly

# Go's fuzzer sometimes reports its own end of time as a failure, "context deadline
# exceeded" and no input (golang.org/issue/75804): that alone finds nothing.
fuzz: ## Fuzz every parser for FUZZTIME each (default 20s)
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	for package in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
	    echo "== $$package $$target"; \
	    if $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $${FUZZTIME:-20s} $$package >"$$log" 2>&1; then cat "$$log"; continue; fi; \
	    cat "$$log"; \
	    grep -q '^ *context deadline exceeded$$' "$$log" && ! grep -Eq 'Failing input|panic:|_test.go:' "$$log" || exit 1; \
	    echo "nothing was found before the time was over"; \
	  done; \
	done

bench: ## Measure against baselines of the same run; takes a while the first time
	$(GO) run ./bench

screenshots: build ## Write the pictures of docs/portal.md
	npm ci --prefix test/portal --no-audit --no-fund --ignore-scripts
	TENANTRY_BINARY=$(CURDIR)/bin/tenantry TENANTRY_CHROMIUM=$$(command -v chromium || command -v chromium-browser) \
	  node test/portal/screenshots.mjs

verify: lint ## Check that modules are tidy too
	$(GO) mod tidy -diff
	$(GO) mod verify

.PHONY: help run build quick test lint fuzz bench screenshots verify
