"""Serve a phone's trusted side: ``python -m merchant_device.tee --config FILE``."""

from __future__ import annotations

from merchant_device.tee.serving import serve
from network.service import main

if __name__ == "__main__":
    main("merchant_device.tee", serve)
