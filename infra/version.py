"""The installed version, for people and logs."""

from importlib.metadata import version

VERSION = version("moorage")
