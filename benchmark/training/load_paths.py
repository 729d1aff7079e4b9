"""Check the paths of --load METHOD=PATH, where PATH may contain {dataset}, {seed} and {shots}; without torch."""

import re
from collections.abc import Mapping, Sequence

from benchmark.errors import did_you_mean

PLACES = ("dataset", "seed", "shots")  # placeholders of a path


def pattern_problems(loads: Mapping[str, str], methods: Sequence[str], shots: Mapping[str, Sequence[int]]) -> list[str]:
    """What is wrong with --load, checked before any file is opened.

    Args:
        loads: method to path.
        methods: the methods that run.
        shots: protocol to its numbers of shots.
    """
    problems = []
    for method, pattern in loads.items():
        if method not in methods:
            problems.append(f"--load {method}: this method does not run. {did_you_mean(method, methods)}")
        open_places = re.findall(r"\{(\w*)\}", pattern)
        problems += [
            f"--load {method}={pattern}: {{{place}}} is unknown. {did_you_mean(place, PLACES)}"
            for place in open_places
            if place not in PLACES
        ]
        problems += [
            f"--load {method}={pattern}: {protocol} runs {', '.join(map(str, several))} shots, but one file "
            f"was trained at one of them; name that with --shots, or put {{shots}} into the path"
            for protocol, several in shots.items()
            if len(several) > 1 and "shots" not in open_places
        ]
    return problems
