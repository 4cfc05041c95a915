"""An App as an acquirer's developer would write one: it knows the SDK and nothing else.

It takes orders, a JSON object a line, and answers each with a line: ``{"onboard": {...}}`` with the terminal that the
phone has become, ``{"collect": fen}`` with the receipt, ``{"plant": {name: hex}}`` by keeping these bytes in memory, as
an App that sees what it should not would.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from merchant_device.sdk import Application, Phone


def main() -> None:
    kept: list[bytes] = []
    with Phone.start(Path(sys.argv[1])) as phone:
        for line in sys.stdin:
            order = json.loads(line)
            if "plant" in order:
                kept += [bytes.fromhex(content) for content in order["plant"].values()]
                answer: object = len(kept)
            elif "onboard" in order:
                known = order["onboard"]
                application = Application(**known["application"])
                answer = phone.onboard(application, known["acquirer"], known["device"], review_pause=0.1).terminal
            else:
                answer = phone.collect(order["collect"]).model_dump()
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
