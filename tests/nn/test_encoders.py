"""What holds for every kind of encoder."""

import pytest
import torch

from scnode.nn import ENCODERS, PCA, LinearDecoder

N_GENES, N_LATENT = 9, 3
SIZES = {"autoencoder": {"hidden": [6]}, "vae": {"hidden": [6, 5], "n_batches": 2}}


def drawn(name):
    """An encoder with weights of its own, in double precision."""
    sizes = next((s for kind, s in SIZES.items() if name.startswith(kind)), {})
    encoder, generator = ENCODERS[name](N_GENES, N_LATENT, **sizes), torch.Generator().manual_seed(0)
    state = {k: 0.4 * torch.randn(v.shape, generator=generator) for k, v in encoder.state_dict().items()}
    state |= {k: v.abs() + 0.5 for k, v in state.items() if k in ("unit", "scale")}
    encoder.load_state_dict(state)
    return encoder.double()


def points(*shape, seed=1):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# The state of moments is abundance itself, of two values a gene: see test_moments.py.
@pytest.fixture(params=sorted(set(ENCODERS) - {"moments"}))
def encoder(request):
    return drawn(request.param)


def batches(encoder):
    return (torch.tensor([0, 1, 1, 0]), None) if encoder.name.startswith("vae") else (None,)


def test_name_and_sizes_make_the_same_kind_again(encoder):
    again = ENCODERS[encoder.name](N_GENES, N_LATENT, **encoder.sizes).double()
    again.load_state_dict(encoder.state_dict())
    z = points(4, N_LATENT)
    assert torch.equal(again.decode(z), encoder.decode(z))
    assert again.n_latent == N_LATENT
    assert isinstance(encoder, PCA) == (encoder.name in ("pca", "linear"))


def test_velocities_are_the_finite_differences_of_both_maps(encoder):
    x, v, z, w = points(4, N_GENES), points(4, N_GENES, seed=2), points(4, N_LATENT), points(4, N_LATENT, seed=2)
    h = 1e-5
    for batch in batches(encoder):
        for forward, differential, at, along in (
            (encoder.encode, encoder.encode_velocity, x, v),
            (encoder.decode, encoder.decode_velocity, z, w),
        ):
            expected = (forward(at + h * along, batch) - forward(at - h * along, batch)) / (2 * h)
            torch.testing.assert_close(differential(at, along, batch), expected, rtol=1e-7, atol=1e-8)
            assert expected.abs().max() > 1e-3


def test_states_of_any_leading_shape_are_decoded_one_by_one(encoder):
    z = points(2, 3, 4, N_LATENT)
    decoded = encoder.decode(z)
    assert decoded.shape == (2, 3, 4, N_GENES)
    torch.testing.assert_close(decoded[1, 2], encoder.decode(z[1, 2]))
    torch.testing.assert_close(encoder.decode(z[0, 0, 0]), decoded[0, 0, 0])
    moved = encoder.decode_velocity(z, 2 * z)
    torch.testing.assert_close(moved[1, 2], encoder.decode_velocity(z[1, 2], 2 * z[1, 2]))


def test_sized_encoders_on_no_device_take_no_memory():
    with torch.device("meta"):
        for name, make in ENCODERS.items():
            n_latent = 2 * 10**7 if name == "moments" else 100
            assert all(value.is_meta for value in make(10**7, n_latent).state_dict().values()), name


def test_a_linear_decoder_is_inverted_by_least_squares():
    decoder = drawn("linear")
    z, v = points(5, N_LATENT), points(5, N_GENES)
    assert isinstance(decoder, LinearDecoder)
    torch.testing.assert_close(decoder.encode(decoder.decode(z)), z)
    expected = torch.linalg.lstsq(decoder.components, v.T).solution.T
    torch.testing.assert_close(decoder.encode_velocity(v, v), expected)
