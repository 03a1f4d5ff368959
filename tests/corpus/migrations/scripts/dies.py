"""Its process is killed.

Date: 2024-03-01
"""

import os
import signal


def run_migration():
    os.kill(os.getpid(), signal.SIGKILL)
