"""The losses of preference methods as functions of log-probabilities. Shapes: B pairs, S answers.

`chosen` and `rejected` are log-ratios of policy to reference, log pi(y|x) - log pi_ref(y|x); a
method without a reference uses 0 for its log-probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid


@dataclass(frozen=True)
class LogRatios:
    """Log-ratios and lengths of both answers.  # all (B,)"""

    chosen: torch.Tensor
    rejected: torch.Tensor
    chosen_tokens: torch.Tensor
    rejected_tokens: torch.Tensor

    @property
    def margin(self) -> torch.Tensor:
        """Return the difference of the log-ratios, chosen minus rejected.  # (B,)"""
        return self.chosen - self.rejected


def sigmoid(ratios: LogRatios, beta: float, smoothing: float) -> torch.Tensor:
    """DPO (arXiv:2305.18290 eq. 7), label smoothing as conservative DPO (arXiv:2310.12036)."""
    logits = beta * ratios.margin
    return -(1 - smoothing) * logsigmoid(logits) - smoothing * logsigmoid(-logits)


def hinge(ratios: LogRatios, beta: float, smoothing: float) -> torch.Tensor:  # noqa: ARG001
    """SLiC (arXiv:2305.10425) on log-ratios, as in RSO (arXiv:2309.06657 eq. 9)."""
    return torch.relu(1 - beta * ratios.margin)


def ipo(ratios: LogRatios, beta: float, smoothing: float) -> torch.Tensor:  # noqa: ARG001
    """IPO (arXiv:2310.12036 eq. 17) on log-ratios per token, as its authors recommend."""
    margin = ratios.chosen / ratios.chosen_tokens - ratios.rejected / ratios.rejected_tokens
    return (margin - 1 / (2 * beta)) ** 2


def robust(ratios: LogRatios, beta: float, smoothing: float) -> torch.Tensor:
    """Robust DPO (arXiv:2403.00409): unbiased when a share of the labels is flipped."""
    logits = beta * ratios.margin
    clean, flipped = logsigmoid(logits), logsigmoid(-logits)
    return (-(1 - smoothing) * clean + smoothing * flipped) / (1 - 2 * smoothing)


def apo_zero(ratios: LogRatios, beta: float, smoothing: float) -> torch.Tensor:  # noqa: ARG001
    """APO-zero (arXiv:2408.06266 eq. 7): for chosen answers better than the model's."""
    return 1 - torch.sigmoid(beta * ratios.chosen) + torch.sigmoid(beta * ratios.rejected)


def apo_down(ratios: LogRatios, beta: float, smoothing: float) -> torch.Tensor:  # noqa: ARG001
    """APO-down (arXiv:2408.06266 eq. 8): for chosen answers worse than the model's."""
    return torch.sigmoid(beta * ratios.chosen) + 1 - torch.sigmoid(beta * ratios.margin)


def sppo(ratios: LogRatios, beta: float, smoothing: float) -> torch.Tensor:  # noqa: ARG001
    """SPPO (arXiv:2405.00675 eq. 4.7) with win probability 1 for the chosen answer."""
    return (ratios.chosen - 0.5 / beta) ** 2 + (ratios.rejected + 0.5 / beta) ** 2


def exo_pair(ratios: LogRatios, beta: float, smoothing: float) -> torch.Tensor:
    """EXO (arXiv:2402.00856 eq. 16): reverse KL to labels that are right with 1 - smoothing."""
    logits = beta * ratios.margin
    flipped = torch.full((), smoothing, device=logits.device)  # filled there, not copied
    chosen_term = torch.sigmoid(logits) * (logsigmoid(logits) - torch.log1p(-flipped))
    return chosen_term + torch.sigmoid(-logits) * (logsigmoid(-logits) - torch.log(flipped))


PairLoss = Callable[[LogRatios, float, float], torch.Tensor]

DPO_LOSSES: Mapping[str, PairLoss] = {
    "sigmoid": sigmoid,
    "hinge": hinge,
    "ipo": ipo,
    "robust": robust,
    "apo_zero": apo_zero,
    "apo_down": apo_down,
    "sppo": sppo,
    "exo_pair": exo_pair,
}


def log_odds_ratio(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """Return the log of the odds ratio, odds = p/(1-p); ORPO (arXiv:2403.07691 eq. 4).

    Takes mean log-probabilities per token, which are below 0.  # (B,), (B,) -> (B,)
    """
    return (chosen - rejected) - (log1mexp(chosen) - log1mexp(rejected))


def log1mexp(value: torch.Tensor) -> torch.Tensor:
    """Return log(1 - exp(value)) for value < 0, accurate near 0 and far from it.

    Maechler, Accurately Computing log(1 - exp(-|a|)), 2012.
    """
    value = value.clamp(max=-torch.finfo(value.dtype).tiny)
    near = value > -0.6931471805599453
    return torch.where(near, (-value.expm1()).log(), (-value.exp()).log1p())


def kto(
    ratios: torch.Tensor, desirable: torch.Tensor, reference_point: torch.Tensor, beta: float
) -> torch.Tensor:
    """KTO (arXiv:2402.01306 eq. 7): one minus the value of each answer.

    Takes log-ratios (S,), bool labels (S,) and the KL reference point ().  # -> (S,)
    """
    gain = torch.where(desirable, ratios - reference_point, reference_point - ratios)
    return 1 - torch.sigmoid(beta * gain)


def bradley_terry(
    chosen: torch.Tensor, rejected: torch.Tensor, margin: torch.Tensor
) -> torch.Tensor:
    """Return -log sigmoid(r_chosen - r_rejected - margin); Llama 2 (arXiv:2307.09288 eq. 2)."""
    return -logsigmoid(chosen - rejected - margin)
