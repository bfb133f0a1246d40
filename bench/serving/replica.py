"""A built image in the sandbox, until SIGTERM: `python replica.py PROJECT TAG PORT`.

What `serinus serve --image` does, without the command line around it, which reads the log and passes it on.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from serinus.image.publish import find
from serinus.image.stages import FOLDER
from serinus.project import Project
from serinus.registry.layout import Layout
from serinus.runtimes import Replica
from serinus.runtimes.sandbox import Sandbox


def main(project: str, tag: str, port: str) -> int:
    name = f"{Project.load(project).service.name}:{tag}"
    layout, image = find(name, Layout(Path(project) / FOLDER / "layout"))
    replica = Replica("bench", layout, image, int(port))
    running = Sandbox().start(replica)
    # Blocked from here on and not before: what is started inherits the mask.
    ends = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    while signal.sigtimedwait(ends, 1.0) is None and running.wait(0) is None:
        pass
    sys.stderr.buffer.write(running.logs()[-4000:])
    return running.stop()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
