# The steps are those of .ci/run; this file only gives them short names.

.DEFAULT_GOAL := check
steps := tools format vet lint tidy nested race commands official repeat secrets fleet bench crashloop \
	fuzz cross mutate

.PHONY: check test quickstart $(steps)

check: ## all steps, as before a change lands
	bash .ci/run

$(steps):
	bash .ci/run $@

test: ## the tests alone
	go test ./...

quickstart:
	go run ./examples/quickstart
