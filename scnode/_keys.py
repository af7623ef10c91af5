"""Every AnnData key that scnode writes, in one place."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT = "scnode"


@dataclass(frozen=True)
class Keys:
    """Names of one run's fields, all built from its `key_added`."""

    run: str = DEFAULT

    @property
    def uns(self) -> str:
        """`uns`: parameters, history, report, model, version."""
        return self.run

    @property
    def latent(self) -> str:
        """`obsm`: latent state (cells, latent)."""
        return f"X_{self.run}"

    @property
    def velocity(self) -> str:
        """`obsm`: latent velocity (cells, latent); `layers`: gene velocity."""
        return f"velocity_{self.run}"

    def velocity_in(self, basis: str) -> str:
        """`obsm`: velocity in an embedding."""
        return f"{self.velocity}_{basis.removeprefix('X_')}"

    @property
    def time(self) -> str:
        """`obs`: the clock."""
        return f"{self.run}_time"

    @property
    def velocity_sd(self) -> str:
        """`obs`: disagreement of the ensemble."""
        return f"{self.run}_velocity_sd"

    @property
    def diffusion(self) -> str:
        """`obs`: root mean square of the diffusion."""
        return f"{self.run}_diffusion"

    @property
    def evidence(self) -> str:
        """`obsm`: latent velocity that the evidence gives (cells, latent)."""
        return f"{self.run}_evidence"

    @property
    def ood(self) -> str:
        """`obs`: probability that the forecast of a cell is not to be believed."""
        return f"{self.run}_ood"

    @property
    def error_bound(self) -> str:
        """`obs`: Grönwall bound on the error of a cell's forecast."""
        return f"{self.run}_error_bound"

    @property
    def outside(self) -> str:
        """`obs`: whether a mapped cell lies off the cells of the fit."""
        return f"{self.run}_outside"

    @property
    def potential(self) -> str:
        """`obs`: potential of the field, where it has one."""
        return f"{self.run}_potential"

    @property
    def growth(self) -> str:
        """`obs`: rate at which a cell multiplies."""
        return f"{self.run}_growth"

    def agreement(self, source: str) -> str:
        """`obs`: cosine of a source of evidence with the fitted velocity."""
        return f"{self.run}_agreement_{source}"

    @property
    def beta(self) -> str:
        """`var`: splicing rate."""
        return f"{self.run}_beta"

    @property
    def gamma(self) -> str:
        """`var`: degradation rate."""
        return f"{self.run}_gamma"

    @property
    def alpha(self) -> str:
        """`layers`: transcription rate."""
        return f"{self.run}_alpha"

    @property
    def unspliced(self) -> str:
        """`layers`: unspliced abundance that a model of RNA starts from."""
        return f"{self.run}_unspliced"

    @property
    def spliced(self) -> str:
        """`layers`: spliced abundance that a model of RNA starts from."""
        return f"{self.run}_spliced"

    @property
    def divergence(self) -> str:
        """`obs`: trace of the latent Jacobian."""
        return f"{self.run}_divergence"

    @property
    def jacobian_norm(self) -> str:
        """`obs`: spectral norm of the latent Jacobian."""
        return f"{self.run}_jacobian_norm"

    @property
    def eigenvalues(self) -> str:
        """`obsm`: eigenvalues of the latent Jacobian."""
        return f"{self.run}_eigenvalues"

    @property
    def ftle(self) -> str:
        """`obs`: finite-time Lyapunov exponent."""
        return f"{self.run}_ftle"

    @property
    def stiffness(self) -> str:
        """`obs`: ratio of the slowest to the fastest time scale."""
        return f"{self.run}_stiffness"

    @property
    def fast_time(self) -> str:
        """`obs`: fastest time scale."""
        return f"{self.run}_fast_time"

    @property
    def slow_time(self) -> str:
        """`obs`: slowest time scale."""
        return f"{self.run}_slow_time"

    @property
    def fate(self) -> str:
        """`obsm`: fate probabilities (cells, groups)."""
        return f"{self.run}_fate"

    @property
    def fate_se(self) -> str:
        """`obsm`: standard errors of the fate probabilities."""
        return f"{self.run}_fate_se"

    @property
    def fate_low(self) -> str:
        """`obsm`: lower ends of the intervals of the fate probabilities."""
        return f"{self.run}_fate_low"

    @property
    def fate_high(self) -> str:
        """`obsm`: upper ends of the intervals of the fate probabilities."""
        return f"{self.run}_fate_high"

    @property
    def fate_entropy(self) -> str:
        """`obs`: entropy of the fate probabilities."""
        return f"{self.run}_fate_entropy"

    def end_states(self, name: str) -> str:
        """`obsm`: where a perturbation leaves its start cells."""
        return f"X_{self.run}_{name}"

    def shift(self, name: str) -> str:
        """`obs`: distance between perturbed and control end states; `obsm`: their difference (cells, latent)."""
        return f"{self.run}_{name}_shift"

    def departure(self, name: str) -> str:
        """`obs`: time at which the perturbed path leaves the control's."""
        return f"{self.run}_{name}_departure"

    def difference(self, name: str) -> str:
        """`obsm`: what a perturbation does to the velocity of each cell (cells, latent)."""
        return f"velocity_{self.run}_{name}_difference"


TRANSITIONS = "T_fwd"
