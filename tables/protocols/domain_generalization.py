"""Make the domain-generalization table: a transfer table whose targets are shifted versions of the source."""

from tables.protocols.cross_dataset import transfer_table

TABLE = transfer_table("domain_generalization", "Domain generalization")
grids = TABLE.grids
