"""Sphinx configuration."""

from __future__ import annotations

from importlib.metadata import version as installed

project = "scnode"
author = "The scnode developers"
copyright = f"2026, {author}"
version = release = installed("scnode")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinxcontrib.bibtex",
]
autosummary_generate = True
autodoc_typehints = "signature"
napoleon_google_docstring = False
napoleon_use_rtype = False
bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"
myst_enable_extensions = ["amsmath", "dollarmath", "colon_fence"]
nb_execution_mode = "cache"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
html_theme = "sphinx_book_theme"
html_title = "scnode"
