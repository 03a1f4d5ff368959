# Targets of the sandbox, included by the Makefile. LIMIT is the environment: make sandbox-reset LIMIT=production

.PHONY: sandbox-up sandbox-down sandbox-reset sandbox-status

sandbox-up: $(VENV)/.deploy ## Bring up the sandbox of LIMIT (staging); deploys do it by themselves
	@$(BIN)/python -m sandbox up $(LIMIT)

sandbox-reset: $(VENV)/.deploy ## Put the sandbox of LIMIT (staging) back to the previous release and its data
	@$(BIN)/python -m sandbox reset $(LIMIT)

sandbox-status: $(VENV)/.deploy ## Say what of the sandbox is up, and which release answers
	@$(BIN)/python -m sandbox status

sandbox-down: $(VENV)/.deploy ## Stop every environment of the sandbox; the data stays
	@$(BIN)/python -m sandbox down
