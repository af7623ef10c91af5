"""A fitted latent ODE, to and from plain arrays."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from scnode import ode
from scnode._errors import ScnodeError
from scnode.nn import PCA, MLPField, side_by_side

if TYPE_CHECKING:
    from torch import Tensor

    from scnode._typing import VectorField
    from scnode.nn import Hold

FORMAT = 1


class LatentODE(nn.Module):
    r"""Encoder, ensemble field and decoder: :math:`z = E(x)`, :math:`\dot z = f(z)`, :math:`\hat x = D(z)`.

    Parameters
    ----------
    field
        Ensemble of vector fields in the latent space.
    encoder
        Principal components, or None when cells were placed by a representation of the user's.
    genes
        Names of the encoder's genes, shape (gene,).
    transform
        How counts become the encoder's input, ``"log1p_cp10k"`` or ``"none"``.
    use_rep
        `obsm` key that the latent space was read from, when there is no encoder.
    """

    def __init__(
        self,
        field: MLPField,
        *,
        encoder: PCA | None = None,
        genes: np.ndarray | None = None,
        transform: str = "none",
        use_rep: str | None = None,
    ) -> None:
        super().__init__()
        self.field, self.encoder = field, encoder
        self.genes = [] if genes is None else [str(g) for g in genes]
        self.transform, self.use_rep = transform, use_rep

    @property
    def n_latent(self) -> int:
        """Dimension of the latent space."""
        return self.field.n_latent

    def velocity(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Ensemble mean (cell, latent) and its root mean square deviation (cell,)."""
        members = self.field.members(latent.new_zeros(()), latent)
        mean = members.mean(0)
        return mean, (members - mean).square().sum(-1).mean(0).sqrt()

    def flow(
        self, start: Tensor, ts: Tensor, *, members: bool = False, hold: Hold | None = None, **options: Any
    ) -> Tensor:
        """Trajectories (start, sample, time, latent): one of the ensemble mean, or one of each member.

        With `hold`, the starts are confined to its constraint and the flow stays on it.
        """
        field: VectorField = self.field if members else self.field.mean
        n_samples = self.field.n_members if members else 1
        if not members and hold is None:
            options = {"jacobian": self.field.jacobian} | options
        if hold is not None:
            start, field = hold.confine(start), hold.wrap(field)
        if members:
            start, field = start.repeat(1, n_samples), side_by_side(field, n_samples)
        ys = ode.solve(field, start, ts, **options).ys
        return ys.unflatten(2, (n_samples, -1)).transpose(1, 2)

    def to_arrays(self) -> dict[str, Any]:
        """Plain arrays and one string, as `.uns` and files keep them."""
        return {
            "config": json.dumps(self._config(), sort_keys=True),
            "arrays": {name: value.detach().cpu().numpy() for name, value in self.state_dict().items()},
        }

    @classmethod
    def from_arrays(cls, stored: dict[str, Any]) -> LatentODE:
        """Rebuild the model from :meth:`to_arrays`.

        Raises
        ------
        ScnodeError
            The record is not one of this format, or its arrays do not fit its configuration.
        """
        try:
            config = json.loads(str(stored["config"]))
            arrays = {name: np.asarray(value) for name, value in stored["arrays"].items()}
            if config["format"] != FORMAT:
                raise ScnodeError(f"Model format {config['format']} is not {FORMAT}. Refit with scnode.tl.fit(adata).")
            model = cls._from_config(config, arrays)
            model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in arrays.items()})
        except (KeyError, TypeError, AttributeError, RuntimeError, json.JSONDecodeError) as error:
            raise ScnodeError(
                f"The stored model is damaged or not one of scnode ({error}). Refit with scnode.tl.fit(adata)."
            ) from error
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

    def _config(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "field": {
                "name": "mlp",
                "hidden": list(self.field.hidden),
                "n_members": self.field.n_members,
                "activation": self.field.activation,
                "time_dependent": self.field.time_dependent,
            },
            "n_latent": self.n_latent,
            "encoder": "pca" if self.encoder is not None else "none",
            "genes": self.genes,
            "transform": self.transform,
            "use_rep": self.use_rep,
        }

    @classmethod
    def _from_config(cls, config: dict[str, Any], arrays: dict[str, np.ndarray]) -> LatentODE:
        # A crafted configuration must not allocate beyond what is stored, so shapes are compared first.
        if {name: value.shape for name, value in arrays.items()} != _shapes(config):
            raise ScnodeError(
                "The stored model's arrays do not fit its configuration. Refit with scnode.tl.fit(adata)."
            )
        broken = [name for name, value in arrays.items() if not np.isfinite(value).all()]
        if broken:
            raise ScnodeError(f"The stored model is not finite in {broken}. Refit with scnode.tl.fit(adata).")
        stored = config["field"]
        field = MLPField(
            config["n_latent"],
            hidden=stored["hidden"],
            n_members=stored["n_members"],
            # The first models stored their sizes alone.
            activation=stored.get("activation", "silu"),
            time_dependent=stored.get("time_dependent", False),
        )
        encoder = None
        if config["encoder"] == "pca":
            mean, components = (torch.from_numpy(arrays[f"encoder.{k}"].copy()) for k in ("mean", "components"))
            encoder = PCA(mean, components)
        return cls(
            field,
            encoder=encoder,
            genes=np.asarray(config["genes"]),
            transform=config["transform"],
            use_rep=config["use_rep"],
        )


def _shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shape of every array that a configuration speaks of."""
    n_latent, n_members, n_genes = config["n_latent"], config["field"]["n_members"], len(config["genes"])
    n_inputs = n_latent + config["field"].get("time_dependent", False)
    shapes: dict[str, tuple[int, ...]] = {"field.center": (n_latent,), "field.scale": (), "field.speed": ()}
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise((n_inputs, *config["field"]["hidden"], n_latent))):
        shapes |= {
            f"field.weights.{i}": (n_members, fan_in, fan_out),
            f"field.biases.{i}": (n_members, 1, fan_out),
        }
    if config["encoder"] == "pca":
        shapes |= {"encoder.mean": (n_genes,), "encoder.components": (n_genes, n_latent)}
    return shapes
