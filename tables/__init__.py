"""Tables, figures, claims and reports from stored records, without torch.

It imports benchmark.common and benchmark.records; start with __main__.py, or with protocols/ for one table.
"""
