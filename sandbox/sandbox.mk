# Targets of the sandbox; included by the Makefile, which defines PYTHON. ENV picks environments: make sandbox-up SANDBOX=staging
SANDBOX ?= staging

.PHONY: sandbox-up sandbox-down sandbox-reset sandbox-status

sandbox-up: ## Bring up the sandbox (SANDBOX=staging)
	$(PYTHON) -m sandbox up $(SANDBOX)

sandbox-down: ## Stop every environment of the sandbox; its data stays
	$(PYTHON) -m sandbox down

sandbox-reset: ## Put the sandbox back to the previous release and its data (SANDBOX=staging)
	$(PYTHON) -m sandbox reset $(SANDBOX)

sandbox-status: ## What of the sandbox is up, and which release answers
	$(PYTHON) -m sandbox status
