"""Needs a module that is not there.

Date: 2024-03-01
"""

import no_such_module_anywhere


def run_migration():
    return bool(no_such_module_anywhere)
