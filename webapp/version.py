"""The version of the running code."""

from importlib.metadata import version

VERSION = version("torchqueue")
