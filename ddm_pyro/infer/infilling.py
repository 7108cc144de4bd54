"""Known tokens as evidence."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ddm_pyro.infer.twisted_smc_track import Track
from ddm_pyro.sampling.arguments import UNKNOWN


def known_tables(known: Mapping[str, Tensor], tracks: Mapping[str, Track]) -> dict[str, Tensor]:
    """log of the indicator of known tokens, site -> (d_M, ..., d_1, L, V).

    Raises:
        ValueError: a site that is not inferred, a shape that is not its own, fractions, tokens off its space.
    """
    out = {}
    for name, tokens in known.items():
        if name not in tracks:
            raise ValueError(f"known names the site {name!r}; the diffusion sites are {', '.join(tracks)}.")
        track, space = tracks[name], tracks[name].process.space.data
        x = torch.as_tensor(tokens, device=track.x.device)
        if x.is_floating_point() and bool((x != x.round()).any()):
            raise ValueError(f"known[{name!r}] holds {float(x[x != x.round()][0])}; tokens are whole numbers.")
        x = x.long()
        unknown = (x == UNKNOWN) | (x == space.vocab_size)
        space.check(torch.where(unknown, 0, x), f"known[{name!r}]")
        batch = track.x.shape[1:]
        try:
            x, unknown = (
                x.expand(_squeezed(batch, x)).reshape(batch),
                unknown.expand(_squeezed(batch, x)).reshape(batch),
            )
        except RuntimeError:
            raise ValueError(f"known[{name!r}] has shape {tuple(x.shape)}, but the site has {tuple(batch)}.") from None
        match = torch.arange(space.vocab_size, device=x.device) == x.unsqueeze(-1)
        out[name] = torch.where(match | unknown.unsqueeze(-1), 0.0, -torch.inf).double()
    return out


def _squeezed(batch: torch.Size, x: Tensor) -> torch.Size:
    extra = max(0, len(batch) - x.dim())
    return batch if x.dim() < len(batch) else torch.Size((*batch[extra:],))
