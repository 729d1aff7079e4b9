"""The domain-generalization table is the transfer table of another protocol."""

import pytest

from benchmark.errors import RecordError
from tables.protocols.domain_generalization import grids

ACCURACIES = {"imagenet": 71.5, "imagenetv2": 64.2, "imagenet_sketch": 48.0}


def test_source_targets_and_their_average_stand_in_one_row(transfer, texts):
    (grid,) = grids([transfer("coop", ACCURACIES, protocol="domain_generalization")])
    assert (grid.name, grid.caption[:21]) == ("domain_generalization", "Domain generalization")
    assert texts(grid) == {"CoOp": ["71.50", "64.20", "48.00", "56.10"]}


def test_without_published_values_the_table_says_where_rows_can_be_added(transfer):
    (grid,) = grids([transfer("coop", ACCURACIES, protocol="domain_generalization")], published=True)
    assert "Published values: tables/reference/domain_generalization.csv has none" in grid.explained


def test_no_records_say_what_to_run():
    with pytest.raises(RecordError, match=r"python run_all\.py --protocol domain_generalization"):
        grids([])
