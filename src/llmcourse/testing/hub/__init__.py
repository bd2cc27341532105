"""A loopback Hugging Face Hub: the real client talks to it where no machine reaches the real Hub.

It proves the client's side of the protocol, not the Hub's policies (quotas, scans).
"""

from llmcourse.testing.hub.accounts import Scope
from llmcourse.testing.hub.faults import Fault
from llmcourse.testing.hub.log import RequestRecord, read_log, weight_bytes
from llmcourse.testing.hub.server import LoopbackHub

__all__ = ["Fault", "LoopbackHub", "RequestRecord", "Scope", "read_log", "weight_bytes"]
