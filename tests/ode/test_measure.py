import torch

from scnode import ode


def test_jacobian_divergence_and_norm_of_a_linear_field():
    a = torch.tensor([[0.0, -2.0], [1.0, -0.5]], dtype=torch.float64)
    y = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    j = ode.jacobian(lambda t, y: y @ a.T, y)
    torch.testing.assert_close(j, a.expand(5, 2, 2))
    torch.testing.assert_close(ode.divergence(j), torch.full((5,), -0.5, dtype=torch.float64))
    torch.testing.assert_close(ode.spectral_norm(j), torch.linalg.svdvals(a)[0].expand(5))


def test_jacobian_of_a_nonlinear_field_matches_its_closed_form():
    y = torch.tensor([[0.5, 2.0]], dtype=torch.float64)
    j = ode.jacobian(lambda t, y: torch.stack([y[:, 0] * y[:, 1], y[:, 0] ** 2], dim=1), y)
    torch.testing.assert_close(j[0], torch.tensor([[2.0, 0.5], [1.0, 0.0]], dtype=torch.float64))
