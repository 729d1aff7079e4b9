"""List the protocols by name, in the order in which `--protocol all` runs them."""

from benchmark.protocols import base2new, cross_dataset, domain_generalization, few_shot
from benchmark.protocols.protocol import Protocol

PROTOCOLS: dict[str, Protocol] = {
    module.PROTOCOL.name: module.PROTOCOL for module in (base2new, cross_dataset, few_shot, domain_generalization)
}
ALL = "all"  # means all of them on the command line
