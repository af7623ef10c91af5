"""Every kind of vector field by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scnode.nn._mlp_field import MLPField
from scnode.nn._rna_field import RNAField

if TYPE_CHECKING:
    from collections.abc import Callable

    from scnode.nn._field import Field

FIELDS: dict[str, Callable[..., Field]] = {kind.name: kind for kind in (MLPField, RNAField)}
"""A row makes the field from (n_latent, n_members=..., **sizes)."""
