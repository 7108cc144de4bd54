"""A DNA motif: a product law whose pmf, entropy and posteriors are exact."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor

from ddm_pyro.targets.checks import finite
from ddm_pyro.targets.product import Product

#: Token v is the v-th of these.
BASES = "ACGT"


class Motif(Product):
    """Binding sites of a transcription factor, P(x) = prod_l n[x_l, l] / n[., l], tokens A, C, G, T (0 to 3).

    Args:
        counts: the id of a shipped JASPAR matrix, "MA0108.3" (TBP, the TATA box, L = 7) or "MA0139.1" (CTCF, L = 19),
            or counts of one's own, (4, L), one row a base. Data: JASPAR 2024, CC BY 4.0.
        pseudocount: added to every count; 0 (default) keeps the zeros of the matrix.

    Attributes:
        counts: (4, L) float64, without the pseudocount.

    Raises:
        ValueError: an unknown id, counts of another shape, negative or not finite, a position without counts.

    Example:
        >>> motif = Motif("MA0108.3")
        >>> motif.space.length, motif.decode(motif.probs.argmax(-1))
        (7, ['TATAAAA'])
    """

    def __init__(
        self, counts: Any = "MA0108.3", *, pseudocount: float = 0.0, validate_args: bool | None = None
    ) -> None:
        if isinstance(counts, str):
            if counts not in _shipped():
                raise ValueError(f"counts={counts!r} is no shipped motif; there are {', '.join(_shipped())}.")
            counts = _shipped()[counts]["counts"]
        table = torch.as_tensor(counts, dtype=torch.float64)
        if table.dim() != 2 or len(table) != len(BASES) or table.shape[1] == 0:
            raise ValueError(
                f"counts has shape {tuple(table.shape)}; it must be (4, L), one row for each of A, C, G, T."
            )
        bad = ~torch.isfinite(table) | (table < 0)
        if bool(bad.any()):
            raise ValueError(f"counts holds {float(table[bad][0])}; counts are finite and not negative.")
        if finite(pseudocount, "pseudocount") < 0:
            raise ValueError(f"pseudocount={pseudocount!r} must not be negative.")
        weights = table + pseudocount
        empty = (weights.sum(0) == 0).nonzero()
        if len(empty):
            raise ValueError(f"counts has none at position {int(empty[0])}; give a pseudocount, or leave it out.")
        self.counts = table
        super().__init__((weights / weights.sum(0)).T, validate_args=validate_args)

    def decode(self, x: Tensor) -> list[str]:
        """Sequences (..., L) as text; the mask id 4 is shown as N.

        Raises:
            ValueError: other tokens.
        """
        rows = self.space.masked.check(x.reshape(-1, self.space.length), "x")
        return ["".join(f"{BASES}N"[token] for token in row) for row in rows.tolist()]

    def __repr__(self) -> str:
        return f"Motif({self.space})"


@cache
def _shipped() -> dict[str, Any]:
    source: dict[str, Any] = json.loads(files("ddm_pyro").joinpath("data/motifs.json").read_text(encoding="utf-8"))
    return source
