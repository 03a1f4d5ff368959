"""Shows progress while the module of this name runs: see pap_progress."""

from ansible.plugins.loader import action_loader


class ActionModule(action_loader.get("pap_progress", class_only=True)):
    pass
