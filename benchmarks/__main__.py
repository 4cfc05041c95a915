"""``make bench``: every benchmark, one after another; name some to run only those."""

from __future__ import annotations

import importlib
import sys

BENCHMARKS = ("codec", "security_module", "kernel", "live_network", "connections", "virtual_network")


def main() -> int:
    """Run the benchmarks named on the command line, or all."""
    chosen = sys.argv[1:] or BENCHMARKS
    unknown = [name for name in chosen if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}: there is {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    failed = 0
    for name in chosen:
        print(f"== {name}", flush=True)
        sys.argv = [name]
        failed |= importlib.import_module(f"benchmarks.{name}").main() or 0
        print(flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
