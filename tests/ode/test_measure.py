import pytest
import torch

from scnode import SolverError, ode


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def test_jacobian_divergence_and_norms_of_a_linear_field():
    a = torch.tensor([[0.0, -2.0], [1.0, -0.5]], dtype=torch.float64)
    j = ode.jacobian(lambda t, y: y @ a.T, draw(5, 2))
    torch.testing.assert_close(j, a.expand(5, 2, 2))
    torch.testing.assert_close(ode.divergence(j), torch.full((5,), -0.5, dtype=torch.float64))
    torch.testing.assert_close(ode.spectral_norm(j), torch.linalg.svdvals(a)[0].expand(5))
    symmetric = torch.tensor([[0.0, -0.5], [-0.5, -0.5]], dtype=torch.float64)
    torch.testing.assert_close(ode.log_norm(j), torch.linalg.eigvalsh(symmetric)[-1].expand(5))


def test_jacobian_of_a_nonlinear_field_matches_its_closed_form():
    y = torch.tensor([[0.5, 2.0]], dtype=torch.float64)
    j = ode.jacobian(lambda t, y: torch.stack([y[:, 0] * y[:, 1], y[:, 0] ** 2], dim=1), y)
    torch.testing.assert_close(j[0], torch.tensor([[2.0, 0.5], [1.0, 0.0]], dtype=torch.float64))


def test_jacobian_is_taken_at_one_time_or_one_per_state():
    y = draw(3, 2)
    times = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    diagonal = times[:, None, None] * torch.eye(2, dtype=torch.float64)
    torch.testing.assert_close(ode.jacobian(lambda t, y: t * y, y, t=2.0)[0], diagonal[1])
    torch.testing.assert_close(ode.jacobian(lambda t, y: t * y, y, t=times), diagonal)
    torch.testing.assert_close(ode.jacobian(lambda t, y: t * y, y, t=times.unsqueeze(1)), diagonal)


def test_the_field_s_own_jacobian_is_used():
    class Field:
        def __call__(self, t, y):
            raise AssertionError("not needed")

        def jacobian(self, t, y):
            return t * torch.eye(2).expand(len(y), 2, 2)

    torch.testing.assert_close(ode.jacobian(Field(), torch.zeros(4, 2), t=3.0), 3 * torch.eye(2).expand(4, 2, 2))


def test_jacobian_can_be_differentiated():
    k = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[3.0]], dtype=torch.float64, requires_grad=True)
    j = ode.jacobian(lambda t, y: k * y**3, y, create_graph=True)
    by_k, by_y = torch.autograd.grad(j.sum(), [k, y])
    assert by_k.item() == pytest.approx(27)
    assert by_y.item() == pytest.approx(36)
    assert not ode.jacobian(lambda t, y: k * y**3, y).requires_grad


def test_parts_of_a_field_without_a_gradient_count_as_constant():
    y = draw(3, 2)
    assert not ode.jacobian(lambda t, y: torch.ones_like(y), y).any()
    bias = torch.ones(2, dtype=torch.float64, requires_grad=True)
    assert not ode.jacobian(lambda t, y: bias.expand(len(y), 2), y).any()
    half = ode.jacobian(lambda t, y: torch.stack([y[:, 1] ** 2, torch.ones(len(y), dtype=y.dtype)], dim=1), y)
    torch.testing.assert_close(half[:, 0, 1], 2 * y[:, 1])
    assert not half[:, 1].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1.0, 1e-18, 1e18])
def test_spectral_norm_is_exact_for_nearly_singular_and_badly_scaled_matrices(dtype, size):
    u, v = (torch.linalg.qr(draw(20, 6, 6, seed=seed)).Q for seed in (1, 2))
    sizes = torch.tensor([3.0, 3.0, 1.0, 1e-3, 1e-9, 0.0], dtype=torch.float64)
    j = (size * u * sizes @ v).to(dtype)
    torch.testing.assert_close(ode.spectral_norm(j).double() / size, torch.full((20,), 3.0).double(), rtol=2e-6, atol=0)
    assert not ode.spectral_norm(torch.zeros(2, 3, 3, dtype=dtype)).any()


def test_spectral_norm_has_the_gradient_of_a_norm():
    j = draw(1, 3, 3).requires_grad_()
    (slope,) = torch.autograd.grad(ode.spectral_norm(j).sum(), j)
    u, _, vh = torch.linalg.svd(j.detach())
    torch.testing.assert_close(slope, u[:, :, :1] @ vh[:, :1])


def test_eigenvalues_fall_by_real_then_by_imaginary_part():
    block = torch.tensor([[-1.0, -2.0, 0.0], [2.0, -1.0, 0.0], [0.0, 0.0, 0.5]])
    values = ode.eigenvalues(block.unsqueeze(0))
    assert values.dtype == torch.complex64
    torch.testing.assert_close(values[0], torch.tensor([0.5, -1 + 2j, -1 - 2j], dtype=torch.complex64))


def test_log_norm_bounds_growth_and_tells_contraction():
    a = draw(8, 4, 4)
    grown = torch.linalg.matrix_norm(torch.linalg.matrix_exp(0.7 * a), ord=2)
    assert (grown <= torch.exp(0.7 * ode.log_norm(a)) * (1 + 1e-12)).all()
    assert (ode.log_norm(a).abs() <= ode.spectral_norm(a) * (1 + 1e-12)).all()
    assert ode.log_norm(-2 * torch.eye(3).unsqueeze(0)).item() == pytest.approx(-2)


class Wrong:
    def jacobian(self, t, y):
        return torch.zeros(len(y), 2)


@pytest.mark.parametrize(
    ("call", "fix"),
    [
        (lambda: ode.jacobian(lambda t, y: y.detach() ** 2, torch.ones(2, 2)), "Write it in torch"),
        (lambda: ode.jacobian(lambda t, y: y.detach() * torch.ones(2, requires_grad=True), torch.ones(2, 2)), "torch"),
        (lambda: ode.jacobian(lambda t, y: y[:, :1], torch.ones(2, 2)), "returned shape"),
        (lambda: ode.jacobian(Wrong(), torch.ones(2, 2)), "Return \\(batch, state, state\\)"),
        (lambda: ode.jacobian(lambda t, y: y, torch.ones(2)), "shape \\(batch, state\\)"),
        (lambda: ode.spectral_norm(torch.full((3, 2, 2), float("nan"))), "3 of 3 Jacobians are not finite"),
    ],
)
def test_bad_input_names_the_mending_call(call, fix):
    with pytest.raises(SolverError, match=fix):
        call()
