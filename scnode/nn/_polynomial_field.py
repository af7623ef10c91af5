"""Polynomials of the state: exact for mass action, and read as equations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from scnode._errors import ScnodeError
from scnode.nn._field import Field
from scnode.nn._least_squares import ridge
from scnode.nn._monomials import Monomials
from scnode.nn._selection import Estimate, eliminate, estimate
from scnode.nn._sums import write_sum
from scnode.nn._weak_form import WeakForm, weak_form

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

Table = dict[str, dict[str, float]]

_MOST = 20_000
"""Monomials beyond which a field is refused."""


class PolynomialField(Field):
    r"""Field whose components are polynomials of the state, of degree 2 by default.

    .. math:: f_i(x) = c_i + \sum_j A_{ij} x_j + \sum_{j \le k} B_{ijk}\,x_j x_k

    holds every system of mass action whose reactions have at most two reactants. As :math:`4 x_j x_k = (x_j + x_k)^2 -
    (x_j - x_k)^2`, it is also a network of one hidden layer with the activation :math:`a \mapsto a^2`, whose weights
    beyond the last layer are known: what is left to learn is linear, and least squares find it without a start.

    The monomials are those of :math:`u = (x - o)/s_x`, of order one on the data; :meth:`coefficients` and
    :meth:`equations` undo scales and origin exactly, and :meth:`set_scales` changes the numbers and not the field.
    It is zero until coefficients are set, regressed or trained. Beyond the reach of the data the equations end, as for
    every :class:`scnode.nn.Field`.

    Parameters
    ----------
    n_latent
        Dimension of the state.
    degree
        1, 2 or 3.
    n_members
        Size of the ensemble.
    generator
        Not used: the start is zero. Every kind of field takes one.

    Raises
    ------
    ScnodeError
        A size below 1, another degree, or more than 20,000 monomials.

    Examples
    --------
    >>> import scnode
    >>> field = scnode.nn.PolynomialField(2)
    >>> field.set_coefficients({"x": {"x": 1.1, "x y": -0.4}, "y": {"y": -0.4, "x y": 0.1}})
    >>> print("\n".join(field.equations(["x", "y"])))
    dx/dt = 1.1 x - 0.4 x y
    dy/dt = -0.4 y + 0.1 x y

    References
    ----------
    :cite:p:`Brunton2016`, :cite:p:`Messenger2021`, :cite:p:`Bortz2023`
    """

    name: ClassVar[str] = "polynomial"
    origin: Tensor
    support: Tensor

    def __init__(
        self,
        n_latent: int,
        *,
        degree: int = 2,
        n_members: int = 1,
        generator: torch.Generator | None = None,
    ) -> None:
        del generator
        super().__init__(n_latent, n_members=n_members)
        if degree not in (1, 2, 3):
            raise ScnodeError(f"PolynomialField(degree={degree}) is not available. Pass 1, 2 or 3.")
        n_monomials = math.comb(n_latent + degree, degree)
        if n_monomials > _MOST:
            raise ScnodeError(
                f"PolynomialField(n_latent={n_latent}, degree={degree}) has {n_monomials} monomials, above {_MOST}. "
                "Pass a lower degree=, or fewer dimensions."
            )
        self.degree, self.monomials = degree, Monomials(n_latent, degree)
        self.weight = nn.Parameter(torch.zeros(n_members, n_monomials, n_latent))
        self.register_buffer("origin", torch.zeros(n_latent))
        self.register_buffer("support", torch.ones(n_monomials, n_latent, dtype=torch.bool))

    @property
    def sizes(self) -> dict[str, Any]:
        """Degree."""
        return {"degree": self.degree}

    def scaled(self, t: Tensor, z: Tensor) -> Tensor:
        """Polynomial of every member."""
        del t
        weight = self._terms() if z.ndim == 3 else self._terms()[0]
        return self.monomials(z + self._offset) @ weight

    def scaled_jacobian(self, t: Tensor, z: Tensor) -> Tensor:
        """Derivatives of the monomials, in closed form."""
        del t
        return self.monomials.slopes(z + self._offset, self._terms().mean(0))

    def set_scales(self, *, center: Tensor, scale: Tensor, speed: Tensor, reach: float = math.inf) -> None:
        """Fix the scales; the field stays as it is, and so do terms that were left out."""
        weight = self._original()
        super().set_scales(center=center, scale=scale, speed=speed, reach=reach)
        # Terms left out of the equations are none of polynomials about another point.
        self.origin.copy_(center if bool(self.support.all()) else torch.zeros_like(center))
        self._write(weight)

    def prepare(self, states: Tensor, velocity: Tensor, weight: Tensor) -> bool:
        """Begin at the penalised least squares of each member, unless there is a start already."""
        if bool(self.weight.any()):
            return False
        features = self.monomials((states - self.origin) / self.scale).double()
        target = (velocity / self.speed).double()
        with torch.no_grad():
            for own, w in zip(self.weight, weight.double(), strict=True):
                own.copy_(ridge(features, target, w) * self.support)
        return True

    def coefficients(self, names: Sequence[str] | None = None) -> Table:
        """Coefficients of the members' mean in the units of x, ``{"x": {"x y": -0.4, ...}, ...}``.

        Terms that were left out are not among them. :class:`pandas.DataFrame` makes a table of it, a column for each
        state.

        Parameters
        ----------
        names
            Of the states; ``"x0"``, ``"x1"`` and so on by default.
        """
        return self._table(self._original().mean(0), names)

    def set_coefficients(self, coefficients: Mapping[str, Mapping[str, float]]) -> None:
        """Take coefficients in the units of x, as :meth:`coefficients` gives them; what is not named is zero.

        Parameters
        ----------
        coefficients
            One mapping for each state, in order; a monomial is 1, or a product such as ``"x y"`` or ``"x^2"``.

        Raises
        ------
        ScnodeError
            Not one mapping for each state, or an unknown monomial.
        """
        names = self._named(list(coefficients))
        place = {name: i for i, name in enumerate(self.monomials.names(names))}
        values = torch.zeros(len(self.monomials), self.n_latent, dtype=torch.float64)
        for j, terms in enumerate(coefficients.values()):
            for term, value in terms.items():
                if term not in place:
                    raise ScnodeError(f"{term!r} is none of the monomials {list(place)[:20]}. Pass these, written so.")
                values[place[term], j] = value
        self.support.fill_(value=True)
        self._write(values.expand(self.n_members, -1, -1))

    def equations(self, names: Sequence[str] | None = None, *, tolerance: float = 1e-3) -> list[str]:
        """The members' mean as text, ``"dx/dt = 1.1 x - 0.4 x y"``, in the units of x.

        Parameters
        ----------
        names
            Of the states; ``"x0"``, ``"x1"`` and so on by default.
        tolerance
            Terms below this share of the largest of their equation are left out, each taken at a usual state: centre
            plus scale.
        """
        usual = self.monomials((self.center.abs() + self.scale).detach().cpu().double())
        values = self._original().mean(0)
        size = values.abs() * usual[:, None]
        table = self._table(values * (size > tolerance * size.amax(0)), names, drop=True)
        return [f"d{name}/dt = {write_sum(terms.values(), terms)}" for name, terms in table.items()]

    def regress(self, ts: Tensor, ys: Tensor, *, window: int | None = None) -> Table:
        r"""Fit trajectories by generalised least squares on their weak form.

        :math:`-\int \dot\psi\,y\,dt = \sum_m c_m \int \psi\,\phi_m(y)\,dt` for test functions :math:`\psi` on windows
        of time needs no derivative of the data. Residuals are weighted by the inverse of the covariance that noise of
        the states gives them, to first order and on either side, and this again with the coefficients so found.
        All members get the same coefficients.

        Parameters
        ----------
        ts
            Times, shape (time,) or (trajectory, time), at least 7.
        ys
            Observed states, shape (trajectory, time, state).
        window
            Intervals of a window, by default a quarter of the times.

        Returns
        -------
        dict
            Standard errors, like :meth:`coefficients`.

        Raises
        ------
        ScnodeError
            Shapes, times or states that cannot be used.

        References
        ----------
        :cite:p:`Messenger2021`, :cite:p:`Bortz2023`
        """
        return self._take(estimate(self._weak_form(ts, ys, window), self.monomials, self.support))

    def sparsify(
        self,
        ts: Tensor,
        ys: Tensor,
        *,
        threshold: float | None = None,
        tolerance: float = 1e-3,
        window: int | None = None,
    ) -> Table:
        r"""Regress trajectories as :meth:`regress` does, and leave out what they do not call for.

        Sequential thresholding: of the terms whose coefficient is less than `threshold` standard errors from zero the
        least are left out, the rest is fitted again, until all stand out. Terms are those of the equations in the units
        of x. What is left out stays out, also in further training, until :meth:`set_coefficients`.

        Parameters
        ----------
        ts, ys, window
            As for :meth:`regress`.
        threshold
            In standard errors. The default is :math:`\sqrt{\log n + 2 \log p}` for n observed numbers and p terms, at
            which the extended Bayesian information criterion decides.
        tolerance
            Terms are also left out whose integrals are below this share of the largest of their equation: without
            noise, the error of the quadrature stands out as well.

        Returns
        -------
        dict
            Standard errors of the terms that stay, like :meth:`coefficients`.

        Raises
        ------
        ScnodeError
            Shapes, times or states that cannot be used, terms that no trajectory tells apart, or no term left.

        References
        ----------
        :cite:p:`Brunton2016`, :cite:p:`Chen2008`
        """
        if threshold is not None and not 0 <= threshold < math.inf:
            raise ScnodeError(f"threshold={threshold} must be finite and not negative. Leave it out for the default.")
        return self._take(eliminate(self._weak_form(ts, ys, window), self.monomials, threshold, tolerance))

    @property
    def _offset(self) -> Tensor:
        return (self.center - self.origin) / self.scale

    def _terms(self) -> Tensor:
        return self.weight * self.support

    def _weak_form(self, ts: Tensor, ys: Tensor, window: int | None) -> WeakForm:
        if ys.ndim == 3 and ys.shape[2] != self.n_latent:
            raise ScnodeError(f"ys has {ys.shape[2]} states and the field {self.n_latent}. Pass as many.")
        return weak_form(ts.to(self.origin.device), ys.to(self.origin.device), window=window)

    def _take(self, found: Estimate) -> Table:
        """Make an estimate the field's own."""
        self.support.copy_(found.support)
        if not bool(found.support.all()):
            self.origin.zero_()
        self._write(found.coefficients.expand(self.n_members, -1, -1))
        return self._table(found.standard_errors, None)

    def _substitution(self, *, back: bool) -> Tensor:
        """From monomials of u to those of x, or back, in double precision on the CPU."""
        scale, origin = float(self.scale), self.origin.detach().cpu().double()
        if back:
            return self.monomials.substitution(scale, origin.tolist())
        return self.monomials.substitution(1 / scale, (-origin / scale).tolist())

    def _original(self) -> Tensor:
        """Coefficients of every member in the units of x (member, monomial, state), in double precision on the CPU."""
        weight = self._terms().detach().cpu().double()
        return float(self.speed) * (self._substitution(back=False).T @ weight)

    def _write(self, coefficients: Tensor) -> None:
        """Take coefficients in the units of x."""
        weight = self._substitution(back=True).T @ coefficients.cpu() / float(self.speed)
        with torch.no_grad():
            self.weight.copy_(weight * self.support.cpu())

    def _named(self, names: Sequence[str] | None) -> list[str]:
        found = [f"x{i}" for i in range(self.n_latent)] if names is None else [str(name) for name in names]
        if len(found) != self.n_latent or len(set(found)) != len(found):
            raise ScnodeError(f"names={found} do not name {self.n_latent} states. Pass one for each, all different.")
        return found

    def _table(self, values: Tensor, names: Sequence[str] | None, *, drop: bool = False) -> Table:
        """By state and monomial; without those out of the support, or with `drop` all that are zero."""
        own = self._named(names)
        kept = values != 0 if drop else self.support.cpu()
        terms = list(enumerate(self.monomials.names(own)))
        return {
            state: {term: float(values[i, j]) for i, term in terms if bool(kept[i, j])} for j, state in enumerate(own)
        }
