"""The serving engine: inputs of any number of requests to logits, in passes of few shapes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from modern.engine.buckets import Bucket, Pass, plan_passes, rounded_up
from modern.engine.config import COMPILED, EngineConfig, check_device
from modern.engine.old_cache import OldCache, WithOld, old_steps, without_old
from modern.engine.precision import prepared
from modern.engine.programs import Program, compiled
from modern.engine.staging import steps_read, widths_of
from modern.transformer.inputs import Floats, ModelInputs
from modern.transformer.model import RankingTransformer


@dataclass(slots=True)
class EngineCounts:
    """What an engine has done.

    Attributes:
        passes: Runs of a bucket.
        requests, candidates: That were scored.
        slots: Candidate slots of all passes; what is not a candidate was padding.
        by_bucket: Runs of each.
    """

    passes: int = 0
    requests: int = 0
    candidates: int = 0
    slots: int = 0
    by_bucket: dict[Bucket, int] = field(default_factory=dict)


class Engine:
    """A model on a device. For one thread at a time.

    Args:
        model: In evaluation mode; it is copied and stays as it is.
        config: How to run it.
        max_old: Steps of an old segment at most (`HistoryConfig.max_old`), for the cache.

    Raises:
        ConfigError: There is no such device.
    """

    def __init__(
        self, model: RankingTransformer, config: EngineConfig, *, max_old: int = 400
    ) -> None:
        check_device(config)
        self.config = config
        self.counts = EngineCounts()
        self.num_tasks = len(model.config.tasks)
        self.model = prepared(model, config)
        if config.mode == "fused_graph":
            from modern.engine.fused_layer import fuse_layers  # Triton: on a GPU alone

            fuse_layers(self.model)
        self.cache: OldCache | None = None
        if config.cache_bytes and model.reads_history:
            self.cache = OldCache(self.model, config, max_old=max_old, digest=weights_digest(model))
        self._function: Callable[..., Tensor] = self._made(self.model)
        self._programs: dict[Bucket, Program] = {}
        self._pool = torch.cuda.graph_pool_handle() if config.device == "cuda" else None

    def logits(self, inputs: ModelInputs) -> Floats:
        """[candidate, task] logits, before calibration.

        A request's logits do not depend on what it is batched with beyond the last bits.
        """
        found = np.empty((inputs.num_candidates, self.num_tasks), dtype=np.float32)
        for planned in self.passes(inputs):
            program, one = self.staged(inputs, planned)
            scored = program.staging.collect(program.answer(), found, inputs, one)
            self._count(one.bucket, len(one.requests), scored)
        return found

    def passes(self, inputs: ModelInputs) -> Iterator[Pass]:
        """How the requests are cut."""
        cache = self._cache_for(inputs)
        return plan_passes(
            steps_read(inputs if cache is None else without_old(inputs)),
            np.diff(inputs.candidate_offsets),
            max_requests=self.config.max_requests,
            max_candidates=self.config.max_candidates,
        )

    def staged(self, inputs: ModelInputs, planned: Pass) -> tuple[Program, Pass]:
        """The program of a pass, its inputs written; with a cache, old segments looked up first."""
        cache = self._cache_for(inputs)
        if cache is None:
            program = self.program(planned.bucket, inputs)
            program.staging.fill(inputs, planned)
            return program, planned
        most = int(old_steps(inputs)[planned.requests].max())
        one = replace(planned, bucket=replace(planned.bucket, old=rounded_up(max(most, 1))))
        places = cache.places_of(inputs, one.requests)
        program = self.program(one.bucket, inputs)
        program.staging.fill(without_old(inputs), one, places)
        return program, one

    def program(self, bucket: Bucket, inputs: ModelInputs) -> Program:
        """What runs a bucket; made (compiled, recorded) when it is first met."""
        if bucket not in self._programs:
            widths = widths_of(inputs)
            function = self._function if not bucket.old else self._with_old(bucket.old)
            self._programs[bucket] = Program(function, bucket, widths, self.config, self._pool)
        return self._programs[bucket]

    def _cache_for(self, inputs: ModelInputs) -> OldCache | None:
        """The cache, unless old segments are longer than it was told (by values that were given)."""
        if self.cache is None or old_steps(inputs).max(initial=0) > self.cache.slots:
            return None
        return self.cache

    def _with_old(self, slots: int) -> Callable[..., Tensor]:
        assert self.cache is not None, "buckets have slots of old steps only then"
        return self._made(WithOld(self.model, self.cache.arena_SOC, slots))

    def _made(self, model: nn.Module) -> Callable[..., Tensor]:
        return compiled(model) if self.config.mode in COMPILED else model

    def _count(self, bucket: Bucket, requests: int, candidates: int) -> None:
        self.counts.passes += 1
        self.counts.requests += requests
        self.counts.candidates += candidates
        self.counts.slots += bucket.requests * bucket.candidates
        self.counts.by_bucket[bucket] = self.counts.by_bucket.get(bucket, 0) + 1


def weights_digest(model: nn.Module) -> str:
    """SHA-256 over every parameter and buffer, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
