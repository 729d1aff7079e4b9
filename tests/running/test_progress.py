"""Bars on a terminal, lines elsewhere."""

import io

from benchmark.running.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def show(stream, *, slots=1):
    progress = Progress(2 * slots, stream=stream)
    for number in range(2):
        for slot in range(slots):
            progress.start(f"run {number} of {slot}", 3, slot=slot)
            progress.epoch(2, slot=slot)
        for slot in range(slots):
            progress.end(slot=slot)
            progress.line(f"run {number} of {slot}: done")
    progress.close()
    return stream.getvalue()


def test_log_has_one_numbered_line_a_run():
    assert show(io.StringIO()).splitlines() == ["[1/2] run 0 of 0: done", "[2/2] run 1 of 0: done"]


def test_terminal_has_the_grid_with_its_time_left_and_the_run_under_way():
    shown = show(Terminal())
    assert "grid:" in shown
    assert "run 0 of 0:" in shown
    assert "<" in shown.split("grid:")[2], "elapsed<left"
    assert "run 1 of 0: done" in shown


def test_runs_of_several_processes_have_a_bar_each():
    shown = show(Terminal(), slots=2)
    assert "run 0 of 0:" in shown
    assert "run 0 of 1:" in shown
    assert "4/4" in shown
