"""Print the table of an ablation: one row for each results folder, with the spread over seeds.

python -m tables.ablation FOLDER [FOLDER ...] [--data FOLDER]
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmark.common.command import Parser, answer, in_utf8, path_option
from benchmark.common.yaml import read_yaml
from benchmark.errors import ConfigError, RecordError
from benchmark.plugins.discovery import METHODS
from benchmark.records.metrics import harmonic_mean, mean, sample_std
from benchmark.records.record import RunRecord
from benchmark.records.store import collect
from tables.aggregate import headline, method_title, to_percent

BASELINE = "zero_shot"
ONE = 0.9  # a run uses one prompt if the mean weight of the most used one is larger
HEADINGS = ("row", "options", "base", "new", "H", "H above CLIP", "largest weight", "over patches", f"runs above {ONE}")
ABSENT = "-"

Averages = Mapping[int, tuple[float, float, float]]  # seed to base, new and H of their averages over datasets


def parse(arguments: list[str] | None) -> argparse.Namespace:
    summary, _, usage = (__doc__ or "").strip().partition("\n\n")
    parser = Parser(prog="python -m tables.ablation", description=summary, epilog=usage)
    add = parser.add_argument
    add("folders", type=path_option, nargs="+", metavar="FOLDER",
        help="results folders, each with base2new runs of one method in one setting; zero_shot may be one")  # fmt: skip
    add("--data", type=path_option, metavar="FOLDER", help="folder of the real datasets, if the runs used them")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Print the table in Markdown; exit code 0, or 2 with one message."""
    options = parse(arguments)
    return answer(lambda: _print(options.folders, options.data))


def _print(folders: Sequence[Path], data: Path | None) -> int:
    rows = {folder: runs_in(folder) for folder in folders}
    datasets = set.intersection(*({record.spec.dataset for record in records} for records in rows.values()))
    if not datasets:
        raise ConfigError("No dataset is in every folder. Run all rows with the same --datasets.")
    rows = {folder: [r for r in records if r.spec.dataset in datasets] for folder, records in rows.items()}
    clip = next((averages(records) for records in rows.values() if records[0].spec.method == BASELINE), None)
    lines = [HEADINGS, (":--", ":--", *["--:"] * (len(HEADINGS) - 2))]
    for folder, records in rows.items():
        found = averages(records)
        cells = [_spread([each[column] for each in found.values()]) for column in range(3)]
        weights = weight_cells(records, folder, data)
        lines.append((folder.name.removeprefix("ablation-"), changes(records[0]), *cells, above(found, clip), *weights))
    sys.stdout.write("".join(f"| {' | '.join(line)} |\n" for line in lines))
    everything = [record for records in rows.values() for record in records]
    sys.stdout.write(
        f"\nMeans and sample standard deviations over seeds of averages over {', '.join(sorted(datasets))}. "
        f"{headline(everything)}\n"
    )
    return 0


def runs_in(folder: Path) -> list[RunRecord]:
    """The base-to-new records of a results folder.

    Raises:
        RecordError: there is none, or they differ in more than dataset and seed.
    """
    records = [record for record in collect(folder)[0] if record.spec.protocol == "base2new"]
    if not records:
        raise RecordError(f"{folder}: has no run of base2new. Give the folder that --out named.")
    if len({(r.spec.method, r.spec.options, r.spec.training, r.spec.shots, r.spec.precision) for r in records}) > 1:
        raise RecordError(f"{folder}: has runs of several methods or settings. Run each row with an --out of its own.")
    return records


def averages(records: Sequence[RunRecord]) -> Averages:
    """Average over datasets for each seed that all of them have; H is that of the two averages."""
    cells: dict[int, dict[str, RunRecord]] = {}
    for record in records:
        cells.setdefault(record.spec.seed, {})[record.spec.dataset] = record
    most, found = max(map(len, cells.values())), {}
    for seed, of in sorted(cells.items()):
        if len(of) == most:
            base, new = (mean([to_percent(r.scores[half]) for r in of.values()]) for half in ("base", "new"))
            found[seed] = (base, new, harmonic_mean(base, new))
    return found


def above(found: Averages, clip: Averages | None) -> str:
    """The number of seeds whose H is above that of zero-shot CLIP, which is the same for all seeds."""
    if clip is None or found == clip:
        return ABSENT
    level = next(iter(clip.values()))[2]
    return f"{sum(h > level for _, _, h in found.values())} of {len(found)}"


def changes(record: RunRecord) -> str:
    """The options that differ from the defaults of the method, as --set takes them; its title if none does."""
    spec = record.spec
    defaults = read_yaml(METHODS / f"{spec.method}.yaml")["defaults"]
    changed = {key: value for key, value in sorted(spec.options.items()) if key in defaults and value != defaults[key]}
    text = ", ".join(f"`{key}={str(value).lower()}`" for key, value in changed.items())
    return text or f"{method_title(spec.method)}'s defaults" if spec.training else method_title(spec.method)


def weight_cells(records: Sequence[RunRecord], folder: Path, data: Path | None) -> list[str]:
    """The last three cells of a row: medians over runs, and the runs that use one prompt; "-" without weights."""
    if not records[0].spec.options.get("weighting"):
        return [ABSENT] * 3
    from benchmark.inspection.training_weights import weights_on_test_images  # slow: imports PyTorch

    largest, patches = [], []
    for record in records:
        weights = weights_on_test_images(record, record.spec.record_path(folder), data)  # (N, P, M)
        largest.append(float(weights.mean(axis=(0, 1)).max()))
        patches.append(float(weights.std(axis=1).mean()))
    spread = f"{median(patches):.2g}" if weights.shape[1] > 1 else ABSENT
    return [f"{median(largest):.3f}", spread, f"{sum(value > ONE for value in largest)} of {len(largest)}"]


def _spread(values: Sequence[float]) -> str:
    std = sample_std(values)
    return f"{mean(values):.2f}" + ("" if std is None else f" ± {std:.2f}")


if __name__ == "__main__":
    in_utf8()
    sys.exit(main())
