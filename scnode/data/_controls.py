"""What the cells were under: doses, drugs and stimuli from columns of `obs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scnode._errors import ScnodeError
from scnode._settings import logger
from scnode._validation import near

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


@dataclass(frozen=True)
class Control:
    """One column.

    Parameters
    ----------
    key
        Its name.
    scale
        Of a numeric column, what its values are divided by.
    levels
        Of a categorical column, its categories; the first is the reference.
    """

    key: str
    scale: float = 1.0
    levels: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """One for each dimension of the input: the column, or each category but the reference."""
        return [f"{self.key}={level}" for level in self.levels[1:]] if self.levels else [self.key]

    @property
    def reference(self) -> str:
        """The level at which the input is 0."""
        return self.levels[0] if self.levels else "0"

    def encode(self, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Values of the column as input (value, control).

        Raises
        ------
        ScnodeError
            A category that is none, or a number that is none.
        """
        if not self.levels:
            return self._numbers(values)[:, None] / self.scale
        labels = np.asarray(values).astype(str)
        unknown = sorted(set(labels.tolist()) - set(self.levels))
        if unknown:
            raise ScnodeError(
                f"{unknown[0]!r} is no level of {self.key!r} that the field was fitted to. "
                f"{near(unknown[0], self.levels)} Pass one of {list(self.levels)}."
            )
        return (labels[:, None] == np.array(self.levels[1:])).astype(float)

    def _numbers(self, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        try:
            numbers = np.asarray(values, dtype=float)
        except (TypeError, ValueError):
            numbers = np.full(1, np.nan)
        if numbers.ndim != 1 or not np.isfinite(numbers).all():
            raise ScnodeError(f"A level of {self.key!r} is a finite number, and {values!r} is none. Pass such.")
        return numbers


@dataclass(frozen=True)
class Controls:
    r"""The columns of an input, 0 for a cell at the reference of each: untreated.

    A numeric column is divided by its largest absolute value, so that 0 stays 0; a boolean is 0 or 1; a categorical
    one, and a column of strings, has one dimension for each category but the first, its reference.
    """

    columns: tuple[Control, ...]

    @classmethod
    def of(cls, adata: AnnData, keys: str | Sequence[str]) -> Controls:
        """What the columns of a fit hold.

        Raises
        ------
        ScnodeError
            A column that is missing, constant, or has missing or non-finite values.
        """
        named = [keys] if isinstance(keys, str) else [str(key) for key in keys]
        if not named or len(set(named)) < len(named):
            raise ScnodeError(f"control_key={named} must name columns of obs, each once. Pass 'dose', or a list.")
        controls = cls(tuple(_control(_column(adata, key), key) for key in named))
        for control in controls.columns:
            logger.info("Input %s: untreated is %r.", ", ".join(control.names), control.reference)
        return controls

    @property
    def names(self) -> list[str]:
        """One for each dimension of the input."""
        return [name for control in self.columns for name in control.names]

    @property
    def keys(self) -> list[str]:
        """Columns of `obs`."""
        return [control.key for control in self.columns]

    def read(self, adata: AnnData) -> np.ndarray:
        """Input of every cell, shape (cell, control).

        Raises
        ------
        ScnodeError
            A column that is missing or has missing or unknown values.
        """
        return np.concatenate([c.encode(_column(adata, c.key).to_numpy()) for c in self.columns], axis=1)

    def describe(self, u: np.ndarray) -> str:
        """An input (control,) in the units of its columns."""
        parts, place = [], 0
        for c in self.columns:
            own = u[place : place + len(c.names)]
            place += len(c.names)
            level = c.levels[int(np.argmax(own)) + 1 if own.any() else 0] if c.levels else f"{own[0] * c.scale:g}"
            parts.append(f"{c.key}={level}")
        return ", ".join(parts)

    def to_list(self) -> list[dict[str, Any]]:
        """Plain values, as a record keeps them."""
        return [asdict(control) for control in self.columns]

    @classmethod
    def from_list(cls, stored: Sequence[Mapping[str, Any]]) -> Controls:
        """The reverse of :meth:`to_list`."""
        columns = tuple(Control(str(c["key"]), float(c["scale"]), tuple(str(x) for x in c["levels"])) for c in stored)
        if not all(np.isfinite(c.scale) and c.scale > 0 for c in columns):
            raise ScnodeError("A stored control has no scale. Refit with scnode.tl.fit(adata).")
        return cls(columns)


def _column(adata: AnnData, key: str) -> pd.Series:
    if key not in adata.obs:
        raise ScnodeError(f"adata.obs[{key!r}] not found. {near(key, adata.obs.columns)} Pass control_key=.")
    column = adata.obs[key]
    if column.isna().any():
        raise ScnodeError(
            f"adata.obs[{key!r}] is missing in {column.isna().sum()} cells. Say what they were under, or drop them: "
            f"adata = adata[adata.obs[{key!r}].notna()].copy()."
        )
    if column.dtype.kind == "f" and not np.isfinite(column).all():
        raise ScnodeError(
            f"adata.obs[{key!r}] is infinite in {(~np.isfinite(column)).sum()} cells. "
            f"Drop them: adata = adata[numpy.isfinite(adata.obs[{key!r}])].copy()."
        )
    return column


def _control(column: pd.Series, key: str) -> Control:
    if column.nunique() < 2:
        raise ScnodeError(
            f"adata.obs[{key!r}] is the same in every cell, and no response can be told from it. Leave it out of "
            "control_key=."
        )
    if column.dtype.kind in "mM":
        raise ScnodeError(f"adata.obs[{key!r}] holds times, which are no input. Pass time_key={key!r}, or numbers.")
    if column.dtype.kind in "biuf":
        return Control(key, scale=float(np.abs(column.to_numpy(dtype=float)).max()))
    if isinstance(getattr(column, "dtype", None), _categorical()):
        return Control(key, levels=tuple(column.cat.remove_unused_categories().cat.categories.astype(str)))
    return Control(key, levels=tuple(sorted(column.astype(str).unique())))


def _categorical() -> type:
    import pandas as pd

    return pd.CategoricalDtype
