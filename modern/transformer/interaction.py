"""Which features matter together: each candidate's tokens look at their own and the request's."""

# B = requests, K = candidates, N = tokens of a candidate, R = tokens of the request, L = R + N,
# H = tasks, D = model width, M = attention heads, E = width of a head

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from modern.transformer.attention import FeedForward, KeysValues, keys_values
from modern.transformer.config import TransformerConfig


class CandidateAttention(nn.Module):
    """The tokens of a candidate see each other and the request's, and no other candidate's.

    The request's keys and values are computed once and never copied to the candidates: the
    scores of both parts meet in one softmax.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.project = nn.Linear(config.width, 3 * config.width)
        self.key_value = nn.Linear(config.width, 2 * config.width)  # of the request's tokens
        self.out = nn.Linear(config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def remember(self, request_BRD: Tensor) -> KeysValues:
        """What the request's tokens show."""
        return keys_values(self.key_value(request_BRD), self.num_heads)

    def forward(self, normed_BKND: Tensor, request: KeysValues) -> Tensor:
        """The same shape."""
        batch, candidates, tokens, width = normed_BKND.shape
        heads, narrow = self.num_heads, width // self.num_heads
        per_head = self.project(normed_BKND).view(batch, candidates, tokens, 3, heads, narrow)
        query_BMKNE, key_BMKNE, value_BMKNE = per_head.permute(3, 0, 4, 1, 2, 5)
        query_BMKNE = query_BMKNE * narrow**-0.5
        rows = (batch, heads, candidates * tokens, -1)
        shared_BMKNR = (query_BMKNE.reshape(rows) @ request.key_BMLE.transpose(-1, -2)).view(
            batch, heads, candidates, tokens, -1
        )
        own_BMKNN = query_BMKNE @ key_BMKNE.transpose(-1, -2)
        seen_BMKNL = torch.cat([shared_BMKNR, own_BMKNN], dim=-1).softmax(dim=-1)
        shared_BMKNR, own_BMKNN = seen_BMKNL[..., :-tokens], seen_BMKNL[..., -tokens:]
        mixed_BMKNE = (shared_BMKNR.reshape(rows) @ request.value_BMLE).view(
            batch, heads, candidates, tokens, narrow
        ) + own_BMKNN @ value_BMKNE
        mixed_BKND = mixed_BMKNE.permute(0, 2, 3, 1, 4).flatten(3)
        attended_BKND: Tensor = self.dropout(self.out(mixed_BKND))
        return attended_BKND


class InteractionLayer(nn.Module):
    """Attention, then feed-forward, each on the normed residual stream and added to it."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, eps=config.layernorm_eps)
        self.attention = CandidateAttention(config)
        self.feed_forward_norm = nn.LayerNorm(config.width, eps=config.layernorm_eps)
        self.feed_forward = FeedForward(config)

    def remember(self, request_BRD: Tensor) -> KeysValues:
        """What the request's tokens show in this layer."""
        return self.attention.remember(request_BRD)

    def forward(self, x_BKND: Tensor, request: KeysValues) -> Tensor:
        """The same shape."""
        hidden_BKND = x_BKND + self.attention(self.attention_norm(x_BKND), request)
        fed_BKND = self.feed_forward(self.feed_forward_norm(hidden_BKND))
        out_BKND: Tensor = hidden_BKND + fed_BKND
        return out_BKND


