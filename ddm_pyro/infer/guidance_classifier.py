"""Guidance by a classifier of noisy sequences, exact or to first order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from ddm_pyro.infer.guidance import Guided, _finite, renormalized
from ddm_pyro.parameterizations import Parameterization
from ddm_pyro.parameterizations.conversions import pad_symbols

#: Sequences the classifier sees at once.
CHUNK_ROWS = 2**14


class ClassifierGuidance(Guided):
    """The model of p(x | y) from a model of p(x) and a classifier of noisy sequences, log c(x_t, t) = log p(y | x_t).

    Ratios of p_t(x | y) are those of p_t(x) times ratios of c (Nisonoff et al., arXiv 2406.01572). For a masked
    process given as an x0-posterior, p(x_0^l = v | x_t, y) is proportional to p(v | x_t) c(x_t with l set to v),
    exactly so when c is exact. Other models are guided on the score.

    Args:
        model: the model of p(x).
        classifier: with method "exact" called on tokens, (n, L) int64 and times (n,) -> (n,) log-probabilities, masks
            among the tokens; with "first-order" on one-hot rows (n, L, A), differentiable, one symbol a column.
        weight: exponent of the classifier.
        method: "exact" tries every token, L times V sequences a row; "first-order" reads their effect off one gradient.
        time_free: whether the classifier ignores its times.

    Raises:
        ValueError: an unknown method, a weight that is not finite.

    Example:
        >>> import ddm_pyro as ddm
        >>> forward = ddm.ForwardProcess(ddm.rates.Masked(2), ddm.schedules.Linear(), length=2)
        >>> model = ddm.targets.Product([[0.5, 0.5], [0.5, 0.5]]).denoiser(forward)
        >>> ones = ClassifierGuidance(model, lambda x, t: (x == 1).sum(-1) * torch.tensor(3.0).log())
        >>> ones.x0_log_probs(torch.tensor([[2, 0]]), torch.tensor(0.5)).exp()[0].round(decimals=6).tolist()
        [[0.25, 0.75], [1.0, 0.0]]
    """

    def __init__(
        self,
        model: Parameterization,
        classifier: Callable[..., Tensor],
        weight: float = 1.0,
        method: Literal["exact", "first-order"] = "exact",
        *,
        time_free: bool = False,
        **cond: Any,
    ) -> None:
        if method not in ("exact", "first-order"):
            raise ValueError(f"method={method!r} must be 'exact' or 'first-order'.")
        super().__init__(model, own=cond)
        self.classifier, self.weight, self.method = classifier, _finite(weight), method
        self.classifier_time_free = time_free
        self.time_free = self.time_free and time_free
        if not (model.primary == "x0" and model.process.is_masked):
            self.primary = "score"

    def x0_log_probs(self, x: Tensor, t: Tensor, *, at: Tensor | None = None) -> Tensor:
        """The model's, times the classifier's, renormalised, float64."""
        if self.primary != "x0":
            return super().x0_log_probs(x, t, at=at)
        log_p = self._models[0].x0_log_probs(x, t, at=at).double()
        space = self.process.space
        index = torch.arange(x.numel(), device=x.device) if at is None else at
        symbols = torch.arange(space.vocab_size, device=x.device).expand(len(index), -1)
        gain = self.weight * self._gain(x, t, index, symbols).reshape(log_p.shape)
        masked = space.is_mask(x).unsqueeze(-1)
        gain = torch.where(masked if at is None else masked.flatten()[at].unsqueeze(-1), gain, 0.0)
        return renormalized(torch.where(log_p > -torch.inf, log_p + gain, -torch.inf), log_p)

    def log_score(self, x: Tensor, t: Tensor) -> Tensor:
        """The model's, plus differences of the log classifier along the moves."""
        if self.primary != "score":
            return super().log_score(x, t)
        score = self._models[0].log_score(x, t).double()
        moves = self.process.moves(x).expand(score.shape).reshape(-1, score.shape[-1])
        index = torch.arange(x.numel(), device=x.device)
        gain = self.weight * self._gain(x, t, index, moves).reshape(score.shape)
        return torch.where(score > -torch.inf, score + gain, -torch.inf)

    def _gain(self, x: Tensor, t: Any, index: Tensor, symbols: Tensor) -> Tensor:
        """log c(x with the position at ``index`` set to a symbol) - log c(x), (K, M) -> (K, M)."""
        length = x.shape[-1]
        rows = x.reshape(-1, length)
        times = torch.as_tensor(t, device=x.device).expand(x.shape[:-1]).reshape(-1)
        if self.method == "first-order":
            slope = self._gradient(rows, times).flatten(0, 1)[index]
            own = slope.gather(-1, rows.reshape(-1)[index].unsqueeze(-1))
            return slope.gather(-1, symbols.clamp(max=slope.shape[-1] - 1)) - own
        at, row, space = index % length, index // length, self.process.space
        if not space.is_countable:
            # A symbol past a position's alphabet has probability zero; any other stands in for it.
            largest = space.sizes_on.on(x.device)[at].unsqueeze(-1) - 1
            symbols = torch.where(space.is_mask(symbols), symbols, torch.minimum(symbols, largest))
        base = self._scores(rows, times, torch.arange(len(rows), device=x.device))[row]
        tried = rows[row].unsqueeze(1).repeat(1, symbols.shape[-1], 1)
        tried.scatter_(-1, at.reshape(-1, 1, 1).expand(*symbols.shape, 1), symbols.unsqueeze(-1))
        source = row.unsqueeze(-1).expand(symbols.shape).reshape(-1)
        scores = self._scores(tried.flatten(0, 1), times[source], source).reshape(symbols.shape)
        return scores - torch.where(base > -torch.inf, base, 0.0).unsqueeze(-1)

    def _scores(self, x: Tensor, t: Tensor, source: Tensor) -> Tensor:
        pieces = [
            self.classifier(
                x[low : low + CHUNK_ROWS], t[low : low + CHUNK_ROWS], **self._cond(source[low:][:CHUNK_ROWS])
            )
            for low in range(0, max(len(x), 1), CHUNK_ROWS)
        ]
        return torch.cat(pieces).double()

    def _cond(self, source: Tensor) -> dict[str, Any]:
        return {k: v[source] if isinstance(v, Tensor) and v.dim() > 0 else v for k, v in self.own.items()}

    def _gradient(self, x: Tensor, t: Tensor) -> Tensor:
        hot = torch.nn.functional.one_hot(x, self.process.space.num_symbols).to(torch.get_default_dtype())
        with torch.enable_grad():
            hot = hot.requires_grad_()
            total = self.classifier(hot, t, **self.own).sum()
            return pad_symbols(self.process, torch.autograd.grad(total, hot)[0].double())

    def _again(self, parts: list[Parameterization], own: dict[str, Any]) -> Guided:
        return ClassifierGuidance(
            parts[0], self.classifier, self.weight, self.method, time_free=self.classifier_time_free, **own
        )

    def bind(self, **cond: Any) -> Guided:
        """Keyword arguments of the classifier, such as what it classifies for."""
        return self._again(self._models, {**self.own, **cond})
