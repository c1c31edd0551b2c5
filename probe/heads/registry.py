"""Find the probes by the names of their classes, as configurations have them.

Not in settings.py: jsonargparse imports what stands there for type checkers alone, and with it torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oscine.models.plugins.classes import Classes
from oscine.probe.heads.settings import OUR_PROBES

if TYPE_CHECKING:
    from oscine.probe.heads.probe import Probe

PROBES: Classes[Probe] = Classes(
    "probe",
    "oscine.probe.heads.probe:Probe",
    "oscine.probe",
    {name: home for name, (home, _) in OUR_PROBES.items()} | {"IdentityProbe": "heads.identity"},
    unlisted=["IdentityProbe"],  # there is nothing to fit
)


def register_probe(kind: type[Probe]) -> type[Probe]:
    """Make a probe of your own known by the name of its class, as `probe` in a YAML; also as a decorator of the class.

    Its constructor takes an encoder and how many classes there are, then its own settings. A name that another probe has is
    an error.
    """
    return PROBES.register(kind)
