"""Programs of several parts: joined they are one file that a host's Python runs, nothing lost and nothing twice."""

import ast
import json
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.contracts.joined_program import joined_program, parts_imported
from orchestrator.contracts.programs import program_text
from orchestrator.movers.block_volume import PROGRAM as BLOCK_DELTA
from orchestrator.movers.tree_digests import PROGRAM as TREE_DIGEST

SYSTEMCTL = Path(__file__).resolve().parents[2] / "orchestrator/lab/host_programs/systemctl_stand_in"
FOLDERS = [BLOCK_DELTA, TREE_DIGEST, SYSTEMCTL]


def parts(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.py"))


def defined(tree: ast.Module) -> list[str]:
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        names += [target.id for target in targets if isinstance(target, ast.Name)]
    return names


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def folder(request):
    return request.param


def test_every_part_is_in_it_once(folder):
    text = joined_program(folder).decode()
    for part in parts(folder):
        assert text.count(f"# --- {part}\n") == 1


def test_no_name_stands_for_two_things(folder):
    twice = [name for name, count in Counter(defined(ast.parse(joined_program(folder)))).items() if count > 1]
    assert twice == []


def test_parts_import_the_standard_library_and_each_other_by_name(folder):
    for part in parts(folder):
        assert set(parts_imported(folder, part)) <= set(parts(folder))
    for node in ast.walk(ast.parse(joined_program(folder))):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= sys.stdlib_module_names
            assert all(alias.asname is None for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module in sys.stdlib_module_names


def test_names_taken_from_a_part_are_defined_there(folder):
    for part in parts(folder):
        for other, names in parts_imported(folder, part).items():
            assert set(names) <= set(defined(ast.parse((folder / f"{other}.py").read_text())))


def test_it_runs_where_nothing_of_ours_is_installed(tmp_path):
    image = tmp_path / "disk.img"
    image.write_bytes(b"a" * 100_000 + bytes(100_000))
    words = ["python3", "-I", "-S", "-", json.dumps({"do": "digest", "target": str(image)})]
    done = subprocess.run(words, input=program_text(BLOCK_DELTA), capture_output=True, cwd=tmp_path, check=True)
    kind, _, said = done.stdout.decode().partition(" ")
    assert (kind, json.loads(said)["size"], json.loads(said)["entries"]) == ("result", 200_000, 4)


def test_a_program_of_one_file_is_sent_as_it_stands(tmp_path):
    (tmp_path / "alone.py").write_text("print(1)\n")
    assert program_text(tmp_path / "alone.py") == b"print(1)\n"


def test_many_threads_may_join_programs_at_once():
    with ThreadPoolExecutor(max_workers=8) as pool:
        joined = list(pool.map(joined_program, FOLDERS * 24))
    assert len(set(joined)) == len(FOLDERS)
