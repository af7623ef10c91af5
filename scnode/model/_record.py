"""A model as plain arrays and one string, checked before anything is allocated."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scnode._errors import ScnodeError
from scnode._validation import near
from scnode.data import Controls
from scnode.nn import ENCODERS, FIELDS, Diffusion

if TYPE_CHECKING:
    from scnode.nn import Encoder, Field

FORMAT = 2
_READABLE = (1, 2)
_TRANSFORMS = ("log1p_cp10k", "none", "moments")
_REFIT = "Refit with scnode.tl.fit(adata)."


def write_record(
    field: Field, encoder: Encoder | None, *, diffusion: Diffusion | None = None, **labels: Any
) -> dict[str, Any]:
    """Configuration as a string, and every weight as an array."""
    config = {
        "format": FORMAT,
        "field": {
            "name": field.name,
            "n_members": field.n_members,
            "reach": field.reach if math.isfinite(field.reach) else None,
            **field.sizes,
        },
        "n_latent": field.n_latent,
        "encoder": None if encoder is None else {"name": encoder.name, **encoder.sizes},
        **({} if diffusion is None else {"diffusion": diffusion.sizes}),
        **labels,
    }
    parts = {"field": field, "encoder": encoder, "diffusion": diffusion}
    arrays = {
        f"{part}.{name}": value.detach().cpu().numpy()
        for part, module in parts.items()
        if module is not None
        for name, value in module.state_dict().items()
    }
    return {"config": json.dumps(config, sort_keys=True), "arrays": arrays}


def read_record(stored: dict[str, Any]) -> tuple[Field, Encoder | None, Diffusion | None, dict[str, Any]]:
    """Field, encoder, diffusion and the labels they were written with.

    Raises
    ------
    ScnodeError
        The record is not one of this format, or its arrays do not fit its configuration.
    """
    try:
        config = json.loads(str(stored["config"]))
        arrays = {str(name): _plain(value, name) for name, value in stored["arrays"].items()}
        if config["format"] not in _READABLE:
            raise ScnodeError(f"Model format {config['format']} is none of {_READABLE}. {_REFIT}")
        config["encoder"] = _encoder_config(config)
        _check(config, arrays)
        # New modules draw weights, which are overwritten: the global seed must not notice.
        with torch.random.fork_rng(devices=[]):
            parts = _parts(config)
        for part, module in parts.items():
            _load(module, arrays, f"{part}.")
        labels = _labels(config)
    except ScnodeError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ScnodeError(f"The stored model is damaged or not one of scnode ({error}). {_REFIT}") from error
    return parts["field"], parts.get("encoder"), parts.get("diffusion"), labels


def _plain(value: Any, name: object) -> np.ndarray:
    """An array of numbers; one of objects could hold anything."""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ScnodeError(f"The stored model's {name} is an array of {array.dtype}, not of numbers. {_REFIT}")
    return array


def _labels(config: dict[str, Any]) -> dict[str, Any]:
    """What a model is called by, each of its kind; the first models knew no batches and no controls."""
    found = {
        "genes": _names(config["genes"]),
        "transform": str(config["transform"]),
        "use_rep": _name(config["use_rep"]),
        "batch_key": _name(config.get("batch_key")),
        "batches": _names(config.get("batches", [])),
        "controls": Controls.from_list(config["controls"]) if config.get("controls") else None,
    }
    if found["transform"] not in _TRANSFORMS:
        raise ScnodeError(f"The stored model's transform {found['transform']!r} is none of {_TRANSFORMS}. {_REFIT}")
    return found


def _name(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{value!r} is no name")
    return value


def _names(values: object) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError("names that are no list of strings")
    return values


def _encoder_config(config: dict[str, Any]) -> dict[str, Any] | None:
    """The first format named the encoder alone."""
    encoder = config["encoder"]
    if isinstance(encoder, str):
        encoder = None if encoder == "none" else {"name": encoder}
    if encoder is not None and encoder["name"] not in ENCODERS:
        raise ScnodeError(
            f"The stored model's encoder {encoder['name']!r} is unknown. {near(encoder['name'], ENCODERS)} {_REFIT}"
        )
    return encoder


def _check(config: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    # A crafted configuration must not allocate, or count, beyond what is stored; only then are shapes compared.
    most = sum(array.size for array in arrays.values())
    for part in ("field", "encoder", "diffusion", "n_latent"):
        if _largest(config.get(part)) > most:
            raise ScnodeError(f"The stored model's {part} is larger than its arrays. {_REFIT}")
    if {name: value.shape for name, value in arrays.items()} != _shapes(config):
        raise ScnodeError(f"The stored model's arrays do not fit its configuration. {_REFIT}")
    n_batches = (config["encoder"] or {}).get("n_batches", 1)
    if n_batches != max(1, len(config.get("batches", ()))):
        raise ScnodeError(f"The stored model's encoder has {n_batches} batches, of which not each has a name. {_REFIT}")
    broken = [name for name, value in arrays.items() if not np.isfinite(value).all()]
    if broken:
        raise ScnodeError(f"The stored model is not finite in {broken}. {_REFIT}")


def _largest(value: Any) -> float:
    """The largest number, or length of a list, in a configuration."""
    if isinstance(value, dict):
        return max((_largest(item) for name, item in value.items() if name != "reach"), default=0)
    if isinstance(value, list):
        return max(len(value), *(_largest(item) for item in value)) if value else 0
    return abs(value) if isinstance(value, int | float) else 0


def _shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shape of every array that a configuration speaks of."""
    with torch.device("meta"):
        states = {part: module.state_dict() for part, module in _parts(config).items()}
    return {f"{part}.{name}": tuple(v.shape) for part, state in states.items() for name, v in state.items()}


def _parts(config: dict[str, Any]) -> dict[str, Any]:
    """Modules of a configuration, without their weights."""
    parts: dict[str, Any] = {"field": _new_field(config)}
    if config["encoder"] is not None:
        parts["encoder"] = _new_encoder(config)
    if config.get("diffusion") is not None:
        parts["diffusion"] = Diffusion(config["n_latent"], **config["diffusion"])
    return parts


def _new_field(config: dict[str, Any]) -> Field:
    sizes = dict(config["field"])
    # The first models stored their sizes alone.
    name, reach = sizes.pop("name", "mlp"), sizes.pop("reach", None)
    if name not in FIELDS:
        raise ScnodeError(f"The stored model's field {name!r} is unknown. {near(name, FIELDS)} {_REFIT}")
    field = FIELDS[name](config["n_latent"], **sizes)
    field.reach = math.inf if reach is None else float(reach)
    if not field.reach > 0:
        raise ScnodeError(f"The stored model's reach of {reach} is no distance. {_REFIT}")
    return field


def _new_encoder(config: dict[str, Any]) -> Encoder:
    sizes = dict(config["encoder"])
    return ENCODERS[sizes.pop("name")](len(config["genes"]), config["n_latent"], **sizes)


def _load(module: torch.nn.Module, arrays: dict[str, np.ndarray], prefix: str) -> None:
    own = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    module.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in own.items()})
