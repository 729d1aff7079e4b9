"""Figures printed in publications, to stand beside measured ones; facts with their source, never a target."""

from pathlib import Path

import pandas as pd

REFERENCE = Path(__file__).resolve().parent / "reference"


def published_base2new(
    *, backbone: str = "ViT-B/16", variant: str = "paper", folder: Path = REFERENCE
) -> dict[tuple[str, str, str], float]:
    """(method, dataset, "base" | "new" | "h") to the published percentage; the dataset "average" is a row of its own.

    Rows that a user adds to base2new.csv are found here at once; an empty cell is an unknown one.
    """
    frame = pd.read_csv(folder / "base2new.csv")
    kept = frame[(frame["backbone"] == backbone) & (frame["variant"] == variant)]
    return {
        (row.method, row.dataset, column): float(getattr(row, column))
        for row in kept.itertuples()
        for column in ("base", "new", "h")
        if pd.notna(getattr(row, column))
    }
