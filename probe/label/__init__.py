"""Label less: which clips to label next, by whom, and what is known after that."""

from typing import TYPE_CHECKING

from oscine.models.lazy import lazily

if TYPE_CHECKING:
    from oscine.probe.label.posterior import LastLayerLaplace
    from oscine.probe.label.simulation.settings import SimulationSettings
    from oscine.probe.label.simulation.simulate import simulate
    from oscine.probe.label.state import State
    from oscine.probe.label.strategies.initial import default_strategy, initial_set
    from oscine.probe.label.strategies.registry import choose, list_strategies, register_strategy
    from oscine.probe.label.votes.combine import CombineSettings, combine_votes
    from oscine.probe.label.votes.read import VoteSettings, read_votes
    from oscine.probe.label.votes.table import TableSettings, write_combined
    from oscine.probe.label.votes.votes import Votes
else:
    homes = {
        "posterior": ["LastLayerLaplace"],
        "simulation.settings": ["SimulationSettings"],
        "simulation.simulate": ["simulate"],
        "state": ["State"],
        "strategies.initial": ["default_strategy", "initial_set"],
        "strategies.registry": ["choose", "list_strategies", "register_strategy"],
        "votes.combine": ["CombineSettings", "combine_votes"],
        "votes.read": ["VoteSettings", "read_votes"],
        "votes.table": ["TableSettings", "write_combined"],
        "votes.votes": ["Votes"],
    }
    __getattr__, __dir__ = lazily(__name__, homes)

__all__ = [
    "CombineSettings", "LastLayerLaplace", "SimulationSettings", "State", "TableSettings", "VoteSettings", "Votes",
    "choose", "combine_votes", "default_strategy", "initial_set", "list_strategies", "read_votes",
    "register_strategy", "simulate", "write_combined",
]  # fmt: skip
