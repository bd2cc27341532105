"""Fixtures come from the package, so that other projects can use them too."""

import signal

pytest_plugins = ["llmcourse.testing.plugin"]

# A shell's background job ignores SIGINT and hands that on to all it starts; tests that send it are to be
# heard.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
