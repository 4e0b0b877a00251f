"""A `zfs` program over plain folders, for hosts of tests: datasets, snapshots, bookmarks, streams, resume tokens.

It answers as OpenZFS 2.1 does where skerry listens. State lies in the folder $SKERRY_FAKE_ZFS: `state.json`, the
content of each snapshot, and what broken receives left. There is no `.zfs` to look into snapshots. Streams are tar
archives of the whole snapshot between a line of JSON and a mark: what differs is not found, but from what to what a
stream leads is told and enforced. Every call is logged.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

END = b"\nend of stream\n"
TOP = Path(os.environ["SKERRY_FAKE_ZFS"])


def refuse(why: str, code: int = 1) -> NoReturn:
    sys.stderr.write(why + "\n")
    raise SystemExit(code)


def load() -> dict[str, Any]:
    state: dict[str, Any] = json.loads((TOP / "state.json").read_text())
    return state


def save(state: dict[str, Any]) -> None:
    aside = TOP / "state.new"
    aside.write_text(json.dumps(state, indent=1))
    aside.replace(TOP / "state.json")


def dataset_at(state: dict[str, Any], place: str) -> str:
    if place in state["datasets"]:
        return place
    tops: dict[str, str] = {top: name for name, top in state["datasets"].items() if (place + "/").startswith(top + "/")}
    if not tops or not os.path.lexists(place):
        refuse(f"cannot open '{place}': dataset does not exist")
    return tops[max(tops, key=len)]


def versions_of(state: dict[str, Any], dataset: str) -> dict[str, dict[str, Any]]:
    found = {name: each for name, each in state["versions"].items() if name.startswith((dataset + "@", dataset + "#"))}
    return dict(sorted(found.items(), key=lambda item: int(item[1]["createtxg"])))


def latest(state: dict[str, Any], dataset: str) -> str | None:
    names = [name for name in versions_of(state, dataset) if "@" in name]
    return names[-1] if names else None


def show(state: dict[str, Any], words: list[str]) -> None:
    columns = words[words.index("-o") + 1].split(",")
    if "snapshot,bookmark" in words:
        rows = [{"name": name, **each} for name, each in versions_of(state, words[-1]).items()]
    elif "snapshot" in words:
        known = versions_of(state, words[-1]).items()
        rows = [{"name": name, **each} for name, each in known if "@" in name]
    elif "filesystem" in words:
        rows = [{"name": name} for name in [*state["datasets"], *state["partial"]]]
    else:
        name = dataset_at(state, words[-1])
        rows = [{"name": name, "mountpoint": state["datasets"][name]}]
    for row in rows:
        print("\t".join(str(row.get(column, "-")) for column in columns))


def take(state: dict[str, Any], name: str, guid: str = "", properties: dict[str, str] | None = None) -> None:
    dataset = name.partition("@")[0]
    if name in state["versions"]:
        refuse(f"cannot create snapshot '{name}': dataset already exists")
    state["txg"] += 1
    guid = guid or str(int.from_bytes(os.urandom(8), "big"))
    state["versions"][name] = {"guid": guid, "createtxg": str(state["txg"]), "userrefs": "0", **(properties or {})}
    subprocess.run(["cp", "-a", state["datasets"][dataset], content_of(name)], check=True)


def content_of(name: str) -> Path:
    return TOP / "content" / name.replace("/", "%")


def destroy(state: dict[str, Any], name: str) -> None:
    if name not in state["versions"]:
        refuse("could not find any snapshots to destroy; check snapshot names.")
    del state["versions"][name]
    if "@" in name:
        shutil.rmtree(content_of(name))


def stream_of(state: dict[str, Any], name: str, base: str) -> bytes:
    if name not in state["versions"]:
        refuse(f"cannot open '{name}': dataset does not exist")
    if base and base not in state["versions"]:
        refuse(f"incremental source '{base}' does not exist")
    head = {"to": state["versions"][name]["guid"], "from": state["versions"][base]["guid"] if base else ""}
    words = [
        "tar",
        "-C",
        str(content_of(name)),
        "--xattrs",
        "--format=posix",
        "--pax-option=delete=atime",
        "-cf",
        "-",
        ".",
    ]
    return json.dumps(head).encode() + b"\n" + subprocess.run(words, check=True, capture_output=True).stdout + END


def send(state: dict[str, Any], words: list[str]) -> None:
    offset = 0
    if "-t" in words:
        token = json.loads(base64.b64decode(words[-1]))
        names = {each["guid"]: name for name, each in state["versions"].items() if "@" in name}
        bases = {each["guid"]: name for name, each in state["versions"].items()}
        if token["to"] not in names:
            refuse(f"cannot resume send: '{token['to']}' is no longer the same snapshot used in the initial send")
        if "-n" in words:
            print("resume token contents:\nnvlist version: 0")
            print(f"\ttoguid = {int(token['to']):#x}\n\ttoname = {names[token['to']]}")
            return
        name, base, offset = names[token["to"]], bases.get(token["from"], ""), token["offset"]
    else:
        name, base = words[-1], words[words.index("-i") + 1] if "-i" in words else ""
    sys.stdout.buffer.write(stream_of(state, name, base)[offset:])


def receive(state: dict[str, Any], words: list[str]) -> None:
    if "-A" in words:
        state["partial"].pop(words[-1])
        return
    name = words[-1]
    dataset = name.partition("@")[0]
    data = base64.b64decode(state["partial"].pop(dataset, "")) + sys.stdin.buffer.read()
    if not data.endswith(END):
        if "-s" in words and b"\n" in data:
            state["partial"][dataset] = base64.b64encode(data).decode()
            save(state)
        refuse("cannot receive: checksum mismatch or incomplete stream.\nPartially received snapshot is saved.")
    line, _, rest = data.partition(b"\n")
    head = json.loads(line)
    last = latest(state, dataset) if dataset in state["datasets"] else None
    if not head["from"] and last is not None:
        refuse(f"cannot receive new filesystem stream: destination has snapshots (eg. {last})")
    if head["from"] and (last is None or state["versions"][last]["guid"] != head["from"]):
        refuse(
            f"cannot receive incremental stream: most recent snapshot of {dataset} does not match incremental source"
        )
    if dataset not in state["datasets"]:
        parent, _, child = dataset.rpartition("/")
        state["datasets"][dataset] = f"{state['datasets'][parent]}/{child}"
    top = Path(state["datasets"][dataset])
    emptied(top)
    subprocess.run(["tar", "-C", str(top), "--xattrs", "-xpf", "-"], input=rest[: -len(END)], check=True)
    take(state, name, head["to"])


def emptied(top: Path) -> None:
    if top.exists():
        shutil.rmtree(top)
    top.mkdir()


def rollback(state: dict[str, Any], name: str) -> None:
    dataset = name.partition("@")[0]
    if name != latest(state, dataset):
        refuse(f"cannot rollback to '{name}': more recent snapshots or bookmarks exist")
    top = Path(state["datasets"][dataset])
    shutil.rmtree(top)
    subprocess.run(["cp", "-a", str(content_of(name)), str(top)], check=True)


def token_of(state: dict[str, Any], dataset: str) -> str:
    if dataset not in state["partial"]:
        return "-"
    data = base64.b64decode(state["partial"][dataset])
    told = {**json.loads(data.partition(b"\n")[0]), "offset": len(data)}
    return base64.b64encode(json.dumps(told).encode()).decode()


def main(words: list[str]) -> None:
    with (TOP / "log").open("a") as log:
        log.write(" ".join(words) + "\n")
    state = load()
    verb, rest = words[0], words[1:]
    if verb == "list":
        show(state, rest)
    elif verb == "get":
        print(token_of(state, rest[-1]))
    elif verb == "send":
        send(state, rest)
    elif verb == "snapshot":
        properties = dict(word.split("=", 1) for word in rest[:-1] if word != "-o")
        take(state, rest[-1], properties=properties)
    elif verb == "bookmark":
        state["txg"] += 1
        state["versions"][rest[1]] = dict(state["versions"][rest[0]])
    elif verb in ("hold", "release"):
        state["versions"][rest[1]]["userrefs"] = "1" if verb == "hold" else "0"
        state["versions"][rest[1]]["holder"] = rest[0]
    elif verb == "holds":
        for name in rest[1:]:
            print(f"{name}\t{state['versions'][name]['holder']}\tSat Nov 21 22:00 2026")
    elif verb == "destroy":
        destroy(state, rest[-1])
    elif verb == "receive":
        receive(state, rest)
    elif verb == "rollback":
        rollback(state, rest[-1])
    else:
        refuse(f"unrecognized command '{verb}'", 2)
    if verb not in ("list", "get", "send", "holds"):
        save(state)


if __name__ == "__main__":
    main(sys.argv[1:])
