"""How many requests a second the server answers on one core, and how quickly.

python -m benchmarks.serving [RUN] [--seconds 10] [--write]

Load comes from `wrk` on this machine, which sends as fast as it is answered; 1,000 requests a
second come from a client of ours. Server and clients each get a core of their own where there are
two. `--write` puts the figures into docs/deployment.md. Without RUN, a small untrained policy is
served: its answers are as quick as those of a trained one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
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
        f"Measured by `python -m benchmarks.serving --write` ({where}; the server on one core; "
        "keep-alive connections; observations of 15 vehicles as JSON):",
        "",
        "| load | clients | offered | answered/s | p50 [ms] | p99 [ms] | errors | CPU [ms each] |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {row['by']} | {row['clients']} | {row['offered']} | {row['rate']:,.0f} | "
            f"{row['p50']:.1f} | {row['p99']:.1f} | {row['errors']} | {row['cpu']:.2f} |"
            for row in rows
        ),
        "",
    ]
    print("\n".join(lines))
    if options.write:
        print(f"Written: {write_between('deployment.md', 'serving', lines)}")


def measure(source: str, seconds: float) -> list[dict[str, Any]]:
    """Figures for a few loads: closed ones (each client waits), and 1,000 a second.

    Raises:
        SystemExit: wrk is not installed.
    """
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed (Debian: apt-get install wrk)")
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
            if rate is None:
                row = _wrk(port, body, clients, seconds)
            else:
                row = asyncio.run(_load(port, body, clients, rate, seconds))
            row["cpu"] = (_cpu(server.pid) - before) / row["answers"] * 1000
            rows.append(row)
        return rows
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def _wrk(port: int, body: bytes, clients: int, seconds: float) -> dict[str, Any]:
    """Clients that send again as soon as they are answered."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            'wrk.method = "POST"\nwrk.headers["content-type"] = "application/json"\n'
            f"wrk.body = [==[{body.decode()}]==]\n"
            "done = function(summary, latency)\n"
            "  local e = summary.errors\n"
            '  print(string.format("figures %d %d %f %f %d", summary.requests, summary.duration,\n'
            "    latency:percentile(50), latency:percentile(99),\n"
            "    e.connect + e.read + e.write + e.status + e.timeout))\n"
            "end\n"
        )
        script.flush()
        line = ["wrk", "-t1", f"-c{clients}", f"-d{seconds:.0f}s", "-s", script.name]
        said = subprocess.run(
            [*line, f"http://127.0.0.1:{port}/act"], capture_output=True, text=True, check=True
        ).stdout
    found = re.search(r"^figures (.*)$", said, re.M)
    if found is None:
        raise RuntimeError(f"wrk said: {said}")
    answers, microseconds, p50, p99, errors = (float(word) for word in found[1].split())
    return {
        "by": "wrk",
        "clients": clients,
        "offered": "as answered",
        "answers": int(answers),
        "rate": answers / microseconds * 1e6,
        "p50": p50 / 1000,
        "p99": p99 / 1000,
        "errors": int(errors),
    }


async def _load(port: int, body: bytes, clients: int, rate: int, seconds: float) -> dict[str, Any]:
    """Clients at a rate; latencies count from when a request was due, not from when it was sent."""
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
        "by": "ours",
        "clients": clients,
        "offered": f"{rate:,}/s",
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
