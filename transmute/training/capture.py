"""Replays a training step as CUDA graphs: one call launches thousands of kernels."""

import contextlib
import gc
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from transmute.batch import Batch
from transmute.errors import first_line

Step = Callable[[Sequence[Batch]], dict[str, Tensor]]

WARM_UP = 3
"""Eager steps before capture, in which libraries choose algorithms and optimizers create state."""


class CapturedStep:
    """Runs a step eagerly a few times, then captures it as CUDA graphs and replays those.

    All that a step changes must be in tensors that stay where they are: weights, moments, image
    histories, a learning rate. Random numbers come from the device's generator, which may be seeded
    before each replay. What cannot be captured, such as a collective, runs between two graphs. If
    capturing fails, steps continue eagerly.

    Args:
        step: From micro-batches to losses.
        say: Called with a sentence if capturing fails.
    """

    def __init__(self, step: Step, *, say: Callable[[str], None]) -> None:
        self.step = step
        self.say = say
        self.calls = 0
        self.stream = torch.cuda.Stream()
        self.pool = torch.cuda.graph_pool_handle()
        self.pieces: list[Callable[[], object]] = []
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        self.calls += 1
        if self.calls <= WARM_UP:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                losses = self.step(batches)
            torch.cuda.current_stream().wait_stream(self.stream)
            return losses
        if self.calls == WARM_UP + 1 and (problem := self._capture(batches)):
            self._give_up(problem)
        if not self.pieces:  # capturing failed
            return self.step(batches)
        for kept, fresh in zip(self.batches, batches, strict=True):
            kept.a.copy_(fresh.a)
            kept.b.copy_(fresh.b)
        for piece in self.pieces:
            piece()
        return self.losses

    def between(self, function: Callable[[], object]) -> None:
        """Runs a function that cannot be captured.

        During capture, it runs between two graphs at each replay; else it runs now.
        """
        if self.graph is None:
            function()
            return
        self._end()
        self.pieces.append(function)
        self._begin()

    def _capture(self, batches: Sequence[Batch]) -> str | None:
        """Captures the step. Returns the problem if that fails.

        The caller then cleans up, because `except` keeps the tensors of the failed step alive.
        """
        self.batches = [Batch(batch.a.clone(), batch.b.clone()) for batch in batches]
        torch.cuda.synchronize()
        gc.collect()
        torch.cuda.empty_cache()  # a graph has its own memory pool and cannot use cached blocks
        try:
            with torch.cuda.stream(self.stream):
                self._begin()
                self.losses = self.step(self.batches)
                self._end()
            torch.cuda.synchronize()
        except RuntimeError as error:
            return first_line(error)
        return None

    def _begin(self) -> None:
        self.graph = torch.cuda.CUDAGraph()
        # Other threads, such as the data loader's, may keep using the device.
        self.graph.capture_begin(pool=self.pool, capture_error_mode="thread_local")

    def _end(self) -> None:
        assert self.graph is not None
        graph, self.graph = self.graph, None
        graph.capture_end()
        self.pieces.append(graph.replay)

    def _give_up(self, problem: str) -> None:
        if self.graph is not None:
            # Ending a capture that failed reports the failure again.
            with contextlib.suppress(RuntimeError), torch.cuda.stream(self.stream):
                self.graph.capture_end()
        self.graph, self.pieces, self.batches = None, [], []
        # A failed capture leaves the device's generator registered with it: replace its state.
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        seed = generator.initial_seed()
        generator.graphsafe_set_state(torch.Generator(generator.device).graphsafe_get_state())
        generator.manual_seed(seed)
        self.say(
            f"steps are not replayed as CUDA graphs, because capturing one failed ({problem}). "
            "They continue eagerly"
        )