class TaskAttention(nn.Module):
    """One learned query a task looks at the tokens of a candidate and of its request.

    The queries are the same for all candidates. So a candidate's tokens are scored by
    (key weights)^T query in place of their keys, and mixed before their values are computed:
    the same numbers as keys and values for every token, at a tenth of the work.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.query = nn.Linear(config.width, config.width)
        self.own = nn.Linear(config.width, 2 * config.width)  # keys and values of the candidate's
        self.key_value = nn.Linear(config.width, 2 * config.width)  # of the request's tokens
        self.out = nn.Linear(config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def remember(self, request_BRD: Tensor) -> KeysValues:
        """What the request's tokens show."""
        return keys_values(self.key_value(request_BRD), self.num_heads)

    def forward(self, task_HD: Tensor, normed_BKND: Tensor, request: KeysValues) -> Tensor:
        """[request, candidate, task, channel]."""
        heads, (tasks, width) = self.num_heads, task_HD.shape
        narrow, tokens = width // heads, normed_BKND.shape[2]
        query_MHE = self.query(task_HD).view(tasks, heads, narrow).transpose(0, 1) * narrow**-0.5
        key_MED, value_MED = self.own.weight.view(2, heads, narrow, width)
        key_bias_ME1, value_bias_ME1 = self.own.bias.view(2, heads, narrow, 1)
        asked_DMH = (query_MHE @ key_MED).permute(2, 0, 1).flatten(1)
        own_BKNMH = normed_BKND @ asked_DMH + (query_MHE @ key_bias_ME1).flatten()
        own_BKMHN = own_BKNMH.transpose(-1, -2)
        shared_BMHR = query_MHE @ request.key_BMLE.transpose(-1, -2)
        shared_BKMHR = shared_BMHR.flatten(1, 2).unsqueeze(1).expand(-1, own_BKMHN.shape[1], -1, -1)
        seen_BKMHL = torch.cat([shared_BKMHR, own_BKMHN], dim=-1).softmax(dim=-1)
        shared_BKMHR, own_BKMHN = seen_BKMHL[..., :-tokens], seen_BKMHL[..., -tokens:]
        by_head = (*normed_BKND.shape[:2], heads, tasks, -1)
        pooled_BKMHD = (own_BKMHN @ normed_BKND).view(by_head)
        share_BKMH1 = own_BKMHN.sum(dim=-1).view(by_head)
        mixed_BKMHE = (
            pooled_BKMHD @ value_MED.transpose(-1, -2)
            + share_BKMH1 * value_bias_ME1.transpose(-1, -2)
            + torch.einsum("bkmhr,bmre->bkmhe", shared_BKMHR.reshape(by_head), request.value_BMLE)
        )
        mixed_BKHD = mixed_BKMHE.transpose(2, 3).flatten(3)
        attended_BKHD: Tensor = self.dropout(self.out(mixed_BKHD))
        return attended_BKHD


class TaskLayer(nn.Module):
    """The last layer: of everything only the task queries are computed."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.task_HD = nn.Parameter(torch.randn(len(config.tasks), config.width))
        self.attention_norm = nn.LayerNorm(config.width, eps=config.layernorm_eps)
        self.attention = TaskAttention(config)
        self.feed_forward_norm = nn.LayerNorm(config.width, eps=config.layernorm_eps)
        self.feed_forward = FeedForward(config)

    def remember(self, request_BRD: Tensor) -> KeysValues:
        """What the request's tokens show in this layer."""
        return self.attention.remember(request_BRD)

    def forward(self, x_BKND: Tensor, interest_BKD: Tensor | None, request: KeysValues) -> Tensor:
        """[request, candidate, task, channel].

        What the history says is added to what the tasks find: among thirty tokens it is a
        thirtieth of what they see, and training would take its time to turn to it.
        """
        normed_BKND = self.attention_norm(x_BKND)
        hidden_BKHD = self.task_HD + self.attention(self.task_HD, normed_BKND, request)
        if interest_BKD is not None:
            hidden_BKHD = hidden_BKHD + interest_BKD.unsqueeze(2)
        out_BKHD: Tensor = hidden_BKHD + self.feed_forward(self.feed_forward_norm(hidden_BKHD))
        return out_BKHD


class InteractionEncoder(nn.Module):
    """Layers over the tokens of each candidate, the last one for the tasks, then a norm."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        inner = [InteractionLayer(config) for _ in range(config.num_layers - 1)]
        self.layers = nn.ModuleList([*inner, TaskLayer(config)])
        self.norm = nn.LayerNorm(config.width, eps=config.layernorm_eps)

    def remember(self, request_BRD: Tensor) -> tuple[KeysValues, ...]:
        """What the request's tokens show in each layer: computed once, seen by all candidates."""
        return tuple(layer.remember(request_BRD) for layer in self._layers())

    def forward(
        self, tokens_BKND: Tensor, interest_BKD: Tensor | None, request: tuple[KeysValues, ...]
    ) -> Tensor:
        """[request, candidate, task, channel].

        Args:
            tokens_BKND: Of the candidates' features.
            interest_BKD: What the history says of each candidate: a token more; None without history.
            request: What the request's tokens show, by layer.
        """
        x_BKND = tokens_BKND
        if interest_BKD is not None:
            x_BKND = torch.cat([tokens_BKND, interest_BKD.unsqueeze(2)], dim=2)
        *inner, last = self.layers
        for layer, shown in zip(inner, request[:-1], strict=True):
            x_BKND = layer(x_BKND, shown)
        task_BKHD: Tensor = self.norm(last(x_BKND, interest_BKD, request[-1]))
        return task_BKHD

    def _layers(self) -> list[InteractionLayer | TaskLayer]:
        return [cast("InteractionLayer | TaskLayer", layer) for layer in self.layers]
