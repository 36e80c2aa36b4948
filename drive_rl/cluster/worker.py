"""A process that does one task: `python -m drive_rl.cluster.worker ROOT < TASK`.

One task, one process: highway-env's intersection scene changes every scene of its process, and a
task that dies takes nobody with it. The task comes on standard input, which then stays open: its
end says that the parent has gone, and the worker saves and stops.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from drive_rl.errors import DriveRLError


def main() -> int:
    """Do the task; the exit code is that of `drive-rl`."""
    stream = sys.stdin.buffer
    text = stream.readline().decode()
    threading.Thread(target=_stop_with_parent, args=(stream,), daemon=True).start()
    from drive_rl.cluster.tasks import perform

    try:
        perform(text, sys.argv[1])
    except DriveRLError as error:
        print(f"drive-rl: error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


def _stop_with_parent(stream: object) -> None:
    os.read(stream.fileno(), 1)  # type: ignore[attr-defined]
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The watching thread sits in a read; the interpreter would wait for its lock.
    os._exit(code)
