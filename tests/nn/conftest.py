import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp


def lotka_volterra(t, x):
    return [1.1 * x[0] - 0.4 * x[0] * x[1], 0.1 * x[0] * x[1] - 0.4 * x[1]]


def binding(t, x):
    rate = 1.5 * x[0] * x[1] - 0.3 * x[2]
    return [-rate, -rate, rate]


SYSTEMS = {
    "lotka_volterra": (
        lotka_volterra,
        {"x": {"x": 1.1, "x y": -0.4}, "y": {"y": -0.4, "x y": 0.1}},
        ([1.0, 1.0], [10.0, 5.0]),
        10.0,
    ),
    "binding": (
        binding,
        {"A": {"C": 0.3, "A B": -1.5}, "B": {"C": 0.3, "A B": -1.5}, "C": {"C": -0.3, "A B": 1.5}},
        ([0.3, 0.3, 0.0], [2.0, 2.0, 1.0]),
        4.0,
    ),
}


class System:
    """Trajectories of known equations, by SciPy at a tight tolerance."""

    def __init__(self, name):
        function, self.truth, (low, high), end = SYSTEMS[name]
        self.names, rng = list(self.truth), np.random.default_rng(1)
        times = np.linspace(0, end, 81)
        starts = rng.uniform(low, high, (10, len(low)))
        paths = [solve_ivp(function, (0, end), y0, t_eval=times, rtol=1e-11, atol=1e-12).y.T for y0 in starts]
        self.ts, self.ys = torch.tensor(times), torch.tensor(np.stack(paths))

    def noisy(self, share, seed):
        """States with noise of this share of their standard deviation."""
        noise = torch.randn(self.ys.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return self.ys + share * self.ys.std((0, 1)) * noise

    def error(self, found):
        """Largest error of a table of coefficients."""
        return max(abs(value - self.truth[s].get(m, 0.0)) for s, terms in found.items() for m, value in terms.items())


@pytest.fixture(scope="session", params=sorted(SYSTEMS))
def system(request):
    return System(request.param)


@pytest.fixture(scope="session")
def waves():
    return System("lotka_volterra")
