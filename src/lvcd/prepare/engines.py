"""Who works the films through: this process, processes on this machine, or a Ray cluster. All call `work_through`.

An engine is a context that gives `wait(index)`: it returns when film `index` is done. `tick` is called meanwhile, and
the context ends with all work stopped.
"""

from __future__ import annotations

import concurrent.futures
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from typing import Any, Literal

import cv2
import torch

from lvcd.errors import InputError

from .work import Work, work_through

Executor = Literal["local", "ray"]
Wait = Callable[[int], None]
TICK = 0.5  # s


@contextmanager
def engine(executor: Executor, workers: int, works: Sequence[Work], tick: Callable[[], object]) -> Iterator[Wait]:
    """InputError, from `wait`: what `work_through` raises, or a worker is gone; at once: no Ray."""
    if executor == "ray":
        chosen = _ray(workers, works, tick)
    elif min(workers, len(works)) > 1:
        chosen = _processes(min(workers, len(works)), works, tick)
    else:
        chosen = _here(works, tick)
    with chosen as wait:
        yield wait


@contextmanager
def _here(works: Sequence[Work], tick: Callable[[], object]) -> Iterator[Wait]:
    yield lambda index: work_through(works[index], tick)


# --- processes --------------------------------------------------------------------------------------------------------

_stop: Event


class _Stopped(Exception):  # noqa: N818  # it is no error
    """The run is over before the film is."""


@contextmanager
def _processes(workers: int, works: Sequence[Work], tick: Callable[[], object]) -> Iterator[Wait]:
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks
    stop = context.Event()
    with concurrent.futures.ProcessPoolExecutor(workers, context, _begin, (stop,)) as pool:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:  # workers inherit that: Ctrl-C reaches all processes, and this one tells the others
            futures = [pool.submit(_work, work) for work in works]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

        def wait(index: int) -> None:
            while not concurrent.futures.wait(futures[index : index + 1], TICK).done:
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
            stop.set()
            pool.shutdown(cancel_futures=True)


def _begin(stop: Event) -> None:
    """In a new worker."""
    global _stop
    _stop = stop
    _alone()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)  # the run was killed

    threading.Thread(target=follow, daemon=True).start()


def _alone() -> None:
    """The other cores have films of their own."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _work(work: Work) -> None:
    def breathe() -> None:
        if _stop.is_set():
            raise _Stopped

    work_through(work, breathe)


# --- Ray --------------------------------------------------------------------------------------------------------------


@contextmanager
def _ray(workers: int, works: Sequence[Work], tick: Callable[[], object]) -> Iterator[Wait]:
    """The cluster of RAY_ADDRESS, or one on this machine. Its machines see films and shards at the same paths."""
    try:
        import ray
    except ImportError as error:
        raise InputError("Ray is not installed: pip install lvcd[ray], or leave out --executor ray") from error
    address = os.environ.get("RAY_ADDRESS")
    own: dict[str, Any] = {} if address else {"num_cpus": workers, "include_dashboard": False}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except Exception as error:  # Ray raises whatever its parts raise
        reason = " ".join(str(error).split())
        raise InputError(f"there is no Ray cluster at {address or 'this machine'} ({reason}): check it") from error
    try:
        gpus = [int(work.device == "cuda") for work in works]
        # a worker that dies is not tried again by Ray but by the next run, which goes on where it was
        tasks = [
            ray.remote(num_cpus=1, num_gpus=gpu, max_retries=0)(_work_far).remote(w) for gpu, w in zip(gpus, works)
        ]

        def wait(index: int) -> None:
            while not ray.wait(tasks[index : index + 1], timeout=TICK)[0]:
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


def _work_far(work: Work) -> None:
    _alone()
    work_through(work)
