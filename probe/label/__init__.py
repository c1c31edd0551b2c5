"""Label less: which clips to label next, by whom, and what is known after that."""

from typing import TYPE_CHECKING

from oscine.models.lazy import lazily

if TYPE_CHECKING:
    from oscine.probe.label.simulation.settings import SimulationSettings
    from oscine.probe.label.simulation.simulate import simulate
    from oscine.probe.label.state import State
    from oscine.probe.label.strategies.initial import default_strategy, initial_set
    from oscine.probe.label.strategies.registry import choose, list_strategies, register_strategy
else:
    homes = {
        "simulation.settings": ["SimulationSettings"],
        "simulation.simulate": ["simulate"],
        "state": ["State"],
        "strategies.initial": ["default_strategy", "initial_set"],
        "strategies.registry": ["choose", "list_strategies", "register_strategy"],
    }
    __getattr__, __dir__ = lazily(__name__, homes)

__all__ = [
    "SimulationSettings", "State", "choose", "default_strategy", "initial_set", "list_strategies", "register_strategy",
    "simulate",
]  # fmt: skip
