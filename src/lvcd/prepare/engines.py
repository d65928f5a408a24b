"""Who processes the films: this process, processes on this machine, or a Ray cluster. All call `process_film`.

An engine is a context that gives `wait(index)`: it returns when film `index` is done. `tick` is called meanwhile, and
the context ends with all work stopped.
"""

from __future__ import annotations

import concurrent.futures
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from typing import Any, Literal

import cv2
import torch

from lvcd.errors import InputError
from lvcd.system import run_with_parent

from .process import FilmJob, process_film

Executor = Literal["local", "ray"]
Wait = Callable[[int], None]
"""Waits until the film of this number is done."""
TICK_SEC = 0.5


@contextmanager
def engine(executor: Executor, workers: int, jobs: Sequence[FilmJob], tick: Callable[[], object]) -> Iterator[Wait]:
    """Process the films. InputError, from `wait`: what `process_film` raises, or a worker is gone; at once: no Ray."""
    if executor == "ray":
        chosen = _ray(workers, jobs, tick)
    elif min(workers, len(jobs)) > 1:
        chosen = _processes(min(workers, len(jobs)), jobs, tick)
    else:
        chosen = _in_this_process(jobs, tick)
    with chosen as wait:
        yield wait


@contextmanager
def _in_this_process(jobs: Sequence[FilmJob], tick: Callable[[], object]) -> Iterator[Wait]:
    yield lambda index: process_film(jobs[index], tick)


# --- processes --------------------------------------------------------------------------------------------------------

_cancelled: Event


class _Cancelled(Exception):  # noqa: N818  # it is no error
    """The run is over before the film is."""


@contextmanager
def _processes(workers: int, jobs: Sequence[FilmJob], tick: Callable[[], object]) -> Iterator[Wait]:
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks
    cancelled = context.Event()
    start = (f"{__name__}:{_start_worker.__name__}", cancelled)
    with concurrent.futures.ProcessPoolExecutor(workers, context, run_with_parent, start) as pool:
        with _sigint_blocked():  # workers inherit that: Ctrl-C reaches all processes, and this one stops the others
            futures = [pool.submit(_process, job) for job in jobs]

        def wait(index: int) -> None:
            while not concurrent.futures.wait(futures[index : index + 1], TICK_SEC).done:
                tick()
            try:
                futures[index].result()
            except concurrent.futures.BrokenExecutor as error:
                raise InputError(
                    "a worker process died, perhaps for want of memory: run again with fewer --workers"
                ) from error

        try:
            yield wait
        finally:
            cancelled.set()
            pool.shutdown(cancel_futures=True)


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where workers do not inherit it
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _start_worker(cancelled: Event) -> None:
    """Prepare a new worker process."""
    global _cancelled
    _cancelled = cancelled
    if not hasattr(signal, "pthread_sigmask"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    _use_one_core()


def _use_one_core() -> None:
    """Compute with one thread: the other cores have films of their own."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _process(job: FilmJob) -> None:
    def check_cancelled() -> None:
        if _cancelled.is_set():
            raise _Cancelled

    process_film(job, check_cancelled)


# --- Ray --------------------------------------------------------------------------------------------------------------


@contextmanager
def _ray(workers: int, jobs: Sequence[FilmJob], tick: Callable[[], object]) -> Iterator[Wait]:
    """Use the cluster of RAY_ADDRESS, or one on this machine. Its machines see films and shards at the same paths."""
    try:
        import ray
    except ImportError as error:
        raise InputError("Ray is not installed: pip install lvcd[ray], or leave out --executor ray") from error
    address = os.environ.get("RAY_ADDRESS")
    local: dict[str, Any] = {} if address else {"num_cpus": workers, "include_dashboard": False}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **local)
    except Exception as error:  # Ray raises whatever its parts raise
        reason = " ".join(str(error).split())
        raise InputError(f"there is no Ray cluster at {address or 'this machine'} ({reason}): check it") from error
    try:
        gpus = [int(job.sketches.device == "cuda") for job in jobs]
        # a worker that dies is not tried again by Ray but by the next run, which goes on where it was
        tasks = [
            ray.remote(num_cpus=1, num_gpus=gpu, max_retries=0)(_process_remotely).remote(job)
            for gpu, job in zip(gpus, jobs)
        ]

        def wait(index: int) -> None:
            while not ray.wait(tasks[index : index + 1], timeout=TICK_SEC)[0]:
                tick()
            try:
                ray.get(tasks[index])
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, InputError):
                    raise error.cause from error
                raise
            except ray.exceptions.RayError as error:
                raise InputError(f"a Ray worker is gone ({type(error).__name__}): run again") from error

        yield wait
    finally:
        ray.shutdown()


def _process_remotely(job: FilmJob) -> None:
    _use_one_core()
    process_film(job)
