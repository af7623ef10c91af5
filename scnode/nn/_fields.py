"""Every kind of vector field by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scnode.nn._controlled_field import ControlledField
from scnode.nn._gradient_field import CirculatingField, GradientField
from scnode.nn._mlp_field import MLPField
from scnode.nn._polynomial_field import PolynomialField
from scnode.nn._rna_field import RNAField
from scnode.nn._stoichiometric_field import StoichiometricField

if TYPE_CHECKING:
    from collections.abc import Callable

    from scnode.nn._field import Field

_KINDS = (MLPField, ControlledField, CirculatingField, GradientField, PolynomialField, RNAField)
FIELDS: dict[str, Callable[..., Field]] = {kind.name: kind for kind in _KINDS}
"""A row makes the field from (n_latent, n_members=..., **sizes)."""

# Its matrix is among the arrays of a record, and not among its sizes.
FIELDS[StoichiometricField.name] = StoichiometricField.of_sizes
