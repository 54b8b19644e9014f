"""The ranking transformer in plain numpy and float64, a request and a candidate at a time."""

from __future__ import annotations

from math import erf, pi, sqrt, tanh

import numpy as np

from modern.transformer.inputs import ModelInputs
from modern.transformer.layout import SideLayout, TokenLayout
from modern.transformer.model import RankingTransformer

Array = np.ndarray


class NumpyTransformer:
    """Reads the weights of a model; shares nothing and skips nothing."""

    def __init__(self, model: RankingTransformer, layout: TokenLayout) -> None:
        self.w = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}
        self.config = model.config
        self.layout = layout
        self.edges = (
            model.step_tokens.age.edge_hours.double().numpy() if model.reads_history else ()
        )
        self.reads_history = model.reads_history

    def logits(self, inputs: ModelInputs) -> Array:
        """[candidate, task]."""
        found = []
        for request in range(len(inputs)):
            own = inputs.take(np.array([request]))
            tokens = self.tokens(own.request_real, own.request_codes, "request")[0]
            for layer in range(self.config.request_layers):
                tokens = self.layer(f"request.layers.{layer}", tokens, tokens, 0.0)
            memory = self.norm(tokens, "request.norm")
            candidates = self.tokens(own.candidate_real, own.candidate_codes, "candidate")
            found += [self.score(candidate, memory, own) for candidate in candidates]
        return np.array(found).reshape(-1, len(self.config.tasks))

    def score(self, candidate: Array, memory: Array, own: ModelInputs) -> Array:
        tokens, carried = candidate, np.zeros((1, self.config.width))
        if self.reads_history:
            carried = self.interest(candidate, own)
            tokens = np.concatenate([tokens, carried])
        last = self.config.num_layers - 1
        for layer in range(last):
            tokens = self.layer(f"interaction.layers.{layer}", tokens, tokens, 0.0, memory)
        tasks = self.w[f"interaction.layers.{last}.task_HD"]
        tasks = self.layer(
            f"interaction.layers.{last}", tasks, tokens, 0.0, memory, carried=carried
        )
        normed = self.norm(tasks, "interaction.norm")
        heads = (normed * self.w["heads.weight"]).sum(-1) + self.w["heads.bias"]
        return self.w["prior_logit_H"] + heads

    def interest(self, candidate: Array, own: ModelInputs) -> Array:
        read = own.step_place >= 0
        steps = self.steps(own)[read]
        old, weight = own.step_old[read] == 1, own.step_weight[read].astype(np.float64)
        if self.config.form == "early_fusion":
            steps = steps + self.linear(candidate.mean(axis=0), "fuse")
        with np.errstate(divide="ignore"):
            bias = np.where(old[:, None] & ~old[None, :], -np.inf, np.log(weight)[None, :])
            shares = np.log(np.concatenate([[1.0], weight]))[None, :]
        for layer in range(self.config.history_layers):
            steps = self.layer(f"history.layers.{layer}", steps, steps, bias)
        encoded = self.norm(steps, "history.norm")
        rows = np.concatenate([self.w["interest.nothing_D"][None], encoded])
        key, value = np.split(self.linear(rows, "interest.key_value"), 2, axis=1)
        found = []
        for head, share in enumerate(self.w["interest.share_MN"]):
            asked = self.norm(share @ candidate, "interest.query_norm")[None]
            query = self.linear(asked, "interest.query")
            part = self.part(head, query.shape[1])
            mixed = self.mixed(query, key, value, shares)[:, part]
            found += [mixed, mixed * query[:, part]]
        return self.linear(np.concatenate(found, axis=1), "interest.out")

    def layer(
        self,
        path: str,
        asking: Array,
        seen: Array,
        bias: Array | float,
        memory: Array | None = None,
        *,
        carried: Array | float = 0.0,
    ) -> Array:
        normed = self.norm(seen, f"{path}.attention_norm")
        attention = f"{path}.attention"
        if f"{attention}.project.weight" in self.w:
            query, key, value = np.split(self.linear(normed, f"{attention}.project"), 3, axis=1)
        else:
            query = self.linear(asking, f"{attention}.query")
            key, value = np.split(self.linear(normed, f"{attention}.own"), 2, axis=1)
        if memory is not None:
            more = np.split(self.linear(memory, f"{attention}.key_value"), 2, axis=1)
            key, value = np.concatenate([more[0], key]), np.concatenate([more[1], value])
        attended = self.linear(self.mixed(query, key, value, bias), f"{attention}.out")
        hidden = asking + attended + carried
        fed = self.norm(hidden, f"{path}.feed_forward_norm")
        up = self.gelu(self.linear(fed, f"{path}.feed_forward.up"))
        return hidden + self.linear(up, f"{path}.feed_forward.down")

    def mixed(self, query: Array, key: Array, value: Array, bias: Array | float) -> Array:
        mixed = np.empty_like(query)
        for head in range(self.config.num_heads):
            part = self.part(head, query.shape[1])
            scores = query[:, part] @ key[:, part].T / sqrt(part.stop - part.start) + bias
            shares = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-1e300))
            mixed[:, part] = shares / shares.sum(axis=1, keepdims=True) @ value[:, part]
        return mixed

    def part(self, head: int, width: int) -> slice:
        narrow = width // self.config.num_heads
        return slice(head * narrow, (head + 1) * narrow)

    def tokens(self, real: Array, codes: Array, side: str) -> Array:
        path = f"{side}_tokens"
        whole = np.broadcast_to(self.w[f"{path}.whole_D"], (len(real), 1, self.config.width))
        embedded = self.w[f"{path}.bias_ND"] + self.embedded(codes, getattr(self.layout, side))
        return np.concatenate([whole, self.real(real, path), embedded], axis=1)

    def steps(self, own: ModelInputs) -> Array:
        age = own.step_age_hours.astype(np.float64)
        reached = 1 + (age[:, None] >= self.edges).sum(axis=1)
        bucket = np.where(np.isnan(age), 0, reached)
        return (
            self.w["step_tokens.bias_D"]
            + self.real(own.step_real, "step_tokens").sum(axis=1)
            + self.embedded(own.step_codes, self.layout.step).sum(axis=1)
            + self.w["step_tokens.age_embedding_AD"][bucket]
        )

    def embedded(self, codes: Array, side: SideLayout) -> Array:
        return self.w["codes.embedding_VD"][codes + np.array(side.first_codes, dtype=np.int64)]

    def real(self, values: Array, path: str) -> Array:
        w = {n: self.w[f"{path}.real.{n}"] for n in ("mean", "scale", "direction_RD", "bias_RD")}
        standard = np.clip((values.astype(np.float64) - w["mean"]) / w["scale"], -10, 10)[..., None]
        missing = self.w[f"{path}.real.missing_RD"]
        return w["bias_RD"] + np.where(np.isnan(standard), missing, standard * w["direction_RD"])

    def norm(self, x: Array, path: str) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + self.config.layernorm_eps)
        return scaled * self.w[f"{path}.weight"] + self.w[f"{path}.bias"]

    def linear(self, x: Array, path: str) -> Array:
        return x @ self.w[f"{path}.weight"].T + self.w[f"{path}.bias"]

    def gelu(self, x: Array) -> Array:
        if not x.size:
            return x
        if self.config.activation == "gelu":
            return x * 0.5 * (1 + np.vectorize(erf)(x / sqrt(2)))
        return x * 0.5 * (1 + np.vectorize(tanh)(sqrt(2 / pi) * (x + 0.044715 * x**3)))
