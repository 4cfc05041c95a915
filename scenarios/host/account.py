"""The account that a paying host gives of its script: what came of each payment, and what stands paid."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from network.ledger import Money
from scenarios.host.acquirer import AcquirerHost


def account_of(host: AcquirerHost) -> dict[str, Any]:
    """The account, for scripts. No card is in it."""
    attempts = [
        {
            "payment": one.payment.name,
            "amount": one.payment.amount,
            "code": one.code,
            "milliseconds": one.milliseconds,
            "reversal_code": one.reversal_code,
            "problems": one.problems,
        }
        for one in host.attempts
    ]
    unfinished = not host.is_over or bool(host.trouble)
    return {
        "passed": not unfinished and bool(attempts) and not any(one["problems"] for one in attempts),
        "trouble": host.trouble or ("" if host.is_over else "stopped before the script was over"),
        "payments": attempts,
        "paid": sum(one.stands for one in host.attempts),
    }


def print_account(account: dict[str, Any], console: Console) -> None:
    """The account, for people."""
    table = Table(box=None, pad_edge=False)
    for name, justify in (("payment", "left"), ("yuan", "right"), ("answer", "left"), ("ms", "right"), ("", "left")):
        table.add_column(name, justify="right" if justify == "right" else "left")
    for one in account["payments"]:
        answer = one["code"] or "none"
        if one["reversal_code"]:
            answer += f", reversed {one['reversal_code']}"
        told = "[red]" + "; ".join(one["problems"]) + "[/red]" if one["problems"] else "as expected"
        table.add_row(one["payment"], str(Money(one["amount"])), answer, str(one["milliseconds"]), told)
    console.print(table)
    if account["trouble"]:
        console.print(f"[red]{account['trouble']}[/red]")
    verdict = "everything came as expected" if account["passed"] else "[red]not everything came as expected[/red]"
    console.print(f"{len(account['payments'])} payments, {Money(account['paid'])} yuan stand paid; {verdict}")
