"""What crosses the links of a process, written as a pcapng file that Wireshark reads (docs/capture.md)."""

from network.capture.merging import CaptureError, merge
from network.capture.recording import Capture
from network.capture.tap import Tap, tap

__all__ = ["Capture", "CaptureError", "Tap", "merge", "tap"]
