"""The ranking transformer: history and request once, candidates as queries, one logit a task.

steps -> StepTokens -> HistoryEncoder -> keys, values --+
request -> RequestTokens -> RequestEncoder -> keys, values --+      once a request
-------------------------------------------------------------|--------------------
candidate -> CandidateTokens -> InterestAttention -> InteractionEncoder -> Heads
"""

# B = requests, K = candidates, T = steps, R = real features, N = discrete features or tokens,
# H = tasks, D = model width

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from modern.transformer.attention import KeysValues
from modern.transformer.config import HistoryConfig, TransformerConfig
from modern.transformer.history_encoder import HistoryEncoder, OldState
from modern.transformer.interaction import InteractionEncoder
from modern.transformer.interest import InterestAttention, Memory
from modern.transformer.layout import TokenLayout
from modern.transformer.request_encoder import RequestEncoder
from modern.transformer.tokens import CodeTable, FeatureTokens, Statistics, StepTokens


class RequestState(NamedTuple):
    """All that the candidates of a request need to know of it.

    Attributes:
        request: What the request's tokens show, by interaction layer.
        history: What the steps show; None without history.
        steps: For early fusion, in place of `history`: tokens, segment and weight of the steps.
    """

    request: tuple[KeysValues, ...]
    history: Memory | None
    steps: tuple[Tensor, Tensor, Tensor] | None


class Heads(nn.Module):
    """A linear layer a task, from the task's own query: what is added to the prior's log-odds.

    They start at zero, so an untrained model is the prior.
    """

    def __init__(self, *, num_tasks: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_tasks, width))
        self.bias = nn.Parameter(torch.zeros(num_tasks))

    def forward(self, task_BKHD: Tensor) -> Tensor:
        """[request, candidate, task]."""
        return (task_BKHD * self.weight).sum(dim=-1) + self.bias


