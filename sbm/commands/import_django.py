"""``sbm import-django``: the data of the service that sbm replaces."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from attrs import asdict, define, frozen
from tqdm import tqdm

from sbm.commands.running import OK, CommandFailed, add_signature, print_table, say, signature_from
from sbm.model.content_limits import ContentLimits
from sbm.model.content_rules import PREPEND
from sbm.model.signature import Signature
from sbm.model.time_zones import TimeZones
from sbm.operations.django_import.findings import (
    Finding,
    copy_files,
    find_unsendable,
    tell_ended,
    tell_large,
)
from sbm.operations.django_import.old_files import FileCopier
from sbm.operations.django_import.transfer import ImportedData, transfer
from sbm.operations.progress import Advance
from sbm.operations.schedule_remarks import Remark, remarks
from sbm.settings.config import read_time_zones_of_ticks
from sbm.settings.endpoints import DatabaseAddress
from sbm.settings.reading import Settings
from sbm.settings.sending_rules import read_content_limits
from sbm.store.django.report import ImportFailed

_ENDED = "subscriptions beyond the end of their content"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``import-django`` to its parser."""
    parser.description = (
        "Copy all data from the database of the old service, release 0.10 to 0.13, into an empty"
        " database of sbm. The command checks the data, and copies all of it or nothing. It only"
        " reads the old database. It reports on single rows as JSON lines on standard output."
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
        "--dry-run", action="store_true", help="copy and check all data, and then undo it"
    )
    parser.add_argument(
        "--go-on",
        action="store_true",
        help="complete the subscriptions that are beyond the end of their content, and begin"
        " their next set (default: they complete at a tick, and do not go on)",
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


@frozen(kw_only=True)
class _Import:
    """The values of the options; ``report`` is the file for the JSON lines, if one is given."""

    source: DatabaseAddress
    report: Path | None
    copies: FileCopier | None
    zones: TimeZones
    limits: ContentLimits
    host: str
    go_on: bool
    is_dry: bool
    signature: Signature

    @classmethod
    def read(cls, options: argparse.Namespace) -> _Import:
        settings = Settings(environ=options.environ)
        zones = read_time_zones_of_ticks(settings)
        limits = read_content_limits(settings)
        copies = _copies(options, settings)
        settings.check()
        return cls(
            source=options.source,
            report=options.report,
            copies=copies,
            zones=zones,
            limits=limits,
            host=_host(options.environ),
            go_on=options.go_on,
            is_dry=options.dry_run,
            signature=signature_from(options),
        )


def _import(options: argparse.Namespace, address: DatabaseAddress) -> int:
    wanted = _Import.read(options)
    # Python would handle Ctrl-C only after the current statement. A closed connection undoes all.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _take_over(wanted, address)


def _take_over(wanted: _Import, address: DatabaseAddress) -> int:
    try:
        with _report(wanted.report) as file:
            conclusion = _Conclusion(
                file=file,
                copies=wanted.copies,
                zones=wanted.zones,
                limits=wanted.limits,
                host=wanted.host,
                is_dry=wanted.is_dry,
            )
            transfer(
                wanted.source.uri(),
                address.uri(),
                progress=_progress,
                conclude=conclusion.show,
                signature=wanted.signature,
                go_on=wanted.go_on,
            )
    except ImportFailed as error:
        raise CommandFailed(str(error)) from None
    except OSError as error:
        raise CommandFailed(f"{error}: nothing was imported") from None
    say("nothing was imported: --dry-run" if wanted.is_dry else "imported", file=_aside(file))
    return OK


def _copies(options: argparse.Namespace, settings: Settings) -> FileCopier | None:
    if options.media is None:
        return None
    root = settings.folder("SBM_MEDIA_ROOT")
    if root is None:
        settings.problem("SBM_MEDIA_ROOT", "is missing: files are copied there")
    settings.check()
    assert root is not None
    return FileCopier(media=options.media, root=root, only_looks=options.dry_run)


@contextmanager
def _report(path: Path | None) -> Iterator[IO[str]]:
    """Where the JSON lines go. They are about people, so only the owner may read the file."""
    if path is None:
        yield sys.stdout
        return
    with open(path, "w", encoding="utf-8", opener=partial(os.open, mode=0o600)) as file:
        yield file


def _aside(file: IO[str]) -> IO[str]:
    """Where the messages for people go, while the JSON lines go to ``file``."""
    return sys.stderr if file is sys.stdout else sys.stdout


@contextmanager
def _progress(what: str, count: int) -> Iterator[Advance]:
    """A progress bar on a terminal, and nothing elsewhere."""
    with tqdm(total=count, desc=what, unit_scale=True, disable=None) as bar:
        yield bar.update


@define(eq=False, kw_only=True)
class _Conclusion:
    """Reports what was imported, and decides whether it stays.

    ``host`` is the one from which other services fetch our files, if there is any.
    """

    file: IO[str]
    copies: FileCopier | None
    zones: TimeZones
    limits: ContentLimits
    host: str
    is_dry: bool

    def show(self, taken: ImportedData) -> bool:
        for note in taken.notes:
            told = {"table": note.table, "id": note.id, "fate": note.fate, "reason": note.reason}
            self._line(told, was=note.was or "null")
        found = [one for each in taken.schedules for one in remarks(each, self.zones)]
        for remark in found:
            about = {"table": "schedules", "id": str(remark.id), "fate": remark.fate}
            self._line({**about, "reason": remark.reason, "next_ticks": remark.next_ticks})
        unsendable = Counter(
            one.table for one in self._told(find_unsendable(taken, limit=self.limits.text_length))
        )
        ended = self._tell_ended(taken)
        large = taken.large(max_bytes=self.limits.metadata_bytes)
        too_large = sum(1 for _ in self._told(map(tell_large, large)))
        missing = 0
        if self.copies is not None:
            findings = copy_files(taken, self.copies, progress=_progress)
            missing = sum(1 for _ in self._told(findings))
        for counts in taken.counts_by_table:
            self._line(asdict(counts))
        self.file.flush()
        self._tell(taken, found, missing)
        self._sum_up(unsendable, ended, too_large)
        return not self.is_dry

    def _told(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """The same findings; writes a line for each."""
        for finding in findings:
            self._line(asdict(finding))
            yield finding

    def _tell_ended(self, taken: ImportedData) -> Counter[str]:
        """Report each subscription beyond the end of its content; returns how many of each kind."""
        counts: Counter[str] = Counter()
        for one in taken.ended:
            counts["gone on" if one.successor else "left"] += 1
            self._line(asdict(tell_ended(one)))
        return counts

    def _sum_up(self, unsendable: Counter[str], ended: Counter[str], too_large: int) -> None:
        """Print how many findings of each kind there are; the report has the single ones."""
        for count, what in (
            (unsendable["messages"], "messages that cannot be sent as they are"),
            (unsendable["subscriptions"], f"subscriptions whose {PREPEND} cannot be sent"),
            (ended["gone on"], f"{_ENDED}, which go on to the next set"),
            (ended["left"], f"{_ENDED}, which do not go on"),
            (too_large, "rows whose metadata are too large to be written anew"),
        ):
            if count:
                say(f"{what}: {count}", file=_aside(self.file))

    def _tell(self, taken: ImportedData, found: list[Remark], missing: int) -> None:
        origin, out = taken.origin, _aside(self.file)
        say(f"the old service's release: {origin.release}", file=out)
        print_table(
            ("TABLE", "READ", "TAKEN OVER", "CHANGED", "LEFT BEHIND", "CHECKSUM"),
            [
                (
                    one.table,
                    *map(str, (one.read, one.taken, one.changed, one.left_behind)),
                    one.checksum,
                )
                for one in taken.counts_by_table
            ],
            file=out,
        )
        for relation in origin.missing:
            say(f"the old database has no {relation}", file=out)
        for name in taken.merged:
            say(f"the user {name!r} existed already: merged with the imported one", file=out)
        if taken.called:
            say(
                f"the Scheduler calls {taken.called} of the schedules: set SBM_SCHEDULING=schedule"
                " before a daemon is started",
                file=out,
            )
        for remark in found:
            say(remark, file=out)
        if self.copies is not None:
            say(
                f"files: {self.copies.copied} copied, {self.copies.there} there already,"
                f" {missing} missing",
                file=out,
            )
        if problem := _other_host(origin.domain, self.host):
            say(problem, file=out)

    def _line(self, told: Mapping[str, Any], *, was: str | None = None) -> None:
        """Write an object; ``was`` is JSON already, perhaps such as Python cannot read."""
        line = json.dumps(told, ensure_ascii=False)
        if was is not None:
            line = f'{line[:-1]}, "was": {was}}}'
        say(line, file=self.file)


def _host(environ: Mapping[str, str]) -> str:
    """The host from which other services fetch our files; empty: none."""
    url = environ.get("SBM_MEDIA_URL") or environ.get("STAGE_BASED_MESSAGING_URL") or ""
    return urlsplit(url.strip()).netloc


def _other_host(domain: str | None, host: str) -> str | None:
    """What to print about the host from which other services fetched files, if it is not ours."""
    if domain is None or domain == host:
        return None
    return (
        f"the old service's URLs of files have the host {domain},"
        f" the URLs of sbm have {host or 'none: STAGE_BASED_MESSAGING_URL is not set'}"
    )
