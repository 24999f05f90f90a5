"""How videos are generated in theory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from torch import Tensor

from ..errors import TheoryError
from ..sampling.diffusion import Diffusion, FlowMatching
from .kernels import KERNELS, Conditioning, Network, make_network
from .memories import Past, none


@dataclass(frozen=True)
class Setting:
    """How videos are generated, beside the schedule."""

    prompt: int = 4  # true frames that every video begins with
    context: int = 1  # clean frames before the window
    memory: Callable[[Past], Tensor] = none
    kernel: str = "exact"  # exact, ancestral, analytic, euler, heun
    substeps: int = 1  # denoising steps from one row of the schedule to the next
    init_steps: int = 8  # denoising steps of the initialization stage
    score_error: float = 0.0  # how far every weight of the network is off, relatively
    seed: int = 0  # of the score error
    mask: str = "window"  # window: its frames see each other; causal: each sees only the ones before it
    renoise: str = "fresh"  # after the initialization stage; same: with the noise that made the frame
    diffusion: Diffusion = field(default_factory=FlowMatching)

    def __post_init__(self) -> None:
        for name, names in (("kernel", KERNELS), ("mask", ("window", "causal")), ("renoise", ("fresh", "same"))):
            if getattr(self, name) not in names:
                raise TheoryError(f"No {name} is called {getattr(self, name)!r}.", f"Choose from: {', '.join(names)}.")
        if min(self.prompt, self.context, self.score_error) < 0 or min(self.substeps, self.init_steps) < 1:
            raise TheoryError("prompt, context and score_error must be at least 0, substeps and init_steps at least 1.")
        if not math.isfinite(self.score_error):
            raise TheoryError(f"The score error must be a number, not {self.score_error:g}.")
        if self.kernel == "exact" and (self.mask, self.renoise, self.score_error) != ("window", "fresh", 0):
            raise TheoryError(
                "The exact kernel has no network to mask or disturb, and no noise to reuse.",
                hint=f"Choose from: {', '.join(KERNELS[1:])}.",
            )

    def network(self, conditioning: Conditioning) -> Network:
        """Build the network of an AR step."""
        return make_network(conditioning, self.mask, self.score_error, self.seed)

    @property
    def ideal(self) -> Setting:
        """The same setting with an exact network."""
        return replace(self, mask="window", score_error=0.0)
