import numpy as np
import pytest
import torch

import scnode
from scnode import ScnodeError


def test_the_model_gives_what_the_fit_wrote(fitted):
    model = scnode.get.model(fitted)
    states = torch.as_tensor(fitted.obsm["X_scnode"])
    with torch.no_grad():
        velocity, sd = model.velocity(states)
        again = model.encoder.encode(torch.as_tensor(fitted.X))
    np.testing.assert_array_equal(velocity.numpy(), fitted.obsm["velocity_scnode"])
    np.testing.assert_array_equal(sd.numpy(), fitted.obs["scnode_velocity_sd"])
    np.testing.assert_allclose(again.numpy(), fitted.obsm["X_scnode"], atol=1e-5)
    assert model.genes == list(fitted.var_names)
    assert not model.training


def test_a_change_to_the_model_does_not_reach_adata(fitted):
    with torch.no_grad():
        for parameter in scnode.get.model(fitted).parameters():
            parameter.zero_()
    assert all(parameter.any() for name, parameter in scnode.get.model(fitted).named_parameters() if "weights" in name)


def test_without_a_fit_the_call_is_named(line):
    with pytest.raises(ScnodeError, match=r"Run scnode.tl.fit\(adata\)"):
        scnode.get.model(line)
