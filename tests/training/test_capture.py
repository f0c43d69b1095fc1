"""The order of calls around CUDA graphs, with a stand-in for torch.cuda.

That kernels are replayed can only be tested on a GPU: tests/training/test_gpu.py.
"""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
import torch

from transmute.batch import Batch
from transmute.training.capture import WARM_UP, CapturedStep


class Graph:
    """Records its calls."""

    notes: list[str]
    error_at_end: Exception | None = None

    def capture_begin(self, pool: object, capture_error_mode: str) -> None:
        self.notes.append("begin")

    def capture_end(self) -> None:
        self.notes.append("end")
        if self.error_at_end:
            raise self.error_at_end

    def replay(self) -> None:
        self.notes.append("replay")


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A torch.cuda that only records calls."""
    Graph.notes, Graph.error_at_end = [], None
    generator = SimpleNamespace(
        device="cpu",
        initial_seed=lambda: 7,
        manual_seed=lambda seed: Graph.notes.append(f"seed {seed}"),
    )
    generator.graphsafe_set_state = lambda state: Graph.notes.append("new state")
    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(
        torch, "Generator", lambda device: SimpleNamespace(graphsafe_get_state=lambda: None)
    )
    for name, stand_in in {
        "Stream": lambda: stream,
        "stream": lambda stream: contextlib.nullcontext(),
        "current_stream": lambda: stream,
        "current_device": lambda: 0,
        "graph_pool_handle": lambda: (0, 0),
        "synchronize": lambda: None,
        "empty_cache": lambda: None,
        "CUDAGraph": Graph,
        "default_generators": [generator],
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return Graph.notes


def batch(value: float) -> list[Batch]:
    return [Batch(torch.full((1, 1, 2, 2), value), torch.full((1, 1, 2, 2), -value))]


def test_a_step_runs_eagerly_then_is_captured_once_and_replayed_with_new_images(
    notes: list[str],
) -> None:
    seen = []

    def step(batches):
        notes.append("step")
        seen.append(batches[0].a)
        return {"loss": batches[0].a.sum()}

    captured = CapturedStep(step, say=print)
    for value in range(WARM_UP):
        assert captured(batch(value))["loss"] == 4 * value
    assert notes == ["step"] * WARM_UP
    captured(batch(10.0))
    assert notes[WARM_UP:] == ["begin", "step", "end", "replay"]
    captured(batch(11.0))
    assert notes[WARM_UP + 4 :] == ["replay"]
    assert torch.equal(seen[-1], batch(11.0)[0].a)


def test_a_function_that_cannot_be_captured_runs_between_two_graphs_at_each_replay(
    notes: list[str],
) -> None:
    def step(batches):
        captured.between(lambda: notes.append("all-reduce"))
        return {}

    captured = CapturedStep(step, say=print)
    for _ in range(WARM_UP):
        captured(batch(0.0))
    assert notes == ["all-reduce"] * WARM_UP
    for _ in range(2):
        notes.clear()
        captured(batch(0.0))
    assert notes == ["replay", "all-reduce", "replay"]


def test_a_step_that_cannot_be_captured_continues_eagerly(notes: list[str]) -> None:
    said = []

    def step(batches):
        if Graph.notes and Graph.notes[-1] == "begin":
            Graph.error_at_end = RuntimeError("capture is over")
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        return {"loss": torch.ones(())}

    captured = CapturedStep(step, say=said.append)
    for _ in range(WARM_UP + 3):
        assert captured(batch(0.0))["loss"] == 1
    assert notes == ["begin", "end", "new state", "seed 7"]
    assert said == [
        "steps are not replayed as CUDA graphs, because capturing one failed (operation not "
        "permitted when stream is capturing). They continue eagerly"
    ]
