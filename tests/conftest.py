"""Fixtures come from the package, so that other projects can use them too."""

import os
import signal

# Workers side by side share the cores; threads of OpenMP that wait for a core by spinning take it from those
# that work.  Before anything imports torch.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))

pytest_plugins = ["llmcourse.testing.plugin"]

# A shell's background job ignores SIGINT and hands that on to all it starts; tests that send it are to be
# heard.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
