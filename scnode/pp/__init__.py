"""The few steps before a fit that people would else write by hand."""

from ._stoichiometry import stoichiometry
from ._time import time
from ._velocity import velocity

__all__ = ["stoichiometry", "time", "velocity"]
