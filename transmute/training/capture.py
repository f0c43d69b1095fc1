"""A training step replayed as CUDA graphs: thousands of kernels launched by one call."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from transmute.batch import Batch
from transmute.settings import first_line

Step = Callable[[Sequence[Batch]], dict[str, Tensor]]

WARM_UP = 3
"""Steps that run as they are, while libraries choose algorithms and optimizers make their state."""


class CapturedStep:
    """Runs a step as it is a few times, captures it without running it, and replays it from then on.

    All that a step changes must lie in tensors that stay where they are: weights, moments, histories, a learning rate. Its random numbers come from
    the device's generator, whose seed may be set before each replay. What cannot be captured, a collective say, runs between two graphs.
    A step that cannot be captured goes on as it is.

    Args:
        step: From batches to losses.
        say: Is told in a sentence if capturing fails.
    """

    def __init__(self, step: Step, *, say: Callable[[str], None]) -> None:
        self.step = step
        self.say = say
        self.calls = 0
        self.failed = False
        self.stream = torch.cuda.Stream()
        self.pool = torch.cuda.graph_pool_handle()
        self.pieces: list[Callable[[], object]] = []
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        self.calls += 1
        if self.failed:
            return self.step(batches)
        if self.calls <= WARM_UP:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                losses = self.step(batches)
            torch.cuda.current_stream().wait_stream(self.stream)
            return losses
        if not self.pieces:
            problem = None
            try:
                self._capture(batches)
            except RuntimeError as error:
                problem = first_line(error)
            if problem is not None:  # outside of `except`, which would keep what the broken step holds
                self._give_up(problem)
                return self.step(batches)
        for kept, fresh in zip(self.batches, batches, strict=True):
            kept.a.copy_(fresh.a)
            kept.b.copy_(fresh.b)
        for piece in self.pieces:
            piece()
        return self.losses

    def between(self, function: Callable[[], object]) -> None:
        """Runs what cannot be captured: at once, or, in a step that is captured, at each replay between the graph that ends here and the next."""
        if self.graph is None:
            function()
            return
        self._end()
        self.pieces.append(function)
        self._begin()

    def _capture(self, batches: Sequence[Batch]) -> None:
        self.batches = [Batch(batch.a.clone(), batch.b.clone()) for batch in batches]
        torch.cuda.synchronize()
        gc.collect()
        torch.cuda.empty_cache()  # a graph has memory of its own, and can use none that is kept for others
        with torch.cuda.stream(self.stream):
            self._begin()
            self.losses = self.step(self.batches)
            self._end()
        torch.cuda.synchronize()

    def _begin(self) -> None:
        self.graph = torch.cuda.CUDAGraph()
        # Other threads, the loader's say, may go on using the device.
        self.graph.capture_begin(pool=self.pool, capture_error_mode="thread_local")

    def _end(self) -> None:
        assert self.graph is not None
        graph, self.graph = self.graph, None
        graph.capture_end()
        self.pieces.append(graph.replay)

    def _give_up(self, problem: str) -> None:
        self.failed = True
        if self.graph is not None:
            try:
                with torch.cuda.stream(self.stream):
                    self.graph.capture_end()
            except RuntimeError:  # it stops before it closes the graph's memory
                device = torch.cuda.current_device()
                torch._C._cuda_endAllocateToPool(device, self.pool)
                torch._C._cuda_releasePool(device, self.pool)
        self.graph, self.pieces, self.batches = None, [], []
        # A capture that breaks off leaves the device's generator waiting for its end: give it a state of its own.
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        seed = generator.initial_seed()
        generator.graphsafe_set_state(torch.Generator(generator.device).graphsafe_get_state())
        generator.manual_seed(seed)
        self.say(f"steps are not replayed as CUDA graphs, since one could not be captured ({problem}): they go on one kernel at a time")
