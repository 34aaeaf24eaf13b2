"""The command `assent`: which command is where, the options that all share, and what the exit code says.

Commands live in the `commands.py` of their stage and are imported only when called: `assent --help` stays instant."""

from __future__ import annotations

import atexit
import dataclasses
import gc
import importlib
import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from orchestration.errors import AssentError, ExitCode
from orchestration.whereabouts import whereabouts

COMMANDS = {
    "demo": ("orchestration.demo.commands:demo", "Make the demo world: four sources, a consent history, personas."),
    "run": ("orchestration.defs.commands:run", "Run the build: from landing files to exports and the report."),
    "status": ("orchestration.evidence.commands:status", "What is published, and what it says about itself."),
    "segments": ("orchestration.evidence.commands:segments", "People per segment, step by step."),
    "explain": ("orchestration.evidence.commands_explain:explain", "Why one person is in a segment or not."),
    "diff": ("orchestration.evidence.commands_diff:diff", "Who joined and left between two generations, and why."),
    "replay": ("orchestration.evidence.commands_replay:replay", "Rebuild a generation as it was, and compare."),
    "prove": ("orchestration.proof.commands:prove", "Prove that nothing passes beside the gate, or leaks."),
    "lineage": (
        "orchestration.proof.lineage.commands:lineage",
        "What a column is made of, through which gates; where a field goes, and for what.",
    ),
    "export": ("orchestration.exports.commands:export", "Export the published generation again, minus withdrawals."),
    "withdrawals": (
        "orchestration.exports.commands:withdrawals",
        "How long withdrawals took per destination; what went out before.",
    ),
    "request": ("orchestration.retention.commands_request:request", "Erasure, access and the like: record, confirm."),
    "erase": ("orchestration.retention.commands_erase:erase", "Erase people whose requests are confirmed; prove it."),
    "consent": ("orchestration.consent.commands:consent", "Import consent records; look at one person's."),
    "ledger": ("orchestration.consent.ledger_commands:ledger", "The ledger's database: migrate, show its head."),
    "policy": ("orchestration.policy.commands:policy", "Check the policy; print its schema."),
    "minimise": (
        "orchestration.retention.commands_minimise:minimise",
        "Today's minimisation on what was stored under an older one.",
    ),
    "retention": (
        "orchestration.retention.commands:retention",
        "What is past its days, before it goes; and the purge.",
    ),
    "keys": ("orchestration.identity.commands:keys", "Make, check and back up the keys."),
    "backup": ("orchestration.backup.commands:backup", "Back up the home into one sealed file."),
    "restore": ("orchestration.backup.commands:restore", "Restore it, and replay the withdrawals since."),
    "verify": ("orchestration.verify:verify", "Verify the ledger's chain and the published generation."),
    "doctor": ("orchestration.doctor:doctor", "Check this machine and this home."),
    "dev": ("orchestration.defs.commands:dev", "Open the Dagster UI on 127.0.0.1."),
}


SHARED = {"home": ("home", "ASSENT_HOME"), "policy": ("policy_dir", "ASSENT_POLICY")}


def _replace(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    """Puts an option that every command shares into the settings, wherever on the line it stands."""
    if value is None:
        return
    from orchestration.settings import choose

    name, variable = SHARED[str(param.name).removeprefix("shared_")]
    path = value.expanduser()
    root = ctx.find_root()
    root.call_on_close(choose(variable, path))
    changed = dataclasses.replace(root.obj, **{name: path})
    place: click.Context | None = ctx
    while place is not None:
        place.obj, place = changed, place.parent


def _shared() -> list[click.Parameter]:
    def option(flag: str, text: str) -> click.Parameter:
        kind = click.Path(path_type=Path, file_okay=False)
        name = f"shared_{flag}"
        return click.Option(
            [f"--{flag}", name], type=kind, callback=_replace, expose_value=False, is_eager=True, help=text
        )

    return [
        option("home", "Folder of everything written at run time [ASSENT_HOME; data/home]."),
        option("policy", "Folder of the policy [ASSENT_POLICY; the shipped one]."),
    ]


def _sharing(command: click.Command) -> click.Command:
    """Gives `command`, or each command of a group, the shared options that it does not have itself."""
    if isinstance(command, click.Group):
        for sub in command.commands.values():
            _sharing(sub)
        if not command.invoke_without_command:
            return command
    taken = {flag for param in command.params for flag in param.opts}
    command.params.extend(param for param in _shared() if not taken & set(param.opts))
    return command


class LazyGroup(click.Group):
    """Imports a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        return _sharing(getattr(importlib.import_module(module), attribute))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, params=_shared(), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="assent")
def root() -> None:
    """Consent-aware marketing audiences: every row can show the consent that admits it.

    Exit codes: 0 good; 1 a check or a stage failed, the published generation is unchanged; 2 wrong usage;
    3 good, but some files were refused; 4 the policy is wrong; 5 the home cannot be used; 6 verify, prove, doctor or
    replay found something; 7 good, but data past its days waits for a confirmation or could not be deleted.
    """


def main() -> None:
    """The entry point: errors that people can mend are told in one paragraph, without a traceback."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # nothing here uses BLAS, and its threads wait by spinning
    gc.set_threshold(100_000, 20, 50)  # a third of the static proof went into looking for garbage that is not there
    atexit.register(gc.freeze)  # nor is any looked for at the very end: of `assent prove` that took 0.4 s
    sys.exit(guarded(lambda: root.main(prog_name="assent", standalone_mode=False, obj=_settings())))


def _settings() -> Any:
    from orchestration.settings import load_settings, quieten

    quieten()
    return load_settings()


# An address, a number that may be a phone, `kind:issuer:value`: typed in the wrong place, it is not said again (E10).
_IDENTIFIER = re.compile(r"[^\s'\"()]*@[^\s'\"()]*|\+?\d{2,}[\d -]*\d{4}|[a-z_]+:[^\s:'\"()]+:[^\s'\"()]+")


def _without_identifiers(message: str) -> str:
    """What click says of a wrong argument, without the argument where it may be somebody's."""
    return _IDENTIFIER.sub("…", message)


def guarded(work: Callable[[], Any]) -> int:
    """Runs `work`; returns the exit code, after saying on stderr what went wrong."""
    from orchestration.policy.loader import PolicyError

    try:
        result = work()
        return int(result) if isinstance(result, int) else int(ExitCode.OK)
    except click.exceptions.Exit as done:
        return int(done.exit_code)
    except click.ClickException as error:
        said = io.StringIO()
        error.show(file=said)
        click.echo(_without_identifiers(said.getvalue()), nl=False, err=True)
        return int(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except AssentError as error:
        click.echo(f"error: {error}", err=True)
        return int(error.exit_code)
    except PolicyError as error:
        click.echo(f"error: {error}", err=True)
        return int(ExitCode.POLICY)
    except Exception as error:
        click.echo(f"error: {whereabouts(error)}. Its text is withheld because it may quote data.", err=True)
        return int(ExitCode.FAILED)
