"""How fast a dump leaves a container: pap-deploy's stream, against the same dump inside and against ``docker exec``.

    python benchmarks/docker_stream.py [--mb 200] [--rounds 3]

The peers run in turn, in every round. "inside" writes the file within the container: no stream at all.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "module_utils"), str(ROOT / "tests" / "docker")]

import pap_images  # noqa: E402
from papdeploy.sites.docker.engine import Engine  # noqa: E402
from papdeploy.sites.docker.site import ContainerSite  # noqa: E402

FILL = """
CREATE TABLE filler AS SELECT i, md5(i::text) || md5((i * 7)::text) AS a, repeat(md5((i / 10)::text), 3) AS b
FROM generate_series(1, {rows}) i
"""
DUMPS = {
    "custom format, gzip -6": ["pg_dump", "-U", "postgres", "-d", "postgres", "-Fc", "-Z6"],
    "custom format, gzip -1": ["pg_dump", "-U", "postgres", "-d", "postgres", "-Fc", "-Z1"],
    "plain text": ["pg_dump", "-U", "postgres", "-d", "postgres", "-Fp"],
}


def stream(site: ContainerSite, argv: list[str], path: Path) -> None:
    """What the product does: the program's output, as it comes, into a file."""
    with site.popen(argv) as process, path.open("wb") as file:
        while data := process.stdout.read(1 << 18):
            file.write(data)
        if process.wait(30) != 0:
            raise RuntimeError(process.errors())


def inside(site: ContainerSite, argv: list[str], _: Path) -> None:
    site.run(["sh", "-c", f"{' '.join(argv)} > /tmp/dump"], timeout=None)


def docker_exec(site: ContainerSite, argv: list[str], path: Path) -> None:
    with path.open("wb") as file:
        subprocess.run(["docker", "exec", site.name, *argv], stdout=file, check=True)


def measure(work: Callable[[ContainerSite, list[str], Path], None], site: ContainerSite, argv: list[str]) -> float:
    with tempfile.NamedTemporaryFile(dir="/var/tmp") as file:
        begun = time.perf_counter()
        work(site, argv, Path(file.name))
        return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=200, help="size of the table (default 200)")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    engine = Engine()
    name = f"pap-bench-{os.getpid()}"
    body = {
        "Image": pap_images.db_image(engine.api),
        "Env": ["POSTGRES_PASSWORD=bench"],
        "Cmd": ["postgres", "-c", "fsync=off"],
    }
    engine.api.create_container_from_config(body, name)
    try:
        engine.api.start(name)
        site = ContainerSite(engine, name)
        for _ in range(100):
            if site.run(["psql", "-U", "postgres", "-c", "SELECT 1"], check=False).rc == 0:
                break
            time.sleep(0.3)
        site.run(["psql", "-U", "postgres", "-c", FILL.format(rows=options.mb * 5000)], timeout=None)
        size = site.run(["psql", "-U", "postgres", "-Atc", "SELECT pg_relation_size('filler') >> 20"]).text.strip()
        peers = {"inside": inside, "pap-deploy": stream, "docker exec": docker_exec}
        print(f"table of {size} MB, {os.cpu_count()} cores, median of {options.rounds} rounds\n")
        print("| dump | MB | inside | pap-deploy | docker exec | pap-deploy / inside | pap-deploy / docker exec |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        for label, argv in DUMPS.items():
            times: dict[str, list[float]] = {peer: [] for peer in peers}
            for _ in range(options.rounds):
                for peer, work in peers.items():
                    times[peer].append(measure(work, site, argv))
            written = int(site.run(["stat", "-c", "%s", "/tmp/dump"]).text) >> 20
            median = {peer: statistics.median(values) for peer, values in times.items()}
            print(
                f"| {label} | {written} | {median['inside']:.2f} s | {median['pap-deploy']:.2f} s"
                f" | {median['docker exec']:.2f} s | {median['pap-deploy'] / median['inside']:.2f}"
                f" | {median['pap-deploy'] / median['docker exec']:.2f} |",
                flush=True,
            )
    finally:
        engine.api.remove_container(name, v=True, force=True)


if __name__ == "__main__":
    main()
