"""How many requests a second the server answers on one core, and how quickly.

python -m benchmarks.serving [RUN] [--seconds 10] [--write]

The server and the clients each get a core of their own where there are two. `--write` puts the
figures into docs/deployment.md. Without RUN, a small untrained policy is served: its answers are
as quick as those of a trained one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.written import machine, write_between


def main() -> None:
    """Measure and print, or write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    where = machine()
    with tempfile.TemporaryDirectory() as folder:
        source = options.run or str(_small_policy(Path(folder)))
        rows = measure(source, options.seconds)
    lines = [
        "",
        f"Measured by `python -m benchmarks.serving --write` ({where}; load from an asyncio client "
        "over keep-alive connections; observations of 15 vehicles as JSON):",
        "",
        "| clients | offered | answered/s | p50 [ms] | p99 [ms] | errors | CPU [ms/request] |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {row['clients']} | {row['offered']} | {row['rate']:,.0f} | {row['p50']:.1f} | "
            f"{row['p99']:.1f} | {row['errors']} | {row['cpu']:.2f} |"
            for row in rows
        ),
        "",
    ]
    print("\n".join(lines))
    if options.write:
        print(f"Written: {write_between('deployment.md', 'serving', lines)}")


def measure(source: str, seconds: float) -> list[dict[str, Any]]:
    """Figures for a few loads: closed ones (each client waits), and 1,000 a second."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(
        [sys.executable, "-m", "drive_rl.cli", "serve", source, "--port", "0", "--no-monitor"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert server.stderr is not None
        port = 0
        for line in server.stderr:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                port = int(found[1])
                break
        if len(cores) > 1:
            os.sched_setaffinity(server.pid, {cores[0]})
            os.sched_setaffinity(0, {cores[1]})
        body = _body(port)
        rows = []
        for clients, rate in ((1, None), (16, None), (64, None), (32, 1000)):
            before = _cpu(server.pid)
            row = asyncio.run(_load(port, body, clients, rate, seconds))
            row["cpu"] = (_cpu(server.pid) - before) / row["answers"] * 1000
            rows.append(row)
        return rows
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


async def _load(
    port: int, body: bytes, clients: int, rate: int | None, seconds: float
) -> dict[str, Any]:
    """Many clients; with a rate, latencies count from when a request was due, not when sent."""
    head = (
        "POST /act HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    message = head.encode() + body
    latencies: list[float] = []
    errors = 0
    begin = time.perf_counter() + 0.2
    end = begin + seconds

    async def client(index: int) -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        k = 0
        await asyncio.sleep(max(begin - time.perf_counter(), 0))
        while True:
            due = time.perf_counter()
            if rate is not None:
                due = begin + (index + k * clients) / rate
                await asyncio.sleep(max(due - time.perf_counter(), 0))
            if due >= end or time.perf_counter() > end + seconds:
                break  # offered in time; what a slow server is behind with is not waited for
            k += 1
            writer.write(message)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(re.search(rb"content-length: (\d+)", answer)[1])  # type: ignore[index]
            await reader.readexactly(length)
            latencies.append(time.perf_counter() - due)
            errors += not answer.startswith(b"HTTP/1.1 200")
        writer.close()

    await asyncio.gather(*(client(index) for index in range(clients)))
    took = time.perf_counter() - begin
    p50, p99 = np.percentile(np.array(latencies) * 1000, [50, 99])
    return {
        "clients": clients,
        "offered": "as answered" if rate is None else f"{rate:,}/s",
        "answers": len(latencies),
        "rate": len(latencies) / took,
        "p50": p50,
        "p99": p99,
        "errors": errors,
    }


def _body(port: int) -> bytes:
    """A plausible observation for whatever is served, from its card."""
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/model", timeout=30) as answer:
        shape = json.load(answer)["inputs"][0]["shape"][1:]
    values = np.random.default_rng(0).uniform(-1, 1, shape).round(4)
    return json.dumps({"observation": values.tolist()}).encode()


def _cpu(pid: int) -> float:
    """Processor time of a process [s]; nan where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _small_policy(folder: Path) -> Path:
    from tests.deployment.policies import untrained_run

    return untrained_run(folder / "run").path


if __name__ == "__main__":
    main()
