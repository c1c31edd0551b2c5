"""oscine: a zoo of self-supervised audio encoders. Start with `from oscine.models import create_model`."""

from importlib.metadata import version

__version__ = version("oscine")
