"""A fitted latent ODE, to and from plain arrays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from scnode import ode
from scnode._errors import ScnodeError, SolverError
from scnode._rows import at_rows
from scnode._validation import near
from scnode.data import Controls
from scnode.model._moving import Moving, since
from scnode.model._record import read_record, write_record
from scnode.nn import Field, Regimen
from scnode.train._losses import MOST_IMPLICIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from scnode.nn import Diffusion, Encoder, Hold
    from scnode.nn._inputs import Input

# Times the reach of the field, to which every state beyond it is pulled back.
_RUNAWAY = 10.0
_NOISE_STEPS, _STEPS = 40, 100


class LatentODE(nn.Module):
    r"""Encoder, ensemble field and decoder: :math:`z = E(x)`, :math:`\dot z = f(z)`, :math:`\hat x = D(z)`.

    Parameters
    ----------
    field
        Ensemble of vector fields in the latent space.
    encoder
        One of :data:`scnode.nn.ENCODERS`, or None when cells were placed by a representation of the user's.
    genes
        Names of the encoder's genes, shape (gene,).
    transform
        How counts become the encoder's input, ``"log1p_cp10k"`` or ``"none"``.
    use_rep
        `obsm` key that the latent space was read from; the encoder is then None or a linear decoder.
    batch_key, batches
        `obs` column of the batches that the encoder tells apart, and their names in its order.
    diffusion
        :math:`G` of :math:`dz = f(z)\,dt + G(z)\,dW`; None for an ordinary differential equation.
    controls
        `obs` columns of the input of a :class:`scnode.nn.ControlledField`, and how they are read.

    Raises
    ------
    ScnodeError
        Controls that the field does not have, or the reverse.
    """

    def __init__(
        self,
        field: Field,
        *,
        encoder: Encoder | None = None,
        genes: np.ndarray | None = None,
        transform: str = "none",
        use_rep: str | None = None,
        batch_key: str | None = None,
        batches: Sequence[str] = (),
        diffusion: Diffusion | None = None,
        controls: Controls | None = None,
    ) -> None:
        super().__init__()
        self.field, self.encoder, self.diffusion = field, encoder, diffusion
        self.genes = [] if genes is None else [str(g) for g in genes]
        self.transform, self.use_rep = transform, use_rep
        self.batch_key, self.batches = batch_key, [str(b) for b in batches]
        self.controls = controls
        known, taken = len(controls.names) if controls else 0, field.n_controls
        if known != taken:
            raise ScnodeError(
                f"The field takes {taken} controls, and {known} are named. Pass controls= of as many columns."
            )

    @property
    def n_latent(self) -> int:
        """Dimension of the latent space."""
        return self.field.n_latent

    @property
    def decoder(self) -> Encoder:
        """What turns latent states into expression.

        Raises
        ------
        ScnodeError
            The latent space is a representation without a decoder.
        """
        if self.encoder is None:
            raise ScnodeError(
                f"The model lives in obsm[{self.use_rep!r}] and has no decoder. Fit with decoder='linear', or without "
                "use_rep=."
            )
        return self.encoder

    def __repr__(self) -> str:
        """What moves, where it lives, and what it is made of."""
        inputs = f", u = ({', '.join(self.controls.names)})" if self.controls else ""
        moved = f"f({'t, ' if self.field.time_dependent else ''}z{', u' if self.controls else ''})"
        noisy = f"dz = {moved} dt + G(z) dW" if self.diffusion is not None else f"dz/dt = {moved}"
        weights = sum(p.numel() for p in self.parameters())
        source = f"adata.obsm[{self.use_rep!r}]" if self.use_rep else "expression"
        coded = f"{self.encoder.name!r} of {len(self.genes)} genes" if self.encoder is not None else "none"
        return (
            f"LatentODE: {noisy}{inputs}\n"
            f"  field    {self.field.name!r}, {self.field.n_members} member(s), {weights:,} weights\n"
            f"  space    {self.n_latent} coordinates of {source}\n"
            f"  encoder  {coded}"
        )

    def columns(self, genes: Iterable[str]) -> list[int]:
        """Positions of genes in decoded expression.

        Raises
        ------
        ScnodeError
            A gene that the model does not have, or no decoder.
        """
        place = dict(zip(self.genes, range(len(self.decoder.mean)), strict=True))
        unknown = [gene for gene in genes if gene not in place]
        if unknown:
            raise ScnodeError(
                f"{unknown} are not among the {len(place)} genes of the model. {near(unknown[0], self.genes)}"
            )
        return [place[gene] for gene in genes]

    def under(self, control: Input | None, *, origin: Tensor | None = None) -> Field:
        """The field under an input, see :meth:`scnode.nn.Driven.under`; None where it takes none.

        An input counts as the field does, or from an `origin`.

        Raises
        ------
        ScnodeError
            An input for a field without, or none for a field that takes one.
        """
        if bool(self.field.n_controls) != (control is not None):
            if self.controls is None:
                raise ScnodeError("The field takes no input. Leave control= out, or fit with control_key=.")
            raise ScnodeError(f"The field is under {self.controls.names}. Pass their values as control=.")
        return self.field if control is None else self.field.under(control, origin=origin)

    def velocity(
        self, latent: Tensor, *, t: Tensor | None = None, control: Input | None = None
    ) -> tuple[Tensor, Tensor]:
        """Ensemble mean (cell, latent) and its root mean square deviation (cell,).

        A field that depends on time needs the clock of the states, a scalar or a column (cell, 1).

        Raises
        ------
        ScnodeError
            No time for a field that depends on it, or an input for a field without one, or the reverse.
        """
        if t is None and self.field.time_dependent:
            raise ScnodeError("The field depends on time. Pass t= with the clock of the states, a column (cell, 1).")
        members = self.under(control).members(latent.new_zeros(()) if t is None else t, latent)
        mean = members.mean(0)
        return mean, (members - mean).square().sum(-1).mean(0).sqrt()

    def flow(
        self,
        start: Tensor,
        ts: Tensor,
        *,
        members: bool = False,
        hold: Hold | Regimen | None = None,
        control: Input | None = None,
        noise: ode.BrownianPath | None = None,
        **options: Any,
    ) -> Tensor:
        """Trajectories (start, sample, time, latent): one of the ensemble mean, or one of each member.

        Times (time,) or (start, time) are those of the clock where the field depends on it, and else count from
        anywhere. A `control` counts as they do, or where the field depends on time from the start. Where states are
        long, those of all members together, the default solver is dopri5: Jacobians would cost more than its small
        steps. With `hold`, whose times count from the start, the starts are confined to its constraint and the flow
        stays on it. A `control` or a `hold` that jumps is solved piece by piece. With `noise`, Brownian paths of
        (sample, start), the trajectories are those of the drift and the diffusion, in 40 steps of Euler and Maruyama;
        `options` of :func:`scnode.ode.solve` then have no effect.

        Raises
        ------
        ScnodeError
            A level that no state has, or noise for a model without a diffusion.
        """
        n_samples, regimen = self.field.n_members if members else 1, Regimen.of(hold)
        field = self._set_out(control, ts)
        timed = regimen.moves or noise is not None or (field.time_dependent and len(field.pieces()[0]) > 0)
        elapsed = since(ts) if timed else ts
        moving = Moving(field, regimen, n_samples if members else 0, ts[..., :1] if timed else None)
        start = regimen.confine(start)
        if noise is not None:
            stochastic: dict[str, Any] = {"solver": "euler_maruyama", "step": float(elapsed[-1]) / _NOISE_STEPS}
            ys = moving.shake(start, elapsed, self._diffusion(), brownian=noise, **stochastic)
            self._check_near(ys.unflatten(2, (n_samples, -1)))
        else:
            if n_samples * self.n_latent > MOST_IMPLICIT:
                options = {"solver": "dopri5"} | options
            if not members and hold is None:
                options = {"jacobians": moving.slopes()} | options
            ys = moving.solve(start, elapsed, options)
        ys = moving.retract(ys, elapsed if timed else elapsed.reshape(-1, elapsed.shape[-1])[0])
        return ys.unflatten(2, (n_samples, -1)).transpose(1, 2)

    def sample(
        self,
        start: Tensor,
        ts: Tensor,
        *,
        n_samples: int = 1,
        generator: torch.Generator | None = None,
        control: Input | None = None,
        **options: Any,
    ) -> Tensor:
        """Stochastic trajectories (start, sample, time, latent) of the ensemble's mean drift and the diffusion.

        Times and `control` are as for :meth:`flow`, and so are its pieces. `options` go to
        :func:`scnode.ode.solve_sde`, by default steps of a hundredth of the time.

        Raises
        ------
        ScnodeError
            The model has no diffusion.
        SolverError
            Steps that are too long for the field.
        """
        rows = torch.arange(len(start), device=start.device).repeat_interleave(n_samples)
        field = at_rows(self._set_out(control, ts), rows)
        elapsed, origin = (ts, None) if ts.ndim == 1 else (since(ts), ts[rows, :1])
        # One for all pieces: each would begin a default one anew, with the same noise.
        generator = torch.Generator(start.device).manual_seed(0) if generator is None else generator
        options = {"generator": generator, "step": float(elapsed[-1] - elapsed[0]) / _STEPS} | options
        ys = Moving(field, Regimen.of(None), 0, origin).shake(start[rows], elapsed, self._diffusion(), **options)
        ys = ys.unflatten(0, (len(start), n_samples))
        self._check_near(ys)
        return ys

    def _set_out(self, control: Input | None, ts: Tensor) -> Field:
        """The field under an input, which counts from the start where the field's own time is the clock."""
        return self.under(control, origin=ts[..., :1] if self.field.time_dependent else None)

    def _check_near(self, states: Tensor) -> None:
        """Noisy steps have no error control, and run away where they are too long for the field."""
        far = (states - self.field.center).norm(dim=-1).max() > _RUNAWAY * self.field.reach
        if bool(far):
            raise SolverError(
                "Noisy steps are too long for this field, and the states run away. Pass solver='implicit_euler' where "
                "there is such an argument, a shorter t=, or noise=False."
            )

    def _diffusion(self) -> Diffusion:
        if self.diffusion is None:
            raise ScnodeError("The model has no diffusion. Fit with noise=True, or call flow.")
        return self.diffusion

    def to_arrays(self) -> dict[str, Any]:
        """Plain arrays and one string, as `.uns` and files keep them."""
        labels = {
            "genes": self.genes,
            "transform": self.transform,
            "use_rep": self.use_rep,
            "batch_key": self.batch_key,
            "batches": self.batches,
            "controls": self.controls.to_list() if self.controls else [],
        }
        return write_record(self.field, self.encoder, diffusion=self.diffusion, **labels)

    @classmethod
    def from_arrays(cls, stored: dict[str, Any]) -> LatentODE:
        """Rebuild the model from :meth:`to_arrays`.

        Raises
        ------
        ScnodeError
            The record is not one of this format, or its arrays do not fit its configuration.
        """
        field, encoder, diffusion, labels = read_record(stored)
        model = cls(
            field,
            encoder=encoder,
            genes=np.asarray(labels["genes"]),
            transform=labels["transform"],
            use_rep=labels["use_rep"],
            batch_key=labels["batch_key"],
            batches=labels["batches"],
            diffusion=diffusion,
            controls=labels["controls"],
        )
        return model.eval()

    def save(self, path: str | Path) -> None:
        """Write ``model.safetensors`` and ``model.json`` into a folder."""
        from safetensors.numpy import save_file

        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        stored = self.to_arrays()
        save_file({k: np.asarray(v, order="C") for k, v in stored["arrays"].items()}, folder / "model.safetensors")
        (folder / "model.json").write_text(stored["config"])

    @classmethod
    def load(cls, path: str | Path) -> LatentODE:
        """Read a folder written by :meth:`save`."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = Path(path)
        for name in ("model.json", "model.safetensors"):
            if not (folder / name).is_file():
                raise ScnodeError(f"{folder / name} not found. Pass a folder written by LatentODE.save(path).")
        try:
            config, arrays = (folder / "model.json").read_text(), load_file(folder / "model.safetensors")
        except (SafetensorError, UnicodeDecodeError) as error:
            raise ScnodeError(
                f"{folder} holds a damaged model ({error}). Write it again with model.save(path)."
            ) from error
        return cls.from_arrays({"config": config, "arrays": arrays})
