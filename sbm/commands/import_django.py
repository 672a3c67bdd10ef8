"""``sbm import-django``: the data of the service that sbm replaces."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from attrs import asdict, define
from tqdm import tqdm

from sbm.addresses import DatabaseAddress
from sbm.commands.old_files import Copies
from sbm.commands.running import OK, CommandFailed, actor, add_signature, print_table
from sbm.commands.schedules import Remark, remarks
from sbm.settings import Settings
from sbm.store.django.account import Advance, ImportFailed
from sbm.store.django.transfer import Taken, transfer


def add_to(commands: Any) -> None:
    """Add ``import-django`` to the commands of a parser."""
    parser = commands.add_parser(
        "import-django",
        help="take over the data of the old service",
        description="Copy everything from the database of the old service, release 0.10 to 0.13,"
        " into an empty one of sbm: all of it, checked, or nothing. The old database is only read."
        " What becomes of single rows is reported as JSON lines on standard output.",
    )
    parser.add_argument("source", metavar="DSN", type=_address, help="the old database, as a URL")
    parser.add_argument(
        "--media",
        metavar="FOLDER",
        type=_folder,
        help="the old media folder: copy the files of messages into $SBM_MEDIA_ROOT",
    )
    parser.add_argument(
        "--report", metavar="FILE", type=Path, help="write the JSON lines to this file instead"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="do and check everything, and then undo it"
    )
    add_signature(parser)
    parser.set_defaults(command=_import)


def _address(text: str) -> DatabaseAddress:
    try:
        return DatabaseAddress.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"must be a folder that exists, not {text!r}")
    return Path(text)


def _import(options: argparse.Namespace, address: DatabaseAddress) -> int:
    settings = Settings(environ=options.environ)
    time_zone = settings.timezone("SBM_TIMEZONE")
    copies = _copies(options, settings)
    settings.check()
    # Python would look at Ctrl-C only after the statement under way. Whoever hangs up undoes all.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        with _report(options.report) as file:
            conclusion = _Conclusion(options=options, file=file, copies=copies, time_zone=time_zone)
            transfer(
                options.source.uri(),
                address.uri(),
                progress=_progress,
                conclude=conclusion.show,
                actor=actor(options),
                reason=options.reason,
            )
    except ImportFailed as error:
        raise CommandFailed(str(error)) from None
    except OSError as error:
        raise CommandFailed(f"{error}: nothing was imported") from None
    print("nothing was imported: --dry-run" if options.dry_run else "imported", file=_aside(file))
    return OK


def _copies(options: argparse.Namespace, settings: Settings) -> Copies | None:
    if options.media is None:
        return None
    root = settings.folder("SBM_MEDIA_ROOT")
    if root is None:
        settings.problem("SBM_MEDIA_ROOT", "is missing: files are copied there")
    settings.check()
    assert root is not None
    return Copies(media=options.media, root=root, only_looks=options.dry_run)


@contextmanager
def _report(path: Path | None) -> Iterator[IO[str]]:
    """Where the JSON lines go: they tell of people, so that a file is for nobody else to read."""
    if path is None:
        yield sys.stdout
        return
    with open(path, "w", encoding="utf-8", opener=partial(os.open, mode=0o600)) as file:
        yield file


def _aside(file: IO[str]) -> IO[str]:
    """Where people read, while the JSON lines go to ``file``."""
    return sys.stderr if file is sys.stdout else sys.stdout


@contextmanager
def _progress(what: str, count: int) -> Iterator[Advance]:
    """A bar on a terminal, and nothing elsewhere."""
    with tqdm(total=count, desc=what, unit_scale=True, disable=None) as bar:
        yield bar.update


@define(eq=False, kw_only=True)
class _Conclusion:
    """Reports what was taken over, and decides whether it is to stay."""

    options: argparse.Namespace
    file: IO[str]
    copies: Copies | None
    time_zone: ZoneInfo

    def show(self, taken: Taken) -> bool:
        for note in taken.notes:
            told = {"table": note.table, "id": note.id, "fate": note.fate, "reason": note.reason}
            self._line(told, was=note.was or "null")
        found = [one for each in taken.schedules for one in remarks(each, self.time_zone)]
        for remark in found:
            about = {"table": "schedules", "id": str(remark.id), "fate": remark.fate}
            self._line({**about, "reason": remark.reason, "next_ticks": remark.next_ticks})
        missing = self._bring(taken)
        for tally in taken.tallies:
            self._line(asdict(tally))
        self.file.flush()
        self._tell(taken, found, missing)
        return not self.options.dry_run

    def _bring(self, taken: Taken) -> int:
        """Copy the files, if that is wanted; returns how many there are not."""
        if self.copies is None:
            return 0
        missing, counts = 0, {one.table: one.taken for one in taken.tallies}
        with _progress("files", counts["binary_contents"]) as advance:
            for one in taken.files:
                if complaint := self.copies.bring(one):
                    missing += 1
                    about = {"table": "binary_contents", "id": str(one.id)}
                    self._line({**about, "fate": "without its file", "reason": complaint})
                advance(1)
        return missing

    def _tell(self, taken: Taken, found: list[Remark], missing: int) -> None:
        origin, out = taken.origin, _aside(self.file)
        print(f"the old service's release: {origin.release}", file=out)
        print_table(
            ("TABLE", "READ", "TAKEN OVER", "CHANGED", "LEFT BEHIND", "CHECKSUM"),
            [
                (
                    one.table,
                    *map(str, (one.read, one.taken, one.changed, one.left_behind)),
                    one.checksum,
                )
                for one in taken.tallies
            ],
            file=out,
        )
        for relation in origin.missing:
            print(f"the old database has no {relation}", file=out)
        for name in taken.merged:
            print(f"the user {name!r}, who was here, is one with the imported one", file=out)
        if taken.called:
            print(
                f"the Scheduler calls {taken.called} of the schedules: set SBM_SCHEDULING=schedule"
                " before a daemon is started",
                file=out,
            )
        for remark in found:
            print(remark, file=out)
        if self.copies is not None:
            print(
                f"files: {self.copies.copied} copied, {self.copies.there} there already,"
                f" {missing} missing",
                file=out,
            )
        if complaint := _other_host(origin.domain, self.options.environ):
            print(complaint, file=out)

    def _line(self, told: Mapping[str, Any], *, was: str | None = None) -> None:
        """Write an object; ``was`` is JSON already, which Python might not be able to read."""
        line = json.dumps(told, ensure_ascii=False)
        if was is not None:
            line = f'{line[:-1]}, "was": {was}}}'
        print(line, file=self.file)


def _other_host(domain: str | None, environ: Mapping[str, str]) -> str | None:
    """What to say of the host under which others fetched files, if it is not ours."""
    url = environ.get("SBM_MEDIA_URL") or environ.get("STAGE_BASED_MESSAGING_URL") or ""
    host = urlsplit(url.strip()).netloc
    if domain is None or domain == host:
        return None
    return (
        f"the old service gave out the addresses of files at the host {domain},"
        f" this one does so at {host or 'none: STAGE_BASED_MESSAGING_URL is not set'}"
    )
