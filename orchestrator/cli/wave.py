"""skerry wave: waves one after the other, within their windows, watched live; their gates, and the way back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import click

from orchestrator.cli.gate_door import BECAUSE_OPTION, GATES, SKIP_OPTION
from orchestrator.cli.words import JSON_OPTION, exit_codes_of

_ENDS = exit_codes_of("GateClosed", "ApprovalMissing", "ApprovalInvalid", "RunInProgress", "RunFailed", "RolledBack")
WAVE = click.argument("wave")
AS_OPTION = click.option("--as", "operator", required=True, metavar="PERSON", help="Who asks, by the id in people.yml.")
KEY_OPTION = click.option(
    "--key",
    "key_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False),
    help="The person's SSH key: the private file, or the public one of a key that the agent holds.",
)
ROLE_OPTION = click.option("--role", help="In which role; may be left out where the person holds one role only.")


@click.group("wave")
def commands() -> None:
    """Run waves, each after the one before it passed its soak. Write them in waves.yml: skerry plan wave."""


@commands.command("run", epilog=_ENDS)
@WAVE
@AS_OPTION
@SKIP_OPTION
@BECAUSE_OPTION
@click.option(
    "--on-interrupt",
    type=click.Choice(["leave", "go-on", "pause", "rollback"]),
    default="leave",
    show_default=True,
    help="What Ctrl-C means: leave the wave as it stands, go on without this command, pause or take back its members.",
)
@JSON_OPTION
def run(
    wave: str, operator: str, skipped: tuple[str, ...], because: str, on_interrupt: str, as_json: bool
) -> None:
    """Bring the members of WAVE to their new side, under its limits; then it soaks, until: skerry wave commit.

    Before its window opens the wave is prepared and paused. When a member fails, the others go no further than where
    nothing is interrupted. The same command goes on with what was broken off, and leaves alone what is done.
    """
    from orchestrator.model.wave import GateName
    from orchestrator.operations.wave import OnInterrupt, run_wave

    def act(desk: Any, waves: Any, on_run: Callable[[str], None]) -> Any:
        skip = {cast("GateName", gate): because for gate in skipped}
        desk.goes_on = on_interrupt == "go-on"
        interrupt = cast("OnInterrupt", "leave" if desk.goes_on else on_interrupt)
        return run_wave(desk, waves, wave, operator=operator, skip=skip, on_run=on_run, on_interrupt=interrupt)

    _carry_out(wave, act, as_json=as_json)


@commands.command("commit", epilog=_ENDS)
@WAVE
@AS_OPTION
@SKIP_OPTION
@BECAUSE_OPTION
@JSON_OPTION
def commit(wave: str, operator: str, skipped: tuple[str, ...], because: str, as_json: bool) -> None:
    """Commit WAVE once its soak is over and its exit gates are open; from here the way back is a failback."""
    from orchestrator.model.wave import GateName
    from orchestrator.operations.wave import commit_wave

    def act(desk: Any, waves: Any, on_run: Callable[[str], None]) -> Any:
        skip = {cast("GateName", gate): because for gate in skipped}
        return commit_wave(desk, waves, wave, operator=operator, skip=skip, on_run=on_run)

    _carry_out(wave, act, as_json=as_json)


@commands.command("retire", epilog=exit_codes_of("GateClosed", "ApprovalMissing", "ApprovalInvalid"))
@WAVE
@AS_OPTION
@SKIP_OPTION
@BECAUSE_OPTION
@JSON_OPTION
def retire(wave: str, operator: str, skipped: tuple[str, ...], because: str, as_json: bool) -> None:
    """Give up the source of every committed member of WAVE, once gate G8 is open: rounds bring nothing there then."""
    from orchestrator.cli.wave_show import show_wave
    from orchestrator.cli.words import print_json
    from orchestrator.model.wave import GateName
    from orchestrator.operations.wave_retire import retire_wave

    with _desk() as (desk, waves):
        skip = {cast("GateName", gate): because for gate in skipped}
        status = retire_wave(desk, waves, wave, operator=operator, skip=skip)
    if as_json:
        print_json(status.model_dump(mode="json"))
    else:
        show_wave(status)


def _asking(operation: str, words: str) -> click.Command:
    @commands.command(operation, epilog=exit_codes_of("GateClosed", "UsageError", "RunInProgress"), help=words)
    @WAVE
    @AS_OPTION
    @click.option("--because", required=True, help="Why; it goes into the evidence.")
    @JSON_OPTION
    def command(wave: str, operator: str, because: str, as_json: bool) -> None:
        from orchestrator.operations.wave import WaveOperation, ask_wave

        def act(desk: Any, waves: Any, on_run: Callable[[str], None]) -> Any:
            asked = cast("WaveOperation", operation)
            return ask_wave(desk, waves, wave, asked, operator=operator, because=because, on_run=on_run)

        found = _carry_out(wave, act, as_json=as_json, complains=operation == "resume")
        if operation == "pause" and found.state == "running" and not as_json:
            click.echo("asked: what is under way ends first; members whose clients wait end their cutover first")

    return command


pause = _asking(
    "pause",
    "Hold WAVE: members stop where nothing is interrupted yet; those past that come to the end of their cutover. "
    "Whoever runs the wave obeys.",
)
resume = _asking("resume", "Go on with a paused WAVE, as far as its window allows.")
cancel = _asking("cancel", "Stop WAVE: what was done is undone; members that were not begun end cancelled.")
rollback = _asking("rollback", "Bring every member of WAVE that is not committed back to where it started.")


@commands.command("status", epilog=exit_codes_of("UsageError", "InventoryError"))
@click.argument("wave", required=False)
@click.option("--look", is_flag=True, help="Ask the clients' names whether members are still where they were left.")
@JSON_OPTION
def status(wave: str | None, look: bool, as_json: bool) -> None:
    """Where WAVE stands, member by member, with its gates; without WAVE all of them in short."""
    from orchestrator.cli.words import print_json
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.reading_wave_desk import open_reading_wave_desk
    from orchestrator.operations.wave_status import wave_status
    from orchestrator.operations.waves import read_waves

    with open_reading_wave_desk(inventory_folder()) as desk:
        waves = read_waves(inventory_folder(), desk.inventory)
        named = [wave] if wave is not None else waves.program.names
        found = [wave_status(desk, waves, name, look=look) for name in named]
    if as_json:
        documents = [each.model_dump(mode="json") for each in found]
        print_json(documents[0] if wave is not None else {"waves": documents})
    elif wave is not None:
        from orchestrator.cli.wave_show import show_wave

        show_wave(found[0])
    else:
        from orchestrator.cli.wave_show import show_waves

        show_waves(found)


@commands.command("gate", epilog=exit_codes_of("UsageError", "ApprovalInvalid"))
@WAVE
@click.argument("gate", type=click.Choice(GATES))
@click.option("--go/--no-go", "go", required=True, help="The decision.")
@click.option("--observe", "observed", multiple=True, metavar="NAME=VALUE", help="What a criterion asks you to say.")
@click.option("--as", "person", required=True, metavar="PERSON", help="Who decides, by the id in people.yml.")
@ROLE_OPTION
@KEY_OPTION
@click.option("--comment", default="", help="Words that are signed with it.")
@JSON_OPTION
def gate(
    wave: str,
    gate: str,
    go: bool,
    observed: tuple[str, ...],
    person: str,
    role: str | None,
    key_file: str,
    comment: str,
    as_json: bool,
) -> None:
    """Decide at GATE of WAVE, on what you observed, signed with your SSH key. A gate nobody decided is closed."""
    from orchestrator.cli.runbook_words import inputs_of
    from orchestrator.cli.words import print_json
    from orchestrator.model.wave import GateName
    from orchestrator.operations.wave_status import readiness
    from orchestrator.operations.wave_words import decide, try_to_tell

    with _desk() as (desk, waves):
        ready = readiness(desk, waves, wave)
        word = decide(
            desk,
            waves,
            wave,
            cast("GateName", gate),
            person=person,
            role=_role(desk, person, role),
            key_file=key_file,
            decision="go" if go else "no_go",
            said={name: _value(text) for name, text in inputs_of(observed).items()},
            comment=comment,
        )
        on_record = try_to_tell(desk, waves, wave)
    if as_json:
        print_json({"word": word.model_dump(mode="json"), "on_record": on_record})
    else:
        from orchestrator.cli.wave_show import show_readiness

        show_readiness(*ready)
        click.echo(f"{word.person} ({word.role}) says {'go' if go else 'no go'} at gate {word.gate} of wave {wave}")


@commands.command("skip", epilog=exit_codes_of("UsageError", "ApprovalInvalid", "GateClosed"))
@WAVE
@click.argument("system", required=False)
@click.option("--as", "person", required=True, metavar="PERSON", help="Who waives, by the id in people.yml.")
@ROLE_OPTION
@KEY_OPTION
@click.option("--because", required=True, help="Why; it is signed, and goes into the evidence.")
@JSON_OPTION
def skip(
    wave: str, system: str | None, person: str, role: str | None, key_file: str, because: str, as_json: bool
) -> None:
    """Waive SYSTEM, so that WAVE goes without it; without SYSTEM waive the rest of the soak. Never counts as passed."""
    from orchestrator.cli.words import print_json
    from orchestrator.operations.wave_words import try_to_tell, waive

    with _desk() as (desk, waves):
        held = _role(desk, person, role)
        waiver = waive(desk, waves, wave, system, person=person, role=held, key_file=key_file, because=because)
        on_record = try_to_tell(desk, waves, wave)
    if as_json:
        print_json({"waiver": waiver.model_dump(mode="json"), "on_record": on_record})
    else:
        click.echo(f"{person} waives {system or 'the soak'} of wave {wave}; it does not count as passed")


@contextmanager
def _desk(observers: tuple[Any, ...] = ()) -> Iterator[tuple[Any, Any]]:
    from orchestrator.operations.estate import inventory_folder
    from orchestrator.operations.wave_status import open_wave_desk
    from orchestrator.operations.waves import read_waves

    with open_wave_desk(inventory_folder(), observers=observers) as desk:
        yield desk, read_waves(inventory_folder(), desk.inventory)


def _role(desk: Any, person: str, role: str | None) -> str:
    from orchestrator.foundation.errors import UsageError

    held = desk.inventory.people[person].roles if person in desk.inventory.people else ()
    if role is None and len(held) > 1:
        raise UsageError(f"{person} holds several roles: {', '.join(held)}", hint="Say which: --role ROLE")
    return role or (str(held[0]) if held else "none")


def _value(text: str) -> str | int | float | bool:
    """`true`, `3`, `0.5` as what they are; anything else as text."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _carry_out(wave: str, act: Callable[..., Any], *, as_json: bool, complains: bool = True) -> Any:
    """Act, show the wave as it is then, and complain of what went wrong; its status."""
    from orchestrator.cli.console import console
    from orchestrator.cli.live import LiveRun
    from orchestrator.cli.run import tell_caretaker
    from orchestrator.cli.wave_show import complain, show_wave
    from orchestrator.cli.words import print_json
    from orchestrator.operations.wave_status import plan_of_wave

    live = LiveRun(console(), as_json=as_json)
    with _desk((live,)) as (desk, waves):
        plan = plan_of_wave(desk, wave) if waves.program.wave(wave) is not None else None
        if plan is not None:
            live.expect(plan)
        with live.shown():
            found = act(desk, waves, lambda run: live.say(f"run {run} of wave {wave}"))
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        show_wave(found)
        tell_caretaker(desk.caretaker)
    if complains:
        complain(found)
    return found
