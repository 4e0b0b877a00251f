"""The result of a finished run in the words of in-toto's `test-result/v0.1`, worked out from the log. Pure.

Rule: the operator signs what follows from the log and nothing else, and a verifier works it out again. PASSED: the run
passed, nothing deviated. WARNED: it passed, with a deviation or a step that had to be tried again. FAILED: all else.
"""

from typing import Any

from orchestrator.evidence.story import RunStory

PASSED, WARNED, FAILED = "PASSED", "WARNED", "FAILED"


def result_of(story: RunStory) -> dict[str, Any]:
    """The predicate that the log allows to be signed: result, configuration, and every step in one of three lists."""
    passed: list[str] = []
    warned: list[str] = []
    failed: list[str] = []
    for system in story.systems.values():
        steps = dict.fromkeys(each.step for each in system.attempts if each.mode == "do")
        for step in steps:
            tries = [each for each in system.attempts if (each.step, each.mode) == (step, "do")]
            name = f"{system.name}/{step}"
            deviated = any(event.step == step for event in system.of("deviation.recorded"))
            if not tries[-1].passed:
                failed.append(name)
            elif len(tries) > 1 or deviated:
                warned.append(name)
            else:
                passed.append(name)
    # Whoever went round a gate, or without a member, is a deviation of the whole run.
    deviations = [event for kind in ("deviation.recorded", "gate.skipped", "waiver.given") for event in story.of(kind)]
    result = FAILED if story.result != "passed" else WARNED if warned or deviations else PASSED
    return {
        "result": result,
        "configuration": [{"name": "plan", "digest": {"sha256": story.plan_digest.removeprefix("sha256:")}}],
        "passedTests": passed,
        "warnedTests": warned,
        "failedTests": failed,
    }
