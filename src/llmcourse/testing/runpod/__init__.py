"""A RunPod on this machine: its GraphQL as the SDK speaks it, prices, a bill, and pods that really run."""

from llmcourse.testing.runpod.account import Card, Pod
from llmcourse.testing.runpod.faults import PodFault
from llmcourse.testing.runpod.server import LoopbackRunpod

__all__ = ["Card", "LoopbackRunpod", "Pod", "PodFault"]
