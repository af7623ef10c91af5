"""Types shared by all floors; jaxtyping names the axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    VectorField: TypeAlias = Callable[[Tensor, Tensor], Tensor]

RandomState: TypeAlias = "int | np.random.Generator | None"
