"""What the tests have workers do: functions are sent by name."""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np


def add(a: int, b: int) -> int:
    return a + b


def divide(a: float, b: float) -> float:
    return a / b


def count(number: int) -> Iterator[int]:
    yield from range(number)


def who() -> tuple[int, int, bool]:
    return os.getpid(), os.getpgid(0), bool(sys.stdin.read())


def die_after(number: int, with_signal: int) -> Iterator[int]:
    yield from range(number)
    sys.stdout.write("last words")
    sys.stdout.flush()
    os.kill(os.getpid(), with_signal)


def die() -> None:
    os._exit(1)


def die_once(path: str) -> str:
    if not Path(path).exists():
        Path(path).touch()
        os._exit(1)
    return "lived"


def wait(times: list[float]) -> Iterator[float]:
    for seconds in times:
        time.sleep(seconds)
        yield seconds


def eat(size: int) -> None:
    eaten = [b"x" * 20_000_000 for _ in range(size // 20_000_000)]
    time.sleep(60 + len(eaten))


def have_eaten(size: int) -> None:
    code = f"import time; eaten = [b'x' * 20_000_000 for _ in range({size} // 20_000_000)]; time.sleep(60)"
    subprocess.run([sys.executable, "-c", code], check=True)


def start_program_and_wait(given: str) -> Iterator[int]:
    """Gives its process, and makes a file when that was sent."""
    program = subprocess.Popen(["sleep", "1000"])
    yield program.pid
    Path(given).touch()
    program.wait()


def start_program_and_die() -> Iterator[int]:
    yield subprocess.Popen(["sleep", "1000"]).pid
    os._exit(1)


def hold_python_for(seconds: int) -> None:
    ctypes.PyDLL(None).sleep(seconds)


def parent() -> int:
    return os.getppid()


def end_maker() -> int:
    """End what has made this worker, and see it gone."""
    maker = os.getppid()
    os.kill(maker, signal.SIGKILL)
    while os.getppid() == maker:
        time.sleep(0.001)
    return maker


def end_maker_and_hold_python_for(seconds: int) -> None:
    end_maker()
    hold_python_for(seconds)


def end_maker_and_die(with_signal: int) -> None:
    end_maker()
    os.kill(os.getpid(), with_signal)


def draw() -> float:
    return float(np.random.random())  # noqa: NPY002


def import_both(first: str, second: str) -> str:
    importlib.import_module(first)
    importlib.import_module(second)
    return str(Path.cwd())


def print_everywhere(word: str) -> None:
    sys.stdout.write(f"{word}-print\n")
    sys.stderr.write(f"{word}-error\n")
    subprocess.run(["echo", f"{word}-program"], check=True)
    sys.stdout.flush()


def print_and_die(word: str) -> None:
    print_everywhere(word)
    os._exit(1)
