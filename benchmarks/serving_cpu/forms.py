"""One request through one model in several forms: the same weights, the same logits."""

# K = candidates, N = tokens of a candidate, R = tokens of the request, L = R + N, T = steps,
# H = tasks, D = model width

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from modern.features.feature_set import feature_set_from_json
from modern.features.steps import extended
from modern.transformer.attention import KeysValues, keys_values, split_heads
from modern.transformer.config import Form, HistoryConfig, TransformerConfig
from modern.transformer.interaction import CandidateAttention, TaskAttention, TaskLayer
from modern.transformer.layout import SideLayout, TokenLayout, layout_of
from modern.transformer.model import RankingTransformer
from modern.transformer.padding import CandidateTensors, RequestTensors
from modern.transformer.tokens import plain_statistics

ROOT = Path(__file__).resolve().parents[2]
ADS, ADVERTISERS = 5000, 500  # known ids; embedding tables of a size that leaves the caches alone


def layout_of_synthetic() -> TokenLayout:
    """The features of the synthetic log, as both feature sets name them."""
    legacy = json.loads((ROOT / "legacy" / "feature_sets" / "synthetic.json").read_text())
    sizes = {"ad": ADS, "advertiser": ADVERTISERS}
    for feature in legacy["features"]:
        if feature["kind"] == "id":
            feature["vocabulary"] = list(range(sizes[feature["name"]]))
    text = json.dumps(legacy | {"training_id": "0" * 32}).encode()
    whole = extended(text, ROOT / "modern" / "feature_sets" / "synthetic.json")
    return layout_of(feature_set_from_json(json.loads(whole), where="the benchmark"))


def make_model(layout: TokenLayout, *, form: Form, config: TransformerConfig) -> RankingTransformer:
    """Random weights by a fixed seed: the same ones for every form."""
    torch.manual_seed(0)
    model = RankingTransformer(
        layout,
        TransformerConfig(
            form=form,
            width=config.width,
            num_heads=config.num_heads,
            feed_forward=config.feed_forward,
            history_layers=config.history_layers,
            num_layers=config.num_layers,
        ),
        HistoryConfig(),
        statistics=plain_statistics(layout),
        prior_logits=(-3.0,),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval().requires_grad_(requires_grad=False)


def make_request(
    layout: TokenLayout, *, candidates: int, steps: int
) -> tuple[RequestTensors, CandidateTensors]:
    """One request with so many candidates and steps, half of these old."""
    draw = torch.Generator().manual_seed(1)

    def codes(side: SideLayout, *shape: int) -> Tensor:
        columns = [torch.randint(most, shape, generator=draw) for most in side.cardinalities]
        return torch.stack(columns, dim=-1)

    def real(side: SideLayout, *shape: int) -> Tensor:
        return torch.randn(*shape, len(side.real), generator=draw)

    age = torch.linspace(2000.0, 0.1, steps)[None]
    request = RequestTensors(
        real(layout.request, 1),
        codes(layout.request, 1),
        real(layout.step, 1, steps),
        codes(layout.step, 1, steps),
        age,
        age > age[0, steps // 2],
        torch.ones(1, steps),
    )
    return request, CandidateTensors(
        real(layout.candidate, 1, candidates), codes(layout.candidate, 1, candidates)
    )


class Prototype(nn.Module):
    """Candidates as queries over shared history keys, the last layer for task queries only.

    The best same-function form before: what belongs to the request alone is computed for every
    candidate, and every token has keys and values.
    """

    def __init__(self, model: RankingTransformer, *, shares_request: bool) -> None:
        super().__init__()
        self.model = model
        self.shares_request = shares_request

    def forward(self, *tensors: Tensor) -> Tensor:
        """[1, candidate, task]."""
        model, request, candidates = self.model, tensors[:7], tensors[7:]
        count = candidates[0].shape[1]
        steps_BTD = model.step_embeddings(*request[2:5])
        encoded_BTD = model.history(steps_BTD, request[5], request[6])
        memory = model.interest.remember(encoded_BTD, request[6])
        tokens_KND = model.candidate_tokens(candidates[0], model.codes(candidates[1], "candidate"))
        interest_KD = model.interest(tokens_KND, memory)
        tokens_KND = torch.cat([tokens_KND, interest_KD.unsqueeze(2)], dim=2)[0]
        copies = [x if self.shares_request else x.expand(count, -1) for x in request[:2]]
        own_KRD = model.request_tokens(copies[0], model.codes(copies[1], "request"))
        own_KRD = model.request(own_KRD).expand(count, -1, -1)
        for layer in model.interaction.layers:
            tokens_KND = _layer(layer, tokens_KND, interest_KD[0], own_KRD)
        return (model.prior_logit_H + model.heads(model.interaction.norm(tokens_KND)))[None]


def _layer(
    layer: nn.Module, tokens_KND: Tensor, interest_KD: Tensor, request_KRD: Tensor
) -> Tensor:
    attention = layer.attention
    normed_KND = layer.attention_norm(tokens_KND)
    if isinstance(layer, TaskLayer):
        x_KQD = layer.task_HD.expand(len(tokens_KND), -1, -1)
        attended = _task_attention(attention, x_KQD, normed_KND, request_KRD)
        attended = attended + interest_KD.unsqueeze(1)
    else:
        x_KQD = tokens_KND
        attended = _attention(attention, normed_KND, request_KRD)
    hidden = x_KQD + attended
    return hidden + layer.feed_forward(layer.feed_forward_norm(hidden))


def _attention(attention: CandidateAttention, normed_KND: Tensor, request_KRD: Tensor) -> Tensor:
    width = attention.out.in_features
    query, own = attention.project(normed_KND).split([width, 2 * width], dim=-1)
    return _mixed(attention, query, keys_values(own, attention.num_heads), request_KRD)


def _task_attention(
    attention: TaskAttention, task_KHD: Tensor, normed_KND: Tensor, request_KRD: Tensor
) -> Tensor:
    own = keys_values(attention.own(normed_KND), attention.num_heads)
    return _mixed(attention, attention.query(task_KHD), own, request_KRD)


def _mixed(
    attention: CandidateAttention | TaskAttention,
    query_KQD: Tensor,
    own: KeysValues,
    request_KRD: Tensor,
) -> Tensor:
    seen = attention.remember(request_KRD)
    mixed = nn.functional.scaled_dot_product_attention(
        split_heads(query_KQD, attention.num_heads),
        torch.cat([seen.key_BMLE, own.key_BMLE], dim=2),
        torch.cat([seen.value_BMLE, own.value_BMLE], dim=2),
    )
    return attention.out(mixed.transpose(1, 2).flatten(2))
