"""A process that validates the small cohort by the command line, with a Prefect server of its own, and in which something
happens at the second scan: ``hang`` until it is killed, ``server`` is killed, or nothing.

    python -m tests.flows.interrupted_child WHAT SIGN validate CONFIG.toml [--resume]
"""

import itertools
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.flows.small_run import drawn_labels, small_flow


def main() -> None:
    """Patch the segmentation, and hand the rest of the arguments to the command line."""
    what, sign = sys.argv[1], Path(sys.argv[2])
    calls = itertools.count(1)

    def labels(image: NDArray[Any], **_: Any) -> NDArray[np.uint8]:
        # of two arms each, so the third is of the second scan
        if next(calls) == 3 and what == "hang":
            sign.write_text(str(os.getpid()))
            time.sleep(600)
        elif what == "server" and not sign.exists():
            from prefect.server.api.server import SubprocessASGIServer

            server = SubprocessASGIServer._instances[None].server_process
            assert server is not None
            sign.write_text(str(server.pid))
            server.kill()
        return drawn_labels(image)

    with small_flow(prefect=True):
        import flows.stages
        from flows.cli import main as command_line

        flows.stages.segment = labels
        sys.argv = ["cardioval", *sys.argv[3:]]
        command_line()


if __name__ == "__main__":
    main()
