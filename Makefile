# The steps are those of .ci/run; this file only gives them short names.

.DEFAULT_GOAL := check
steps := tools format vet lint gosec vuln tidy nested race reliability commands official console repeat \
	secrets fleet figures fleet-page million leases differential explore crashloop kills renewals fuzz cross package sbom reproduce \
	mutate

.PHONY: check test quickstart bench $(steps)

check: ## all steps, as before a change lands
	bash .ci/run

$(steps):
	bash .ci/run $@

bench: ## measures, and writes the figures of docs/benchmarks.md
	BENCHTIME=$${BENCHTIME:-1s} bash .ci/run bench

test: ## the tests alone
	go test ./...

quickstart:
	go run ./examples/quickstart