class RankingTransformer(nn.Module):
    """Requests with their histories and candidates to the log-odds of each task.

    Args:
        layout: Which features become tokens; without step features no history is read.
        config: The sizes and the form.
        history: Of it the age buckets; the rest decides the inputs.
        statistics: Of the real features.
        prior_logits: Log-odds of each task in the training rows.
    """

    prior_logit_H: Tensor

    def __init__(
        self,
        layout: TokenLayout,
        config: TransformerConfig,
        history: HistoryConfig,
        *,
        statistics: Statistics,
        prior_logits: tuple[float, ...],
    ) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.reads_history = bool(layout.step.names) and config.form != "no_history"
        self.codes = CodeTable(layout, width=width)
        self.request_tokens = FeatureTokens(
            layout.request, width=width, statistics=statistics.request
        )
        self.request = RequestEncoder(config)
        self.candidate_tokens = FeatureTokens(
            layout.candidate, width=width, statistics=statistics.candidate
        )
        if self.reads_history:
            self.step_tokens = StepTokens(
                layout.step,
                width=width,
                statistics=statistics.step,
                edge_hours=history.age_edges_hours,
            )
            self.history = HistoryEncoder(config)
            self.interest = InterestAttention(
                config,
                num_tokens=1 + layout.candidate.num_features,
                asking=layout.tokens_like_steps,
            )
        if self.reads_history and config.form == "early_fusion":
            self.fuse = nn.Linear(width, width)
        self.interaction = InteractionEncoder(config)
        self.heads = Heads(num_tasks=len(config.tasks), width=width)
        self.register_buffer("prior_logit_H", torch.tensor(prior_logits, dtype=torch.float32))

    def forward(  # noqa: PLR0917  # tracing and exports take tensors by position
        self,
        request_real_BR: Tensor,
        request_code_BN: Tensor,
        step_real_BTR: Tensor,
        step_code_BTN: Tensor,
        step_age_BT: Tensor,
        step_old_BT: Tensor,
        step_weight_BT: Tensor,
        candidate_real_BKR: Tensor,
        candidate_code_BKN: Tensor,
    ) -> Tensor:
        """[request, candidate, task] logits, before calibration.

        Args:
            request_real_BR: float32, NaN where missing.
            request_code_BN: int64, within the features' cardinalities.
            step_real_BTR: As the request's.
            step_code_BTN: As the request's.
            step_age_BT: float32 hours, NaN where unknown.
            step_old_BT: bool, in the old segment.
            step_weight_BT: float32, logged steps it stands for; 0 in padding, which is not seen.
            candidate_real_BKR: As the request's.
            candidate_code_BKN: As the request's.
        """
        of_request = (
            *(request_real_BR, request_code_BN, step_real_BTR, step_code_BTN),
            *(step_age_BT, step_old_BT, step_weight_BT),
        )
        if self.config.form != "plain":
            state = self.encode_request(*of_request)
            return self.score_candidates(state, candidate_real_BKR, candidate_code_BKN)
        batch, candidates = candidate_real_BKR.shape[:2]
        copied = [x.repeat_interleave(candidates, dim=0) for x in of_request]
        state = self.encode_request(*copied)
        logit_X1H = self.score_candidates(
            state,
            candidate_real_BKR.flatten(0, 1)[:, None],
            candidate_code_BKN.flatten(0, 1)[:, None],
        )
        return logit_X1H.view(batch, candidates, -1)

    def encode_request(  # noqa: PLR0917  # likewise
        self,
        request_real_BR: Tensor,
        request_code_BN: Tensor,
        step_real_BTR: Tensor,
        step_code_BTN: Tensor,
        step_age_BT: Tensor,
        step_old_BT: Tensor,
        step_weight_BT: Tensor,
        *,
        old_state: OldState | None = None,
    ) -> RequestState:
        """What is computed once a request.

        Args:
            request_real_BR: As of `forward`, as are the others of its names.
            request_code_BN: Likewise.
            step_real_BTR: Likewise.
            step_code_BTN: Likewise.
            step_age_BT: Likewise.
            step_old_BT: Likewise.
            step_weight_BT: Likewise.
            old_state: The old segment, where it was encoded before (`encode_old`); then the steps
                are the recent ones alone.
        """
        codes_BND = self.codes(request_code_BN, "request")
        encoded_BND = self.request(self.request_tokens(request_real_BR, codes_BND))
        shown = self.interaction.remember(encoded_BND)
        if not self.reads_history:
            return RequestState(shown, None, None)
        steps_BTD = self.step_embeddings(step_real_BTR, step_code_BTN, step_age_BT)
        if self.config.form == "early_fusion":
            return RequestState(shown, None, (steps_BTD, step_old_BT, step_weight_BT))
        encoded_BTD = self.history(steps_BTD, step_old_BT, step_weight_BT, old_state)
        memory = self.interest.remember(encoded_BTD, step_weight_BT, old_state)
        return RequestState(shown, memory, None)

    def encode_old(
        self, step_real_BOR: Tensor, step_code_BON: Tensor, step_age_BO: Tensor, weight_BO: Tensor
    ) -> OldState:
        """The old segment alone: depends on nothing else of the request, and can be kept."""
        return self.history.old_state(
            self.step_embeddings(step_real_BOR, step_code_BON, step_age_BO), weight_BO
        )

    def score_candidates(
        self, state: RequestState, candidate_real_BKR: Tensor, candidate_code_BKN: Tensor
    ) -> Tensor:
        """[request, candidate, task] logits; a candidate never sees another."""
        codes_BKND = self.codes(candidate_code_BKN, "candidate")
        tokens_BKND = self.candidate_tokens(candidate_real_BKR, codes_BKND)
        interest_BKD = None
        if state.history is not None:
            interest_BKD = self.interest(tokens_BKND, state.history)
        elif state.steps is not None:
            interest_BKD = self._fused_interest(tokens_BKND, *state.steps)
        task_BKHD = self.interaction(tokens_BKND, interest_BKD, state.request)
        head_BKH: Tensor = self.heads(task_BKHD)
        return self.prior_logit_H + head_BKH

    def step_embeddings(self, real_BTR: Tensor, code_BTN: Tensor, age_BT: Tensor) -> Tensor:
        """The tokens of the steps, before they are encoded."""
        steps_BTD: Tensor = self.step_tokens(real_BTR, self.codes(code_BTN, "step"), age_BT)
        return steps_BTD

    def _fused_interest(
        self, tokens_BKND: Tensor, steps_BTD: Tensor, old_BT: Tensor, weight_BT: Tensor
    ) -> Tensor:
        """Early fusion: every step knows the candidate, so each candidate has a history of its own."""
        batch, candidates = tokens_BKND.shape[:2]
        fused_BK1D = self.fuse(tokens_BKND.mean(dim=2)).unsqueeze(2)
        steps_XTD = (steps_BTD.unsqueeze(1) + fused_BK1D).flatten(0, 1)
        old_XT, weight_XT = (x.repeat_interleave(candidates, dim=0) for x in (old_BT, weight_BT))
        encoded_XTD = self.history(steps_XTD, old_XT, weight_XT)
        memory = self.interest.remember(encoded_XTD, weight_XT)
        interest_X1D: Tensor = self.interest(tokens_BKND.flatten(0, 1).unsqueeze(1), memory)
        return interest_X1D.view(batch, candidates, -1)
