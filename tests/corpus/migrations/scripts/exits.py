"""Calls sys.exit(0) in the middle.

Date: 2024-03-01
"""

import sys


def run_migration():
    print("bye")
    sys.exit(0)
