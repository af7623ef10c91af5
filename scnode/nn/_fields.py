"""Every kind of vector field by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scnode.nn._gradient_field import CirculatingField, GradientField
from scnode.nn._mlp_field import MLPField

if TYPE_CHECKING:
    from collections.abc import Callable

    from scnode.nn._field import Field

FIELDS: dict[str, Callable[..., Field]] = {kind.name: kind for kind in (MLPField, GradientField, CirculatingField)}
"""A row makes the field from (n_latent, n_members=..., **sizes)."""
