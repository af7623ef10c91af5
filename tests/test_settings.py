import logging

import pytest

import scnode


def test_verbosity_moves_the_logger_and_comes_back():
    before = scnode.settings.verbosity
    with scnode.settings.override(verbosity=0):
        assert logging.getLogger("scnode").level == logging.ERROR
        assert not scnode.settings.progress
    assert scnode.settings.verbosity == before


@pytest.mark.parametrize(("name", "value", "error"), [("verbosity", 9, ValueError), ("verbose", 1, AttributeError)])
def test_unknown_options_are_refused(name, value, error):
    with pytest.raises(error):
        setattr(scnode.settings, name, value)
