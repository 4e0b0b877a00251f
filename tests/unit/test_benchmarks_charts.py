"""The picture and the table of a benchmark, and the images that are measured with."""

from xml.etree import ElementTree as ET

from benchmarks.chart import write_chart
from benchmarks.dataplane_images import change_pages, make_image, pages_with_data, peak_kib
from benchmarks.row import row

ROWS = [
    row("copy <1>", ours=2.0, peer=4.0, peer_name="rsync", unit="s", goal="2 times as fast", met=True, command="x"),
    row("memory", ours=300.0, unit="MiB", goal="below 200", met=False, command="x"),
]


def test_a_row_with_a_peer_has_two_bars_and_their_lengths_are_in_proportion(tmp_path):
    write_chart("speed", "Speed & size", ROWS, folder=tmp_path)
    drawn = ET.parse(tmp_path / "speed.svg").getroot()
    bars = [each for each in drawn.iter("{http://www.w3.org/2000/svg}rect") if each.get("x")]
    lengths = [float(bar.get("width", "0")) for bar in bars]
    assert len(bars) == 3
    assert lengths[0] * 2 == lengths[1]
    words = "".join(drawn.itertext())
    assert "copy <1>" in words
    assert "goal: below 200 – not met" in words


def test_the_table_says_what_was_met(tmp_path):
    write_chart("speed", "Speed", ROWS, folder=tmp_path)
    lines = (tmp_path / "speed.md").read_text().splitlines()
    assert "![Speed](speed.svg)" in lines
    assert "| copy <1> | 2 s | 4 s, rsync | 0.5 | 2 times as fast | met |" in lines
    assert "| memory | 300 MiB |  |  | below 200 | not met |" in lines


def test_an_image_is_half_holes_and_changes_by_as_many_pages_as_asked(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    data = make_image(one, 8)
    other.write_bytes(one.read_bytes())
    before = one.read_bytes()
    assert len(pages_with_data(one)) * 4096 == data
    assert change_pages([one, other], 10) == 40960
    for path in (one, other):
        after = path.read_bytes()
        changed = [at for at in range(0, len(before), 4096) if before[at : at + 4096] != after[at : at + 4096]]
        assert len(changed) == 10


def test_the_peak_of_a_process_is_read_from_its_status():
    assert peak_kib("Name:\tpython3\nVmPeak:\t  9 kB\nVmHWM:\t   22528 kB\nVmRSS:\t 20 kB\n") == 22528


def test_under_what_conditions_a_row_was_measured_stands_beside_it(tmp_path):
    write_chart("speed", "Speed", [{**ROWS[1], "note": "1 round"}], folder=tmp_path)
    assert "| below 200 | not met; 1 round |" in (tmp_path / "speed.md").read_text()
