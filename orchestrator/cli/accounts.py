"""What only one side holds, as people see it before they choose: each dataset, and the business's own last words."""

import json
from collections.abc import Mapping
from typing import Any

import click

NAMED_MAX = 3


def show_accounts(accounts: Mapping[str, Mapping[str, Any]], *, as_json: bool) -> None:
    """Print the account of each system."""
    if as_json:
        click.echo(json.dumps({"accounts": accounts}))
        return
    from orchestrator.foundation.printable import printable

    for system, account in accounts.items():
        for line in account_lines(account):
            click.echo(printable(f"{system}: {line}"))


def account_lines(account: Mapping[str, Any]) -> list[str]:
    """The account in a few lines: the sum, then each dataset with how far it goes, then what the checks answer."""
    if not account:
        return ["authority is where it was, so nothing was written anywhere else"]
    if "unknown" in account:
        return [f"what only {account['at']} holds could not be counted: {account['unknown']}"]
    from orchestrator.steps.accounting import account_text

    lines = [account_text(dict(account))]
    lines += [f"  {name}: {_dataset_text(found)}" for name, found in account["datasets"].items()]
    if last := account.get("last_round"):
        ended = f"{last['result']} at {last['finished_at']}"
        lines.append(f"  the last round towards the old side {ended}: {last['message']}")
    return lines + [f"  {line}" for line in business_lines(account["business"], account["at"])]


def _dataset_text(found: Mapping[str, Any]) -> str:
    if "unknown" in found:
        return f"not counted: {found['unknown']}"
    for what in ("paths", "ranges"):
        if what in found:
            named, rest = "; ".join(found["named"][:NAMED_MAX]), found[what] - NAMED_MAX
            told = f"{found[what]}{' or more' if found['more'] else ''} {'files' if what == 'paths' else what} differ"
            return told + (f": {named}" if named else "") + (f"; and {rest} more" if rest > 0 else "")
    upto = f", log from {found.get('from') or 'its beginning'} to {found['to']}" if found.get("to") else ""
    parted = ", written after the other side had gone its own way" if found.get("parted") and upto else ""
    return f"{found['bytes']} bytes, {found['transactions']} transactions{upto}{parted}"


def business_lines(business: Mapping[str, Any], side: str) -> list[str]:
    """What each business check answers at the side: control totals, the last receipt's number."""
    if "unknown" in business:
        return [f"the business checks could not be asked at {side}: {business['unknown']}"]
    return [
        f"{name} at {side}: {_answer(check)}"
        for of_host in business.get("hosts", {}).values()
        for name, check in of_host.get("checks", {}).items()
        if check.get("observed")
    ]


def _answer(check: Mapping[str, Any]) -> str:
    known = [f"{key} {value}" for key, value in check["observed"].items() if value is not None]
    return ", ".join(known) or f"not known: {'; '.join(check.get('wrong', ())) or 'it does not say'}"
